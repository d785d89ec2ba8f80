"""Binary points."""

import numpy as np
import pytest

from methods.rounding.trainings import check, in_memories, trained

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


def test_it_loses_less_than_digits_in_the_same_logic() -> None:
    check("binary_point", 0.9)


def test_scales_move_by_powers_of_two() -> None:
    problem = in_memories("fixed4", rows=128)
    own, before = trained("binary_point", problem, epochs=4, scales=3.0, rate=0.05), problem.plan
    ratios = [own.tensors[n].scale[0] / c.scale[0] for n, c in before.tensors.items()]
    assert all(np.frexp(float(r))[0] == 0.5 for r in ratios) and any(r != 1 for r in ratios)
