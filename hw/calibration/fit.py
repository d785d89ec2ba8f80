"""Fits the coefficients of the cost model to the measured points and writes hw/costs/primitives.toml and
hw/calibration/errors.md.

The fit minimises absolute relative errors. The error of a point is that of a fit which did not see it: five folds,
drawn once. A coefficient is never negative except that of `adders` and `chains`, which correct the bits of
every adder: bits that turn out to be copies of a sign.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
from grid import PRIMITIVES, Params, affine, constant, contents, cuts, digit_chain, matrix, row_bits, window_control
from measure import COMMANDS, load, yosys_version

from qcompile.cost import forms, pairing, primitives
from qcompile.cost.devices import device
from qcompile.cost.fabrics import measured
from qcompile.cost.forms import Features, Traits

HERE = Path(__file__).resolve().parent
COSTS = HERE.parent / "costs" / "primitives.toml"
ERRORS = HERE / "errors.md"
FOLDS = 5
SMALL = 6.0  # LUTs below which an error counts as if there were that many
FREE = {
    "adders",
    "chains",
    "edge",
    *(f"{side}{n}_{k}" for side in ("left", "right") for n in range(1, forms.MOST_STEPS + 1) for k in ("one", "most")),
}
MOST_CHOICES = 7  # features of which every choice is tried


def _affine(t: Traits, p: Params) -> Features:
    c = affine(p)
    return forms.multiply_add_shift(t, c["MUL"], c["ADD"], c["SHIFT"], c["LO"], c["HI"], p["acc"], c["N"])


def _rows(t: Traits, p: Params) -> Features:
    lo, hi, _ = row_bits(p)
    return forms.rows(t, pairing.graph(matrix(p), lo, hi), p["a"], bool(p["signed"]))


LUT = {
    "mul_lut": lambda t, p: forms.multiplier(t, p["w"], p["a"], bool(p["signed"]), p["signed"] == 1),
    "mul_dsp": lambda t, p: forms.multiplier_dsp(t, p["w"], p["a"], p["signed"]),
    "digit_sum": lambda t, p: forms.digit_sum(digit_chain(p)),
    "mul_const": lambda t, p: forms.constants(t, np.array([constant(p)]), p["a"], p["signed"]),
    "adder_tree": lambda t, p: forms.adder_tree(t, p["terms"], p["bits"], bool(p["signed"])),
    "accumulator": lambda t, p: forms.accumulator(t, p["in"], p["bits"], p["signed"], p["minus"]),
    "thresholds": lambda t, p: forms.thresholds(t, np.array(cuts(p)), p["acc"], bool(p["signed"])),
    "mul_add_shift": _affine,
    "clamp": lambda t, p: forms.clamp(t, p["in"], p["lo"], p["hi"]),
    "table": lambda t, p: forms.table(t, np.array(contents(p)), p["in"], p["out"]),
    "mux": lambda t, p: forms.mux(t, p["n"], p["bits"]),
    "shifter": lambda t, p: forms.shifter(t, p["bits"], p["most"], p["right"]),
    "minifloat_decode": lambda t, p: forms.minifloat_decode(t, p["e"]),
    "minifloat_mul": lambda t, p: forms.minifloat_product(t, (p["ea"], p["ma"]), (p["eb"], p["mb"])),
    "minifloat_round": lambda t, p: forms.minifloat_round(t, p["in"], p["shift"], p["e"], p["m"], p["even"]),
    "fifo": lambda t, p: forms.fifo(t, p["depth"], p["width"], p["style"] == "block"),
    "counter": lambda t, p: forms.counter(t, p["limit"]),
    "window": lambda t, p: forms.window(t, *astuple(window_control(p))),
    "line_buffer": lambda t, p: forms.line_buffer(t, p["depth"], p["width"], p["style"] == "block"),
    "width_converter": lambda t, p: forms.width_converter(t, p["in"], p["out"]),
    "constant_rows": _rows,
}


@dataclass(frozen=True)
class Fit:
    names: tuple[str, ...]
    coefficients: np.ndarray
    lut: np.ndarray
    left_out: np.ndarray
    """Answers for every point by fits that did not see it."""
    unseen: bool
    """Whether the points were in no fit at all: this fabric has the coefficients of another one."""


def reweighted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """(coefficients of least absolute relative error, that error): least squares, reweighted."""
    base = 1 / np.maximum(y, SMALL)
    weight = base.copy()
    for _ in range(12):
        found, *_ = np.linalg.lstsq(x * weight[:, None], y * weight, rcond=None)
        rest = np.abs(x @ found - y) * base
        weight = base / np.sqrt(np.maximum(rest, 0.005))
    return found, float(rest.sum())


def least_errors(x: np.ndarray, y: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Coefficients of least absolute relative error, >= 0 unless free.

    Absolute, not squared: one point on which the synthesis is lucky must not move all others. Of few features every
    choice is tried; of many the most negative one is left out until none is.
    """
    best, error = np.zeros(x.shape[1]), np.inf
    if x.shape[1] > MOST_CHOICES:
        part = np.arange(x.shape[1])
        while True:
            found, _ = reweighted(x[:, part], y)
            bad = np.where(free[part], 0, found)
            if bad.min() >= 0:
                best[part] = found
                return best
            part = np.delete(part, int(np.argmin(bad)))
    for size in range(1, x.shape[1] + 1):
        for chosen in combinations(range(x.shape[1]), size):
            part = np.array(chosen)
            found, rest = reweighted(x[:, part], y)
            # A feature must earn its place.
            if not np.any((found < 0) & ~free[part]) and rest < error * 0.99:
                best, error = np.zeros(x.shape[1]), rest
                best[part] = found
    return best


def _system(name: str, fabric: str, names: tuple[str, ...] = ()) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(features, counts [points, features], measured LUTs)."""
    points = [(p, r) for f, p, r in load(name) if f == fabric]
    traits = primitives.traits(device(measured()[fabric].part))
    rows = [LUT[name](traits, p) for p, _ in points]
    names = names or tuple(dict.fromkeys(k for row in rows for k in row))
    x = np.array([[float(row.get(k, 0)) for k in names] for row in rows]).reshape(len(rows), len(names))
    return names, x, np.array([float(r["lut"]) for _, r in points])


def fit(name: str, fabric: str) -> Fit | None:
    data = measured()[fabric]
    own = not data.like or name in data.own
    names, x, y = _system(name, fabric if own else data.like)
    if not len(y):
        return None
    free = np.array([k in FREE for k in names])
    best = np.round(least_errors(x, y, free), 4)
    if not own:
        _, x, y = _system(name, fabric, names)
        return Fit(names, best, y, np.maximum(x @ best, 0), True)
    left_out = np.zeros(len(y))
    order = np.arange(len(y)) % FOLDS
    Random(len(y)).shuffle(order)  # the grid is periodic, folds must not be
    for fold in range(FOLDS):
        seen = order != fold
        left_out[~seen] = np.maximum(x[~seen] @ least_errors(x[seen], y[seen], free), 0)
    return Fit(names, best, y, left_out, False)


@dataclass(frozen=True)
class Errors:
    """Of LUTs on points left out: median and 95th percentile in %, share within 15 % or 3 LUT in %, median and 95th
    percentile of the error as parts of the limits; and points whose other counts are exact.
    """

    points: int
    median: float
    of_median: float
    high: float
    inside: float
    of_limit: float
    exact: str

    @property
    def met(self) -> bool:
        return self.of_median <= 1 and self.of_limit <= 1


def errors(name: str, fabric: str, found: Fit) -> Errors:
    error = np.abs(found.left_out - found.lut)
    relative = 100 * error / np.maximum(found.lut, 1)
    part = np.minimum(relative / 15, error / 3)
    median, high = (float(np.percentile(relative, q)) for q in (50, 95))
    return Errors(
        len(error),
        median,
        float(np.median(np.minimum(relative / 5, error))),
        high,
        100 * float((part <= 1).mean()),
        float(np.percentile(part, 95)),
        exact(name, fabric),
    )


def exact(name: str, fabric: str) -> str:
    """How many points have exactly the DSP blocks, block RAMs and flip-flops that qcompile.cost.primitives says, where
    there are any.
    """
    if name not in COUNTED:
        return ""
    f = primitives.fabric(device(measured()[fabric].part))
    points = [
        (primitives_cost, r) for g, p, r in load(name) if g == fabric for primitives_cost in (COUNTED[name](f, p),)
    ]
    out = []
    for what, key in (("DSP", "dsp"), ("BRAM", "bram18"), ("FF", "ff")):
        if any(r[key] for _, r in points):
            same = sum(round(getattr(cost, key)) == r[key] for cost, r in points)
            out.append(f"{what} {same}/{len(points)}")
    return ", ".join(out)


def _block(p: Params) -> bool:
    return bool(p["style"] == "block")


COUNTED = {
    "mul_dsp": lambda f, p: primitives.multiplier(f, p["w"], p["a"], bool(p["signed"]), dsp=True),
    "accumulator": lambda f, p: primitives.accumulator(f, p["bits"], p["in"], bool(p["signed"]), bool(p["minus"])),
    "rom": lambda f, p: primitives.rom(f, p["depth"], p["width"], True),
    "fifo": lambda f, p: primitives.fifo(f, p["depth"], p["width"], _block(p)),
    "counter": lambda f, p: primitives.counter(f, p["limit"]),
    "line_buffer": lambda f, p: primitives.line_buffer(f, p["depth"], p["width"], p["style"]),
    "width_converter": lambda f, p: primitives.width_converter(f, p["in"], p["out"]),
}

NOTE = """Errors of the cost model on points that its fit did not see (five folds; UltraScale+ logic has the
coefficients of the 7 series and all of its points are unseen). Limits: median at most 5 % or 1 LUT, 95th percentile at
most 15 % or 3 LUT, whichever is easier. Exact: points whose other counts are predicted exactly, of all
points that were measured. Made by `make calibrate`.
"""


def table(found: dict[tuple[str, str], Fit]) -> str:
    """The published table."""
    lines = [NOTE, f"Synthesis: {yosys_version()}, commands in hw/fabrics.", ""]
    lines += [
        "| primitive | fabric | points | median % | 95th percentile % | within 15 % or 3 LUT, % | limits | exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, fabric), f in found.items():
        if not len(f.lut):
            continue
        e = errors(name, fabric, f)
        lines.append(
            f"| {name} | {fabric} | {e.points} | {e.median:.1f} | {e.high:.1f} | {e.inside:.1f} |"
            f" {'met' if e.met else 'missed'} | {e.exact} |"
        )
    for fabric in COMMANDS:
        lines.append(
            f"| rom (no LUTs) | {fabric} | {len([1 for f, _, _ in load('rom') if f == fabric])} | | | | |"
            f" {exact('rom', fabric)} |"
        )
    return "\n".join([*lines, ""])


def ranges(name: str) -> dict[str, tuple[int, int]]:
    """Smallest and largest of every width that was measured."""
    points = [p for _, p, _ in load(name)]
    numbers = [
        k
        for k, v in PRIMITIVES[name].points[0].items()
        if not isinstance(v, str) and k not in ("seed", "signed", "negative", "bias", "zeros")
    ]
    out = {k: (min(p[k] for p in points), max(p[k] for p in points)) for k in numbers if points}
    if name in ("mul_lut", "mul_dsp"):
        out["a"] = (out["w"][0], out["a"][1])
    if name == "window":
        found = [window_control(p) for p in points]
        return {k: (min(v), max(v)) for k in ("count", "places") if (v := [getattr(w, k) for w in found])}
    return {**out, "small": (1, 16), "ratio": (2, 16)} if name == "width_converter" else out


def model(found: dict[tuple[str, str], Fit]) -> str:
    """hw/costs/primitives.toml."""
    lines = [
        (
            "# Coefficients of qcompile/cost/forms.py, and the widths that were measured. Written by"
            " hw/calibration/fit.py, from hw/calibration/points."
        ),
        "",
    ]
    for (name, fabric), f in found.items():  # + 0.0: machines differ in the sign of zero
        lines.append(f"[{fabric}.{name}]")
        lines += [f"{k} = {float(v) + 0.0:g}" for k, v in zip(f.names, f.coefficients, strict=True)] + [""]
    for name in (*LUT, "rom"):
        lines.append(f"[range.{name}]")
        lines += [f"{k} = [{low}, {high}]" for k, (low, high) in ranges(name).items()] + [""]
    return "\n".join(lines)


def fits() -> dict[tuple[str, str], Fit]:
    return {(n, f): found for n in LUT for f in COMMANDS if (found := fit(n, f))}


def main() -> None:
    found = fits()
    # The coefficients first: the exact counts are looked up through the model that uses them.
    COSTS.write_text(model(found))
    primitives._model.cache_clear()
    text = table(found)
    ERRORS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
