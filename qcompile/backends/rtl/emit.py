"""The SystemVerilog project of an integer graph."""

from __future__ import annotations

from dataclasses import replace

from qcompile.assets import asset
from qcompile.backends.rtl import bitstream, dataflow, parallel
from qcompile.backends.rtl.bitstream import FLOWS, ChipView
from qcompile.backends.rtl.dataflow import WEIGHTS, StreamView
from qcompile.backends.rtl.names import identifier
from qcompile.backends.rtl.numbers import Delays
from qcompile.backends.rtl.parallel import NetworkView
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of
from qcompile.cost.fabrics import fabric_data, measured
from qcompile.errors import QCompileError
from qcompile.hardware.estimate import of_pipeline
from qcompile.hardware.frames import Frames
from qcompile.hardware.network import Network
from qcompile.hardware.products import multiplications, rolled
from qcompile.ir import Graph
from qcompile.templating import templates

STREAMED = (
    "accumulator.sv",
    "code_order.sv",
    "counter.sv",
    "corner_turn.sv",
    "crossed_memory.sv",
    "cut_windows.sv",
    "digit_sum.sv",
    "flow.sv",
    "frame_gate.sv",
    "interleaved.sv",
    "line_buffer.sv",
    "loaded_memory.sv",
    "minifloat_mul.sv",
    "packed_products.sv",
    "ram.sv",
    "quotient_digits.sv",
    "reload_control.sv",
    "rom_file.sv",
    "root_digits.sv",
    "rom_words.sv",
    "running_maximum.sv",
    "running_place.sv",
    "stream.sv",
    "take_fold.sv",
    "triples.sv",
    "vector_memory.sv",
    "whole_window.sv",
    "window.sv",
)
"""Circuits of architecture `dataflow`, beside those of both."""
CIRCUITS = (
    "chosen_cut.sv",
    "chosen_part.sv",
    "clamp.sv",
    "compare_part.sv",
    "minifloat_decode.sv",
    "minifloat_number.sv",
    "minifloat_round.sv",
    "mul.sv",
    "mul_const.sv",
    "shifter.sv",
    "table_long.sv",
    "table_lut.sv",
    "thresholds.sv",
    "wait_stages.sv",
)


def view(
    graph: Graph, top: str, part: str, clock_ns: float, network: Network | None = None, frames: Frames | None = None
) -> NetworkView | StreamView:
    """All that is printed. top: an identifier; clock_ns: 0 for logic without registers; network: of architecture
    `dataflow`; frames: which the graph takes step by step.
    QCompileError for a network of too many products, and for what has no circuit yet.
    """
    taken = {*CIRCUITS, *STREAMED}
    name = f"net_{top}" if f"{top}.sv" in taken or identifier(top) != top else top
    timing = Delays(fabric_of(part), clock_ns)
    if network is not None:
        return dataflow.build(graph, network, name, part, timing)
    if rolled(graph):
        raise QCompileError(
            f"{multiplications(graph):,} multiplications are too many to be unrolled",
            "--backend rtl",
            "--arch dataflow, or --backend hls",
        )
    if timing.fabric.net_luts and clock_ns:
        luts = of_pipeline(graph, device(part), clock_ns, loops=False).total.lut
        timing = replace(timing, longer=timing.fabric.longer(luts))
    if frames is not None:
        return parallel.in_frames(parallel.build(graph, f"{name}_step", part, timing), graph, frames, name)
    return parallel.build(graph, name, part, timing)


def synthesis(part: str, streamed: bool) -> str:
    """The commands of Yosys for a part, those of the calibration where its fabric or a relative was measured. Without
    block RAM for tables of unrolled layers, as in bitstreams (see `bitstream.chip`).
    """
    name = device(part).fabric
    flow = FLOWS.get(name)
    if flow is not None and name not in measured():
        return flow.memories * streamed + flow.synth
    while name not in measured():
        name = fabric_data(name).like
    tables = " -nobram" if flow is not None and not streamed else ""
    return fabric_data(name).yosys.removesuffix(" -top wrap") + tables


def emit(made: NetworkView | StreamView, chip: ChipView | None = None) -> dict[str, bytes]:
    """Sources and testbench by their names in the project; chip: around the network, where open tools make its
    bitstream.
    """
    env, streamed = templates(), isinstance(made, StreamView)
    files: dict[str, str] = {}
    if isinstance(made, StreamView):
        files[f"rtl/{made.top}.sv"] = env.get_template("rtl/dataflow.sv.j2").render(view=made)
        files[f"rtl/{made.top}_axi.sv"] = env.get_template("rtl/axi.sv.j2").render(view=made)
        process = env.get_template("rtl/process.sv.j2")
        for s in made.placed:
            files[f"rtl/{s.process.name}.sv"] = process.render(p=s.process)
    else:
        inner = made if made.frame is None else made.frame.inner
        files[f"rtl/{inner.top}.sv"] = env.get_template("rtl/top.sv.j2").render(view=inner)
        if made.frame is not None:
            files[f"rtl/{made.top}.sv"] = env.get_template("rtl/frame.sv.j2").render(view=made)
        files |= {f"rtl/{m.name}.sv": env.get_template("rtl/layer.sv.j2").render(layer=m) for m in made.layers}
    bench = env.get_template("rtl/tb_dataflow.sv.j2" if streamed else "rtl/tb.sv.j2")
    files[f"tb/{made.top}_tb.sv"] = bench.render(view=made)
    files["tb/verilator.cpp"] = env.get_template("rtl/verilator.cpp.j2").render(view=made)
    pages = {"view": made, "chip": chip, "streamed": streamed, "synthesis": synthesis(made.part, streamed)}
    files["Makefile"] = env.get_template("rtl/Makefile.j2").render(**pages)
    if device(made.part).vendor == "AMD":
        files["vivado.tcl"] = env.get_template("rtl/vivado.tcl.j2").render(view=made, streamed=streamed)
    contents = {name: text.encode() for name, text in files.items()}
    if isinstance(made, StreamView):
        contents |= {r.file: r.content for s in made.placed for r in s.process.roms if r.load is None}
        contents |= {WEIGHTS: made.weights} if made.loaded else {}
    circuits = (*CIRCUITS, *STREAMED) if streamed else CIRCUITS
    contents["rtl/qc/adders.v"] = asset("hw/calibration/adders.v").read_bytes()
    contents |= {f"rtl/qc/{name}": asset(f"hw/rtl/{name}").read_bytes() for name in circuits}
    return contents | (bitstream.emit(chip) if chip else {})
