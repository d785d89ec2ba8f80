"""What brings architecture `dataflow` onto a board: a Vivado block design (Tcl) and a PYNQ driver (Python)."""

from __future__ import annotations

from pathlib import Path

from qcompile.backends.hls import ports
from qcompile.backends.hls.vectors import port_layout
from qcompile.cost.devices import Board, Processor, board, catalogue, device
from qcompile.errors import QCompileError
from qcompile.formats import FloatLane, Format, TableLane
from qcompile.hardware.network import Network, PortStream
from qcompile.hardware.order import permutation
from qcompile.ir import Shape
from qcompile.records import dataclass
from qcompile.templating import templates

MEMORY_PORTS = 16  # masters that one SmartConnect joins (PG247)


@dataclass(frozen=True)
class BoardPort:
    """A stream of the top. bits: of an AXI word; words: of a frame; code: the driver's class for its format; order:
    axes of the tensor in the stream.
    """

    name: str
    shape: Shape
    order: Shape
    width: int
    lanes: int
    bits: int
    words: int
    code: str

    @property
    def bytes(self) -> int:
        """Of a frame."""
        return self.words * self.bits // 8


@dataclass(frozen=True)
class Dma:
    """One DMA: an input to read for, an output to write for, or both."""

    name: str
    input: BoardPort | None
    output: BoardPort | None


@dataclass(frozen=True)
class BoardView:
    """All that the templates print."""

    top: str
    board: Board
    processor: Processor
    clock_mhz: str
    inputs: tuple[BoardPort, ...]
    outputs: tuple[BoardPort, ...]
    dmas: tuple[Dma, ...]

    @property
    def place(self) -> str:
        """Where it runs."""
        return self.board.name


def supported() -> tuple[str, ...]:
    """Boards for which there are scripts."""
    return tuple(b.name for b in catalogue().boards if b.board_part)


def emit(network: Network, top: str, name: str, clock_ns: float) -> dict[str, bytes]:
    """board/block_design.tcl, board/driver.py and what the driver needs; nothing for a board without scripts.

    top: a C identifier; name: a board of the catalogue, or "". QCompileError where the board cannot have this clock or
    so many ports.
    """
    if name not in supported():
        return {}
    view = _view(network, top, board(name), clock_ns)
    files = {
        f"board/{n}": templates().get_template(f"boards/{n}.j2").render(view=view).encode()
        for n in ("block_design.tcl", "driver.py")
    }
    return {
        **files,
        "board/ports.py": Path(ports.__file__).read_bytes(),
    }  # the driver packs with the very layout of the testbench


def _view(network: Network, top: str, target: Board, clock_ns: float) -> BoardView:
    processor = device(target.part).processor
    assert processor is not None  # the catalogue refuses a board_part without one
    mhz = 1000 / clock_ns
    if processor.fastest_mhz and mhz > processor.fastest_mhz:
        raise QCompileError(
            f"the fabric clock of {target.name} reaches {processor.fastest_mhz:g} MHz; a period of {clock_ns:g} ns is"
            f" {mhz:g} MHz",
            "--clock",
            f"{1000 / processor.fastest_mhz:g} or more; --part {target.part} makes the project without board scripts",
        )
    inputs, outputs = streams(network)
    if len(inputs) + len(outputs) > MEMORY_PORTS:
        raise QCompileError(
            f"the network has {len(inputs) + len(outputs)} inputs and outputs; a board's block design joins at most"
            f" {MEMORY_PORTS}",
            target.name,
            f"--part {target.part} makes the project without board scripts",
        )
    count = max(len(inputs), len(outputs))
    dmas = tuple(
        Dma(f"dma_{i}", inputs[i] if i < len(inputs) else None, outputs[i] if i < len(outputs) else None)
        for i in range(count)
    )
    return BoardView(top, target, processor, f"{mhz:.6f}", inputs, outputs, dmas)


def streams(network: Network) -> tuple[tuple[BoardPort, ...], tuple[BoardPort, ...]]:
    """Inputs and outputs of architecture `dataflow`."""
    return (
        tuple(_port(p, f"x{i}") for i, p in enumerate(network.inputs)),
        tuple(_port(p, f"y{i}") for i, p in enumerate(network.outputs)),
    )


def _port(port: PortStream, name: str) -> BoardPort:
    shape, fmt, words = port.value.type.shape, port.value.type.format, port_layout(port)
    assert fmt is not None
    order = tuple(port.axes[a] for a in permutation(len(port.axes)))
    return BoardPort(name, shape, order, fmt.width, port.lanes, words.axis_bits, words.words, driver_code(fmt))


def driver_code(fmt: Format) -> str:
    """A format as drivers write it."""
    lane = fmt.lane
    if lane.signs:
        return "Bipolar()"
    if isinstance(lane, FloatLane):
        return f"Minifloat({lane.exponent}, {lane.mantissa})"
    if isinstance(lane, TableLane):
        return f"Table({list(lane.numbers)})"
    return f"Integer({fmt.width}, {fmt.signed})"
