"""I-ViT's integer softmax, GELU and layer normalization (Li and Gu, ICCV 2023, and its published code) in the place of
the real functions: compositions of steps, row sums and maxima, tables of integers and exact quotients, so that all
executions have the same integers. Nothing is said about the real functions that they stand for.

The square root is that of the paper, floor(sqrt v), which ten Newton steps from 2**16 miss where v is small.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.formats import FixedPoint, Rounding
from qcompile.ir import ONE, Array, Graph, Node, Param, TensorType, Value, ops, output_shape
from qcompile.passes.ranges import smallest_format
from qcompile.passes.rows import at_end, with_kernels
from qcompile.records import dataclass
from qcompile.sim.functions import float64
from qcompile.sim.ratio import approximate

SHIFTMAX, SHIFTGELU, LAYER_NORM = "Shiftmax", "ShiftGELU", "I-LayerNorm"
NAMES = SHIFTMAX, SHIFTGELU, LAYER_NORM  # of the op that nodes say they come from
SHARE = FixedPoint(15, 15, False)  # of a Shiftmax, 16 bits with a sign
GATE = FixedPoint(7, 7, False)  # of a ShiftGELU, 8 bits with a sign
_SOFTMAX_PLACES, _GELU_PLACES = 15, 23  # by which exponentials are shifted
_STEEPNESS = Fraction(1702, 1000)  # x sigmoid(1.702 x) is near to GELU
_MOST = 2**31 - 1
_LONGEST = 2**16  # entries of a table
_PLACES = np.linspace(-4, 4, 33)  # where functions are told apart


@dataclass(frozen=True)
class Codes:
    """A tensor of integers from `low` to `high` times a unit."""

    unit: Fraction
    low: int
    high: int


def with_chosen_kernels(graph: Graph, kernels: str, softmax: str) -> Graph:
    """The model graph with what makes functions of rows: `kernels` and `softmax` as for compiling."""
    return with_kernels(with_integer_kernels(graph, softmax) if kernels == "ivit" else graph, softmax)


def with_integer_kernels(graph: Graph, softmax: str) -> Graph:
    """The model graph with I-ViT's kernels in the place of softmaxes (those at its ends with `softmax` as "integer"),
    GELUs and layer normalizations; others stay, see `kept`.
    """
    nodes, now = list[Node](), dict[str, Value]()
    for node in graph.nodes:
        like = dataclasses.replace(node, inputs=tuple(now.get(v.name, v) for v in node.inputs))
        kind = kernel_of(node)
        if not kind or (kind == SHIFTMAX and softmax != "integer" and at_end(graph, node)) or _obstacle(graph, node):
            nodes.append(like)
            continue
        made = _Composed(like, kind, [])
        codes = codes_of(graph, node.inputs[0])
        assert codes is not None
        _MAKERS[kind](made, codes)
        nodes += made.renamed()
        now[node.output.name] = nodes[-1].output
    outputs = tuple(now.get(v.name, v) for v in graph.outputs)
    return dataclasses.replace(graph, nodes=tuple(nodes), outputs=outputs)


def kept(graph: Graph) -> tuple[str, ...]:
    """Of a graph with kernels, in which softmaxes without one are the host's: the functions that stay what they are
    although I-ViT has a kernel of their name, and why; that there is none.
    """
    own = (n for n in graph.nodes if kernel_of(n) and not (isinstance(n.op, ops.Softmax) and n.op.kernel is None))
    found = tuple(f"{n.origin} stays the real function, not {kernel_of(n)}: {_obstacle(graph, n)}" for n in own)
    if found or any(n.origin.op in NAMES for n in graph.nodes):
        return found
    return ("--kernels ivit changes nothing: hardware makes no softmax, GELU or layer normalization",)


def kernel_of(node: Node) -> str:
    """The kernel that a function of a model graph has, "" for none."""
    op = node.op
    if isinstance(op, ops.Softmax) and op.codes is None and not op.log:
        return SHIFTMAX
    if _gelus(op):
        return SHIFTGELU
    if isinstance(op, ops.Normalize) and op.centred and op.mean and not op.least:
        return LAYER_NORM
    return ""


def _gelus(op: Any) -> int:
    """How many times GELU, exact or by tanh, a function of one number is: once, twice as exporters write it before they
    halve it, or 0 for another function. The two GELUs are at most 0.0005 from each other, others are further off.
    """
    if not isinstance(op, ops.Func) and not (isinstance(op, ops.Combine) and op.real and _scalar(op)):
        return 0
    made, gelu = approximate(_PLACES, (op,))[0], float64(ops.Func("gelu"), _PLACES)
    return next((k for k in (1, 2) if np.all(np.abs(made - k * gelu) < k * 0.001)), 0)


def _scalar(step: Any) -> bool:
    """Whether all elements have the same parameters."""
    if isinstance(step, ops.Combine):
        return all(map(_scalar, (*step.left, *step.right)))
    return all(p.is_scalar for p in vars(step).values() if isinstance(p, Param))


def _obstacle(graph: Graph, node: Node) -> str:
    """Why a function cannot be made by its kernel, "" if it can."""
    codes = codes_of(graph, node.inputs[0])
    if codes is None:
        return "no quantizer of one scale is in front of it"
    kind = kernel_of(node)
    if kind == LAYER_NORM:
        largest = math.isqrt(_squares(node, codes))
        return f"its root has {largest} values, more than {_LONGEST}" if largest > _LONGEST else ""
    unit, places = _unit(kind, codes), _GELU_PLACES if kind == SHIFTGELU else _SOFTMAX_PLACES
    if math.ceil(1 / unit) << places > _MOST:
        return f"codes of {float(codes.unit):.3g} are too fine for its 31 bits"
    return f"its codes have more than {_LONGEST} values" if _differences(codes, unit, places) > _LONGEST else ""


def _squares(node: Node, codes: Codes) -> int:
    """The greatest sum of squares of a row less its rounded mean."""
    n = math.prod(node.inputs[0].type.shape[a] for a in node.op.axes)
    return n * ((codes.high - codes.low) ** 2 + 1) // 4


def codes_of(graph: Graph, value: Value) -> Codes | None:
    """The integers that a tensor has: behind a quantizer of one scale, constant factors, and what only moves them."""
    node, fmt = graph.producers.get(value.name), value.type.format
    if node is None:
        given = value.type
        return None if fmt is None else _codes(fmt, given.scale, given.zero_point)
    op = node.op
    if isinstance(op, ops.Quantize):
        return _codes(op.format, op.scale, op.zero_point)
    if not keeps_codes(node):
        return None
    if op.moves:
        return codes_of(graph, node.inputs[0])
    if isinstance(op, ops.Affine):
        inner = codes_of(graph, node.inputs[0])
        return None if inner is None else _scaled(inner, op.mul.scalar, op.add.scalar)
    return None


def keeps_codes(node: Node) -> bool:
    """Whether what a node makes of codes of one scale are such codes, as far as can be said without the codes."""
    op = node.op
    if isinstance(op, ops.Affine):
        return op.mul.is_scalar and op.add.is_scalar and op.mul.scalar != 0
    return op.moves and len(node.inputs) == 1


def _codes(fmt: Any, scale: Param, zero_point: Param) -> Codes | None:
    if not (scale.is_scalar and zero_point.is_scalar and fmt.consecutive and zero_point.scalar.denominator == 1):
        return None
    zero = int(zero_point.scalar)
    return Codes(scale.scalar * Fraction(2) ** fmt.unit, fmt.min_units - zero, fmt.max_units - zero)


def _scaled(codes: Codes, mul: Fraction, add: Fraction) -> Codes | None:
    """mul x + add, where these are integers of one unit."""
    unit = codes.unit * abs(mul)
    moved = add / unit
    if moved.denominator != 1:
        return None
    sign = 1 if mul > 0 else -1
    low, high = sorted((sign * codes.low, sign * codes.high))
    return Codes(unit, low + int(moved), high + int(moved))


@dataclass(frozen=True)
class _Composed:
    """The nodes that make one function of `like`."""

    like: Node
    kind: str
    nodes: list[Node]

    def emit(self, op: Any, *inputs: Value, fmt: FixedPoint | None = None) -> Value:
        type_ = TensorType(output_shape(op, tuple(v.type for v in inputs)), fmt)
        if isinstance(op, ops.Quantize):
            type_ = TensorType(type_.shape, op.format, op.scale)
        value = Value(f"{self.like.output.name}.{self.kind.lower()}{len(self.nodes)}", type_)
        self.nodes.append(Node(op, inputs, (value,), dataclasses.replace(self.like.origin, op=self.kind)))
        return value

    def renamed(self) -> list[Node]:
        """The nodes, the last of which makes the tensor of the function."""
        last = self.nodes[-1]
        output = dataclasses.replace(last.output, name=self.like.output.name)
        return [*self.nodes[:-1], dataclasses.replace(last, outputs=(output,))]

    def affine(self, x: Value, mul: Fraction | int) -> Value:
        return self.emit(ops.Affine(Param.of(mul)), x)

    def integers(self, codes: Codes) -> Value:
        return self.affine(self.like.inputs[0], 1 / codes.unit)

    def difference(self, a: Value, b: Value) -> Value:
        return self.emit(ops.Add(), a, self.affine(b, -1))

    def inverse(self, x: Value) -> Value:
        """floor((2**31 - 1) / x)."""
        most = FixedPoint(31, 0, False)
        entries = np.full(x.type.shape, _MOST, dtype=np.int64)
        one = self.emit(ops.Constant(Array(entries)), fmt=most)
        return self.emit(ops.Quantize(most, rounding=Rounding.FLOOR), self.emit(ops.Divide(), one, x))

    def limited(self, x: Value, least: int) -> Value:
        """A sum, told to be `least` or more, up to 2**31 - 1."""
        clipped = self.emit(ops.Clip(Param.of(least), Param.of(_MOST)), x)
        return self.emit(ops.Quantize(smallest_format(least, _MOST)), clipped)

    def share(self, e: Value, total: Value, fmt: FixedPoint) -> Value:
        """floor(e inverse / 2**(31 - bits of the fraction)), as a share of 1."""
        product = self.emit(ops.Mul(), e, self.inverse(total))
        return self.emit(ops.Quantize(fmt, rounding=Rounding.FLOOR), self.affine(product, Fraction(1, 2**31)))


def shifted_exponentials(x: np.ndarray, unit: Fraction, places: int) -> np.ndarray:
    """ShiftExp of integers x: about exp(unit x) / unit times 2**places, up to 2**31 - 1."""
    x0 = -math.ceil(1 / unit)
    x = np.maximum(x + (x >> 1) - (x >> 4), places * x0)
    q = x // x0
    twice = (x - x0 * q) - 2 * x0  # at least 1, so that 2**32 of it are too many
    return np.asarray(np.minimum((twice << np.minimum(places - q, 32)) >> 1, _MOST))


def _unit(kind: str, codes: Codes) -> Fraction:
    """Of what the exponential of a kernel is taken of."""
    return codes.unit * _STEEPNESS if kind == SHIFTGELU else codes.unit


def _differences(codes: Codes, unit: Fraction, places: int) -> int:
    """That ShiftExp tells apart: x + (x >> 1) - (x >> 4) is at most 1.4375 x below 0."""
    return min(codes.high - codes.low, math.ceil(Fraction(16, 23) * places * math.ceil(1 / unit))) + 1


def _below(made: _Composed, codes: Codes, axis: int, places: int) -> tuple[Value, Value]:
    """The exponentials of a row less its maximum, and the maximum."""
    a, unit = made.integers(codes), _unit(made.kind, codes)
    largest = made.emit(ops.ReduceMax((axis,), True), a)
    entries = shifted_exponentials(-np.arange(_differences(codes, unit, places)), unit, places)
    return made.emit(ops.Lookup(0, Array(entries)), made.difference(largest, a)), largest


def _shiftmax(made: _Composed, codes: Codes) -> None:
    """floor(e floor((2**31 - 1) / sum e) / 2**16) of 2**-15."""
    axis = made.like.op.axis
    e, _ = _below(made, codes, axis, _SOFTMAX_PLACES)
    total = made.emit(ops.ReduceSum((axis,), True), e)
    one = math.ceil(1 / codes.unit) << _SOFTMAX_PLACES  # of the maximum itself
    made.share(e, made.limited(total, one), SHARE)


def _shiftgelu(made: _Composed, codes: Codes) -> None:
    """x times floor(e floor((2**31 - 1) / (e + e')) / 2**24) of 2**-7, e of x - max, e' of -max, of a row on the last
    axis.
    """
    e, largest = _below(made, codes, len(made.like.output.type.shape) - 1, _GELU_PLACES)
    entries = shifted_exponentials(-np.arange(codes.low, codes.high + 1), _unit(SHIFTGELU, codes), _GELU_PLACES)
    zero = made.emit(ops.Lookup(codes.low, Array(entries)), largest)
    gate = made.share(e, made.limited(made.emit(ops.Add(), e, zero), 1), GATE)
    made.emit(ops.Mul(), made.affine(made.like.inputs[0], _gelus(made.like.op)), gate)


def _layer_norm(made: _Composed, codes: Codes) -> None:
    """floor(y floor((2**31 - 1) / floor(sqrt(sum y**2))) / 2) of sqrt(n) / 2**30, y the data less their rounded mean.
    A row of equal numbers, which I-ViT divides by 0, is 0.
    """
    op: ops.Normalize = made.like.op
    a = made.integers(codes)
    n = math.prod(a.type.shape[i] for i in op.axes)
    mean = made.affine(made.emit(ops.ReduceSum(op.axes, True), a), Fraction(1, n))
    y = made.difference(a, made.emit(ops.Round(Rounding.ROUND), mean))
    squares = made.emit(ops.ReduceSum(op.axes, True), made.emit(ops.Mul(), y, y))
    known = ops.Clip(ONE, Param.of(max(1, _squares(made.like, codes))))
    root = made.emit(ops.Func("sqrt"), made.emit(known, squares))
    product = made.emit(ops.Mul(), y, made.inverse(made.emit(ops.Round(Rounding.FLOOR), root)))
    scale = Fraction(float(np.sqrt(np.float32(n)))) / 2**30
    codes31 = ops.Quantize(FixedPoint(31), Param.of(scale), rounding=Rounding.FLOOR)
    made.emit(codes31, made.affine(product, scale / 2))


_MAKERS: dict[str, Callable[[_Composed, Codes], None]] = {
    SHIFTMAX: _shiftmax,
    SHIFTGELU: _shiftgelu,
    LAYER_NORM: _layer_norm,
}
