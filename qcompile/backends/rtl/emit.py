"""The SystemVerilog project of an integer graph."""

from __future__ import annotations

from qcompile.assets import asset
from qcompile.backends.rtl import bitstream, parallel
from qcompile.backends.rtl.bitstream import ChipView
from qcompile.backends.rtl.names import identifier
from qcompile.backends.rtl.numbers import Delays
from qcompile.backends.rtl.parallel import NetworkView
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of
from qcompile.errors import QCompileError
from qcompile.hardware.products import multiplications, rolled
from qcompile.ir import Graph
from qcompile.templating import templates

CIRCUITS = (
    "clamp.sv",
    "compare_part.sv",
    "minifloat_decode.sv",
    "minifloat_number.sv",
    "minifloat_round.sv",
    "mul_const.sv",
    "shifter.sv",
    "table_lut.sv",
    "thresholds.sv",
    "wait_stages.sv",
)


def view(graph: Graph, top: str, part: str, clock_ns: float) -> NetworkView:
    """All that is printed. top: an identifier; clock_ns: 0 for logic without registers. QCompileError for a network of
    too many products, and for what has no circuit yet.
    """
    if rolled(graph):
        raise QCompileError(
            f"{multiplications(graph):,} multiplications are too many to be unrolled", "--backend rtl", "--backend hls"
        )
    name = f"net_{top}" if f"{top}.sv" in CIRCUITS or identifier(top) != top else top
    return parallel.build(graph, name, part, Delays(fabric_of(part), clock_ns))


def emit(made: NetworkView, chip: ChipView | None = None) -> dict[str, bytes]:
    """Sources and testbench by their names in the project; chip: around the network, where open tools make its
    bitstream.
    """
    env = templates()
    files = {f"rtl/{made.top}.sv": env.get_template("rtl/top.sv.j2").render(view=made)}
    files |= {f"rtl/{m.name}.sv": env.get_template("rtl/layer.sv.j2").render(layer=m) for m in made.layers}
    files[f"tb/{made.top}_tb.sv"] = env.get_template("rtl/tb.sv.j2").render(view=made)
    files["tb/verilator.cpp"] = env.get_template("rtl/verilator.cpp.j2").render(view=made)
    files["Makefile"] = env.get_template("rtl/Makefile.j2").render(view=made, chip=chip)
    if device(made.part).vendor == "AMD":
        files["vivado.tcl"] = env.get_template("rtl/vivado.tcl.j2").render(view=made)
    circuits = {f"rtl/qc/{name}": asset(f"hw/rtl/{name}").read_bytes() for name in CIRCUITS}
    return {name: text.encode() for name, text in files.items()} | circuits | (bitstream.emit(chip) if chip else {})
