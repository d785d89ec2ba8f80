"""Arrays of .npy and .npz files, which are not to be trusted: what a header says is checked before anything is made of
it, nothing is unpickled, and no more is unpacked than MOST_BYTES.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from qcompile.errors import QCompileError
from qcompile.records import dataclass

MOST_BYTES = 2**28  # that an archive may unpack to; an .npy file is mapped, not read
MOST_ARRAYS = 1000
MOST_AXES = 32
NUMBERS = "fiub"
_LONGEST_HEADER = 2**14
_HINT = "write it with numpy.save or numpy.savez"


@dataclass(frozen=True)
class Header:
    """What a file says of an array. data: where its numbers begin in the file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    data: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


Check = Callable[[list[Header]], object]


def read(path: str | Path, check: Check = len) -> dict[str, np.ndarray]:
    """The arrays of a file by name, in order; that of an .npy file is "x", mapped into memory and read-only.

    check: looks at the headers before the numbers are read, and raises QCompileError where they are not what is wanted.
    QCompileError where the file is missing, damaged, too large, or holds other things than numbers.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is no file")
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                return _archive(file, check)
            file.seek(0)
            header = _header(file, "x", os.fstat(file.fileno()).st_size)
        check([header])
        return {"x": _mapped(path, header)}
    except QCompileError:
        raise
    except OSError as error:
        raise _unreadable(path, error.strerror or "it is damaged") from None
    except ValueError as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: str | Path, reason: str) -> QCompileError:
    return QCompileError(f"the array cannot be read: {reason}", str(path), _HINT)


def _header(file: IO[bytes], name: str, size: int) -> Header:
    """Of an array whose file (or member of an archive) has `size` bytes. ValueError says what is wrong with it."""
    head = io.BytesIO(file.read(_LONGEST_HEADER))
    try:
        parse = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(head)]
        shape, fortran, dtype = parse(head)
    except Exception:  # the parser evaluates text: what it raises for a damaged one is not written down
        raise ValueError("it is no .npy or .npz file with numbers") from None
    if dtype.kind not in NUMBERS or dtype.names or dtype.subdtype:
        raise ValueError(f"it must hold numbers, not {str(dtype)[:80]}")
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise ValueError(f"it has {len(shape)} axes, or a negative size")
    header = Header(name, shape, dtype, fortran, head.tell())
    if header.nbytes != size - header.data:
        raise ValueError(
            f"an array of shape {list(shape)} and type {dtype} has {header.nbytes} bytes, and the file has"
            f" {size - header.data}"
        )
    return header


def _mapped(path: str | Path, header: Header) -> np.ndarray:
    if not header.nbytes:  # nothing can be mapped
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.data, header.shape, "F" if header.fortran else "C")


def _archive(file: IO[bytes], check: Check) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; their headers first."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS:
                raise ValueError(f"it holds {len(members)} arrays; {MOST_ARRAYS} are possible")
            total = sum(m.file_size for m in members)
            if total > MOST_BYTES:
                raise ValueError(
                    f"it unpacks to {total:,} bytes, and {MOST_BYTES:,} are the most; an .npy file may be larger"
                )
            headers = [_member_header(archive, m) for m in members]
            if len({h.name for h in headers}) < len(headers):
                raise ValueError("two of its arrays have the same name")
            check(headers)
            return {h.name: _member(archive, m, h) for m, h in zip(members, headers, strict=True)}
    except (QCompileError, ValueError):
        raise
    except Exception:  # damaged archives raise what zipfile, zlib, bz2, lzma and struct raise
        raise ValueError("the archive is damaged, or of a kind that numpy does not write") from None


def _member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with archive.open(member) as file:
        return _header(file, member.filename.removesuffix(".npy"), member.file_size)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header) -> np.ndarray:
    with archive.open(member) as file:
        file.seek(header.data)
        data = file.read(header.nbytes)
    if len(data) != header.nbytes:
        raise EOFError
    flat = np.frombuffer(data, header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
