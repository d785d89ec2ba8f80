"""The files of the testbench: codes at the ports as words of 64 bits."""

from __future__ import annotations

import numpy as np

from qcompile.backends.hls.ports import layout, stream_layout
from qcompile.errors import VerificationError
from qcompile.hardware.network import port_value
from qcompile.hardware.order import from_stream, to_stream
from qcompile.ir import Graph, Value


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


def read_vectors(graph: Graph, data: bytes, outputs: bool = True, streamed: bool = False) -> list[np.ndarray]:
    """Inverse of `vector_file`: bit patterns (N, count) of every port."""
    values = graph.outputs if outputs else graph.inputs
    inner = [port_value(graph, v) for v in values]
    layouts = [stream_layout(v) for v, _ in inner] if streamed else [layout(v) for v in values]
    words = rows(data, sum(p.size for p in layouts))
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
    return stream_layout(inner).pack(to_stream(turned, 1))


def rows(data: bytes, size: int) -> np.ndarray:
    """Words (N, size) of a file that the compiled C++ wrote, a row per vector. VerificationError where it was cut."""
    if len(data) % (8 * size):
        raise VerificationError(f"the C++ wrote {len(data)} bytes, and {8 * size} are a vector")
    return np.frombuffer(data, dtype="<u8").reshape(-1, size)
