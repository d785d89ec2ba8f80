"""Units that work token by token: requantization of one or more terms, products, quotients, roots."""

from __future__ import annotations

from qcompile import parts
from qcompile.backends.rtl.numbers import inverse_root, quotient
from qcompile.backends.rtl.process import Maker, ModuleView, ProcessModule
from qcompile.backends.rtl.units.lanes import LaneCells, count_rows, operands, requantized
from qcompile.backends.rtl.varying import multiplied
from qcompile.ir import ops
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


def combined(m: Maker) -> ProcessModule:
    lanes = combination(m, m.stage.folding.pe)
    formats = tuple(v.type.codes for v in m.node.inputs)
    view = ElementsModule(tuple(f.width for f in formats), lanes, m.node.output.type.codes.width)
    return m.process(view, lanes.latency, _all(m), "1'b1")


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
