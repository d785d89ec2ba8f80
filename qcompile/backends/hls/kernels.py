"""Calls of one kernel of hw/include/qc each: records of final numbers, which templates/hls/kernels/<template> prints.

Sizes are elements. buffered: the kernel is a loop over memories, not unrolled. Nothing compares or shows them: methods
for that would take longer to make than a small project takes to print.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qcompile.backends.hls.types import Integer, RowIndex
from qcompile.records import dataclass

if TYPE_CHECKING:
    from qcompile.backends.hls.builder import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Kernel:
    template: ClassVar[str]


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Kernel):
    """C simulation watches all elements of a value, or replaces them; width: bits of an element in the trace."""

    template = "trace.cpp.j2"
    width: int
    source: Tensor
    size: int


@dataclass(frozen=True, eq=False, repr=False)
class BeginSteps(Kernel):
    """The loop over the steps t of a frame."""

    template = "begin_steps.cpp.j2"
    steps: int


@dataclass(frozen=True, eq=False, repr=False)
class EndSteps(Kernel):
    """Its end."""

    template = "end_steps.cpp.j2"


@dataclass(frozen=True, eq=False, repr=False)
class FirstStep(Kernel):
    """1 in the first step, else 0."""

    template = "first_step.cpp.j2"
    out: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class OfStep(Kernel):
    """The elements of step t between a tensor and the array of the frame (see `FramePort`). into: that, not out of
    it.
    """

    template = "of_step.cpp.j2"
    into: bool
    size: int
    group: int
    steps: int
    own: Tensor
    frame: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Narrow(Kernel):
    """Elements have no more bits than `widths` says; nothing changes but what the compiler knows."""

    template = "narrow.cpp.j2"
    out: Tensor
    size: int
    widths: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Wire(Kernel):
    """out[i] = source[row(i)]."""

    template = "wire.cpp.j2"
    size: int
    row: RowIndex
    source: Tensor
    out: Tensor
    buffered: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Decode(Kernel):
    """Codes to numbers."""

    template = "decode.cpp.j2"
    size: int
    source: Tensor
    out: Tensor
    buffered: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Place(Kernel):
    """`outer` times `size` elements into a tensor of `stride` elements each, from `offset` on."""

    template = "place.cpp.j2"
    outer: int
    size: int
    stride: int
    source: Tensor
    out: Tensor
    offset: int
    buffered: bool


@dataclass(frozen=True)
class Product:
    """Low bits that a product loses, and the type that holds one."""

    truncated_bits: int
    type: Integer


@dataclass(frozen=True, eq=False, repr=False)
class MatMulKernel(Kernel):
    """batched: whether each operand has matrices of its own in every batch."""

    template = "matmul.cpp.j2"
    batches: int
    rows: int
    terms: int
    columns: int
    batched: tuple[bool, bool]
    x: Tensor
    w: Tensor
    product: Product
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class ConvKernel(Kernel):
    """sizes: batch, groups, outputs and inputs of a group, height, width, kernel, strides, dilations (two each)."""

    template = "conv.cpp.j2"
    sizes: tuple[int, ...]
    x: Tensor
    w: Tensor
    product: Product
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class MatMulSums(Kernel):
    """A product of which one matrix is constant, as additions. left: it is the first one."""

    template = "matmul_sums.cpp.j2"
    batches: int
    rows: int
    terms: int
    columns: int
    left: bool
    sums: str
    x: Tensor
    out: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class ConvSums(Kernel):
    """sizes: as of `ConvKernel`."""

    template = "conv_sums.cpp.j2"
    sizes: tuple[int, ...]
    sums: str
    x: Tensor
    out: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class MultiplyKernel(Kernel):
    template = "multiply.cpp.j2"
    size: int
    rows: tuple[RowIndex, RowIndex]
    a: Tensor
    b: Tensor
    out: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class ReduceKernel(Kernel):
    """Along the middle one of three axes. largest: the maximum, else the sum."""

    template = "reduce.cpp.j2"
    largest: bool
    outer: int
    size: int
    inner: int
    source: Tensor
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class ArgMaxKernel(Kernel):
    """Along the middle one of three axes. last: of equal elements the last one."""

    template = "arg_max.cpp.j2"
    outer: int
    size: int
    inner: int
    last: bool
    source: Tensor
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class PoolKernel(Kernel):
    """sizes: planes, height, width, kernel, strides, dilations (two each). largest: the maximum, else the sum."""

    template = "pool.cpp.j2"
    largest: bool
    sizes: tuple[int, ...]
    source: Tensor
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class BorderKernel(Kernel):
    """Along the middle one of three axes, from `size` to `goal` elements: `before` of the border, then elements `step`
    apart.
    """

    template = "border.cpp.j2"
    outer: int
    size: int
    inner: int
    goal: int
    before: int
    step: int
    row: RowIndex
    fill: Tensor
    source: Tensor
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class DivideKernel(Kernel):
    """row: which element of b divides each of a; total, divisor: types of a dividend and of a divisor; digits: of a
    quotient.
    """

    template = "divide.cpp.j2"
    size: int
    digits: int
    row: RowIndex
    total: Integer
    divisor: Integer
    a: Tensor
    b: Tensor
    mul: Tensor
    div: Tensor
    out: Tensor
    buffered: bool


@dataclass(frozen=True, eq=False, repr=False)
class InverseRootKernel(Kernel):
    """bits: of a root; total: the type that holds all on the way."""

    template = "inverse_root.cpp.j2"
    size: int
    bits: int
    total: Integer
    x: Tensor
    num: Tensor
    den: Tensor
    out: Tensor
    buffered: bool


# --- requantization: what turns accumulators to numbers or codes. `base`, which templates add, is the first element.


@dataclass(frozen=True, eq=False, repr=False)
class Accumulate(Kernel):
    """out[i] (+)= coefficients[row(i)] * source[spread(i)]; first: nothing is there yet."""

    template = "accumulate.cpp.j2"
    size: int
    row: RowIndex
    spread: RowIndex
    first: bool
    source: Tensor
    coefficients: Tensor
    out: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class RequantKernel(Kernel):
    size: int
    row: RowIndex
    source: Tensor
    out: Tensor


@dataclass(frozen=True)
class TableLookup(RequantKernel):
    """memory: its entries are read from a memory though they are constants."""

    template = "table.cpp.j2"
    span: int
    index: Integer
    first: Tensor
    values: Tensor
    memory: bool


@dataclass(frozen=True)
class AffineThresholds(RequantKernel):
    """start + step * (cuts that are reached); total: the type of step times cuts."""

    template = "thresholds_affine.cpp.j2"
    count: int
    total: Integer
    cuts: Tensor
    start: Tensor
    step: Tensor


@dataclass(frozen=True)
class ThresholdsKernel(RequantKernel):
    template = "thresholds.cpp.j2"
    count: int
    cuts: Tensor
    values: Tensor


@dataclass(frozen=True)
class ThresholdSearchKernel(RequantKernel):
    """A table of cuts for every step of a binary search, and one of the results."""

    template = "thresholds_search.cpp.j2"
    rows: int
    results: int
    values: Tensor
    tables: tuple[Tensor, ...]


@dataclass(frozen=True)
class MultiplyAddShift(RequantKernel):
    """ties: 0: there are none, 1: to even, 2: to odd."""

    template = "multiply_add_shift.cpp.j2"
    segments: int
    ties: int
    total: Integer
    result: Integer
    mul: Tensor
    add: Tensor
    shift: Tensor
    tie: Tensor
    breaks: Tensor
    lo: Tensor
    hi: Tensor


@dataclass(frozen=True)
class FloatRoundKernel(RequantKernel):
    """width: bits of the sum that is rounded; lo, hi: codes in the order of the numbers."""

    template = "float_round.cpp.j2"
    even: bool
    width: int
    exponent: int
    mantissa: int
    signed: bool
    mul: Tensor
    add: Tensor
    shift: Tensor
    lo: Tensor
    hi: Tensor
