"""Every real function's record agrees with itself: float64, the last word, the order that it keeps, where it turns."""

from fractions import Fraction

import numpy as np
import pytest

from qcompile.ir import ops
from qcompile.sim import functions, kernels
from qcompile.sim.ratio import _REAL as REAL

POINTS = [Fraction(n, 7) for n in range(-35, 36)]
ALL = pytest.mark.parametrize("name", functions.FUNCTIONS)


def test_float64_of_every_function_is_in_the_kernels_that_projects_carry() -> None:
    assert set(kernels.FUNCTIONS) == set(functions.FUNCTIONS)


@ALL
@pytest.mark.parametrize("alpha", [Fraction(1), Fraction(1, 6)])
def test_float64_is_the_function(name: str, alpha: Fraction) -> None:
    step = ops.Func(name, alpha)
    points = [Fraction(n, 16) for n in range(-200, 200, 3)]
    exact = np.array([float(functions.precise(x, (step,))) for x in points])
    error = np.abs(functions.float64(step, np.array([float(x) for x in points])) - exact)
    assert (error <= np.abs(exact) * REAL / 4 + 2.0**-62).all()


@ALL
@pytest.mark.parametrize("alpha", [Fraction(1), Fraction(1, 6)])
def test_order_and_turn_are_what_is_said(name: str, alpha: Fraction) -> None:
    step, real = ops.Func(name, alpha), functions.FUNCTIONS[name]
    x = np.linspace(-5, 5, 2001)
    rises = np.diff(functions.float64(step, x))
    if real.increasing:
        assert (rises > 0).all()
    turn = real.turn(alpha)
    if real.winds is not None:
        low, high = functions.between(step, x[:-1], x[1:])
        inner = functions.float64(step, (x[1:] + x[:-1]) / 2)
        assert (low <= inner + 1e-12).all() and (inner <= high + 1e-12).all()
    elif turn is None:
        assert (rises >= 0).all()
    else:
        middle = (x[1:] + x[:-1]) / 2
        assert (rises[middle < float(turn) - 0.01] <= 0).all() and (rises[middle > float(turn) + 0.01] >= 0).all()


@ALL
def test_torch_computes_the_same(name: str) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'qcompile[torch]'")
    x = np.array([float(p) for p in POINTS])
    found = functions.FUNCTIONS[name].torch(torch, torch.from_numpy(x), 0.5).numpy()
    # ONNX' constants of selu have float32's digits, torch's have float64's.
    assert np.allclose(found, functions.float64(ops.Func(name, Fraction(1, 2)), x), rtol=1e-6)
