"""The HLS project of an integer graph, and the files of its testbench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qcompile.assets import ap_types, asset
from qcompile.backends.hls.constants import included
from qcompile.backends.hls.memory import WeightMemory
from qcompile.backends.hls.pragmas import for_tools
from qcompile.hardware.frames import Frames
from qcompile.hardware.network import Network
from qcompile.hardware.timing import Schedule
from qcompile.ir import Graph
from qcompile.templating import templates

if TYPE_CHECKING:
    from qcompile.backends.hls.dataflow import DataflowView
    from qcompile.backends.hls.parallel import ProjectView

_TEMPLATES = {
    "src/{top}.hpp": "top.hpp.j2",
    "src/{top}.cpp": "top.cpp.j2",
    "src/constants.hpp": "constants.hpp.j2",
    "tb/tb.cpp": "tb.cpp.j2",
    "Makefile": "Makefile.j2",
    "build.tcl": "build.tcl.j2",
    "hls_config.cfg": "hls_config.cfg.j2",
}
_DATAFLOW = {"src/{top}.hpp": "dataflow.hpp.j2", "src/{top}.cpp": "dataflow.cpp.j2"}  # instead of the same in parallel
_STREAMS = {"buffered.hpp", "dataflow.hpp", "simulation.hpp", "stream.hpp"}  # headers that parallel does without


def emit(
    graph: Graph,
    top: str,
    part: str,
    clock_ns: float,
    network: Network | None = None,
    plan: Schedule | None = None,
    logic: bool = False,
    frames: Frames | None = None,
) -> dict[str, bytes]:
    """Sources, headers, testbench and build files of a project. top: a C identifier. network, plan: of architecture
    `dataflow`.
    logic: all products belong in LUTs. frames: which the graph takes step by step.
    """
    view: ProjectView | DataflowView
    if network is not None and plan is not None:
        from qcompile.backends.hls import dataflow  # each takes a while to load, and a project needs one

        view, named = dataflow.build(graph, network, plan, top, part, clock_ns), _TEMPLATES | _DATAFLOW
    else:
        from qcompile.backends.hls import parallel

        view = parallel.build(graph, top, part, clock_ns, frames)
        named = _TEMPLATES | ({"src/sums.hpp": "sums.hpp.j2"} if view.sums else {})
    files = {
        name.format(top=top): templates().get_template(f"hls/{t}").render(view=view, logic=logic).encode()
        for name, t in named.items()
    }
    files |= _weights(view.roms)
    for header in sorted(asset("hw/include/qc").glob("*.hpp")):
        if view.dataflow or header.name not in _STREAMS:
            files[f"src/qc/{header.name}"] = header.read_bytes()
    sources = [name for name in files if name.endswith((".cpp", ".hpp"))]
    return files | {name: for_tools(files[name].decode(), not view.rolled).encode() for name in sources} | _ap_types()


def _weights(roms: Sequence[WeightMemory]) -> dict[str, bytes]:
    """Of every memory its words, as a file to load and one to include; what is loaded at run time all in one."""
    files: dict[str, bytes] = {}
    for rom in roms:
        if not rom.reloadable:
            files[f"src/weights/{rom.name}.bin"] = rom.data
            files[f"src/weights/{rom.name}.inc"] = included(rom.numbers)
    if loaded := b"".join(rom.data for rom in roms if rom.reloadable):
        files["src/weights/weights.bin"] = loaded
        files["src/weights/weights.inc"] = included(np.frombuffer(loaded, "<u8").tolist())
    return files


def _ap_types() -> dict[str, bytes]:
    folder = ap_types()
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".h", ".hpp", ".inc", ""))
    return {f"ap_types/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in paths}
