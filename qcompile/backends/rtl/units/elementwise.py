"""Units that work token by token: requantization of one or more terms, products, quotients, roots."""

from __future__ import annotations

from collections.abc import Sequence

from qcompile import parts
from qcompile.backends.rtl.numbers import Delays, inverse_root, packed, quotient, scaled
from qcompile.backends.rtl.process import Maker, ModuleView, ProcessModule
from qcompile.backends.rtl.units.lanes import LaneCells, count_rows, operands, requantized
from qcompile.backends.rtl.varying import multiplied
from qcompile.backends.rtl.words import CellBuilder, Word
from qcompile.hardware.units import QuotientUnit
from qcompile.hardware.units.unrolled import quotient_digits, root_bits, root_number
from qcompile.ir import Node, ops
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class ElementsModule(ModuleView):
    """Each of `lanes` makes a code of `width` bits of one of every input, `terms` bits wide."""

    template = "elements.sv.j2"
    terms: tuple[int, ...]
    lanes: LaneCells
    width: int

    @property
    def placed(self) -> tuple[str, ...]:
        return self.lanes.cells

    def parts(self) -> Part:
        waiting = len(self.lanes.cells) * sum(self.terms) if self.lanes.waits else 0
        return parts.Register(waiting + self.lanes.row_register)


def mapped(m: Maker) -> ProcessModule:
    node, pe = m.node, m.stage.folding.pe
    formats = tuple(v.type.codes for v in node.inputs)
    lanes = requantized(m, node, formats, operands(m, formats), pe)
    waits = int(lanes.waits)
    if lanes.counted:
        count_rows(m, lanes, "go[0]")
    view = ElementsModule(tuple(f.width for f in formats), lanes, node.output.type.codes.width)
    return m.process(view, waits + lanes.latency, _all(m), "1'b1")


@dataclass(frozen=True)
class DigitsModule(ModuleView):
    """A digit after the other: of each of `lanes`, `front` scales an element of every input, `terms` bits wide, which
    `circuit` takes, its `operands` by name and bits, behind `latency` registers; it makes codes of `width` bits.
    registers: of a circuit.
    """

    template = "digits.sv.j2"
    terms: tuple[int, ...]
    lanes: int
    front: str
    latency: int
    circuit: str
    sizes: str
    operands: tuple[tuple[str, int], ...]
    width: int
    registers: int

    @property
    def placed(self) -> tuple[str, ...]:
        return (self.front,) * self.lanes

    def parts(self) -> Part:
        return parts.Register(self.lanes * self.registers)


def combined(m: Maker) -> ProcessModule:
    if isinstance(m.stage.unit, QuotientUnit) and m.stage.unit.folds > 1:
        return _in_turn(m, m.stage.unit)
    lanes = combination(m, m.stage.folding.pe)
    formats = tuple(v.type.codes for v in m.node.inputs)
    view = ElementsModule(tuple(f.width for f in formats), lanes, m.node.output.type.codes.width)
    return m.process(view, lanes.latency, _all(m), "1'b1")


def _in_turn(m: Maker, unit: QuotientUnit) -> ProcessModule:
    node = m.node
    m.loops(("t", unit.cycles // unit.folds), ("f", unit.folds))
    b = m.cell("front", f"operands of {type(node.op).__name__}")
    formats, width = tuple(v.type.codes for v in node.inputs), node.output.type.codes.width
    words = operands(m, formats)(b)
    circuit, sizes, taken = (_root if isinstance(node.op, ops.InverseRoot) else _quotient)(b, node, words, m.timing)
    cell = m.add(b.done([(name, [word], bits) for name, word, bits in taken]))
    ends = tuple((name, bits) for name, _, bits in taken)
    kept = sum(n * leaf.width for n, leaf in parts.leaves(unit.one) if isinstance(leaf, parts.Register))
    terms = tuple(f.width for f in formats)
    view = DigitsModule(terms, unit.pe, cell.name, cell.latency, circuit, sizes, ends, width, round(kept))
    return m.process(view, cell.latency + 1, f"{{{len(terms)}{{{m.first('f')}}}}}", m.end("f"))


Circuit = tuple[str, str, list[tuple[str, Word, int]]]  # its name, its parameters, its ports with their bits


def _root(b: CellBuilder, node: Node, words: Sequence[Word], timing: Delays) -> Circuit:
    n, size, digits = scaled(b, "number", words[0], node.op.den, timing), root_number(node), root_bits(node)
    sizes = f".N({size}), .K({digits}), .NUM({packed([node.op.num], size + 3 * digits + 3)})"
    return "root_digits", sizes, [("n", n, size)]


def _quotient(b: CellBuilder, node: Node, words: Sequence[Word], timing: Delays) -> Circuit:
    n, d = (scaled(b, *of, timing) for of in (("dividend", words[0], node.op.mul), ("divisor", words[1], node.op.div)))
    taken = [("n", n, n.bits), ("d", d, d.ends[1].bit_length())]
    sizes = f".N({taken[0][2]}), .D({taken[1][2]}), .K({quotient_digits(node)}), .Y({node.output.type.codes.width})"
    return "quotient_digits", sizes, taken


def combination(m: Maker, pe: int) -> LaneCells:
    """What makes an element of one of every operand, at the ports x0, x1."""
    node, op, t = m.node, m.node.op, m.timing
    b = m.cell("lane", f"{type(op).__name__} of data")
    words = operands(m, tuple(v.type.codes for v in node.inputs))(b)
    if isinstance(op, ops.InverseRoot):
        made = inverse_root(b, node, words[0], t)
    elif isinstance(op, ops.Mul):
        made = multiplied(b, "p", words[0], words[1], t)
    else:
        made = quotient(b, node, words[0], words[1], t)
    cell = m.add(b.done([("y", [made], node.output.type.codes.width)]))
    return LaneCells((cell.name,) * pe, cell.latency)


def _all(m: Maker) -> str:
    """Every input is read."""
    count = len(m.stage.inputs)
    return f"{{{count}{{1'b1}}}}" if count > 1 else "1'b1"
