"""Native code of others on files of others, in a process of its own: a crash there is an answer, not our end.

The start of an interpreter and its imports take longer than most calls. So the processes are forks of one that waits
beside ours, has the modules, and has seen no file; it ends with us. Without Linux every call starts an interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

Arrays = Sequence[np.ndarray]
_MESSAGE = 2**16  # bytes: names and a path
_servers: dict[tuple[str, ...], socket.socket] = {}  # by the path of modules


class Failed(Exception):
    """The process died, ran out of time or raised: `reason` says how."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def call(target: str, *arrays: np.ndarray, timeout: float, modules: Sequence[str] = ()) -> list[np.ndarray]:
    """`module:function` of this package on arrays of numbers or bytes, in a new process.

    timeout: seconds; modules: that it imports where they are there, and that are kept from the second call on. Failed
    for whatever goes wrong. Nothing but arrays comes back, so that a process which a file has taken over can at most
    give wrong numbers.
    """
    try:
        by = _forked if hasattr(os, "memfd_create") else _started
        code, answer, errors = by(target, _packed(arrays), timeout, modules)
    except TimeoutError:
        raise Failed(f"no end within {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(f"no process can be started: {error.strerror}") from None
    if code < 0:
        raise Failed(f"it was killed by signal {-code}")
    if code:
        raise Failed(_last(errors))
    try:
        return _unpacked(answer)
    except (ValueError, OSError, EOFError, KeyError):
        raise Failed("its answer cannot be read") from None


def _interpreter(main: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of an interpreter that runs a function of this module and finds the same modules."""
    command = [sys.executable, "-c", f"from qcompile.isolated import {main}; {main}()"]
    return command, {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _started(target: str, packed: bytes, timeout: float, modules: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Exit code (negative: a signal), answer and what it says on stderr, of a new interpreter."""
    command, environment = _interpreter("main")
    try:
        done = subprocess.run(
            [*command, target], input=packed, capture_output=True, timeout=timeout, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.returncode, done.stdout, done.stderr


def _forked(target: str, packed: bytes, timeout: float, modules: Sequence[str]) -> tuple[int, bytes, bytes]:
    """The same of a fork of the process that waits."""
    with contextlib.ExitStack() as open_:
        given, answer, errors = (open_.enter_context(os.fdopen(os.memfd_create(n), "r+b")) for n in ("x", "y", "e"))
        given.write(packed)
        given.seek(0)
        ended, ends = (
            open_.enter_context(os.fdopen(end, mode, 0)) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        asked = json.dumps([target, os.getcwd(), list(modules)]).encode()
        _ask(asked, [f.fileno() for f in (given, answer, errors, ends)])
        ends.close()
        pid = int(ended.readline() or 0)  # none where the process that waits came to its own end
        try:
            if pid and not select.select([ended], [], [], timeout)[0]:
                raise TimeoutError
            status = ended.readline()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)
            raise
        for file in (answer, errors):
            file.seek(0)
        return int(status or 1), answer.read(), errors.read()


def _ask(message: bytes, files: list[int]) -> None:
    """To the process that waits, which is started where there is none."""
    key = tuple(sys.path)
    if key in _servers:
        with contextlib.suppress(ConnectionError):
            socket.send_fds(_servers[key], [message], files)
            return
    for old in _servers.values():
        old.close()
    _servers.clear()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command, environment = _interpreter("serve")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=quiet, stderr=quiet, env=environment)
    theirs.close()
    _servers[key] = ours
    atexit.register(_end, ours, process)
    socket.send_fds(ours, [message], files)


def _end(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def serve() -> None:
    """The process that waits: a fork for every message, until nobody is left who could send one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    calls = Counter[str]()
    with socket.socket(fileno=os.dup(0)) as connection:
        while True:
            message, files, _, _ = socket.recv_fds(connection, _MESSAGE, 4)
            if not message:
                return
            target, folder, modules = json.loads(message)
            calls[target] += 1
            for name in (target.split(":")[0], *(modules if calls[target] > 1 else ())):
                with contextlib.suppress(Exception):  # the fork meets it again, and tells it
                    importlib.import_module(name)
            if os.fork() == 0:
                connection.close()
                _watch(target, folder, files)
            for file in files:
                os.close(file)


def _watch(target: str, folder: str, files: Sequence[int]) -> None:
    """A process that starts the one that answers, and says its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(files[3])
            os.chdir(folder)
            for to, file in enumerate(files[:3]):
                os.dup2(file, to)
            code = _answered(target)
        os._exit(code)
    os.write(files[3], b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(files[3], b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def main() -> None:
    """What an interpreter of one call runs."""
    sys.exit(_answered(sys.argv[1]))


def _answered(target: str) -> int:
    """The other side of `call`: arrays on stdin and stdout; for exceptions exit code 1 and one line on stderr."""
    with os.fdopen(os.dup(1), "wb") as answer, open(0, "rb", closefd=False) as given:
        os.dup2(2, 1)  # what libraries print is no answer
        module, function = target.split(":")
        try:
            found = getattr(importlib.import_module(module), function)(*_unpacked(given.read()))
        except Exception as error:  # noqa: BLE001 - whatever a library raises is told to the other side
            lines = str(error).splitlines()
            missing = f" ({error.name})" if isinstance(error, ImportError) and error.name else ""
            print(f"\n{type(error).__name__}{missing}: {lines[0][:100] if lines else ''}", file=sys.stderr)
            return 1
        answer.write(_packed(found))
    return 0


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
