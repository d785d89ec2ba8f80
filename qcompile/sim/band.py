"""Codes behind a softmax that hardware makes, beside those of the real function: float64 with a bound of its error,
more digits where that does not decide.

A code may be another one only in the band: where the real number lies within `delta` of a rounding boundary; then it is
that beyond the boundary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from qcompile.errors import VerificationError
from qcompile.ir import Graph, Node, Value, ops
from qcompile.records import dataclass
from qcompile.sim import quotient, ratio
from qcompile.sim.quotient import Quotient
from qcompile.sim.ratio import Ratio
from qcompile.sim.structure import rearrange

_EPS = 2.0**-50
_DIGITS, _PRECISE = 60, 180  # digits, and bits after the point, of numbers that float64 does not decide


@dataclass(frozen=True)
class Band:
    """codes: compared ones; differing: from the real function; within: those in the band. delta: the widest, in steps
    of a code.
    """

    codes: int = 0
    differing: int = 0
    within: int = 0
    delta: float = 0.0

    def __add__(self, other: Band) -> Band:
        codes, differing, within = (a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Band(codes, differing, within, max(self.delta, other.delta))

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.codes, self.differing, self.within


@dataclass(frozen=True)
class _Path:
    """What lies between a softmax and a quantizer: steps, and what only moves elements, in their order."""

    ops: tuple[Any, ...]
    end: Node


def beside_real(graph: Graph, values: Mapping[str, Any], start: int = 0) -> Band:
    """All softmaxes with a kernel of a model graph whose tensors are known. VerificationError for a code outside the
    band. start: number of the first vector.
    """
    total = Band()
    for node in graph.nodes:
        if isinstance(node.op, ops.Softmax) and node.op.kernel is not None:
            x = ratio.exactly(values[node.inputs[0].name])
            assert isinstance(x, Ratio)
            for path in _paths(graph, node.output, ()):
                total += _compared(node, x, path, values[path.end.output.name], start)
    return total


def paths(graph: Graph, node: Node) -> list[tuple[Node, Fraction]]:
    """(quantizer behind a softmax, delta in its steps)."""
    return [(p.end, _delta(node, p)) for p in _paths(graph, node.output, ())]


def _paths(graph: Graph, value: Value, before: tuple[Any, ...]) -> Iterator[_Path]:
    for node in graph.consumers.get(value.name, []):
        if isinstance(node.op, ops.Quantize):
            yield _Path(before, node)
        elif isinstance(node.op, (ops.Affine, ops.Clip, ops.Leaky, *ops.STRUCTURAL)):
            yield from _paths(graph, node.output, (*before, node.op))


def _delta(node: Node, path: _Path) -> Fraction:
    """Half the width of the band, in steps of a code: the error of the quotient times what is behind it.

    Terms are off by at most eps = 1/2 of 2**-bits, of products of two tables 1/2 + 2**-guard + 2**-bits; the largest is
    exact. So a quotient is off by at most (n - 1) * eps / 2**bits, at most n / 2**(bits + 1): the guard bits see to it.
    """
    n, kernel = node.inputs[0].type.shape[node.op.axis], node.op.kernel
    width = Fraction(n, 2 ** (kernel.bits + 1))
    for op in (*path.ops, path.end.op.to_codes()):
        if isinstance(op, ops.Affine):
            width *= max(map(abs, op.mul.values))
        elif isinstance(op, ops.Leaky):
            width *= max(Fraction(1), *map(abs, op.slope.values))
    return width


def _compared(node: Node, x: Ratio, path: _Path, made: Any, start: int) -> Band:
    q, axis = path.end.op, node.op.axis + 1
    p, error = _softmax(x, axis)
    delta = float(_delta(node, path))
    v, e, places = p, error, np.arange(p.size).reshape(p.shape)
    for op in (*path.ops, q.to_codes()):
        v, e, places = _moved(op, v, e, places)
    got = _codes(made, q)
    least, most = _rounded(v, e + delta, q)
    outside = (got < least) | (got > most)
    if outside.any():
        _refuse(node, path, outside, got, v, start)
    low, high = _rounded(v, e, q)
    real, doubt = np.array(low), np.asarray(low != high)
    if doubt.any():
        real[doubt] = _precise(x, axis, path, p, places, doubt)
    return Band(got.size, int((got != real).sum()), int((least != most).sum()), delta)


def _softmax(x: Ratio, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(value, bound of its error) in float64."""
    whole = x.common()
    d = (np.max(whole.num, axis=axis, keepdims=True) - whole.num).astype(np.float64) * float(whole.unit.scalar)
    e = np.exp(-d)
    p = e / e.sum(axis=axis, keepdims=True)
    return p, p * (np.minimum(d, 800.0) + x.shape[axis] + 8) * _EPS


def _moved(op: Any, v: np.ndarray, e: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, bounds of their errors and where they come from, behind a step."""
    if not isinstance(op, ops.Step):
        fn = rearrange(op, lead=1)
        return fn(v), fn(e), fn(places)
    if isinstance(op, ops.Clip):
        return ratio.approximate(v, (op,))[0], e, places
    out = ratio.approximate(v, (op,))[0]
    if isinstance(op, ops.Affine):
        slope, shift = np.abs(op.mul.numpy()), np.abs(op.add.numpy())
        return out, e * slope + (np.abs(v) * slope + shift + np.abs(out)) * _EPS, places
    assert isinstance(op, ops.Leaky)
    return out, e * np.maximum(1, np.abs(op.slope.numpy())) + np.abs(out) * _EPS, places


def _codes(made: Any, q: ops.Quantize) -> np.ndarray:
    """The units that a tensor behind a quantizer has."""
    scaled = ratio.affine(made, *(getattr(q.to_codes(), name) for name in ("mul", "add")))
    return np.asarray(ratio.times(scaled.num, ratio.integer_param(scaled.unit)))


def _rounded(v: np.ndarray, e: np.ndarray | float, q: ops.Quantize) -> tuple[np.ndarray, np.ndarray]:
    """Units of v - e and of v + e, in steps."""
    bits = max(4, min(40, 58 - q.format.width))
    num = np.round(np.clip(v, q.format.min_units - 2.0, q.format.max_units + 2.0) * 2.0**bits).astype(np.int64)
    margin = np.maximum(np.ceil(e * 2.0**bits), 1).astype(np.int64)
    rule = (1 << bits, q.rounding, q.overflow)
    return q.format.quantize_ratio(num - margin, *rule), q.format.quantize_ratio(num + margin, *rule)


def _precise(x: Ratio, axis: int, path: _Path, p: np.ndarray, places: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Codes of the elements in doubt: their quotients with many digits, 1 / n where a row is of equal numbers (of
    others no quotient is rational: Lindemann and Weierstrass).
    """
    whole = x.common()
    rows = np.moveaxis(whole.num, axis, -1)
    num, den = (p * 2.0**53).astype(np.int64).astype(object), np.full(p.shape, 2**53, dtype=object)
    for place in places[doubt].tolist():
        at = list(np.unravel_index(place, p.shape))
        own = at.pop(axis)
        found = _quotient(rows[tuple(at)].tolist(), int(own), whole.unit.scalar)
        num.flat[place], den.flat[place] = found.numerator, found.denominator
    value: Any = Quotient(num, den)
    for op in path.ops:
        value = quotient.apply(value, op) if isinstance(op, ops.Step) else value.rearrange(rearrange(op, lead=1))
    return _codes(quotient.apply(value, path.end.op), path.end.op)[doubt]


def _quotient(row: list[int], i: int, unit: Fraction) -> Fraction:
    if len(set(row)) == 1:
        return Fraction(1, len(row))
    with mpmath.workdps(_DIGITS):
        step, top = mpmath.mpf(unit.numerator) / unit.denominator, max(row)
        e = [mpmath.exp(-step * (top - v)) for v in row]
        return Fraction(int(mpmath.nint(mpmath.ldexp(e[i] / mpmath.fsum(e), _PRECISE))), 2**_PRECISE)


def _refuse(node: Node, path: _Path, outside: np.ndarray, got: np.ndarray, v: np.ndarray, start: int) -> None:
    place = tuple(int(i) for i in np.argwhere(outside)[0])
    raise VerificationError(
        f"{int(outside.sum())} of {got.size} codes behind this softmax lie outside its band; first at vector"
        f" {start + place[0]}, element {list(place[1:])}: the code {got[place]}, the real function"
        f" {v[place]:.9g} steps",
        f"{node.origin}, tensor '{path.end.output.name}'",
    )
