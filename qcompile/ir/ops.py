"""The op vocabulary. An op is a frozen dataclass; its fields are its attributes, all typed and final.

What passes ask about an op stands with it as traits (see `Op`): which operand the weights are, whether it only moves
elements, how many numbers one result is made of.

Scalar steps (`Step`) act on every element alike or by parameters that broadcast. In a model graph a step is a node; in
an integer graph a `Requant` composes several of them into one function from accumulators to codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np

from qcompile.formats import Format, Overflow, Rounding, accumulator, smallest_width
from qcompile.ir.types import ONE, ZERO, Array, Param, Shape
from qcompile.records import dataclass

Gathers = Literal["sum", "max"] | None


class Op:
    """Traits of an op, and the names of its operands.

    operands: their names in their order; `variadic`: any number of the one that is named.
    products: its results are sums of products of `data` and `weights`.
    moves: elements of the result are elements of the data, at other places; none is computed.
    windowed: it looks through windows of the spatial axes (see `Window.of`).
    gathers: how elements of the data become one result: "sum", "max", or not at all.
    Of scalar steps: decides: neighbouring numbers may have results far apart. whole: its results are integers.
    piecewise: it is linear between a few points.
    """

    operands: ClassVar[tuple[str, ...]] = ("data",)
    variadic: ClassVar[bool] = False
    products: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    windowed: ClassVar[bool] = False
    gathers: ClassVar[Gathers] = None
    decides: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    piecewise: ClassVar[bool] = False

    @property
    def makes(self) -> Format | None:
        """The format of its results, where the op decides it."""
        return None

    def terms(self, *shapes: Shape) -> int:
        """How many numbers, products of operands of `shapes` or elements of the data, one result is made of."""
        return 1


# --- scalar steps -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step(Op):
    """A function of one real number."""

    @property
    def table(self) -> np.ndarray | None:
        """[..., K] numbers among which x chooses, a trailing axis more than the tensor; None where there are none."""
        return None

    def with_table(self, table: np.ndarray) -> Step:
        """The same with other numbers in the table."""
        raise NotImplementedError


@dataclass(frozen=True)
class Affine(Step):
    """mul * x + add."""

    mul: Param = ONE
    add: Param = ZERO

    piecewise: ClassVar[bool] = True


@dataclass(frozen=True)
class Clip(Step):
    """min(max(x, lo), hi); None is no bound. Relu is Clip(0)."""

    lo: Param | None = None
    hi: Param | None = None

    piecewise: ClassVar[bool] = True


@dataclass(frozen=True)
class Leaky(Step):
    """x if x >= 0 else slope * x (LeakyRelu, PRelu, Abs with slope -1)."""

    slope: Param

    piecewise: ClassVar[bool] = True


@dataclass(frozen=True)
class Round(Step):
    """To an integer; the result is a real number and keeps no format."""

    rounding: Rounding

    decides: ClassVar[bool] = True
    whole: ClassVar[bool] = True


@dataclass(frozen=True)
class Func(Step):
    """A real function by name (see `sim.functions`), with its parameter where it has one (Elu's alpha)."""

    name: str
    alpha: Fraction = Fraction(1)


@dataclass(frozen=True)
class Combine(Step):
    """left(x) + right(x), or their product: chains of steps on the same number as one function of it."""

    product: bool
    left: tuple[Step, ...]
    right: tuple[Step, ...]

    decides: ClassVar[bool] = True

    def each(self, fn: Callable[[Step], Step]) -> Combine:
        """The same of other steps."""
        return Combine(self.product, tuple(map(fn, self.left)), tuple(map(fn, self.right)))

    @property
    def real(self) -> bool:
        """Whether a real function takes part in it that nothing rounds."""
        return irrational(self.left) or irrational(self.right)


def irrational(steps: tuple[Step, ...]) -> bool:
    """Whether what steps make of a rational number may be none."""
    found = False
    for step in steps:
        if isinstance(step, Combine):
            found = found or step.real
        else:
            found = isinstance(step, Func) or (found and not step.decides)
    return found


@dataclass(frozen=True)
class Count(Step):
    """MultiThreshold: how many of the thresholds are <= x. thresholds: a trailing axis more than the tensor."""

    thresholds: Param

    decides: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    @property
    def table(self) -> np.ndarray:
        return self.thresholds.array()

    def with_table(self, table: np.ndarray) -> Count:
        return Count(Param(tuple(table.shape), tuple(table.ravel().tolist())))


@dataclass(frozen=True)
class Lookup(Step):
    """Entry floor(x) - first of a table (beyond its ends the entry there) times `step`; entries: integers [..., K], a
    trailing axis more than the tensor, which they enlarge by broadcasting.
    """

    first: int
    entries: Array
    step: Fraction = Fraction(1)

    decides: ClassVar[bool] = True

    @property
    def table(self) -> np.ndarray:
        return self.entries.data

    def with_table(self, table: np.ndarray) -> Lookup:
        return Lookup(self.first, Array(table), self.step)

    @property
    def address(self) -> Quantize:
        """The step to the whole numbers that tell all entries apart."""
        ends = self.first, self.first + self.entries.data.shape[-1] - 1
        return Quantize(accumulator(smallest_width(*ends), self.first < 0), rounding=Rounding.FLOOR)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Entries, without their step, that whole numbers choose."""
        flat = self.entries.data.reshape(-1, self.entries.data.shape[-1])
        row = np.arange(len(flat)).reshape(self.entries.data.shape[:-1])
        place = np.clip(x, self.first, self.first + flat.shape[1] - 1) - self.first
        return np.asarray(flat[row, place.astype(np.int64)])


@dataclass(frozen=True)
class Quantize(Step):
    """The only place where precision is lost: x -> (q - zero_point) * scale * 2**unit, q = round(x / (scale * 2**unit)
    + zero_point).

    least, most: model dialect, under WRAP: the codes between which every element wraps, where these are not the
    format's.
    """

    format: Format
    scale: Param = ONE
    zero_point: Param = ZERO
    rounding: Rounding = Rounding.ROUND
    overflow: Overflow = Overflow.SATURATE
    least: Param | None = None
    most: Param | None = None

    decides: ClassVar[bool] = True

    @property
    def makes(self) -> Format:
        return self.format

    def clip(self, low: Param, high: Param) -> Clip:
        """The step in front of it that leaves codes from `low` to `high`, for instance of channels of fewer bits: ends
        are codes and rounding keeps the order, so that it may come before the rounding.
        """

        def value(code: Param) -> Param:
            unit = self.scale.map(lambda s: s * Fraction(2) ** self.format.unit)
            return code.combine(self.zero_point, lambda c, z: c - z).combine(unit, lambda c, u: c * u)

        return Clip(value(low), value(high))

    def to_codes(self) -> Affine:
        """The step from its values to its codes as numbers: value / unit + zero point."""
        return Affine(self.scale.map(lambda s: 1 / (s * Fraction(2) ** self.format.unit)), self.zero_point)


# --- both dialects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant(Op):
    """units of the output type's format (decoded codes). reloadable: others of that format may take their place in the
    finished hardware.
    """

    units: Array
    reloadable: bool = False

    operands: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class MatMul(Op):
    """numpy.matmul of two tensors. Integer dialect: exact products and sums of units (zero points not subtracted).

    truncated_bits: integer dialect, a narrower accumulator that the user asked for: every product is
    floor(product / 2**truncated_bits).
    """

    truncated_bits: int = 0

    operands: ClassVar[tuple[str, ...]] = ("data", "weights")
    products: ClassVar[bool] = True
    groups: ClassVar[int] = 1  # as of a Conv: all outputs see all inputs

    def terms(self, *shapes: Shape) -> int:
        return shapes[0][-1]

    def axis_of_outputs(self, rank: int) -> int:
        """Of the results, whose rank is given: along which the outputs of a layer follow one another."""
        return rank - 1

    def weight_axis(self, rank: int) -> int:
        """The same of the weights."""
        return rank - 1


@dataclass(frozen=True)
class Mul(Op):
    """Product of two data tensors, with broadcasting. Integer dialect: of units."""

    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@dataclass(frozen=True)
class Divide(Op):
    """a / b of two data tensors; b broadcasts against a. Integer dialect: x = a * mul / (b * div) of units, doubled and
    rounded to odd: 2 * floor(x), and 1 more where x is no integer; b > 0, proven by its range.

    Whatever rounds x later, at integers or between them, may as well round half of that (rounding to odd: Boldo and
    Melquiond, IEEE Transactions on Computers 57.4, 2008).
    """

    mul: int = 1
    div: int = 1

    operands: ClassVar[tuple[str, ...]] = ("a", "b")

    def quotient(self, a: int, b: int) -> int:
        """Of two numbers; never decreasing in a, monotone in b."""
        whole, rest = divmod(a * self.mul, b * self.div)
        return 2 * whole + (rest != 0)


@dataclass(frozen=True)
class Reshape(Op):
    shape: Shape

    moves: ClassVar[bool] = True


@dataclass(frozen=True)
class Transpose(Op):
    perm: Shape

    moves: ClassVar[bool] = True


@dataclass(frozen=True)
class Concat(Op):
    axis: int

    variadic: ClassVar[bool] = True
    moves: ClassVar[bool] = True


@dataclass(frozen=True)
class Take(Op):
    """Constant index along one axis (Slice, Split, Gather with constant indices)."""

    axis: int
    indices: tuple[int, ...]

    moves: ClassVar[bool] = True


@dataclass(frozen=True)
class Pad(Op):
    """A border of constants: `before`, `after` per axis, and `interior` of them between neighbouring elements
    (ConvTranspose).

    value: broadcasts against the padded tensor (integer dialect: in units); None is less than every element (in front
    of a maximum).
    """

    before: Shape
    after: Shape
    interior: Shape
    value: Param | None = ZERO


@dataclass(frozen=True)
class Conv(Op):
    """y[n, o] = sum over c, k of x[n, c, strides * place + dilations * k] * w[o, c, k]; 1 or 2 spatial axes, no padding
    (see `Pad`).
    """

    strides: Shape
    dilations: Shape
    groups: int = 1
    truncated_bits: int = 0  # as for MatMul

    operands: ClassVar[tuple[str, ...]] = ("data", "weights")
    products: ClassVar[bool] = True
    windowed: ClassVar[bool] = True

    def terms(self, *shapes: Shape) -> int:
        return math.prod(shapes[1][1:])

    def axis_of_outputs(self, rank: int) -> int:
        """Of the results, whose rank is given: along which the outputs of a layer follow one another."""
        return 1

    def weight_axis(self, rank: int) -> int:
        """The same of the weights."""
        return 0


@dataclass(frozen=True)
class Pool(Op):
    """What is made of windows of the spatial axes, channel by channel."""

    kernel: Shape
    strides: Shape
    dilations: Shape

    windowed: ClassVar[bool] = True

    def terms(self, *shapes: Shape) -> int:
        return math.prod(self.kernel)


class SumPool(Pool):
    """Sum over windows (an average is this and a factor)."""

    gathers: ClassVar[Gathers] = "sum"


class MaxPool(Pool):
    """Maximum over windows."""

    gathers: ClassVar[Gathers] = "max"


@dataclass(frozen=True)
class Reduce(Op):
    """What is made of all elements along axes, which are kept with size 1 or removed."""

    axes: Shape
    keepdims: bool

    def terms(self, *shapes: Shape) -> int:
        return math.prod(shapes[0][a] for a in self.axes)


class ReduceSum(Reduce):
    """Sum over axes."""

    gathers: ClassVar[Gathers] = "sum"


class ReduceMax(Reduce):
    """Maximum over axes."""

    gathers: ClassVar[Gathers] = "max"


@dataclass(frozen=True)
class ArgMax(Op):
    """Index of the maximum along one axis; of equal ones the first, or the last."""

    axis: int
    keepdims: bool
    last: bool = False

    gathers: ClassVar[Gathers] = "max"

    def terms(self, *shapes: Shape) -> int:
        return shapes[0][self.axis]


# --- model dialect only -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchNorm(Op):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta; parameters broadcast against the tensor."""

    gamma: Param
    beta: Param
    mean: Param
    var: Param
    epsilon: Fraction


@dataclass(frozen=True)
class Add(Op):
    """Sum of two data tensors, with broadcasting."""

    operands: ClassVar[tuple[str, ...]] = ("a", "b")


@dataclass(frozen=True)
class Exponential:
    """exp(-unit * d) of integers d >= 0 as integers over 2**bits: correctly rounded, or, where there are splits, the
    product, rounded after every factor, of correctly rounded numbers with `guard` bits more, of parts of d: of so many
    low bits, so many above them, and of the others.

    bits: at the least. The unit comes with lowering; 0: not known yet. From `cut` on the integers are 0. drop: d is
    rounded from integers of so many bits more. log: the sum's logarithm is taken, over 2**(bits + LOG_GUARD), see
    `sim.quotient.log_stages`.
    """

    bits: int
    unit: Fraction = Fraction(0)
    splits: tuple[int, ...] = ()
    drop: int = 0
    guard: int = 0
    cut: int = 0
    log: bool = False

    LOG_GUARD: ClassVar[int] = 4

    @property
    def fine(self) -> Fraction:
        """The unit of what d is rounded from."""
        return self.unit / 2**self.drop


@dataclass(frozen=True)
class Root:
    """1 / sqrt(t + kappa) of integers t >= 0 in units, as r = floor(sqrt(factor * 4**top / x)) over a power of two with
    x = max(t * 2**frac + round(kappa * 2**frac), round(least * 2**frac), 1), frac even; r has `bits` bits at the least.

    All but the bits come with lowering; unit: of the integers that a row is made of.
    """

    bits: int
    unit: Fraction = Fraction(0)
    factor: Fraction = Fraction(1)
    kappa: Fraction = Fraction(0)
    least: Fraction = Fraction(0)
    frac: int = 0
    top: int = 0


@dataclass(frozen=True)
class Normalize(Op):
    """d / sqrt(m + epsilon), the root at the least `least`: d the data, centred: less their mean along axes; m the mean
    (mean: False: the sum) of squares of d along them.
    """

    axes: Shape
    centred: bool
    mean: bool
    epsilon: Fraction
    least: Fraction = Fraction(0)
    kernel: Root | None = None


@dataclass(frozen=True)
class Softmax(Op):
    """Along one axis; log: LogSoftmax. codes: (multiplier, left shift, least difference) of TensorFlow Lite's reference
    kernel, which makes codes of 8 bits of codes (see `kernels.softmax_codes`). kernel: hardware makes it, as quotients
    of these exponentials and their sum (log: differences to the largest less the sum's logarithm); None: the host.
    """

    axis: int
    log: bool = False
    codes: tuple[int, int, int] | None = None
    kernel: Exponential | None = None


# --- integer dialect only -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """row r: value = values[r, number of t in cuts[r] with t <= A]. cuts [P, K] ascending, values [P, K+1]; the value
    changes at every cut, but for those that fill a row up, which lie above the range and end it. search: by binary
    search in tables of the cuts; else all of them are compared at once.
    """

    cuts: Array
    values: Array
    search: bool = False

    @property
    def kind(self) -> str:
        return "thresholds"

    def step(self) -> np.ndarray | None:
        """[P] change of the value at every cut of a row, where it is the same at all; else None."""
        changes = np.diff(self.values.data, axis=1)
        first = changes[:, :1]
        return first[:, 0] if np.all((changes == first) | (changes == 0)) else None


@dataclass(frozen=True)
class MulAddShift:
    """Segments of y = clamp((mul * A + add) >> shift), segment s of row r serving breaks[r, s-1] <= A < breaks[r, s].

    mul, add, shift, tie: [P, S]; breaks [P, S-1]; lo, hi [P]. tie = t > 0: where the t bits below the binary point are
    all zero, the quotient's last bit is cleared (round half to even; the half is already in `add`). odd: where they are
    all one, it is set (half to odd; `add` has the half less one of the last of these bits).
    """

    mul: Array
    add: Array
    shift: Array
    tie: Array
    breaks: Array
    lo: Array
    hi: Array
    odd: bool = False

    @property
    def kind(self) -> str:
        return "multiply-add-shift"


@dataclass(frozen=True)
class FloatRound:
    """v = mul * A + add over 2**shift, rounded to the grid of a minifloat, limited to [lo, hi] (units). All [P].

    even: v is exact and ties go to even; else they go up (toward +infinity), which parameters were chosen to make
    right.
    """

    mul: Array
    add: Array
    shift: Array
    lo: Array
    hi: Array
    mantissa: int
    even: bool

    @property
    def kind(self) -> str:
        return "multiply-add-normalise"


@dataclass(frozen=True)
class Table:
    """row r: value = values[r, A - first]; [P, range of A]."""

    first: int
    values: Array

    @property
    def kind(self) -> str:
        return "table"


@dataclass(frozen=True)
class Requant(Op):
    """out = last step of `steps` applied to A = sum_i coeffs[i] * acc_i, element by element.

    index: row of the parameters for each element, broadcastable against the output (per tensor, channel, element or
    border class).
    coeffs: integers [inputs, P]. steps: parameters of shape () or (P,) (tables: (P, K)); the last is a Quantize, whose
    units come out.
    impl: how hardware and simulators compute it, proven equal to `steps` on every reachable A; None until chosen.
    """

    index: Array
    coeffs: Array
    steps: tuple[Step, ...]
    impl: Thresholds | MulAddShift | FloatRound | Table | None = None

    variadic: ClassVar[bool] = True

    @property
    def makes(self) -> Format:
        return self.quantize.format

    @property
    def quantize(self) -> Quantize:
        last = self.steps[-1]
        assert isinstance(last, Quantize)
        return last


@dataclass(frozen=True)
class InverseRoot(Op):
    """floor(sqrt(num / (den * x))) of units x > 0, proven by their range."""

    num: int
    den: int = 1

    def root(self, x: int) -> int:
        """Of one number; never increasing."""
        return math.isqrt(self.num // (self.den * x))


SCALAR: tuple[type[Step], ...] = (Affine, Clip, Leaky, Round, Func, Combine, Count, Lookup, Quantize)
REARRANGING: tuple[type[Op], ...] = (Reshape, Transpose, Take)
STRUCTURAL: tuple[type[Op], ...] = (*REARRANGING, Concat)
COMPUTED: tuple[type[Op], ...] = (MatMul, Conv, Mul, SumPool, ReduceSum, Divide, InverseRoot)
"""Of the integer dialect: results with a range of their own, which a Requant brings to codes; others keep numbers."""
_BOTH = (*STRUCTURAL, Conv, SumPool, MaxPool, Constant, Pad, MatMul, Mul, Divide, ReduceSum, ReduceMax, ArgMax)
MODEL: tuple[type[Op], ...] = (*SCALAR, *_BOTH, BatchNorm, Add, Softmax, Normalize)
INTEGER: tuple[type[Op], ...] = (*_BOTH, Requant, InverseRoot)
