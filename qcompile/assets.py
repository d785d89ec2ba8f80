"""Where `templates/`, `hw/` and the shipped example are, in a checkout and in a wheel."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from qcompile.errors import QCompileError

_PACKAGE = Path(__file__).resolve().parent


@cache
def _root() -> Path:
    # A checkout wins over packaged data, so that an editable install never reads a stale copy.
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "templates").is_dir():
        return checkout
    return _PACKAGE / "_data"


def asset(relative: str) -> Path:
    """Path of a shipped file or folder, e.g. `asset("hw/include/qc")`."""
    path = _root() / relative
    if not path.exists():
        raise QCompileError(f"the installation lacks {relative}", hint="reinstall qcompile")
    return path


def cache_folder() -> Path:
    """Where results are kept between runs: $XDG_CACHE_HOME/qcompile, or ~/.cache/qcompile. RuntimeError: no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qcompile"


@cache
def private_cache() -> Path | None:
    """The same for what is run: None where it cannot be made, or where others than this user may write."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = os.stat(folder)
        if hasattr(os, "getuid") and about.st_uid in (0, os.getuid()) and not about.st_mode & 0o022:
            return folder
    return None


@cache
def ap_types() -> Path:
    """Folder of the open ap_int headers (Apache-2.0) that the hls4ml package carries; hls4ml is not imported."""
    spec = importlib.util.find_spec("hls4ml")
    for base in spec.submodule_search_locations or () if spec else ():
        folder = Path(base) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").is_file():
            return folder
    raise QCompileError("the ap_types headers of the hls4ml package were not found", hint="pip install hls4ml")
