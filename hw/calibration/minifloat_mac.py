"""A multiply-accumulate of minifloats against one of integers of the same width: measured, written to
hw/calibration/minifloat_mac.md.

Both accumulators are exact for TERMS products of any codes. Decoding is part of it; rounding back to the format happens
once a sum and is not.
"""

from __future__ import annotations

from pathlib import Path

from grid import Params, Primitive, _mac, _minifloat_mac
from measure import synthesise, yosys_version

from qcompile.cost.fabrics import measured
from qcompile.formats import E2M1, E2M3, E3M2, E4M3, E5M2, Minifloat
from qcompile.formats.minifloat import SUFFIXES

TERMS = 64
LIMITS = (20, 180)  # percent
FORMATS = {
    "E2M1": E2M1,
    "E2M2": Minifloat(2, 2, 1),
    "E3M1": Minifloat(3, 1, 3),
    "E2M3": E2M3,
    "E3M2": E3M2,
    "E3M3": Minifloat(3, 3, 3),
    "E4M2": Minifloat(4, 2, 7),
    "E3M4": Minifloat(3, 4, 3),
    "E4M3": E4M3,
    "E5M2": E5M2,
}
FABRICS = [name for name, f in measured().items() if not f.like]
FILE = Path(__file__).resolve().parent / "minifloat_mac.md"
_FILES = ("accumulator.sv", "mul.sv", "table_lut.sv")
FLOAT = Primitive(
    ("minifloat_mac.sv", "minifloat_mul.sv", "minifloat_decode.sv", "shifter.sv", *_FILES), _minifloat_mac, ()
)
INTEGER = Primitive(("mac.sv", *_FILES), _mac, ())


def minifloat_point(f: Minifloat) -> Params:
    """Widths of its MAC: bits of the largest product, and of TERMS of them with a sign."""
    largest = int(f.max_units) ** 2
    return {"e": f.exponent, "m": f.mantissa, "p": largest.bit_length(), "acc": (TERMS * largest).bit_length() + 1}


def integer_point(width: int) -> Params:
    """Widths of the MAC of two's complement numbers of that width."""
    return {"w": width, "a": width, "acc": (TERMS << 2 * width - 2).bit_length() + 1, "style": "lut"}


def table() -> str:
    widths = sorted({f.width for f in FORMATS.values()})
    lines = [
        (
            f"LUTs of one multiply-accumulate, its accumulator exact for {TERMS} terms, and the overhead over integers"
            " of the same width"
        ),
        f"(published designs: {LIMITS[0]:+} to {LIMITS[1]:+} %). Synthesis: {yosys_version()}.",
        "",
    ]
    lines += [
        "| format | fabric | LUT | accumulator bits | integer LUT | integer accumulator bits | overhead | expected |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fabric in FABRICS:
        points = [minifloat_point(f) for f in FORMATS.values()]
        plain = [integer_point(w) for w in widths]
        floats = synthesise(FLOAT, fabric, points)
        integers = dict(zip(widths, zip(plain, synthesise(INTEGER, fabric, plain), strict=True), strict=True))
        for name, p, found in zip(FORMATS, points, floats, strict=True):
            q, base = integers[FORMATS[name].width]
            over = 100 * (found["lut"] / base["lut"] - 1)
            inside = "inside" if LIMITS[0] <= over <= LIMITS[1] else "below" if over < LIMITS[0] else "above"
            special = SUFFIXES[FORMATS[name].specials]
            lines.append(
                f"| {name}{special} | {fabric} | {found['lut']} | {p['acc']} | {base['lut']} | {q['acc']} | {over:+.0f}"
                f" % | {inside} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    text = table()
    FILE.write_text(text)
    print(text)
