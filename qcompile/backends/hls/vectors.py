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
    layouts = [stream_layout(port_value(graph, v)[0]) if streamed else layout(v) for v in values]
    words = rows(data, sum(p.size for p in layouts))
    ends = np.cumsum([p.size for p in layouts]).tolist()
    each = [(v, p, words[:, e - p.size : e]) for v, p, e in zip(values, layouts, ends, strict=True)]
    return [of_stream(graph, v, w) if streamed else p.unpack(w) for v, p, w in each]


def of_stream(graph: Graph, value: Value, words: np.ndarray) -> np.ndarray:
    """Inverse of `stream_words`: bit patterns (N, count)."""
    inner, axes = port_value(graph, value)
    found = from_stream(stream_layout(inner).unpack(words), inner.type.shape, 1)
    turned = found.transpose(0, *(1 + axes.index(a) for a in range(len(axes))))
    return turned.reshape(len(words), -1)


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
