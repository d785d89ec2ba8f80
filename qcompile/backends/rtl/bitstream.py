"""From SystemVerilog to a bitstream by open tools: the network behind a serial line, its clock, pins, and a driver."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qcompile.assets import asset
from qcompile.backends.board import BoardPort, driver_code, streams
from qcompile.backends.hls import ports
from qcompile.backends.rtl.dataflow import StreamView
from qcompile.backends.rtl.parallel import NetworkView, PackedPort
from qcompile.cost.devices import Serial, device, known_board
from qcompile.errors import QCompileError
from qcompile.ir import Graph, Shape, Value
from qcompile.records import dataclass
from qcompile.templating import templates

CIRCUITS = ("serial_shell.sv", "uart_receive.sv", "uart_send.sv")
STREAMED = ("bytes_to_stream.sv", "serial_streams.sv", "stream_to_bytes.sv", "uart_receive.sv", "uart_send.sv")
"""Circuits around a network of architecture `dataflow`, beside stream.sv, which it has."""
KEPT = 512  # bytes of a stream that wait at least: a block RAM of the smallest part
BAUDS = (1_000_000, 500_000, 115_200)  # the first that the clock divides to within 1.5 % is taken
_PACKAGES = {"bg": "CABGA", "mg": "CSFBGA"}  # Lattice's letters: nextpnr's names


@dataclass(frozen=True)
class Flow:
    """Open tools of a fabric. synth: of Yosys; memories: its command for those of `dataflow`; made: nextpnr's option
    for its result, whose ending is `placed`; pins: ending and option of the constraints.
    """

    fabric: str
    synth: str
    memories: str
    nextpnr: str
    made: str
    placed: str
    pack: str
    bitstream: str
    pins: str


NO_LUT_RAM = "setattr -unset ram_style a:ram_style=distributed; "  # block RAM or flip-flops, as Yosys finds
FLOWS = {
    "ecp5": Flow("ecp5", "synth_ecp5 -abc9", "", "nextpnr-ecp5", "textcfg", "config", "ecppack", "bit", "lpf"),
    "ice40": Flow("ice40", "synth_ice40 -abc9", NO_LUT_RAM, "nextpnr-ice40", "asc", "asc", "icepack", "bin", "pcf"),
}
FLOWS["ice40up"] = FLOWS["ice40"]


@dataclass(frozen=True)
class Pll:
    """Of a clock: the dividers by their names in the vendor's primitive; mhz: what comes out."""

    mhz: float
    values: tuple[tuple[str, int], ...]

    @property
    def dividers(self) -> dict[str, int]:
        return dict(self.values)


@dataclass(frozen=True)
class SerialPort:
    """A port of the network in the bytes of a vector. at: its first bit; code: the driver's class for its format."""

    port: PackedPort
    shape: Shape
    at: int
    bytes: int
    code: str


@dataclass(frozen=True)
class ChipView:
    """All that the templates print. board: "" where the tool chooses the pins; options: of nextpnr, for the part; mhz:
    the clock of the network; cycles: of a bit on the serial line; inputs, outputs: ports of `parallel`, or the streams
    of `dataflow`.
    """

    top: str
    part: str
    board: str
    serial: Serial | None
    flow: Flow
    options: str
    synth: str
    mhz: float
    pll: Pll | None
    baud: int
    cycles: int
    inputs: tuple[SerialPort, ...] | tuple[BoardPort, ...]
    outputs: tuple[SerialPort, ...] | tuple[BoardPort, ...]

    @property
    def place(self) -> str:
        """Where it runs."""
        return self.board or self.part

    @property
    def streamed(self) -> bool:
        return isinstance(self.inputs[0], BoardPort)

    def kept(self, port: BoardPort) -> int:
        """Bytes of an input stream that wait for the network: two vectors at least."""
        return max(KEPT, 2 * port.bytes)

    @property
    def ahead(self) -> int:
        """Vectors that may be on their way at once; results wait in 2 KB of the host. `parallel` keeps one result while
        it sends another: where there are more, results must be shorter than vectors. `dataflow` waits with results, and
        keeps the bytes of so many vectors and one: it may make a result before it has read all of its vector.
        """
        most = max(1, min(64, 2048 // self.output_bytes))
        if self.streamed:
            return min(most, *(self.kept(p) // p.bytes - 1 for p in self.inputs if isinstance(p, BoardPort)))
        return most if 20 * self.output_bytes <= 19 * self.input_bytes else 1

    @property
    def quiet(self) -> float:
        """Seconds until a vector that stays incomplete is forgotten: QUIET of the shells."""
        return float(2 ** (18 + (self.cycles - 1).bit_length()) / (1e6 * self.mhz))

    @property
    def input_bytes(self) -> int:
        return sum(p.bytes for p in self.inputs)

    @property
    def output_bytes(self) -> int:
        return sum(p.bytes for p in self.outputs)


def chip(made: NetworkView | StreamView, graph: Graph, board: str) -> ChipView | None:
    """Of a network for a part and a board ("": none); None where no open tools make bitstreams for the part, and where
    weights are loaded, which the serial line does not bring. QCompileError for a clock that the board cannot make.
    """
    if isinstance(made, StreamView) and made.loaded:
        return None
    found = device(made.part)
    flow = FLOWS.get(found.fabric)
    if flow is None or not found.nextpnr:
        return None
    known = known_board(board) if board else None
    serial, wanted = known.serial if known else None, 1000 / made.clock_ns
    pll = _pll(flow, serial, wanted, board) if serial else None
    mhz = pll.mhz if pll else serial.oscillator_mhz if serial else wanted
    baud, cycles = _line(mhz)
    options, synth = _options(flow, made.part, found.nextpnr)
    name = known.name if known and serial else ""
    if isinstance(made, StreamView):
        synth = flow.memories + synth
        return ChipView(
            made.top, made.part, name, serial, flow, options, synth, mhz, pll, baud, cycles, *streams(made.network)
        )
    given, results = _ports(made.inputs, graph.in_ports), _ports(made.outputs, graph.out_ports)
    synth += " -nobram"  # its tables are read without a register
    return ChipView(made.top, made.part, name, serial, flow, options, synth, mhz, pll, baud, cycles, given, results)


def emit(view: ChipView) -> dict[str, bytes]:
    """The folder board/, and the testbench of the serial line."""
    env, pins, serial = templates(), view.flow.pins, "serial_streams" if view.streamed else "serial"
    made = {
        f"board/{view.top}_chip.sv": "chip.sv",
        f"board/{view.top}_serial.sv": f"{serial}.sv",
        f"board/pins.{pins}": pins,
        "board/clock.py": "clock.py",
        "board/driver.py": "driver.py",
        f"tb/{view.top}_serial_tb.sv": f"{serial}_tb.sv",
    }
    files = {name: env.get_template(f"rtl/board/{t}.j2").render(view=view).encode() for name, t in made.items()}
    if view.streamed:
        files["board/ports.py"] = Path(ports.__file__).read_bytes()  # the driver packs as the testbench does
    circuits = STREAMED if view.streamed else CIRCUITS
    return files | {f"board/{name}": asset(f"hw/rtl/{name}").read_bytes() for name in circuits}


def _ports(packed: Sequence[PackedPort], values: Sequence[Value]) -> tuple[SerialPort, ...]:
    out, at = [], 0
    for port, value in zip(packed, values, strict=True):
        size = -(-port.bits // 8)
        out.append(SerialPort(port, value.type.shape, at, size, driver_code(value.type.codes)))
        at += 8 * size
    return tuple(out)


def _line(mhz: float) -> tuple[int, int]:
    """(baud, clock cycles of a bit)."""
    for baud in BAUDS:
        cycles = round(mhz * 1e6 / baud)
        if cycles >= 8 and abs(mhz * 1e6 / baud / cycles - 1) < 0.015:
            break
    return baud, max(cycles, 8)


def _options(flow: Flow, part: str, nextpnr: str) -> tuple[str, str]:
    """Options of nextpnr and the synthesis for an orderable number, e.g. LFE5U-85F-6BG381C."""
    found = re.search(r"-(?P<grade>\d)?(?P<letters>[a-z]{2})(?P<pins>\d{2,4})", part.lower())
    letters, count = (found["letters"], found["pins"]) if found else ("", "")
    if flow.fabric == "ice40":
        device_of = "u" if nextpnr.startswith("up") else nextpnr[:2]
        return f"--{nextpnr} --package {letters}{count}", f"{flow.synth} -device {device_of}"
    kind = "um5g-" if part.lower().startswith("lfe5um5g") else "um-" if part.lower().startswith("lfe5um") else ""
    package = _PACKAGES.get(letters, letters.upper()) + count
    grade = found["grade"] if found and found["grade"] else "6"
    return f"--{kind}{nextpnr} --package {package} --speed {grade}", flow.synth


def _pll(flow: Flow, serial: Serial, wanted: float, board: str) -> Pll | None:
    """Dividers for the fastest clock up to the wanted one; None where the oscillator is that. QCompileError for a clock
    below all that can be made.
    """
    own = serial.oscillator_mhz
    slow = wanted * (1 + 1e-9)
    best = (_ecp5_pll if flow.fabric == "ecp5" else _ice40_pll)(own, slow)
    if own <= slow and (best is None or best.mhz <= own):
        return None
    if best is None:
        raise QCompileError(
            f"a period of {1000 / wanted:g} ns is {wanted:g} MHz, less than the oscillator of {board} and its PLL make",
            "--clock",
            f"--clock {1000 / own:g} or less",
        )
    return best


def _ecp5_pll(mhz: float, most: float) -> Pll | None:
    """FPGA-DS-02012: phase detector from 3.125 MHz, oscillator of the PLL 400 to 800, output 3.125 to 400."""
    i, f, o = np.meshgrid(np.arange(1, 129), np.arange(1, 81), np.arange(1, 129), indexing="ij")
    made = mhz * f / i
    good = (mhz / i >= 3.125) & (made * o >= 400) & (made * o <= 800) & (made >= 3.125) & (made <= min(most, 400))
    return _fastest(made, made * o, good, {"CLKI_DIV": i, "CLKFB_DIV": f, "CLKOP_DIV": o})


def _ice40_pll(mhz: float, most: float) -> Pll | None:
    """FPGA-DS-02008: phase detector 10 to 133 MHz, oscillator of the PLL 533 to 1066, output 16 to 275."""
    r, f, q = np.meshgrid(np.arange(16), np.arange(128), np.arange(1, 7), indexing="ij")
    phase = mhz / (r + 1)
    vco, made = phase * (f + 1), phase * (f + 1) / 2.0**q
    good = (phase >= 10) & (phase <= 133) & (vco >= 533) & (vco <= 1066) & (made >= 16) & (made <= min(most, 275))
    filters = np.searchsorted([17, 26, 44, 66, 101], phase, side="right") + 1
    return _fastest(made, vco, good, {"DIVR": r, "DIVF": f, "DIVQ": q, "FILTER_RANGE": filters})


def _fastest(made: np.ndarray, vco: np.ndarray, good: np.ndarray, values: dict[str, np.ndarray]) -> Pll | None:
    """Of those that are good; of alike ones that whose oscillator is nearest to 600 MHz."""
    if not good.any():
        return None
    best = np.lexsort((np.abs(vco[good] - 600), -made[good]))[0]
    return Pll(float(made[good][best]), tuple((name, int(v[good][best])) for name, v in values.items()))
