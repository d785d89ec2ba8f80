"""The HLS project of an integer graph, and the files of its testbench."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from qcompile.assets import ap_types, asset, templates
from qcompile.backends.hls import dataflow
from qcompile.backends.hls.view import build, layout, trace_words, traced
from qcompile.errors import VerificationError
from qcompile.formats import Minifloat
from qcompile.hardware.network import Network, port_value
from qcompile.hardware.order import from_stream, to_stream
from qcompile.hardware.timing import Schedule
from qcompile.ir import Graph, Value
from qcompile.passes.ranges import ranges

_TEMPLATES = {
    "src/{top}.hpp": "top.hpp.j2",
    "src/{top}.cpp": "top.cpp.j2",
    "src/constants.hpp": "constants.hpp.j2",
    "tb/tb.cpp": "tb.cpp.j2",
    "Makefile": "Makefile.j2",
    "build.tcl": "build.tcl.j2",
    "hls_config.cfg": "hls_config.cfg.j2",
}


_STREAMS = {"buffered.hpp", "dataflow.hpp", "simulation.hpp", "stream.hpp"}


def emit(
    graph: Graph,
    top: str,
    part: str,
    clock_ns: float,
    network: Network | None = None,
    plan: Schedule | None = None,
    logic: bool = False,
) -> dict[str, bytes]:
    """Sources, headers, testbench and build files of a project. top: a C identifier. network, plan: of architecture
    `dataflow`.
    logic: all products belong in LUTs.
    """
    if network is not None and plan is not None:
        view: Any = dataflow.build(graph, network, plan, top, part, clock_ns)
        named = _TEMPLATES | {"src/{top}.hpp": "dataflow.hpp.j2", "src/{top}.cpp": "dataflow.cpp.j2"}
    else:
        view, named = build(graph, top, part, clock_ns), _TEMPLATES
    files = {
        name.format(top=top): templates().get_template(f"hls/{t}").render(view=view, logic=logic).encode()
        for name, t in named.items()
    }
    for rom in view.roms:
        if not rom.reloadable:
            files[f"src/weights/{rom.name}.bin"] = rom.data
            files[f"src/weights/{rom.name}.inc"] = _included(rom.numbers)
    if loaded := b"".join(rom.data for rom in view.roms if rom.reloadable):
        files["src/weights/weights.bin"] = loaded
        files["src/weights/weights.inc"] = _included(np.frombuffer(loaded, "<u8").tolist())
    for header in sorted(asset("hw/include/qc").glob("*.hpp")):
        if view.dataflow or header.name not in _STREAMS:
            files[f"src/qc/{header.name}"] = header.read_bytes()
    if view.rolled and not view.dataflow:
        files = {name: _rolled(text) if name.startswith("src/") else text for name, text in files.items()}
    return files | _ap_types()


def _included(words: list[int]) -> bytes:
    return (",\n".join(f"0x{w:x}ULL" for w in words) + "\n").encode()


_UNROLL = re.compile(rb"#ifn?def __BAMBU__\n#pragma (HLS )?unroll\n#endif\n")


def _rolled(source: bytes) -> bytes:
    """The source with its loops left as loops."""
    return _UNROLL.sub(b"", source)


def _ap_types() -> dict[str, bytes]:
    folder = ap_types()
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".h", ".hpp", ".inc", ""))
    return {f"ap_types/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in paths}


def vector_file(graph: Graph, bits: list[np.ndarray], outputs: bool = False, streamed: bool = False) -> bytes:
    """Bit patterns of every input (or output) port, (N, ...) each, as the testbench reads them: uint64 words, sample by
    sample.
    """
    values = graph.outputs if outputs else graph.inputs
    if streamed:
        words = [stream_words(graph, v, b) for v, b in zip(values, bits, strict=True)]
    else:
        words = [layout(v).pack(b) for v, b in zip(values, bits, strict=True)]
    return np.concatenate(words, axis=1).astype("<u8").tobytes()


def _rows(data: bytes, size: int) -> np.ndarray:
    """Words (N, size) of a file that the compiled C++ wrote, a row per vector. VerificationError where it was cut."""
    if len(data) % (8 * size):
        raise VerificationError(f"the C++ wrote {len(data)} bytes, and {8 * size} are a vector")
    return np.frombuffer(data, dtype="<u8").reshape(-1, size)


def read_vectors(graph: Graph, data: bytes, outputs: bool = True, streamed: bool = False) -> list[np.ndarray]:
    """Inverse of `vector_file`: bit patterns (N, count) of every port."""
    values = graph.outputs if outputs else graph.inputs
    inner = [port_value(graph, v) for v in values]
    layouts = [dataflow.stream_layout(v) for v, _ in inner] if streamed else [layout(v) for v in values]
    words = _rows(data, sum(p.size for p in layouts))
    ends = np.cumsum([p.size for p in layouts]).tolist()
    found = [p.unpack(words[:, e - p.size : e]) for p, e in zip(layouts, ends, strict=True)]
    if streamed:
        found = [
            from_stream(b, v.type.shape, 1).transpose(0, *(1 + axes.index(a) for a in range(len(axes))))
            for b, (v, axes) in zip(found, inner, strict=True)
        ]
    return [b.reshape(len(b), -1) for b in found]


def stream_words(graph: Graph, value: Value, bits: np.ndarray) -> np.ndarray:
    """Words of a port's stream: bit patterns (N, ...) as uint64 (N, size)."""
    inner, axes = port_value(graph, value)
    turned = bits.reshape(len(bits), *value.type.shape).transpose(0, *(1 + a for a in axes))
    return dataflow.stream_layout(inner).pack(to_stream(turned, 1))


def traced_values(graph: Graph, network: Network | None = None) -> list[tuple[Value, int]]:
    """(value, width) of every tensor that `csim` traces and can be given, in the order of the trace."""
    known = ranges(graph)
    return traced(graph, known) if network is None else dataflow.traced(graph, network, known)


def trace_file(graph: Graph, units: Mapping[str, np.ndarray], network: Network | None = None) -> bytes:
    """Units (N, *shape) of every traced tensor as `csim` reads and writes them: inverse of `read_trace`."""
    parts = []
    for value, width in traced_values(graph, network):
        fmt, x = value.type.format, np.asarray(units[value.name])
        x = x if x.dtype == object else x.astype(np.int64)
        x = np.asarray(fmt.encode(x)) if isinstance(fmt, Minifloat) else x
        x = (x if network is None else to_stream(x, 1)).reshape(len(x), -1, 1)
        limbs = -(-width // 64)
        words = x if limbs == 1 else np.concatenate([x.astype(object) >> (64 * k) for k in range(limbs)], axis=-1)
        words = words.astype(object) & (2**64 - 1) if words.dtype == object else words
        parts.append(words.reshape(len(x), -1).astype(np.uint64))
    return np.concatenate(parts, axis=1).astype("<u8").tobytes()


def read_trace(graph: Graph, data: bytes, network: Network | None = None) -> dict[str, np.ndarray]:
    """Units of every traced tensor, (N, *shape): what `csim --trace` wrote."""
    values = traced_values(graph, network)
    sizes = trace_words(values)
    table = _rows(data, sum(sizes))
    out, start = {}, 0
    for (value, width), size in zip(values, sizes, strict=True):
        limbs = -(-width // 64)
        part = table[:, start : start + size].reshape(len(table), -1, limbs)
        start += size
        total: Any = part[:, :, -1].astype(np.int64)
        for k in reversed(range(limbs - 1)):
            total = (total.astype(object) << 64) + part[:, :, k].astype(object)
        fmt = value.type.format
        units = fmt.decode(total) if isinstance(fmt, Minifloat) else total
        shape = value.type.shape
        out[value.name] = units.reshape(len(table), *shape) if network is None else from_stream(units, shape, 1)
    return out
