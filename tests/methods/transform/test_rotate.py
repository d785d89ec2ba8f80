"""Rotations where they pay."""

from methods.transform.checks import check, check_normalized, divergence


def test_it_is_exact() -> None:
    check("fold_bn", "rotate", models=("MLP",))
    check_normalized("rotate")


def test_it_loses_no_more_than_rotating_everything() -> None:
    assert divergence(4, "rotate") < divergence(4, "hadamard")
