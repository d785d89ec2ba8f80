"""Which tensors the C simulation traces, and the files of them that it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qcompile.backends.hls.types import holding
from qcompile.backends.hls.vectors import rows
from qcompile.hardware.network import Network
from qcompile.hardware.order import from_stream, to_stream
from qcompile.hardware.units import InputUnit, WindowUnit
from qcompile.ir import Graph, Value, ops
from qcompile.passes.ranges import Range, ranges

Traced = list[tuple[Value, int]]  # tensors and the bits of an element, in the order of the trace


def traced(graph: Graph, known: Mapping[str, Range], network: Network | None = None) -> Traced:
    """Codes where arrays keep them, else numbers; with a network, elements in stream order."""
    values = _of_layers(graph) if network is None else _of_processes(network)
    return [(v, _width(v, known)) for v in values]


def _of_layers(graph: Graph) -> list[Value]:
    made = [n.output for n in graph.nodes if n.inputs and not isinstance(n.op, ops.Reshape)]
    return [*graph.inputs, *made]


def _of_processes(network: Network) -> list[Value]:
    """What passes between processes, or from a sum to the Requant behind it; of constants those that are outputs."""
    values, leaving = list[Value](), {o.inner.name for o in network.outputs}
    for s in network.stages:
        if s.node is not None and isinstance(s.node.op, ops.Constant) and s.node.output.name not in leaving:
            continue
        if s.node is not None and s.map is not None:
            values.append(s.node.output)
        if isinstance(s.unit, InputUnit) or (s.node is not None and not isinstance(s.unit, WindowUnit)):
            values.append(network.streams[s.outputs[0]].value)
    return values


def _width(value: Value, known: Mapping[str, Range]) -> int:
    """With a sign: files hold two's complement, and an unsigned number of 64 bits needs a limb more."""
    if value.type.codes.lane.coded:
        return value.type.codes.width + 1
    lo, hi = known[value.name].bounds
    return holding(min(lo, -1), hi).width


def trace_words(values: Traced) -> list[int]:
    """64-bit words of every traced tensor."""
    return [v.type.size * -(-w // 64) for v, w in values]


def traced_values(graph: Graph, network: Network | None = None) -> Traced:
    """(value, width) of every tensor that `csim` traces and can be given, in the order of the trace."""
    return traced(graph, ranges(graph), network)


def trace_file(graph: Graph, units: Mapping[str, np.ndarray], network: Network | None = None) -> bytes:
    """Units (N, *shape) of every traced tensor as `csim` reads and writes them: inverse of `read_trace`."""
    parts = []
    for value, width in traced_values(graph, network):
        fmt, x = value.type.codes, np.asarray(units[value.name])
        x = x if x.dtype == object else x.astype(np.int64)
        x = np.asarray(fmt.encode(x)) if fmt.lane.coded else x
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
    table = rows(data, sum(sizes))
    out, start = {}, 0
    for (value, width), size in zip(values, sizes, strict=True):
        limbs = -(-width // 64)
        part = table[:, start : start + size].reshape(len(table), -1, limbs)
        start += size
        total: Any = part[:, :, -1].astype(np.int64)
        for k in reversed(range(limbs - 1)):
            total = (total.astype(object) << 64) + part[:, :, k].astype(object)
        fmt = value.type.codes
        units = fmt.decode(total) if fmt.lane.coded else total
        shape = value.type.shape
        out[value.name] = units.reshape(len(table), *shape) if network is None else from_stream(units, shape, 1)
    return out
