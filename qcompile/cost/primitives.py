"""What the circuits of hw/rtl cost on a fabric: counted structure times fitted coefficients (hw/costs/primitives.toml).

LUTs are those of a synthesis with Yosys (see hw/calibration, which measures, fits and publishes the errors); a figure
outside the measured widths, or on a fabric that was not measured itself, is marked as extrapolated. Delays are a rule
of thumb: levels of LUTs and bits of carry, each times a typical time with routing; no timing analysis stands behind
them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from qcompile.assets import asset
from qcompile.cost import adder_bits, forms, pairing, structure
from qcompile.cost.devices import Device, RamKind
from qcompile.cost.fabrics import fabric_data
from qcompile.cost.forms import Features, Traits
from qcompile.cost.resources import Basis, Resources, together
from qcompile.errors import QCompileError
from qcompile.parts import NARROW, WIDE, AdderGraph, DigitSum
from qcompile.records import dataclass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Fabric:
    """The logic of a device, as the cost model knows it. name: whose coefficients it has; lut_ns, add_ns, carry_ns,
    edge_ns, net_luts, net_power: as in hw/fabrics; basis: extrapolated where only a relative was measured; ultra:
    its UltraRAM, None where it has none.
    """

    name: str
    traits: Traits
    lut_ns: float
    carry_ns: float
    add_ns: float
    edge_ns: float
    ram: RamKind
    basis: Basis
    net_luts: int = 0
    net_power: float = 0.0
    ultra: RamKind | None = None

    @property
    def packs(self) -> bool:
        """Whether its DSP blocks take products side by side (`parts.PackedProducts`)."""
        return self.traits.dsp[0] >= WIDE and self.traits.dsp[1] >= NARROW

    def longer(self, luts: float) -> float:
        """By what factor times grow in a network of so many LUTs."""
        return float(max(luts / self.net_luts, 1.0) ** self.net_power) if self.net_luts else 1.0


def traits(found: Device) -> Traits:
    """What the forms must know of a device: its logic and its DSP blocks."""
    logic, dsp = fabric_data(found.fabric), found.dsp_kind
    wide, narrow = max(dsp.a, dsp.b), min(dsp.a, dsp.b)
    return Traits(
        lut_inputs=logic.lut_inputs,
        granule=logic.carry_bits,
        absorbs=logic.absorbs,
        dsp=(wide, narrow, narrow),
        signed_only=dsp.signed_only,
        shortest_product=logic.shortest_product,
        lutram=logic.lutram,
        shift_registers=logic.shift_registers,
    )


def fabric(device: Device) -> Fabric:
    """The fabric of a device of the catalogue; QCompileError for one that has no coefficients and resembles none that
    has. Times of a relative come from hw/fabrics as all that a fabric leaves out.
    """
    logic = fabric_data(device.fabric)
    name = logic.name
    while name and name not in _model():
        name = fabric_data(name).like
    if not name:
        raise QCompileError(
            f"the fabric {logic.name} of {device.name} has no cost model",
            f"{logic.name}.toml",
            "a fabric that is measured (like = ...), or make calibrate",
        )
    times = logic.lut_ns, logic.carry_ns, logic.add_ns or logic.lut_ns, logic.edge_ns
    basis = Basis.MEASURED if name == logic.name else Basis.EXTRAPOLATED
    large = device.uram_kind
    ultra = large if large is not None and large.name.startswith("URAM") else None  # others have one port for both
    return Fabric(name, traits(device), *times, device.bram_kind, basis, logic.net_luts, logic.net_power, ultra)


@cache
def _model() -> dict[str, Any]:
    return tomllib.loads(asset("hw/costs/primitives.toml").read_text(encoding="utf-8"))


def _basis(f: Fabric, primitive: str, widths: Mapping[str, float]) -> Basis:
    limits = _model()["range"][primitive]
    inside = all(limits[k][0] <= v <= limits[k][1] for k, v in widths.items())
    return f.basis if inside else max(f.basis, Basis.EXTRAPOLATED)


def _lut(f: Fabric, primitive: str, features: Features) -> float:
    coefficients = _model()[f.name][primitive]
    if f.basis is not Basis.MEASURED:
        # A relative with other DSP blocks or carry has other features: for these, what the structure says.
        coefficients = {**dict.fromkeys(features, 1.0), **coefficients}
    return max(float(sum(coefficients[k] * v for k, v in features.items())), 0.0)


def _cost(
    f: Fabric,
    primitive: str,
    features: Features,
    widths: Mapping[str, float],
    levels: float,
    carry: float = 0,
    **rest: Any,
) -> Resources:
    delay = levels * (f.add_ns if carry else f.lut_ns) + carry * f.carry_ns
    return Resources(lut=_lut(f, primitive, features), basis=_basis(f, primitive, widths), delay_ns=delay, **rest)


# --- arithmetic


def multiplier(
    f: Fabric, w_bits: int, a_bits: int, signed: bool = True, dsp: bool = False, a_signed: bool | None = None
) -> Resources:
    """A product of two variables, in LUTs or in DSP blocks. a_signed: whether the second one has a sign, if not as
    `signed` says.

    Two small products that share an operand do not share a block here: no tool infers that from plain code. Products of
    fewer than 9 bits stay in LUTs, as they do in the tools.
    """
    both = signed if a_signed is None else a_signed
    if both and not signed:
        return multiplier(f, a_bits, w_bits, True, dsp, False)
    w, a = min(w_bits, a_bits), max(w_bits, a_bits)
    if dsp and w > 1 and w + a >= f.traits.shortest_product:
        # An unsigned operand beside a signed one is a bit wider.
        w, a = sorted((w_bits, a_bits + (signed and not both)))
        blocks, *_ = forms.dsp_tiles(f.traits, w, a, signed)
        features = forms.multiplier_dsp(f.traits, w, a, signed)
        return _cost(f, "mul_dsp", features, {"w": w, "a": a}, 4, w + a if blocks > 1 else 0, dsp=blocks)
    levels, carry = (1, 0) if w + a <= 6 else (w, a)
    features = forms.multiplier(f.traits, w_bits, a_bits, signed, both)
    return _cost(f, "mul_lut", features, {"w": w, "a": a} if w > 1 else {}, levels, carry)


@cache
def digit_sum(f: Fabric, chain: DigitSum) -> Resources:
    """A sum of products, digit after digit of the weights, without the triples of the data."""
    widths = {"w": chain.weight, "a": chain.data, "terms": chain.terms}
    levels = chain.terms * chain.digits
    return _cost(f, "digit_sum", forms.digit_sum(chain), widths, levels, max(chain.sums)[0])


def constant_multipliers(f: Fabric, values: np.ndarray, a_bits: int, signed: bool = True) -> Resources:
    """Products of a variable by every constant of an array, each on its own: 0 and powers of two are wires."""
    v = np.asarray(values)
    bits = int(np.abs(v).max(initial=0)).bit_length()
    adders = max(structure.most_digits(v) - 1, 0)
    features = forms.constants(f.traits, v, a_bits, signed)
    widths = {"a": a_bits, "bits": max(bits, 2)} if adders else {}
    return _cost(f, "mul_const", features, widths, adders, a_bits + bits if adders else 0)


def constant_rows(
    f: Fabric, weights: np.ndarray, a_lo: np.ndarray | int, a_hi: np.ndarray | int, shared: bool = True
) -> Resources:
    """A constant matrix [rows, columns] times a vector of inputs between a_lo and a_hi (per column or for all): shifted
    sums in a fixed order, which rows share or not (see `pairing`).
    """
    w = np.asarray(weights)
    a_bits = structure.width(int(np.min(a_lo)), int(np.max(a_hi))) - int(np.min(a_lo) >= 0)
    found = pairing.graph(*_in_parts(w, a_lo, a_hi), shared)
    size = int(np.abs(w).max(initial=0)).bit_length()
    return _adder_graph(f, found, size, a_bits, int(np.min(a_lo)) < 0)


def adder_graph(f: Fabric, found: AdderGraph) -> Resources:
    """The same as the sums of this graph."""
    low, high = (int(end) for end in (found.low[: found.columns].min(), found.high[: found.columns].max()))
    return _adder_graph(f, found, found.size, structure.width(low, high) - (low >= 0), low < 0, front=True)


def _adder_graph(f: Fabric, found: AdderGraph, size: int, a_bits: int, signed: bool, front: bool = False) -> Resources:
    """size, a_bits: of the largest weight and of an input; front: see `forms.rows`."""
    levels = found.levels + bool(found.negative.any())
    reach = int(adder_bits.of_rows(found).max(initial=0))
    features = forms.rows(f.traits, found, a_bits, signed, front)
    return _cost(f, "constant_rows", features, {"w": size + 1, "a": a_bits}, levels, reach)


def _in_parts(w: np.ndarray, lo: Any, hi: Any) -> tuple[np.ndarray, Any, Any]:
    """Rows whose constants are all below 2**PART: larger ones as more columns, whose inputs stand further left."""
    size = max((abs(int(v)) for v in (w.max(initial=0), w.min(initial=0))), default=0).bit_length()
    if size <= structure.PART:
        return w, lo, hi
    sign, whole = np.where(w < 0, -1, 1), np.abs(w.astype(object))
    lows, highs = (np.broadcast_to(np.asarray(v, dtype=object), w.shape[1:]) for v in (lo, hi))
    places = range(0, size, structure.PART)
    columns = [((whole >> p) & ((1 << structure.PART) - 1)) * sign for p in places]
    return (
        np.concatenate(columns, 1),
        np.concatenate([lows << p for p in places]),
        np.concatenate([highs << p for p in places]),
    )


def adder(f: Fabric, bits: int) -> Resources:
    """Sum or difference of two variables of `bits` bits."""
    return _cost(f, "adder_tree", forms.adder_tree(f.traits, 2, bits), {"bits": bits}, 1, bits)


def adder_tree(f: Fabric, terms: int, bits: int, count: float = 1) -> Resources:
    """Exact sum of `terms` numbers of `bits` bits; `count` of them."""
    levels = (max(terms, 1) - 1).bit_length()
    features = forms.adder_tree(f.traits, terms, bits)
    return _cost(f, "adder_tree", features, {"terms": max(terms, 2), "bits": bits}, levels, bits + levels).times(count)


def accumulator(
    f: Fabric, bits: int, in_bits: int | None = None, signed: bool = True, minus: bool = False
) -> Resources:
    """A running sum of `bits` bits and the register of the result. minus: terms come as sign and magnitude."""
    features = forms.accumulator(f.traits, in_bits or bits, bits, signed, minus)
    return _cost(f, "accumulator", features, {"bits": bits}, 1, bits, ff=2 * bits, latency=1)


def shifter(f: Fabric, bits: int, amounts: int, right: bool = False) -> Resources:
    """A shift by 0 to `amounts` - 1; to the left the result is that much wider."""
    most = max(amounts - 1, 0)
    if not most:
        return Resources(basis=f.basis)
    return _cost(
        f,
        "shifter",
        forms.shifter(f.traits, bits, most, right),
        {"bits": bits, "most": most},
        (most.bit_length() + 1) // 2,
    )


def mux(f: Fabric, inputs: int, bits: int) -> Resources:
    """One of `inputs` words of `bits` bits."""
    if inputs <= 1:
        return Resources(basis=f.basis)
    return _cost(
        f, "mux", forms.mux(f.traits, inputs, bits), {"n": inputs, "bits": bits}, ((inputs - 1).bit_length() + 1) // 2
    )


# --- activations


def thresholds(f: Fabric, cuts: np.ndarray, acc_bits: int, signed: bool = True) -> Resources:
    """How many of the constants [rows, K] (or [K]) an accumulator reaches, for every row its own comparators."""
    rows = np.atleast_2d(np.asarray(cuts))
    parts = [forms.thresholds(f.traits, row, acc_bits, signed) for row in rows]
    names = dict.fromkeys(k for part in parts for k in part)
    features = {k: sum(part.get(k, 0) for part in parts) for k in names}
    levels = -(-acc_bits // (f.traits.lut_inputs - 1)) + rows.shape[1].bit_length() // 2
    return _cost(f, "thresholds", features, {"acc": acc_bits, "k": rows.shape[1]}, levels)


def clip(f: Fabric, in_bits: int, lo: int, hi: int) -> Resources:
    """min(max(x, lo), hi) of a signed x."""
    return _cost(f, "clamp", forms.clamp(f.traits, in_bits, lo, hi), {"in": in_bits}, 2)


def relu(f: Fabric, bits: int) -> Resources:
    """max(x, 0)."""
    return clip(f, bits, 0, (1 << bits - 1) - 1)


def mul_add_shift(
    f: Fabric,
    mul: np.ndarray,
    add: np.ndarray,
    shift: np.ndarray,
    lo: np.ndarray | int,
    hi: np.ndarray | int,
    acc_bits: int,
) -> Resources:
    """clamp((mul * acc + add) >> shift) with constants, for every row (all arrays broadcast) its own circuit."""
    columns = np.broadcast_arrays(*(np.asarray(v, dtype=object) for v in (mul, add, shift, lo, hi)))
    total = forms.constants(f.traits, columns[0], acc_bits)
    reach = 0
    for m, b, s, low, high in zip(*(c.ravel().tolist() for c in columns), strict=True):
        own = (1 << acc_bits - 1) * abs(m) + abs(b)
        n = structure.width(-own, own)
        for k, v in forms.add_and_clamp(f.traits, b, s, low, high, n).items():
            total[k] = total.get(k, 0) + v
        reach = max(reach, n)
    bits, levels = int(np.abs(columns[0]).max(initial=0)).bit_length(), structure.most_digits(columns[0])
    return _cost(f, "mul_add_shift", total, {"acc": acc_bits, "bits": max(bits, 1)}, levels + 2, reach)


def plus(f: Fabric, add: int, bits: int) -> Resources:
    """A number of so many bits plus a constant."""
    return _cost(f, "mul_add_shift", forms.plus(f.traits, add, bits), {}, 1, bits)


def table(f: Fabric, in_bits: int, out_bits: int, count: float = 1, contents: np.ndarray | None = None) -> Resources:
    """A function of few bits in LUTs; without its contents as if these were random, which is the most it can take."""
    features = forms.table(f.traits, contents, in_bits, out_bits)
    levels = 1 if in_bits <= f.traits.lut_inputs else 2
    return _cost(f, "table", features, {"in": in_bits, "out": out_bits}, levels).times(count)


# --- memories


def block_rams(f: Fabric, depth: int, width: int) -> int:
    """Blocks of 18 Kb for a memory of one write and one read port; its depth counts as the next power of two."""
    return _blocks(f.ram, 1 << max(depth - 1, 1).bit_length(), width)


@cache
def _blocks(ram: RamKind, places: int, width: int) -> int:
    """Of a power of two of places."""
    # A block of 36 Kb is also two independent ones of half its width or depth.
    whole = [*ram.shapes, *ram.simple_dual]
    half = [(w // 2, d) if d <= 1024 else (w, d // 2) for w, d in whole] if ram.bits == 36864 else []
    best = None
    for depth_of in sorted({d for _, d in (*whole, *half)}):
        rows = -(-places // depth_of)
        large = max((w for w, d in whole if d >= min(places, depth_of)), default=0)
        small = max((w for w, d in half if d >= min(places, depth_of)), default=0)
        columns = _columns(width, (large, 2), (small, 1)) if half else -(-width // large) if large else None
        if columns is not None and (best is None or rows * columns < best):
            best = rows * columns
    return best or 1


def _in_pieces(f: Fabric, depth: int, width: int) -> tuple[int, int]:
    """(blocks of 18 Kb, pieces) of constants whose pieces lie side by side in the words of blocks, as Yosys maps them
    where that takes fewer; of as few the fewest pieces.
    """
    shapes = [(w, d) for w, d in (*f.ram.shapes, *f.ram.simple_dual)]
    if f.ram.bits == 36864:
        shapes = [(w // 2, d) if d <= 1024 else (w, d // 2) for w, d in shapes]
    counts = ((w, -(-depth // d)) for w, d in shapes if w)
    return min((-(-n * width // w), n) for w, n in counts)


def _columns(width: int, *blocks: tuple[int, int]) -> int | None:
    """Cheapest row of blocks of two kinds (width, cost) that is that wide."""
    (large, large_cost), (small, small_cost) = blocks
    options = [
        n * large_cost + (-(-max(width - n * large, 0) // small) * small_cost if small else 0)
        for n in range(-(-width // large) + 1 if large else 1)
        if small or n * large >= width
    ]
    return min(options, default=None)


def rom(f: Fabric, depth: int, width: int, block: bool | None = None, pieces: bool = False) -> Resources:
    """Constants behind a register, in block RAM or in LUTs; None: in LUTs up to 64 places or where a block would be
    mostly empty. pieces: as of `parts.Rom`.
    """
    if block if block is not None else depth > 64 and depth * width > 4096:
        found = Resources(
            bram18=block_rams(f, depth, width),
            latency=1,
            basis=_basis(f, "rom", {"depth": depth, "width": width}),
            delay_ns=2 * f.lut_ns,
        )
        rams, count = _in_pieces(f, depth, width)
        if not pieces or rams >= found.bram18:
            return found
        chosen = mux(f, count, width)
        return replace(found, bram18=rams, lut=chosen.lut, ff=(count - 1).bit_length())
    lines = min(width, 2**depth - 2) if depth < DISTINCT else width
    return replace(table(f, max(depth - 1, 1).bit_length(), lines), ff=lines, latency=1)


DISTINCT = 16  # words, of fewer of which there are no more lines of bits worth counting than these can be
REGISTERS = 64  # flip-flops that Yosys takes rather than a block RAM, where LUTs are no memories (memory_libmap)


def _in_block(f: Fabric, depth: int, width: int, block: bool | None) -> bool:
    """Whether words that are written are in block RAM; block: None where nothing is said. Where LUTs are no memories
    nobody but Yosys decides.
    """
    if not f.traits.lutram:
        return depth * width > REGISTERS * block_rams(f, depth, width)
    return depth > 64 and depth * width > 2048 if block is None else block


def _registers(f: Fabric, depth: int, width: int) -> Resources:
    """Words that are written, as flip-flops: which one is meant, and the one that is read."""
    return replace(mux(f, depth, width) + Resources(lut=float(depth)), ff=depth * width)


def fifo(f: Fabric, depth: int, width: int, block: bool | None = None) -> Resources:
    """A stream between two processes; None: block RAM above 64 places and 2048 bits."""
    use = _in_block(f, depth, width, block)
    pointer = max(depth - 1, 1).bit_length()
    # Beside two pointers and two counters, and whether there is room and a token: the valid bit of a block's register,
    # or the read address once more.
    ff = 4 * pointer + 5 if use else 5 * pointer + 4
    rams = block_rams(f, depth, width) if use else 0
    made = _cost(
        f,
        "fifo",
        forms.fifo(f.traits, depth, width, use),
        {"depth": depth, "width": width},
        3,
        pointer,
        ff=ff,
        bram18=rams,
        latency=1,
    )
    return made if use or f.traits.lutram else made + _registers(f, depth, width)


def ram(f: Fabric, depth: int, width: int, block: bool | None = None) -> Resources:
    """A memory of one port to write and one to read behind a register: registers of a single place; None: block RAM as
    of a `fifo`, else its memory in LUTs.
    """
    if depth == 1:
        return Resources(ff=2 * width, latency=1, basis=f.basis, delay_ns=f.lut_ns)
    if _in_block(f, depth, width, block):
        return rom(f, depth, width, block=True)
    if not f.traits.lutram:
        return replace(_registers(f, depth, width), ff=(depth + 1) * width, latency=1)
    features = forms.ram(f.traits, depth, width)
    return _cost(f, "fifo", features, {"depth": depth, "width": width}, 2, ff=width, latency=1)


def ultra_ram(f: Fabric, depth: int, width: int) -> Resources:
    """A memory of one port to write and one to read behind a register, in UltraRAM; QCompileError where there is
    none.
    """
    if f.ultra is None:
        raise QCompileError("this part has no UltraRAM", "memory of a folding", "bram or lutram, or another part")
    blocks = min(-(-depth // d) * -(-width // w) for w, d in f.ultra.shapes)
    basis = _basis(f, "rom", {"depth": depth, "width": width})
    return Resources(uram=blocks, latency=1, basis=basis, delay_ns=2 * f.lut_ns)


def counter(f: Fabric, limit: int) -> Resources:
    """A loop of so many steps."""
    if limit <= 1:
        return Resources(basis=f.basis)
    bits = (limit - 1).bit_length()
    return _cost(f, "counter", forms.counter(f.traits, limit), {"limit": limit}, 1, bits, ff=bits)


def window(f: Fabric, count: int, places: int, circles: int, loops: int, grouped: bool) -> Resources:
    """Control of a window over a plane, without its buffer."""
    features, flags = forms.window(f.traits, count, places, circles, loops, grouped), 4
    ff = 3 * count + circles * max(places - 1, 1).bit_length() + loops + flags
    return _cost(f, "window", features, {"count": count, "places": places}, 3, 2 * count, ff=ff)


def line_style(f: Fabric, depth: int, width: int) -> str:
    """Of a line_buffer.sv: shift registers in LUTs where the fabric has them and the line is short, else a memory; or
    flip-flops where LUTs are none.
    """
    if depth == 1 or (f.traits.shift_registers and depth <= SHORT_LINE):
        return "shift"
    if _in_block(f, depth, width, None):
        return "block"
    return "distributed" if f.traits.lutram else "shift"


SHORT_LINE = 64  # words: two LUTs a bit, as many as of a memory in LUTs with its output register


def line_buffer(f: Fabric, depth: int, width: int, style: str | None = None) -> Resources:
    """The words of `depth` cycles ago; style None: as of `line_style`."""
    style = line_style(f, depth, width) if style is None else style
    if style == "distributed":
        return together((ram(f, depth, width, False), counter(f, depth)))
    block, pointer = style == "block", max(depth - 1, 1).bit_length()
    features = forms.line_buffer(f.traits, depth, width, block)
    rams = block_rams(f, depth, width) if block else 0
    ff = pointer if block else forms.line_registers(f.traits, depth, width)
    return _cost(
        f, "line_buffer", features, {"depth": depth, "width": width}, 2, pointer, ff=ff, bram18=rams, latency=depth
    )


def width_converter(f: Fabric, in_bits: int, out_bits: int) -> Resources:
    """A stream of words of one width to words of another, one a multiple of the other."""
    small, ratio = min(in_bits, out_bits), max(in_bits, out_bits) / min(in_bits, out_bits)
    if ratio == 1:
        return Resources(basis=f.basis)
    ff = max(in_bits, out_bits) + (int(ratio) - 1).bit_length() + 1
    features = forms.width_converter(f.traits, in_bits, out_bits)
    return _cost(
        f,
        "width_converter",
        features,
        {"in": in_bits, "out": out_bits, "small": small, "ratio": ratio},
        2,
        ff=ff,
        latency=1,
    )


# --- minifloats


def minifloat_decode(f: Fabric, exponent: int, mantissa: int) -> Resources:
    """A code to sign, significand and shift."""
    return _cost(f, "minifloat_decode", forms.minifloat_decode(f.traits, exponent), {"e": exponent, "m": mantissa}, 1)


def minifloat_product(f: Fabric, exponent: int, mantissa: int, other: tuple[int, int] | None = None) -> Resources:
    """Exact product of two codes as sign and magnitude in units; `other`: (exponent, mantissa) bits of the other
    operand if they differ.
    """
    a, b = (exponent, mantissa), other or (exponent, mantissa)
    widths = {"ea": a[0], "ma": a[1], "eb": b[0], "mb": b[1]}
    levels = 2 + min(a[1], b[1]) + (max(a[0], b[0]) + 2) // 2
    return _cost(f, "minifloat_mul", forms.minifloat_product(f.traits, a, b), widths, levels, a[1] + b[1])


def minifloat_round(
    f: Fabric, in_bits: int, exponent: int, mantissa: int, shift: int = 0, even: bool = True
) -> Resources:
    """An integer over 2**shift to a code: leading one, shift, rounding, limit."""
    features = forms.minifloat_round(f.traits, in_bits, shift, exponent, mantissa, even)
    steps = max(in_bits - shift - mantissa - 1, 1).bit_length()
    levels = 3 * ((steps + 1) // 2) + 3  # two of search and one that moves for each stage
    return _cost(
        f, "minifloat_round", features, {"in": in_bits, "e": exponent, "m": mantissa}, levels, steps + mantissa
    )
