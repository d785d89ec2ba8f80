"""Formats as text: the inverse of ``str``."""

from __future__ import annotations

import re
from fractions import Fraction

from .base import Format
from .bipolar import Bipolar
from .fixed import FixedPoint, accumulator
from .minifloat import E2M1, E2M3, E3M2, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ, SUFFIXES, Minifloat

_NAMES: dict[str, Format] = {
    "bipolar": Bipolar(),
    "binary": FixedPoint(1, signed=False),
    "ternary": FixedPoint(2, narrow=True),
    "e4m3": E4M3,
    "e5m2": E5M2,
    "e4m3fnuz": E4M3FNUZ,
    "e5m2fnuz": E5M2FNUZ,
    "e3m2": E3M2,
    "e2m3": E2M3,
    "e2m1": E2M1,
}
MOST_FRACTION = 1100  # float64 has no smaller numbers
_SPECIALS = {suffix: specials for specials, suffix in SUFFIXES.items()}

_FIXED = re.compile(r"(?P<sign>[su])(?P<width>[1-9][0-9]?)(f(?P<frac>-?[0-9]{1,12}))?(?P<narrow>n?)")
_ACCUMULATOR = re.compile(r"(?P<sign>[su])acc(?P<width>[1-9][0-9]{1,3})")
_MINIFLOAT = re.compile(
    r"(?P<unsigned>u?)e(?P<exponent>[0-9]{1,2})m(?P<mantissa>[0-9]{1,2})b(?P<bias>-?[0-9]{1,4})"
    r"(?P<specials>[inz]?)(x(?P<max>[0-9]{1,1400}(/[1-9][0-9]{0,1400}|\.[0-9]{1,1400})?))?"
)
_BARE = re.compile(r"e(?P<exponent>[0-9]{1,2})m(?P<mantissa>[0-9]{1,2})")


def parse_format(text: str) -> Format:
    """The format that ``text`` spells, in any case; ``parse_format(str(f)) == f``.

    - fixed point: ``s12f10``, ``u8``, ``s8f-2``, ``s8f7n`` (n: narrow);
    - minifloat: ``e4m3b7`` with the bias, then ``i``, ``n`` or ``z`` for the specials IEEE, NAN or
      FNUZ, then ``x240`` for an own maximum; ``ue4m3b8``: unsigned;
    - without a bias: the format of that name (``e4m3``, ``e5m2``, ``e4m3fnuz``, ``e5m2fnuz``,
      ``e3m2``, ``e2m3``, ``e2m1``), else bias 2**(exponent-1) - 1 and no specials;
    - ``bipolar``, ``binary`` (u1), ``ternary`` (s2n).

    ValueError says what is allowed.
    """
    lower = text.lower()
    if lower in _NAMES:
        return _NAMES[lower]
    if match := _FIXED.fullmatch(lower):
        frac = int(match["frac"] or 0)
        if abs(frac) > MOST_FRACTION:
            raise ValueError(f"{text!r} has {frac} bits after the binary point; {MOST_FRACTION} are the most")
        return FixedPoint(int(match["width"]), frac, match["sign"] == "s", bool(match["narrow"]))
    if match := _ACCUMULATOR.fullmatch(lower):
        return accumulator(int(match["width"]), match["sign"] == "s")
    if match := _MINIFLOAT.fullmatch(lower):
        own_max = None if match["max"] is None else Fraction(match["max"])
        fields = (int(match["exponent"]), int(match["mantissa"]), int(match["bias"]))
        return Minifloat(*fields, _SPECIALS[match["specials"]], own_max, not match["unsigned"])
    if match := _BARE.fullmatch(lower):
        exponent = int(match["exponent"])
        # Minifloat refuses an exponent of no bits, whatever the bias.
        return Minifloat(exponent, int(match["mantissa"]), 2 ** max(exponent - 1, 0) - 1 if exponent <= 8 else 0)
    raise ValueError(
        f"{text!r} is no format; allowed are fixed point (s8f7, u8, s8f-2, s8f7n), minifloat (e4m3, e4m3b7, "
        "e4m3b7n, e4m3b7x240, ue4m3b8), bipolar, binary and ternary"
    )
