"""C++ of this package that Python calls: found in the user's cache, or compiled with g++, else absent; what it does,
Python does as well. The compiler gets a file of the package and nothing of a model.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from qcompile.assets import private_cache
from qcompile.processes import run

Library = ctypes.CDLL
_PATIENCE = 120.0  # seconds that the compiler may take


def program(name: str) -> tuple[str, int, int]:
    """Which program that is: where it lies, its size and when it was written. OSError where it is not there."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(name)
    real = os.stat(found)
    return os.path.realpath(found), real.st_size, real.st_mtime_ns


class Native:
    """A source, the flags that it is compiled with, and what gives its functions their types."""

    def __init__(self, name: str, source: Path, flags: str, typed: Callable[[Library], Library]) -> None:
        self.name, self.source, self.flags, self._typed = name, source, tuple(flags.split()), typed
        self._library: Library | None = None
        self._looked = self._built = False

    def library(self) -> Library | None:
        """If this process or an earlier one compiled it."""
        if not self._looked:
            self._looked = True
            place = self._place()
            self._library = None if place is None else self.loaded(place)
        return self._library

    def build(self) -> Library | None:
        """Compiled into the cache if it is not there, which is tried once. None without g++, and where the cache cannot
        be written.
        """
        if self.library() is None and not self._built:
            self._built = True
            place = self._place()
            if place is not None:
                with suppress(OSError):
                    self._library = self.compiled(place)
        return self._library

    def _place(self) -> Path | None:
        """Where it belongs: the name changes with the source, the flags, the compiler and the processor."""
        folder = private_cache()
        if folder is None or not hasattr(os, "getuid"):
            return None
        try:
            told = (*program("g++"), self.flags, platform.machine(), _processor())
            digest = hashlib.sha256(self.source.read_bytes() + repr(told).encode()).hexdigest()
        except OSError:
            return None
        return folder / f"{self.name}-{digest[:24]}.so"

    def loaded(self, place: Path) -> Library | None:
        """A library that only this user could have written; None where there is none, or it does not fit."""
        with suppress(OSError):
            about = os.stat(place)
            if about.st_uid not in (0, os.getuid()) or about.st_mode & 0o022:
                return None
            return self._typed(ctypes.CDLL(str(place)))
        return None

    def compiled(self, place: Path) -> Library | None:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as folder:
            new = Path(folder) / place.name
            for machine in (("-march=native",), ()):  # a compiler that does not know the first takes its own
                command = ["g++", *self.flags, *machine, "-shared", "-fPIC", "-o", str(new), str(self.source)]
                with suppress(OSError, TimeoutError):
                    if run(command, timeout=_PATIENCE).returncode == 0:
                        new.chmod(0o700)
                        os.replace(new, place)
                        return self.loaded(place)
        return None


@cache
def _processor() -> str:
    """What instructions there are."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return platform.processor()
