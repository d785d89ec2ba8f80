"""Templates of all that is written, by jinja2; their byte code is kept where Python keeps that of modules."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from typing import Any

import jinja2
from jinja2.bccache import Bucket

from qcompile.assets import asset

_SETTINGS: dict[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
    "optimized": False,  # of constants, which takes longer than it saves
}


class _ByteCode(jinja2.BytecodeCache):
    """`__pycache__` beside a template, as for a module: of this Python only, none with `PYTHONDONTWRITEBYTECODE` or
    where nothing can be written, elsewhere with `PYTHONPYCACHEPREFIX`. To compile a small project's templates takes
    longer than to write it.
    """

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return cache_from_source(filename) if filename else ""

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(f"{jinja2.__version__} {_SETTINGS} {source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError), open(bucket.key, "rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        folder = os.path.dirname(bucket.key)
        with suppress(OSError):
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as own:  # which goes also where not all can be written
                with open(os.path.join(own, "code"), "wb") as file:
                    bucket.write_bytecode(file)
                os.replace(file.name, bucket.key)


@cache
def templates(**filters: Callable[..., str]) -> jinja2.Environment:
    """All of `templates/`, e.g. `templates().get_template("hls/tb.cpp.j2")`, with filters that they may use by name."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(asset("templates")),
        bytecode_cache=_ByteCode(),
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        **_SETTINGS,
    )
    made.filters |= filters
    return made
