"""Batch norm into weights."""

from methods.transform.checks import check


def test_it_is_exact() -> None:
    check("fold_bn")
