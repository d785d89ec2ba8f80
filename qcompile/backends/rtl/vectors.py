"""Codes at ports as hexadecimal digits: what testbenches read and write, a line per vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcompile.errors import VerificationError
from qcompile.ir import Value


def hex_file(values: Sequence[Value], bits: Sequence[np.ndarray]) -> bytes:
    """Of bit patterns (N, ...), one array per port."""
    columns = [_digits(b.reshape(len(b), -1), v.type.codes.width) for v, b in zip(values, bits, strict=True)]
    return "".join(" ".join(row) + "\n" for row in zip(*columns, strict=True)).encode()


def read_hex(values: Sequence[Value], content: bytes) -> list[np.ndarray]:
    """Bit patterns (N, size), one array per port. VerificationError where a bit is undefined."""
    rows = [line.split() for line in content.decode("ascii", "replace").splitlines()]
    try:
        return [_patterns([row[i] for row in rows], v.type.codes.width, v.type.size) for i, v in enumerate(values)]
    except (ValueError, IndexError):
        raise VerificationError("the SystemVerilog makes results with undefined bits") from None


def _digits(patterns: np.ndarray, width: int) -> list[str]:
    """Element 0 in the low bits; as many digits as a simulator writes."""
    shifts = np.arange(width).astype(object if width > 62 else np.int64)
    each = (patterns[:, :, None] >> shifts & 1).astype(np.uint8).reshape(len(patterns), -1)
    digits = -(-each.shape[1] // 4)
    each = np.pad(each, ((0, 0), (0, 8 * -(-digits // 2) - each.shape[1])))
    packed = np.packbits(each, axis=1, bitorder="little")[:, ::-1]
    return [row.tobytes().hex()[-digits:] for row in packed]


def _patterns(texts: list[str], width: int, count: int) -> np.ndarray:
    size = -(-width * count // 8)
    raw = [np.frombuffer(bytes.fromhex(t.rjust(2 * size, "0")[-2 * size :]), np.uint8)[::-1] for t in texts]
    each = np.unpackbits(np.array(raw).reshape(len(texts), size), axis=1, bitorder="little")[:, : width * count]
    powers = np.array([1 << k for k in range(width)], dtype=object if width > 62 else np.int64)
    return np.asarray((each.reshape(len(texts), count, width).astype(powers.dtype) * powers).sum(axis=2))
