"""Constants of an ONNX graph: what a float32 executor holds, and the exact numbers behind it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx

from qcompile.formats import FixedPoint, Minifloat
from qcompile.formats.minifloat import E2M1, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ
from qcompile.ir import Array, Param, Shape, TensorType, gcd_of, integers
from qcompile.records import dataclass

# Formats of the ONNX integer types.
INTEGERS: dict[int, FixedPoint] = {
    getattr(onnx.TensorProto, name): FixedPoint(int(width), 0, signed)
    for prefix, signed in (("INT", True), ("UINT", False))
    for width in ("2", "4", "8", "16", "32", "64")
    if hasattr(onnx.TensorProto, name := prefix + width)
}


# Formats of the ONNX float8 and float4 types.
FLOATS: dict[int, Minifloat] = {
    getattr(onnx.TensorProto, name): fmt
    for name, fmt in {
        "FLOAT8E4M3FN": E4M3,
        "FLOAT8E4M3FNUZ": E4M3FNUZ,
        "FLOAT8E5M2": E5M2,
        "FLOAT8E5M2FNUZ": E5M2FNUZ,
        "FLOAT4E2M1": E2M1,
    }.items()
    if hasattr(onnx.TensorProto, name)
}


@dataclass(frozen=True)
class Const:
    """held: as an ONNX executor has it. Exactly, where known: quantized (units of a type), or rationals (object array).

    kind: the ONNX element type where numpy has none (4 bits, float8), else 0 or what `held` says too.
    """

    held: np.ndarray
    units: np.ndarray | None = None
    type: TensorType | None = None
    rationals: np.ndarray | None = None
    kind: int = 0

    @property
    def shape(self) -> Shape:
        return tuple(self.held.shape)

    @property
    def element(self) -> int:
        """The ONNX element type."""
        return self.kind or int(onnx.helper.np_dtype_to_tensor_dtype(self.held.dtype))

    @staticmethod
    def quantized(held: np.ndarray, units: np.ndarray, type_: TensorType) -> Const:
        return Const(held, units, type_)

    def exact(self) -> np.ndarray:
        """Object array of Fractions."""
        if self.rationals is not None:
            return self.rationals
        if self.units is not None and self.type is not None:
            zero = self.type.zero_point.array()
            return np.asarray((self.units.astype(object) - zero) * self.type.unit().array())
        return Param.of(self.held).array() if self.held.size == 1 else _fractions(self.held)

    def param(self) -> Param:
        """As parameters of a scalar step."""
        if self.rationals is None and self.units is None:
            return Param.of(self.held)
        return Param.of(self.exact())

    def tensor(self) -> tuple[Array, TensorType]:
        """As a Constant of a graph: units and type, without format where nothing quantized the numbers."""
        if self.units is not None and self.type is not None:
            return Array(self.units), self.type
        return _on_grid(self)

    def whole(self) -> tuple[np.ndarray, Fraction]:
        """(integers, unit) whose product is the exact numbers."""
        rationals = self.rationals if self.units is None else self.exact()
        units, t = _on_grid(Const(self.held, rationals=rationals))
        return units.data, t.unit().scalar

    def rearrange(self, fn: Callable[[np.ndarray], np.ndarray]) -> Const:
        """After a structural operation."""
        held = fn(self.held)
        rationals = None if self.rationals is None else fn(np.array(self.rationals))
        if self.units is None or self.type is None:
            return Const(held, None, None, rationals, self.kind)
        shape = self.shape
        t = self.type
        moved = TensorType(tuple(held.shape), t.format, t.scale.rearrange(shape, fn), t.zero_point.rearrange(shape, fn))
        return Const(held, fn(self.units), moved)

    def scaled(self, factor: Param, held: np.ndarray) -> Const:
        """Times positive numbers that broadcast: codes stay, scales change."""
        assert self.units is not None and self.type is not None
        t = self.type
        return Const(
            held, self.units, TensorType(t.shape, t.format, t.scale.combine(factor, lambda a, b: a * b), t.zero_point)
        )


def _fractions(x: np.ndarray) -> np.ndarray:
    memo = {v: Fraction(v) for v in set(x.ravel().tolist())}
    out = np.empty(x.size, dtype=object)
    out[:] = [memo[v] for v in x.ravel().tolist()]
    return out.reshape(x.shape)


def _on_grid(c: Const) -> tuple[Array, TensorType]:
    """Unquantized numbers are exact too: integers times a power of two (or the rationals' common unit), of no format
    yet.
    """
    if c.rationals is None:
        mantissa, exponent = np.frexp(c.held.astype(np.float64))
        integer = (mantissa * 2.0**53).astype(np.int64)
        nonzero = integer != 0
        low = int((exponent[nonzero] - 53).min()) if nonzero.any() else 0
        # asarray: numpy turns operations on object arrays of rank 0 into plain integers
        units = np.asarray(
            integer.astype(object) << np.where(nonzero, exponent - 53 - low, 0).astype(object), dtype=object
        )
        common = int(np.bitwise_or.reduce(units, axis=None)) if units.size else 0
        spare = (common & -common).bit_length() - 1 if common else 0
        units, unit = units >> spare, Fraction(2) ** (low + spare)
    else:
        unit = gcd_of(c.rationals.ravel().tolist())
        units = integers((v / unit for v in c.rationals.ravel().tolist()), c.shape)
    units = np.asarray(units, dtype=object).reshape(c.shape)
    return Array(units), TensorType(c.shape, None, Param.of(unit))
