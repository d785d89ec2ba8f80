"""Codes at ports as hexadecimal digits: what testbenches read and write, a line per vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcompile.backends.hls.vectors import of_stream, port_layout, stream_words
from qcompile.errors import VerificationError
from qcompile.hardware.network import Network, PortStream
from qcompile.ir import Graph, Value


def vector_files(
    graph: Graph, ins: Sequence[np.ndarray], outs: Sequence[np.ndarray], network: Network | None
) -> dict[str, bytes]:
    """Of bit patterns at the ports: what a project ships, by name. network: of architecture `dataflow`."""
    if network is None:
        given, made = hex_file(graph.in_ports, ins), hex_file(graph.out_ports, outs)
        return {"tb/vectors/input.hex": given, "tb/vectors/output.hex": made}
    each = [(f"x{i}", p, b) for i, (p, b) in enumerate(zip(network.inputs, ins, strict=True))]
    each += [(f"y{i}", p, b) for i, (p, b) in enumerate(zip(network.outputs, outs, strict=True))]
    return {f"tb/vectors/{name}.hex": stream_file(p, b) for name, p, b in each}


def hex_file(values: Sequence[Value], bits: Sequence[np.ndarray]) -> bytes:
    """Of bit patterns (N, ...), one array per port."""
    columns = [digits(b.reshape(len(b), -1), v.type.codes.width) for v, b in zip(values, bits, strict=True)]
    return "".join(" ".join(row) + "\n" for row in zip(*columns, strict=True)).encode()


def read_hex(values: Sequence[Value], content: bytes) -> list[np.ndarray]:
    """Bit patterns (N, size), one array per port. VerificationError where a bit is undefined."""
    rows = [line.split() for line in content.decode("ascii", "replace").splitlines()]
    try:
        return [_patterns([row[i] for row in rows], v.type.codes.width, v.type.size) for i, v in enumerate(values)]
    except (ValueError, IndexError):
        raise VerificationError("the SystemVerilog makes results with undefined bits") from None


def stream_file(port: PortStream, bits: np.ndarray) -> bytes:
    """Of bit patterns (N, ...) at the port of a stream: a word a line."""
    layout = port_layout(port)
    words = stream_words(port, bits).reshape(-1, layout.limbs)
    size = layout.axis_bits // 4
    return "".join(f"{line[-size:]}\n" for line in digits(words, 64)).encode()


def read_stream(port: PortStream, content: bytes) -> np.ndarray:
    """Bit patterns (N, size). VerificationError where a bit is undefined, or a frame is not whole."""
    layout, lines = port_layout(port), content.decode("ascii", "replace").split()
    if len(lines) % layout.words:
        raise VerificationError(f"the SystemVerilog makes {len(lines)} words, and {layout.words} are a frame")
    try:
        words = _patterns(lines, 64, layout.limbs).astype(np.uint64)
    except ValueError:
        raise VerificationError("the SystemVerilog makes results with undefined bits") from None
    return of_stream(port, words.reshape(-1, layout.size))


def digits(patterns: np.ndarray, width: int) -> list[str]:
    """Of bit patterns (N, size), a line each: element 0 in the low bits; as many digits as a simulator writes."""
    if not len(patterns):
        return []
    count = -(-patterns.shape[1] * width // 4)
    if width == 64:
        patterns = patterns & (2**64 - 1) if patterns.dtype == object else patterns  # negative numbers of 64 bits
        packed = np.ascontiguousarray(patterns.astype("<u8")).view(np.uint8)[:, ::-1]
    else:
        shifts = np.arange(width).astype(object if width > 62 else np.int64)
        each = (np.asarray(patterns)[:, :, None] >> shifts & 1).astype(np.uint8).reshape(len(patterns), -1)
        each = np.pad(each, ((0, 0), (0, 8 * -(-count // 2) - each.shape[1])))
        packed = np.packbits(each, axis=1, bitorder="little")[:, ::-1]
    return [line[-count:] for line in packed.tobytes().hex("\n", packed.shape[1]).split("\n")]


def _patterns(texts: list[str], width: int, count: int) -> np.ndarray:
    size = -(-width * count // 8)
    raw = [np.frombuffer(bytes.fromhex(t.rjust(2 * size, "0")[-2 * size :]), np.uint8)[::-1] for t in texts]
    each = np.unpackbits(np.array(raw).reshape(len(texts), size), axis=1, bitorder="little")[:, : width * count]
    powers = np.array([1 << k for k in range(width)], dtype=object if width > 62 else np.int64)
    return np.asarray((each.reshape(len(texts), count, width).astype(powers.dtype) * powers).sum(axis=2))
