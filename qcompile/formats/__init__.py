"""Formats: which numbers a code stands for.

A format turns codes (small integers, what a wire carries) into *units* (integer multiples of
``2**unit``) and back, and quantizes exact rational numbers. It knows no scale and no zero point:
those are data on the tensor type. Everything here is exact; no float decides anything.
"""

from .base import Format
from .bipolar import Bipolar
from .codebook import Codebook, narrowest
from .fixed import FixedPoint, WideInteger, accumulator, high_bits, limits_of, smallest_width
from .lane import FloatLane, IntegerLane, Lane, SignLane, TableLane
from .minifloat import E2M1, E2M3, E3M2, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ, Minifloat, Specials
from .rounding import Overflow, Rounding, round_ratio
from .text import parse_format

__all__ = [
    "WideInteger",
    "Bipolar",
    "Codebook",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E4M3FNUZ",
    "E5M2",
    "E5M2FNUZ",
    "FixedPoint",
    "FloatLane",
    "Format",
    "IntegerLane",
    "Lane",
    "Minifloat",
    "Overflow",
    "Rounding",
    "SignLane",
    "Specials",
    "TableLane",
    "accumulator",
    "parse_format",
    "high_bits",
    "limits_of",
    "narrowest",
    "smallest_width",
    "round_ratio",
]
