"""The files of the testbench: codes at the ports as words of 64 bits."""

from __future__ import annotations

import numpy as np

from qcompile.backends.hls.ports import PortLayout, layout, stream_layout
from qcompile.errors import VerificationError
from qcompile.hardware.network import Network, PortStream
from qcompile.hardware.order import from_stream, to_stream
from qcompile.ir import Graph


def vector_file(graph: Graph, bits: list[np.ndarray], outputs: bool = False, network: Network | None = None) -> bytes:
    """Bit patterns of every input (or output) port, (N, ...) each, as the testbench reads them: uint64 words, sample by
    sample. network: of architecture `dataflow`, whose ports are streams.
    """
    values = graph.out_ports if outputs else graph.in_ports
    if network is not None:
        ports = network.outputs if outputs else network.inputs
        words = [stream_words(p, b) for p, b in zip(ports, bits, strict=True)]
    else:
        words = [layout(v).pack(b) for v, b in zip(values, bits, strict=True)]
    return np.concatenate(words, axis=1).astype("<u8").tobytes()


def read_vectors(graph: Graph, data: bytes, outputs: bool = True, network: Network | None = None) -> list[np.ndarray]:
    """Inverse of `vector_file`: bit patterns (N, count) of every port."""
    ports = () if network is None else network.outputs if outputs else network.inputs
    values = graph.out_ports if outputs else graph.in_ports
    layouts = [port_layout(p) for p in ports] or [layout(v) for v in values]
    words = rows(data, sum(p.size for p in layouts))
    each = np.split(words, np.cumsum([p.size for p in layouts])[:-1], axis=1)
    if ports:
        return [of_stream(p, w) for p, w in zip(ports, each, strict=True)]
    return [p.unpack(w) for p, w in zip(layouts, each, strict=True)]


def port_layout(port: PortStream) -> PortLayout:
    """Of an AXI stream."""
    return stream_layout(port.inner, port.lanes)


def of_stream(port: PortStream, words: np.ndarray) -> np.ndarray:
    """Inverse of `stream_words`: bit patterns (N, count)."""
    found, axes = from_stream(port_layout(port).unpack(words), port.inner.type.shape, 1), port.axes
    turned = found.transpose(0, *(1 + axes.index(a) for a in range(len(axes))))
    return turned.reshape(len(words), -1)


def stream_words(port: PortStream, bits: np.ndarray) -> np.ndarray:
    """Words of a port's stream: bit patterns (N, ...) as uint64 (N, size)."""
    turned = bits.reshape(len(bits), *port.value.type.shape).transpose(0, *(1 + a for a in port.axes))
    return port_layout(port).pack(to_stream(turned, 1))


def rows(data: bytes, size: int) -> np.ndarray:
    """Words (N, size) of a file that the compiled C++ wrote, a row per vector. VerificationError where it was cut."""
    if len(data) % (8 * size):
        raise VerificationError(f"the C++ wrote {len(data)} bytes, and {8 * size} are a vector")
    return np.frombuffer(data, dtype="<u8").reshape(-1, size)
