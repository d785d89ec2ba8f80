"""A learned policy."""

from methods.search.measuring import check
from methods.search.problems import check_limits


def test_it_is_better_than_chance() -> None:
    check("rl", 801)


def test_limits_are_kept() -> None:
    check_limits("rl")
