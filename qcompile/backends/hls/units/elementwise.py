"""Units that work token by token: requantization of one or more terms, products, quotients, roots."""

from __future__ import annotations

from collections.abc import Callable

from qcompile.backends.hls.builder import Builder, Tensor
from qcompile.backends.hls.kernels import DivideKernel, InverseRootKernel, Kernel, MultiplyKernel
from qcompile.backends.hls.layers import divide, inverse_root
from qcompile.backends.hls.types import identity
from qcompile.backends.hls.units.context import Context, Loop, View, Write, node_of
from qcompile.backends.hls.units.requant import Requantizer, Term, requantized
from qcompile.hardware.network import Stage
from qcompile.hardware.units import QuotientUnit
from qcompile.ir import ops
from qcompile.records import dataclass

TakeCode = Callable[[int, Tensor], Kernel]  # how the elements of input k come into the array of a tensor


@dataclass(frozen=True, eq=False, repr=False)
class RequantView(View):
    """One token of every term, their sum, the function, one token."""

    template = "map.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: int
    terms: tuple[Term, ...]
    requant: Requantizer
    write: Write


def mapped(c: Context, stage: Stage) -> RequantView:
    loop = Loop("MAP", "t", c.stream(stage.outputs[0]).tokens)
    return map_of(c, c.builder(), stage, loop, lambda k, x: c.read(stage, k, x))


def map_of(c: Context, b: Builder, stage: Stage, loop: Loop, take: TakeCode) -> RequantView:
    node, lanes = node_of(stage), stage.folding.pe
    terms = tuple(_term(c, stage, k, take) for k in range(len(node.inputs)))
    sources = [t.numbers for t in terms]
    made = requantized(c, b, node, sources, lanes, "total")
    return RequantView((loop,), lanes, terms, made, c.write(stage))


def _term(c: Context, stage: Stage, k: int, take: TakeCode) -> Term:
    value = node_of(stage).inputs[k]
    x = c.tensor(value, f"x{k}")
    return Term(x, take(k, x), c.decoded(value, x, stage.folding.pe))


@dataclass(frozen=True, eq=False, repr=False)
class CombinedView(View):
    """One token of every input, what `kernel` makes of their elements, one token."""

    template = "combined.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: int
    takes: tuple[Kernel, ...]
    kernel: MultiplyKernel | DivideKernel | InverseRootKernel
    write: Write


@dataclass(frozen=True, eq=False, repr=False)
class InTurnView(View):
    """What a unit divides digit after digit: begun with a token of every input, with the result in step `last`."""

    template = "in_turn.cpp.j2"
    loops: tuple[Loop, ...]
    lanes: int
    takes: tuple[Kernel, ...]
    kernel: DivideKernel | InverseRootKernel
    write: Write
    last: int

    @property
    def root(self) -> bool:
        return isinstance(self.kernel, InverseRootKernel)


def combined(c: Context, stage: Stage) -> CombinedView | InTurnView:
    if isinstance(stage.unit, QuotientUnit) and stage.unit.folds > 1:
        return _in_turn(c, stage, stage.unit)
    loop = Loop("COMBINE", "t", c.stream(stage.outputs[0]).tokens)
    return combination_of(c, stage, loop, lambda k, x: c.read(stage, k, x))


def _in_turn(c: Context, stage: Stage, unit: QuotientUnit) -> InTurnView:
    whole = combination_of(c, stage, Loop("COMBINE", "t", unit.cycles // unit.folds), lambda k, x: c.read(stage, k, x))
    kernel, fold = whole.kernel, Loop("FOLD", "f", unit.folds)
    assert not isinstance(kernel, MultiplyKernel)
    return InTurnView((*whole.loops, fold), whole.lanes, whole.takes, kernel, whole.write, unit.folds - 1)


def combination_of(c: Context, stage: Stage, loop: Loop, take: TakeCode) -> CombinedView:
    node, lanes, b = node_of(stage), stage.folding.pe, c.builder()
    inputs = [c.tensor(v, f"x{k}") for k, v in enumerate(node.inputs)]
    takes, y = tuple(take(k, x) for k, x in enumerate(inputs)), c.tensor(node.output, "y")
    kernel: MultiplyKernel | DivideKernel | InverseRootKernel
    if isinstance(node.op, ops.Mul):
        kernel = MultiplyKernel(lanes, (identity(lanes), identity(lanes)), inputs[0], inputs[1], y)
    elif isinstance(node.op, ops.Divide):
        kernel = divide(b, node, lanes, identity(lanes), inputs[0], inputs[1], y)
    else:
        kernel = inverse_root(b, node, lanes, inputs[0], y)
    return CombinedView((loop,), lanes, takes, kernel, c.write(stage))
