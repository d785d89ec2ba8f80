"""Formats as text: the inverse of ``str``."""

from __future__ import annotations

from .base import Format
from .bipolar import Bipolar
from .fixed import FixedPoint, WideInteger
from .minifloat import Minifloat

FAMILIES: list[type[Format]] = [
    FixedPoint,
    WideInteger,
    Minifloat,
    Bipolar,
]


def parse_format(text: str) -> Format:
    """The format that ``text`` spells, in any case; ``parse_format(str(f)) == f``. The grammar of a family is that of
    its ``parse``. ValueError says what is allowed.
    """
    for family in FAMILIES:
        if (found := family.parse(text.lower())) is not None:
            return found
    spellings = ", ".join(family.spelling for family in FAMILIES if family.spelling)
    raise ValueError(f"{text!r} is no format; allowed are {spellings}")
