"""Immutable building blocks of a graph: exact parameters, integer arrays, tensor types, values, nodes, graphs."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.formats import Format, smallest_width
from qcompile.records import dataclass

Shape = tuple[int, ...]


def exact(number: Any) -> Fraction:
    """A Python or numpy number as the rational that it is (a float is a dyadic rational)."""
    if isinstance(number, Fraction):
        return number
    return Fraction(number.item() if isinstance(number, np.generic) else number)


@dataclass(frozen=True)
class Param:
    """Exact rationals that broadcast against a tensor: `shape` () or with one entry per axis of the tensor."""

    shape: Shape
    values: tuple[Fraction, ...]

    @staticmethod
    def of(source: Any) -> Param:
        """From a number or an array of ints, floats or Fractions; equal values shrink to one (axes of size 1)."""
        if isinstance(source, Param):
            return source
        array = np.asarray(source)
        flat = array.ravel().tolist()
        memo = {v: Fraction(v) for v in set(flat)}
        return Param(array.shape, tuple(memo[v] for v in flat)).compress()

    @cached_property
    def _array(self) -> np.ndarray:
        out = np.empty(len(self.values), dtype=object)
        out[:] = self.values
        out = out.reshape(self.shape)
        out.flags.writeable = False
        return out

    @cached_property
    def _hash(self) -> int:
        # Of whole numbers: a Fraction's own hash divides modulo a prime.
        return hash((self.shape, tuple((v.numerator, v.denominator) for v in self.values)))

    def __hash__(self) -> int:
        """Kept: a thousand Fractions hash slowly, and results of parameters are remembered by them."""
        return self._hash

    def array(self) -> np.ndarray:
        """Read-only object array of Fractions, of shape `self.shape`."""
        return self._array

    @property
    def is_scalar(self) -> bool:
        return len(self.values) == 1

    @property
    def scalar(self) -> Fraction:
        if not self.is_scalar:
            raise ValueError("parameter is not a scalar")
        return self.values[0]

    def numpy(self) -> np.ndarray:
        """Nearest float64 of each value, of shape `self.shape`."""
        return np.array([v.numerator / v.denominator for v in self.values], dtype=np.float64).reshape(self.shape)

    def map(self, fn: Callable[[Fraction], Fraction]) -> Param:
        return Param(self.shape, tuple(map(fn, self.values)))

    def combine(self, other: Param, fn: Callable[[Fraction, Fraction], Fraction]) -> Param:
        """Element by element with broadcasting."""
        if self.is_scalar and other.is_scalar and len(self.shape) >= len(other.shape):
            return Param(self.shape, (fn(self.values[0], other.values[0]),))
        left, right = np.broadcast_arrays(self.array(), other.array())
        return Param(left.shape, tuple(map(fn, left.ravel().tolist(), right.ravel().tolist()))).compress()

    def compress(self, keep_last: bool = False) -> Param:
        """The same values with every constant axis (but the last, if it is to be kept) shrunk to size 1."""
        if len(self.values) <= 1:
            return self
        array = _compressed(self._array, keep_last)
        return Param(array.shape, tuple(array.ravel().tolist()))

    def flat(self, axes: Iterable[int], rank: int) -> bool:
        """Whether it is the same all along these axes of a tensor of `rank`."""
        places = [a - rank + len(self.shape) for a in axes]
        return all(p < 0 or self.shape[p] == 1 for p in places)

    def divisor(self, axes: tuple[int, ...], rank: int) -> Param:
        """The rational gcd along these axes of a tensor of `rank`: flat there, and every value is a multiple of it."""
        if self.flat(axes, rank):
            return self
        array = self.aligned(rank)
        kept = np.moveaxis(array, axes, range(-len(axes), 0))
        rows = kept.reshape(-1, math.prod(kept.shape[rank - len(axes) :])).tolist()
        return Param(
            tuple(1 if i in axes else n for i, n in enumerate(array.shape)), tuple(gcd_of(row) for row in rows)
        ).compress()

    def aligned(self, rank: int) -> np.ndarray:
        """The array with `rank` axes, those of size 1 that are missing in front added."""
        return aligned(self._array, rank)

    def on(self, shape: Shape) -> np.ndarray:
        """Broadcast to a full tensor shape (object array)."""
        return np.broadcast_to(self.array(), shape)

    def rearrange(self, shape: Shape, fn: Callable[[np.ndarray], np.ndarray]) -> Param:
        """The parameter of a tensor of `shape` after a structural operation `fn` on the tensor."""
        if self.is_scalar:
            return Param((), self.values)
        # Whole tensors are moved as numbers of the distinct values, which numpy compares fast.
        distinct: dict[Fraction, int] = {}
        ids = np.array([distinct.setdefault(v, len(distinct)) for v in self.values]).reshape(self.shape)
        out = _compressed(fn(np.array(np.broadcast_to(ids, shape))))
        values = list(distinct)
        return Param(out.shape, tuple(values[i] for i in out.ravel().tolist()))


def rearranged_table(table: np.ndarray, shape: Shape, fn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A table [..., K] for every element of a tensor of `shape`, after a structural operation `fn` on the tensor."""
    rows = _compressed(fn(np.array(np.broadcast_to(table_rows(table), shape))))
    return np.asarray(table.reshape(-1, table.shape[-1])[rows])


def table_rows(table: np.ndarray) -> np.ndarray:
    """[...] of a table [..., K]: the first of all rows that are the same, by its number."""
    rows = table.reshape(-1, table.shape[-1])
    wide, known = table.dtype == object, dict[Any, int]()
    keys = (tuple(r.tolist()) if wide else r.tobytes() for r in rows)
    return np.array([known.setdefault(key, i) for i, key in enumerate(keys)]).reshape(table.shape[:-1])


def _compressed(array: np.ndarray, keep_last: bool = False) -> np.ndarray:
    """Every constant axis shrunk to size 1."""
    for axis, size in enumerate(array.shape[:-1] if keep_last else array.shape):
        if size > 1:
            first, second = (np.take(array, [i], axis=axis) for i in (0, 1))
            # Rationals compare slowly, and most axes that vary do so from the start.
            if first.flat[0] == second.flat[0] and bool(np.all(array == first)):
                array = first
    return array


def integers(values: Iterable[Any], shape: Shape | None = None) -> np.ndarray:
    """An object array of Python integers: exact at any width. numpy alone would turn a short list of them into int64 or
    float64.
    """
    held = [int(v) for v in values]
    return np.array([*held, None], dtype=object)[:-1].reshape((len(held),) if shape is None else shape)


def aligned(x: Any, rank: int) -> np.ndarray:
    """x with `rank` axes, those of size 1 that are missing in front added."""
    return np.reshape(x, (1,) * (rank - np.ndim(x)) + np.shape(x))


ONE, ZERO = Param((), (Fraction(1),)), Param((), (Fraction(0),))


def gcd_of(values: Iterable[Fraction]) -> Fraction:
    """Rational gcd: the largest g such that every value is an integer multiple of it (1 if all are 0)."""
    num, den = 0, 1
    for v in set(values):
        num, den = math.gcd(num * v.denominator, v.numerator * den), den * v.denominator
        shared = math.gcd(num, den)
        num, den = num // shared, den // shared
    return Fraction(num, den) if num else Fraction(1)


class Array:
    """Read-only integer array (int64, or object for wider numbers) that compares and hashes by content."""

    __slots__ = ("data", "_digest")

    def __init__(self, data: np.ndarray) -> None:
        data = np.array(data)
        if data.dtype != object:
            data = data.astype(np.int64)
        elif max(map(abs, data.ravel().tolist()), default=0) < 2**62:
            data = data.astype(np.int64)
        data.flags.writeable = False
        self.data = data
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        if self._digest is None:
            raw = self.data.astype("<i8").tobytes() if self.data.dtype != object else repr(self.data.tolist()).encode()
            self._digest = hashlib.sha256(repr(self.data.shape).encode() + raw).hexdigest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Array({list(self.data.shape)}, {self.digest[:8]})"


@dataclass(frozen=True)
class TensorType:
    """value = (units - zero_point) * scale * 2**format.unit, units being what a code decodes to.

    shape: static, axis 0 is one sample. format None: a real tensor without codes (scale 1).
    scale, zero_point: per tensor or broadcastable; a power-of-two scale of a FixedPoint lives in `format.frac`.
    limits: least and greatest units of codes of an integer graph, where elements do not take the same bits.
    """

    shape: Shape
    format: Format | None = None
    scale: Param = ONE
    zero_point: Param = ZERO
    limits: tuple[Param, Param] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def codes(self) -> Format:
        """The format of a tensor of the integer graph, where every tensor has one."""
        assert self.format is not None, "a real tensor has no codes"
        return self.format

    @property
    def widths(self) -> np.ndarray | None:
        """Bits of every element, broadcastable; 0 where it is one number. None where all have those of the format."""
        if self.limits is None:
            return None
        low, high = self.limits
        both = low.combine(high, lambda a, b: Fraction(0 if a == b else smallest_width(int(a), int(b))))
        return both.array().astype(np.int64)

    def unit(self) -> Param:
        """Real value of one unit."""
        u = self.format.unit if self.format else 0
        return self.scale.map(lambda s: s * Fraction(2) ** u)


@dataclass(frozen=True)
class Origin:
    """Where in the user's model something comes from."""

    node: str = ""
    tensor: str = ""
    op: str = ""

    def __str__(self) -> str:
        return f"node '{self.node}' ({self.op})" if self.node else f"tensor '{self.tensor}'"


@dataclass(frozen=True)
class Value:
    """A tensor of a graph; names are unique within it."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class Node:
    op: Any
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    origin: Origin = field(default_factory=Origin)

    @property
    def output(self) -> Value:
        return self.outputs[0]

    @property
    def terms(self) -> int:
        """How many products, or elements, one number of the result is made of; at least 1."""
        return max(1, self.op.terms(*(v.type.shape for v in self.inputs)))

    @property
    def data(self) -> Value:
        """The first operand."""
        return self.inputs[0]

    @property
    def weights(self) -> Value:
        """The second operand of a product, constant or not."""
        return self.inputs[self.op.operands.index("weights")]


@dataclass(frozen=True)
class State:
    """An input of a graph that holds, along the last axis, what one of its outputs was a step before; in the first step
    the units `initial`, of the shape of a step. kept: a frame is a step, and the state of the frame before is there.
    """

    input: str
    output: str
    initial: Array
    kept: bool = False


@dataclass(frozen=True, repr=False)
class Graph:
    """Nodes in topological order. dialect: "model" (real values) or "integer" (codes). states: of rolled recurrences,
    whose steps are the last axis of all tensors between an input and an output that follow each other. named: (input,
    the name of the user's input whose codes it has), where these differ.
    """

    name: str
    dialect: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    states: tuple[State, ...] = ()
    named: tuple[tuple[str, str], ...] = ()

    @cached_property
    def producers(self) -> dict[str, Node]:
        return {v.name: n for n in self.nodes for v in n.outputs}

    @cached_property
    def in_ports(self) -> tuple[Value, ...]:
        """Inputs but for states, which come last."""
        return self.inputs[: len(self.inputs) - len(self.states)]

    @cached_property
    def out_ports(self) -> tuple[Value, ...]:
        """Outputs but for those that are states, which come last."""
        return self.outputs[: len(self.outputs) - len(self.states)]

    @cached_property
    def keeps(self) -> bool:
        """Whether it keeps something from one frame to the next."""
        return any(s.kept for s in self.states)

    @cached_property
    def constants(self) -> dict[str, Node]:
        """What makes the constant tensors, by their names: nodes without operands."""
        return {n.output.name: n for n in self.nodes if not n.inputs}

    @cached_property
    def computed(self) -> tuple[Node, ...]:
        """All nodes but constants."""
        return tuple(n for n in self.nodes if n.inputs)

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                found.setdefault(value.name, []).append(node)
        return found

    def __repr__(self) -> str:
        """One line; `print_graph(graph)` has everything."""
        return f"<Graph {self.name!r}, {self.dialect}: {self.census()}>"

    def census(self) -> str:
        """How many nodes of which kind, for people."""
        count = Counter(type(n.op).__name__ for n in self.nodes if n.inputs)
        return f"{sum(count.values())} ({', '.join(f'{n} {kind}' for kind, n in count.most_common())})"

    @cached_property
    def layers(self) -> dict[str, str]:
        """The one name that people meet for what makes a tensor: that of the user's input, of the node of the user's
        model, of its tensor where there is none.

        Where one node became several, the first of several inputs has its name (the product, not its padding), else
        the first; the others say what they do too: `conv`, `conv:Pad`, `conv:Requant2`; constants come last.
        """
        taken: set[str] = set()
        names = {}
        for node in sorted(self.nodes, key=lambda n: (not n.inputs, len(n.inputs) == 1)):
            kind, base = type(node.op).__name__, node.origin.node or node.origin.tensor or node.output.name
            others = (f"{base}:{kind}{i}" for i in itertools.count(2))
            name = next(n for n in itertools.chain((base, f"{base}:{kind}"), others) if n not in taken)
            taken.add(name)
            names[node.output.name] = name
        users = dict(self.named)
        for value in self.inputs:
            base = users.get(value.name, value.name)
            names[value.name] = next(n for n in (base, f"{base}:Input", f"{base}:Input2") if n not in taken)
        return names
