"""Arrays of C++ in the order in which layers ask for them: values, copies, constants."""

from __future__ import annotations

import dataclasses
from dataclasses import field

import numpy as np

from qcompile.backends.hls.constants import Constants, constants, limbs_of
from qcompile.backends.hls.kernels import Decode, Kernel, Wire
from qcompile.backends.hls.types import (
    INT,
    AxisRow,
    Integer,
    IntegerReader,
    Reader,
    RowIndex,
    StridedRow,
    TableRow,
    holding,
    identity,
    native,
    reader_of,
)
from qcompile.backends.sums import SumsView
from qcompile.formats import Format
from qcompile.hardware.memory import numbers
from qcompile.hardware.rows import periodic, strided
from qcompile.ir import Graph, Shape, Value, ops
from qcompile.passes.ranges import Range
from qcompile.records import dataclass

SMALL_TABLE = 1024  # elements up to which a table of places is printed


@dataclass(frozen=True)
class Tensor:
    """A value in C++: the name of its array, its element type, and how elements are read. constant: an array of plain
    integers, or of `limbs` limbs an element. codes: elements are codes of this format, else numbers.
    """

    name: str
    type: Integer
    limbs: int = 1
    codes: Format | None = None
    constant: bool = False

    @property
    def reader(self) -> Reader:
        return reader_of(self.codes.lane) if self.codes else IntegerReader(self.type, self.limbs)


@dataclass(frozen=True)
class Local:
    """An array of a function. kept: what a state's has at first, whose contents stay from one call to the next."""

    type: Integer
    name: str
    size: int
    kept: tuple[int, ...] = ()


@dataclass(frozen=True)
class SumsLayer:
    """A layer as additions, adder graphs of its groups: `rows` sums of `columns` numbers. totals: of signs, of which +1
    counts as 1 and -1 as 0, the sums of the weights of every row; else empty.
    """

    name: str
    graphs: tuple[SumsView, ...]
    columns: int
    rows: int
    adders: int
    levels: int
    totals: tuple[int, ...]


@dataclass
class Builder:
    """buffered: kernels are loops over memories, not unrolled. unrolled: all elements are worked on at once, so that
    each has memories of its own.
    """

    graph: Graph
    known: dict[str, Range]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    decoded: dict[str, Tensor] = field(default_factory=dict)
    constants: list[Constants] = field(default_factory=list)
    locals: list[Local] = field(default_factory=list)
    statements: list[Kernel] = field(default_factory=list)
    sums: list[SumsLayer] = field(default_factory=list)
    buffered: bool = False
    unrolled: bool = False

    def emit(self, statement: Kernel) -> None:
        self.statements.append(statement)

    def local(self, value: Value) -> Tensor:
        """The array of a value: numbers, or codes."""
        fmt = value.type.codes
        if fmt.lane.coded:
            made = self._declared(Integer(fmt.width), value.type.size, fmt)
        else:
            made = self.scratch(*self.known[value.name].bounds, value.type.size)
        self.tensors[value.name] = made
        return made

    def scratch(self, lo: int, hi: int, size: int) -> Tensor:
        """An array for numbers in [lo, hi]."""
        return self._declared(holding(lo, hi), size)

    def same(self, like: Tensor, size: int) -> Tensor:
        """Another array of elements of the same type."""
        return self._declared(like.type, size, like.codes)

    def _declared(self, kind: Integer, size: int, codes: Format | None = None) -> Tensor:
        made = Tensor(f"v{len(self.locals)}", kind, codes=codes)
        self.locals.append(Local(kind, made.name, size))
        return made

    def array(self, data: np.ndarray, plain: str = "", span: tuple[int, int] | None = None) -> Tensor:
        """A constant array of the smallest plain integer type, or of 64-bit limbs. plain: a type instead. span: least
        and greatest number that the type must hold, if not those of the data.
        """
        data = np.asarray(data)
        lo, hi = span or ((int(data.min()), int(data.max())) if data.size else (0, 0))
        kind, name = holding(lo, hi), f"c{len(self.constants)}"
        limbs = 1 if plain else limbs_of(kind.width, lo, hi)
        self.constants.append(constants(name, data, plain or native(lo, hi), limbs))
        return Tensor(name, kind, limbs, constant=True)

    def parameters(self, rows: np.ndarray, plain: str = "", span: tuple[int, int] | None = None) -> Tensor:
        """Parameters of elements, a row for each that differs [rows, ...]."""
        return self.array(rows, plain, span)

    def words(self, rows: np.ndarray) -> Tensor:
        """The same as a memory: elements as wide as their numbers."""
        kind, name = Integer(*numbers(rows)), f"c{len(self.constants)}"
        self.constants.append(constants(name, rows, kind.element, 1))
        return Tensor(name, kind, constant=True)

    def constant(self, value: Value) -> np.ndarray | None:
        """The units of a constant, else None."""
        made = self.graph.producers.get(value.name)
        return made.op.units.data if made is not None and isinstance(made.op, ops.Constant) else None

    def source(self, value: Value) -> Tensor:
        """The value as it is kept: numbers, constants of limbs, or codes."""
        if value.name not in self.tensors:
            data, fmt = self.graph.producers[value.name].op.units.data, value.type.codes
            if fmt.lane.coded:
                made = dataclasses.replace(self.array(fmt.encode(data)), type=Integer(fmt.width), limbs=1, codes=fmt)
            else:
                made = self.array(data)
            self.tensors[value.name] = made
        return self.tensors[value.name]

    def numbers(self, value: Value) -> Tensor:
        """As `source`, codes decoded: of constants here, of data once, before they are used."""
        if value.name in self.decoded:
            return self.decoded[value.name]
        units = self.constant(value) if value.name not in self.tensors else None
        if units is not None and value.type.codes.lane.coded:
            made = self.array(units)
        else:
            tensor = self.source(value)
            if tensor.codes is None:
                return tensor
            made = self.scratch(*self.known[value.name].bounds, value.type.size)
            self.emit(Decode(value.type.size, tensor, made, self.buffered))
        self.decoded[value.name] = made
        return made

    def variable(self, value: Value) -> Tensor:
        """Numbers in a local of their exact type; a constant array, which may hold limbs, is copied into one first."""
        tensor = self.numbers(value)
        if not tensor.constant:
            return tensor
        return self._copied(value, tensor, self.scratch(*self.known[value.name].bounds, value.type.size))

    def kept(self, value: Value) -> Tensor:
        """Codes as they are, everything else as `variable`; never a constant array."""
        tensor = self.source(value)
        if tensor.codes is None:
            return self.variable(value)
        return self._copied(value, tensor, self.same(tensor, value.type.size)) if tensor.constant else tensor

    def _copied(self, value: Value, tensor: Tensor, copy: Tensor) -> Tensor:
        self.emit(Wire(value.type.size, identity(value.type.size), tensor, copy, self.buffered))
        (self.decoded if value.name in self.decoded else self.tensors)[value.name] = copy
        return copy

    def row(self, index: np.ndarray, shape: Shape) -> RowIndex:
        """Maps an element of a tensor of `shape` to its row: index, broadcast."""
        full = np.broadcast_to(index, shape)
        if found := periodic(full.ravel()):
            return AxisRow(*found)
        steps = strided(full) if full.size > SMALL_TABLE else None
        if steps is not None:
            sizes, strides, offset = steps
            first, second = (self.array(np.array(a), INT).name for a in (sizes, strides))
            return StridedRow(len(sizes), first, second, offset)
        places = np.arange(index.size).reshape(index.shape)
        if np.array_equal(index, places):
            return TableRow(self.array(full.ravel(), INT).name, identity(full.size))
        return TableRow(self.array(index, INT).name, self.row(places, shape))

    def spread(self, value: Value, shape: Shape) -> RowIndex:
        """Which element of `value` meets each element of a tensor of `shape`."""
        return self.row(np.arange(value.type.size).reshape(value.type.shape), shape)
