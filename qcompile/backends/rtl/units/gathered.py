"""What has no streaming unit: data in memories first, then terms from wherever they lie, one an iteration."""

from __future__ import annotations

import numpy as np

from qcompile import parts
from qcompile.backends.rtl.process import LoadedWords, Maker, ModuleView, ProcessModule, RomFile
from qcompile.backends.rtl.requant import codes_of
from qcompile.backends.rtl.units.addresses import Address, address
from qcompile.backends.rtl.units.elementwise import combination
from qcompile.backends.rtl.units.folded import Start, StoredWeight, Sums, order_of, products, sums, taken
from qcompile.backends.rtl.units.lanes import LaneCells, count_rows, operands, requantized, turned
from qcompile.cost.price import price
from qcompile.hardware import units
from qcompile.hardware.memory import Words, bits_of, operand
from qcompile.hardware.order import to_stream
from qcompile.hardware.units.gathered import arrived, operand_places
from qcompile.ir import Node, Value, ops
from qcompile.ir.walk import is_constant
from qcompile.parts import Part
from qcompile.records import dataclass


@dataclass(frozen=True)
class HeldOperand:
    """A memory of `depth` codes of `width` bits: of input `port`, or a constant's `rom`. address: of what it reads."""

    width: int
    depth: int
    style: str
    port: str
    rom: RomFile | None
    address: str
    fills: str = ""
    to: str = ""


@dataclass(frozen=True)
class MovedOperand:
    """An operand that is taken where `when` is true at register 0; cell: what turns its code to the result's."""

    when: str
    cell: str
    latency: int


@dataclass(frozen=True)
class GatheredModule(ModuleView):
    """sums: of terms; lanes: element by element; chosen: one of several operands, which only move."""

    template = "gathered.sv.j2"
    flags = ("filling",)
    fill_end: str
    work_end: str
    addresses: tuple[Address, ...]
    operands: tuple[HeldOperand, ...]
    sums: Sums | None
    lanes: LaneCells | None
    terms: tuple[int, ...]
    chosen: tuple[MovedOperand, ...]
    moved: int
    width: int

    @property
    def placed(self) -> tuple[str, ...]:
        own = (*(self.sums.placed if self.sums else ()), *(self.lanes.cells if self.lanes else ()))
        return own + tuple(c.cell for c in self.chosen if c.cell)

    def parts(self) -> Part:
        """Memories of data, addresses, and the choice of an operand."""
        memories = (parts.Buffer(o.depth, o.width, o.style == "block") for o in self.operands if o.port)
        steps = (parts.beside(parts.Adder(a.width), parts.Register(a.width)) for a in self.addresses if not a.table)
        chosen = parts.Mux(len(self.chosen), self.width)
        kept = self.width if len(self.chosen) > 1 else 0
        if self.lanes is not None:
            kept += self.lanes.row_register + (sum(self.terms) if self.lanes.waits else 0)
        sums = self.sums.registers() if self.sums else parts.NOTHING
        return parts.beside(*memories, *steps, chosen, sums, parts.Register(kept + 1))


def gathered(m: Maker) -> ProcessModule:
    node, unit = m.node, m.stage.unit
    assert isinstance(unit, units.GatheredUnit)
    values = list(node.inputs) or [node.output]
    work = "go[0] && !filling"
    m.counter("t", unit.arriving, "go[0] && filling")
    m.counter("f", unit.terms, work)
    m.counter("e", unit.elements, f"{work} && f_end" if unit.terms > 1 else work)
    found = operand_places(node, [_places(m, v) for v in values])
    addresses: list[Address] = []
    if isinstance(node.op, (ops.Pad, ops.Concat)):
        return _selected(m, values, found[0], addresses)
    each = list(zip(found, values, strict=True))
    names = [address(m, addresses, f"at{k}", p, v.type.size) for k, (p, v) in enumerate(each)]
    operands = [_operand(m, v, k, name) for k, (v, name) in enumerate(zip(values, names, strict=True))]
    return _made(m, tuple(operands), tuple(addresses))


def _places(m: Maker, value: Value) -> np.ndarray:
    """Where the elements of an operand lie: data as they came, constants in order."""
    if is_constant(m.graph, value):
        return np.arange(value.type.size).reshape(value.type.shape)
    return arrived(value)


def _operand(m: Maker, value: Value, k: int, address: str) -> HeldOperand:
    """Of a constant, or of the next input."""
    width, size = value.type.codes.width, value.type.size
    if is_constant(m.graph, value):
        rom = _constant(m, value, f"operand{k}")
        return HeldOperand(width, size, rom.style, "", rom, address)
    port = sum(not is_constant(m.graph, v) for v in m.node.inputs[:k])
    block = price(parts.Buffer(size, width), m.timing.fabric).bram18 > 0
    style, counter = "block" if block else "distributed", m.has("t")
    if counter is None or size == counter.limit:
        to = "t" if counter else "1'b0"
        return HeldOperand(width, size, style, f"in{port}", None, address, "filling", to)
    bits = max(1, (size - 1).bit_length())
    fills = f"filling && t < {counter.width}'d{size}"
    return HeldOperand(width, size, style, f"in{port}", None, address, fills, f"t[{bits - 1}:0]")


def _constant(m: Maker, value: Value, label: str) -> RomFile:
    """The memory of a constant, its elements in order; what loads it is that of the C++, where signs are numbers."""
    op, fmt = m.graph.producers[value.name].op, value.type.codes
    held = np.asarray(op.units.data).ravel()
    if not op.reloadable:
        return m.rom(label, np.array(codes_of(fmt, held), dtype=object).reshape(-1, 1), fmt.width)
    words = Words(len(held), 1, operand(fmt, held, True)[0])
    numbers = held if fmt.lane.signs else bits_of(fmt, held)
    return m.loaded(label, fmt.width, LoadedWords(words, fmt.lane.signs, words.pack(numbers.reshape(-1, 1))))


def _made(m: Maker, operands: tuple[HeldOperand, ...], addresses: tuple[Address, ...]) -> ProcessModule:
    node, op, unit = m.node, m.node.op, m.stage.unit
    assert isinstance(unit, units.GatheredUnit)
    width = node.output.type.codes.width
    total: Sums | None = None
    lanes: LaneCells | None = None
    chosen: tuple[MovedOperand, ...] = ()
    if isinstance(op, (ops.MatMul, ops.Conv)):
        fmt = node.inputs[1].type.codes
        weight = StoredWeight(fmt, fmt.width, fmt.signed and not fmt.lane.coded, fmt.width)
        row = products(m, weight, 1, unit.terms > 1, False)
        total = sums(m, row, unit.terms, Start(1, operands[0].width, 1, fmt.width))
    elif isinstance(op, (ops.SumPool, ops.MaxPool, ops.ReduceSum, ops.ReduceMax, ops.ArgMax)):
        largest = op.gathers == "max"
        order = order_of(node.inputs[0].type.codes, largest)
        total = sums(m, taken(m, largest), unit.terms, Start(1, operands[0].width, 1, 0), order)
    elif isinstance(op, (ops.Requant, ops.Mul, ops.Divide, ops.InverseRoot)):
        lanes = _elements(m)
    else:  # a constant
        chosen = (_moved(m, node.output, "1'b1"),)
    return _process(m, operands, addresses, total, lanes, chosen, width)


def _process(
    m: Maker,
    operands: tuple[HeldOperand, ...],
    addresses: tuple[Address, ...],
    total: Sums | None,
    lanes: LaneCells | None,
    chosen: tuple[MovedOperand, ...],
    width: int,
) -> ProcessModule:
    inputs = [o for o in operands if o.port]
    waits = int(lanes is not None and lanes.waits)
    if lanes is not None and lanes.counted:
        count_rows(m, lanes, "done[1]" if waits else "go[0]")
    moved = max((c.latency for c in chosen), default=0)
    stages = total.stages if total else 1 + waits + lanes.latency if lanes else 1 + moved + int(len(chosen) > 1)
    view = GatheredModule(
        m.end("t") if m.has("t") else "1'b1",
        m.end("e", "f"),
        addresses,
        operands,
        total,
        lanes,
        tuple(o.width for o in operands),
        chosen,
        moved,
        width,
    )
    reads = [o.fills for o in sorted(inputs, key=lambda o: o.port)]
    wanted = "{" + ", ".join(reversed(reads)) + "}" if len(reads) > 1 else reads[0] if reads else "1'b0"
    writes = "!filling" + (" && f_end" if m.has("f") else "")
    return m.process(view, stages, wanted, writes)


def _elements(m: Maker) -> LaneCells:
    """Of operands at the ports x0, x1."""
    if not isinstance(m.node.op, ops.Requant):
        return combination(m, 1)
    formats = tuple(v.type.codes for v in m.node.inputs)
    return requantized(m, m.node, formats, operands(m, formats), 1)


def _with_border(node: Node, places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, where those of the border follow the others; codes of the border)."""
    op, flat = node.op, places.ravel().copy()
    assert op.value is not None
    fill = np.broadcast_to(np.vectorize(int, otypes=[object])(op.value.array()), node.output.type.shape)
    border = flat < 0
    flat[border] = size + np.arange(border.sum())
    units_of = np.asarray(to_stream(fill)).ravel()[border]
    codes = np.array(codes_of(node.output.type.codes, units_of), dtype=object).reshape(-1, 1)
    return flat.reshape(places.shape), codes


def _moved(m: Maker, value: Value, when: str) -> MovedOperand:
    found = turned(m, value, m.node.output.type.codes)
    return MovedOperand(when, found.cell, found.latency)


def _selected(m: Maker, values: list[Value], places: np.ndarray, addresses: list[Address]) -> ProcessModule:
    """Elements of several operands, or of one and a border: a place says which by how far it is."""
    node, fmt = m.node, m.node.output.type.codes
    sizes = [v.type.size for v in values]
    roms: list[RomFile | None] = [None] * len(values)
    if isinstance(node.op, ops.Pad):
        places, codes = _with_border(node, places, sizes[0])
        if len(codes):
            sizes.append(len(codes))
            roms.append(m.rom("border", codes, fmt.width))
    name = address(m, addresses, "at0", places, sum(sizes))
    width = max(1, (sum(sizes) - 1).bit_length())
    starts = np.cumsum([0, *sizes]).tolist()
    operands, chosen = list[HeldOperand](), list[MovedOperand]()
    for k, size in enumerate(sizes):
        own = max(1, (size - 1).bit_length())
        place = f"{own}'({name} - {width}'d{starts[k]})" if size > 1 else "1'b0"
        rom = roms[k]
        if rom is not None:
            operands.append(HeldOperand(fmt.width, size, rom.style, "", rom, place))
        else:
            operands.append(_operand(m, values[k], k, place))
        tests = ([f"{name} >= {width}'d{starts[k]}"] if k else []) + (
            [f"{name} < {width}'d{starts[k + 1]}"] if k + 1 < len(sizes) else []
        )
        when = " && ".join(tests) or "1'b1"
        chosen.append(MovedOperand(when, "", 0) if rom is not None else _moved(m, values[k], when))
    return _process(m, tuple(operands), tuple(addresses), None, None, tuple(chosen), fmt.width)
