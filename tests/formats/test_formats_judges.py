"""ml_dtypes, qonnx and Brevitas as judges. Exact equality; where they differ, a test says how."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from conftest import NO_TORCH

from qcompile.formats import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    Bipolar,
    FixedPoint,
    Minifloat,
    Rounding,
    Specials,
)
from qcompile.formats.rounding import QONNX_ROUNDINGS

ML_DTYPES = {
    "float8_e4m3fn": E4M3,
    "float8_e5m2": E5M2,
    "float8_e4m3fnuz": E4M3FNUZ,
    "float8_e5m2fnuz": E5M2FNUZ,
    "float8_e4m3b11fnuz": Minifloat(4, 3, 11, Specials.FNUZ),
    "float8_e4m3": Minifloat(4, 3, 7, Specials.IEEE),
    "float8_e3m4": Minifloat(3, 4, 3, Specials.IEEE),
    "float6_e3m2fn": E3M2,
    "float6_e2m3fn": E2M3,
    "float4_e2m1fn": E2M1,
    "bfloat16": Minifloat(8, 7, 127, Specials.IEEE),
}
each_dtype = pytest.mark.parametrize("name", ML_DTYPES)


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(pytest.importorskip("ml_dtypes"), name))


def floats_around(f: Minifloat | FixedPoint, seed: int) -> np.ndarray:
    """Floats inside the finite range: the grid, midpoints, neighbours of both, random ones."""
    grid = f.grid().astype(np.float64) * 2.0**f.unit
    rng = np.random.default_rng(seed)
    random = rng.uniform(-1, 1, 5000) * 2.0 ** rng.integers(f.unit - 3, f.unit + f.max_units.bit_length(), 5000)
    points = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2])
    near = [np.nextafter(points.astype(np.float32), np.float32(s) * np.inf) for s in (-1, 1)]
    x = np.concatenate([points, *near, random]).astype(np.float32).astype(np.float64)
    return np.clip(x, grid[0], grid[-1])


@each_dtype
def test_ml_dtypes_values(name: str) -> None:
    f, dtype = ML_DTYPES[name], dtype_of(name)
    codes = f.codes()
    with np.errstate(invalid="ignore"):
        values = codes.astype(f"u{dtype.itemsize}").view(dtype).astype(np.float64)
    assert np.array_equal(f.is_special(codes), ~np.isfinite(values))
    finite = np.isfinite(values)
    assert np.array_equal(f.values(codes[finite]), values[finite])


@each_dtype
def test_ml_dtypes_casts(name: str) -> None:
    f, dtype = ML_DTYPES[name], dtype_of(name)
    x = floats_around(f, 7).astype(np.float32)
    judged = x.astype(dtype)
    codes = f.quantize(x)
    assert np.array_equal(f.values(codes), judged.astype(np.float64))
    # The same codes too, but for -0, which quantize does not give.
    nonzero = judged.astype(np.float64) != 0
    assert np.array_equal(f.bits(codes)[nonzero], judged[nonzero].view(f"u{dtype.itemsize}"))


def test_ml_dtypes_rounds_float64_twice() -> None:
    """It casts through float32: a number just above a midpoint becomes the midpoint, a tie."""
    above = np.float64(1.0625) + 2.0**-40
    assert float(np.array([above]).astype(dtype_of("float8_e4m3fn"))[0]) == 1.0
    assert E4M3.values(E4M3.quantize(above)) == 1.125


def of_qonnx(module: str) -> Any:
    return pytest.importorskip(f"qonnx.custom_op.general.{module}")


@pytest.mark.parametrize("rounding", list(map(Rounding, QONNX_ROUNDINGS)))
def test_qonnx_quant(rounding: Rounding) -> None:
    int_quant = of_qonnx("quant").quant
    for width in range(1, 11):
        for signed in (True, False):
            if width == 1 and signed:
                continue  # qonnx means bipolar by this, see below
            for narrow in (True, False):
                f = FixedPoint(width, 3, signed, narrow)
                ends = np.array([-1e9, -1000.3, 1000.3, 1e9])
                grid = np.arange(4 * f.min_units - 9, 4 * f.max_units + 9) / 4 / 8
                x = np.concatenate([grid, np.nextafter(grid, -np.inf), np.nextafter(grid, np.inf), ends])
                if rounding in (Rounding.HALF_UP, Rounding.HALF_DOWN):
                    x = np.concatenate([grid, ends])  # their abs(x) + 0.5 is inexact
                judged = int_quant(x, 2.0**-3, 0.0, np.array(float(width)), signed, narrow, rounding.value)
                assert np.array_equal(f.values(f.quantize(x, rounding)), judged), (width, signed, narrow)


def test_qonnx_limits() -> None:
    quant = of_qonnx("quant")
    for width in range(1, 64):
        for signed in (True, False):
            for narrow in (True, False):
                f = FixedPoint(width, 0, signed, narrow)
                assert f.min_units == quant.min_int(signed, narrow, width)
                assert f.max_units == quant.max_int(signed, narrow, width)


def test_qonnx_one_bit_signed_is_bipolar() -> None:
    x = np.array([-3.0, -0.5, -1e-300, -0.0, 0.0, 1e-300, 2.0])
    codes = Bipolar().quantize(x)
    assert np.array_equal(Bipolar().values(codes), of_qonnx("bipolar_quant").binary_quant(x, 1.0))
    for narrow in (True, False):
        judged = of_qonnx("quant").quant(x, 1.0, 0.0, np.array(1.0), True, narrow, "ROUND")
        assert np.array_equal(Bipolar().values(codes), judged)


FLOAT_QUANTS = [
    *(E4M3, E5M2, E4M3FNUZ, E5M2FNUZ, E3M2, E2M3, E2M1),
    *(Minifloat(4, 3, 7, max=Fraction(240)), Minifloat(3, 0, 3), Minifloat(1, 2, 0), Minifloat(5, 6, -3)),
    *(Minifloat(4, 3, 8, signed=False), Minifloat(3, 2, 3, max=Fraction(7), signed=False)),
]


@pytest.mark.parametrize("rounding", list(map(Rounding, QONNX_ROUNDINGS)))
@pytest.mark.parametrize("f", FLOAT_QUANTS, ids=str)
def test_qonnx_float_quant(f: Minifloat, rounding: Rounding) -> None:
    float_quant = of_qonnx("floatquant").float_quant
    maximum = float(f.max_units) * 2.0**f.unit
    x = np.concatenate([floats_around(f, 3), [-3 * maximum, -maximum * 1.01, 1.01 * maximum, 7 * maximum]])
    if rounding in (Rounding.HALF_UP, Rounding.HALF_DOWN):
        x = np.concatenate([np.round(x[:2000] / 2.0 ** (f.unit - 4)) * 2.0 ** (f.unit - 4), x[-4:]])
    judged = float_quant(x, 1.0, f.exponent, f.mantissa, float(f.bias), f.signed, maximum, rounding_mode=rounding.value)
    assert np.array_equal(f.values(f.quantize(x, rounding)), judged)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_qonnx_float_quant_takes_an_inexact_logarithm(dtype: type) -> None:
    """log2 of the float just below 256 is 8.0, so qonnx rounds it with the spacing above 256.

    Rounding to nearest does not suffer: 256 is the nearest number in either spacing.
    """
    below = np.nextafter(dtype(256), dtype(0))
    for mode, judged, exact in (("FLOOR", 224, 240), ("DOWN", 224, 240), ("ROUND", 256, 256)):
        scale, bias, maximum = dtype(1), dtype(7), dtype(448)
        result = of_qonnx("floatquant").float_quant(
            np.array([below]), scale, 4, 3, bias, True, maximum, rounding_mode=mode
        )
        assert result.tolist() == [judged]
        assert E4M3.values(E4M3.quantize(below, Rounding.parse(mode))) == exact


def brevitas_cases() -> list[Any]:
    pytest.importorskip("torch", reason=NO_TORCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("brevitas", reason=NO_TORCH)
        from brevitas.quant.float_quant_fnuz import FpFNUZAct
        from brevitas.quant.float_quant_ocp import Fp8e4m3OCPAct, Fp8e5m2OCPAct, FpOCPAct

    def sized(base: Any, e: int, m: int) -> Any:
        fields = {"bit_width": 1 + e + m, "exponent_bit_width": e, "mantissa_bit_width": m}
        return type("Sized", (base,), fields)

    return [
        (E4M3, Fp8e4m3OCPAct),
        (E5M2, Fp8e5m2OCPAct),
        (E3M2, sized(FpOCPAct, 3, 2)),
        (E2M3, sized(FpOCPAct, 2, 3)),
        (E2M1, sized(FpOCPAct, 2, 1)),
        (E4M3FNUZ, sized(FpFNUZAct, 4, 3)),
        (E5M2FNUZ, sized(FpFNUZAct, 5, 2)),
    ]


@pytest.mark.filterwarnings("ignore")
def test_brevitas() -> None:
    cases = brevitas_cases()
    import torch
    from brevitas.nn import QuantIdentity

    for f, quantizer in cases:
        x = floats_around(f, 5).astype(np.float32)
        maximum = np.float32(float(f.max_units) * 2.0**f.unit)
        x = np.concatenate([x, maximum * np.array([-9, -1.01, 1.01, 9], dtype=np.float32)])
        module = QuantIdentity(quantizer).eval()
        with torch.no_grad():
            judged = module(torch.from_numpy(x)).numpy()
        assert np.array_equal(f.values(f.quantize(x)), judged.astype(np.float64)), f
