"""A baseline keeps to its limits."""

from methods.search.problems import check_limits


def test_limits_are_kept() -> None:
    check_limits("greedy")
