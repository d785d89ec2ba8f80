"""Formats as text: the inverse of ``str``."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from .base import Format


def _families() -> list[type[Format]]:
    """Those of all files beside this one, by name."""
    package = __name__.rpartition(".")[0]
    names = [f"{package}.{m.name}" for m in pkgutil.iter_modules([str(Path(__file__).parent)])]
    found = [(name, x) for name in names for x in vars(import_module(name)).values() if isinstance(x, type)]
    return [x for name, x in found if issubclass(x, Format) and x.__module__ == name and x is not Format]


FAMILIES: list[type[Format]] = _families()


def parse_format(text: str) -> Format:
    """The format that ``text`` spells, in any case; ``parse_format(str(f)) == f``. The grammar of a family is that of
    its ``parse``. ValueError says what is allowed.
    """
    for family in FAMILIES:
        if (found := family.parse(text.lower())) is not None:
            return found
    spellings = ", ".join(family.spelling for family in FAMILIES if family.spelling)
    raise ValueError(f"{text!r} is no format; allowed are {spellings}")
