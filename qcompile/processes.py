"""Other programs, temporary folders, what libraries print: all end with the run that needs them, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_PREFIX = "qcompile-run-"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder for as long as it is needed; those of runs that were killed are removed on the way."""
    root = Path(tempfile.gettempdir())
    with _held(root) as alone:
        if alone:
            _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        lock = contextlib.ExitStack()
        lock.enter_context(_held(folder))
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """A lock on a folder that ends with the process; False where somebody else has it, or there are no locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        held = False
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        yield held
    finally:
        os.close(handle)


def _sweep(root: Path) -> None:
    for entry in list(os.scandir(root)):
        with contextlib.suppress(OSError):
            mine = entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
            if mine and re.fullmatch(_PREFIX + "[a-z0-9_]{8}", entry.name):
                with _held(Path(entry.path)) as orphaned:
                    if orphaned:
                        shutil.rmtree(entry.path, ignore_errors=True)


def run(
    command: Sequence[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Like `subprocess.run` with captured text, but nothing that the program started outlives it or us: a guard in its
    process group waits at a pipe that closes when this process ends, even by SIGKILL. subprocess.TimeoutExpired.
    """
    guard = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'
    read, write = os.pipe()
    try:
        with subprocess.Popen(
            ["/bin/sh", "-c", guard, "sh", *command],
            stdin=read,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env=env,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            return subprocess.CompletedProcess(list(command), process.returncode, out, err)
    finally:
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process as an exception does: what is open is closed, what is temporary removed."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                before[getattr(signal, name)] = signal.signal(getattr(signal, name), leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Standard output of the process leads nowhere: HiGHS prints debugging lines of its own there, whatever its options
    say. Standard error stays, for progress.
    """
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C has not written yet
        os.dup2(kept, 1)
        os.close(kept)
