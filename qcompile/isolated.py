"""Native code of others on files of others, in a process of its own: a crash there is an answer, not our end."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

Arrays = Sequence[np.ndarray]


class Failed(Exception):
    """The process died, ran out of time or raised: `reason` says how."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def call(target: str, *arrays: np.ndarray, timeout: float) -> list[np.ndarray]:
    """`module:function` of this package on arrays of numbers or bytes, in a new process.

    timeout: seconds. Failed for whatever goes wrong. Nothing but arrays comes back, so that a process which a file has
    taken over can at most give wrong numbers.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", "from qcompile.isolated import main; main()", target]
    try:
        done = subprocess.run(
            command, input=_packed(arrays), capture_output=True, timeout=timeout, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(f"no process can be started: {error.strerror}") from None
    if done.returncode < 0:
        raise Failed(f"it was killed by signal {-done.returncode}")
    if done.returncode:
        raise Failed(_last(done.stderr))
    try:
        return _unpacked(done.stdout)
    except (ValueError, OSError, EOFError, KeyError):
        raise Failed("its answer cannot be read") from None


def main() -> None:
    """The other side of `call`: arrays on stdin and stdout; for exceptions exit code 1 and one line on stderr."""
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # what libraries print is no answer
        module, function = sys.argv[1].split(":")
        try:
            found = getattr(importlib.import_module(module), function)(*_unpacked(sys.stdin.buffer.read()))
        except Exception as error:  # noqa: BLE001 - whatever a library raises is told to the other side
            lines = str(error).splitlines()
            missing = f" ({error.name})" if isinstance(error, ImportError) and error.name else ""
            print(f"\n{type(error).__name__}{missing}: {lines[0][:100] if lines else ''}", file=sys.stderr)
            sys.exit(1)
        answer.write(_packed(found))


def as_bytes(array: np.ndarray) -> bytes:
    """The bytes that travelled as an array."""
    return array.astype(np.uint8).tobytes()


def as_array(data: bytes) -> np.ndarray:
    """Bytes as an array that can travel."""
    return np.frombuffer(data, dtype=np.uint8)


def _packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> list[np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return [file[f"arr_{i}"] for i in range(len(file.files))]


def _last(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
