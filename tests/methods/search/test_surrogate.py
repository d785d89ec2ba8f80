"""Trees that propose."""

import pytest

from methods.search.measuring import check
from methods.search.problems import check_limits

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'qcompile[search]'")


def test_it_is_better_than_chance() -> None:
    check("surrogate", 152)


def test_limits_are_kept() -> None:
    check_limits("surrogate")
