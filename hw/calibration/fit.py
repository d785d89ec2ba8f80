"""Fits the coefficients of the cost model to the measured points and writes hw/costs/primitives.toml and hw/calibration/errors.md.

The fit minimises absolute relative errors. The error of a point is that of a fit which did not see it: five folds, drawn once. A coefficient is
never negative except that of `adders` and `chains`, which correct the bits of
every adder: bits that turn out to be copies of a sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
from grid import PRIMITIVES, Params, affine, constant, contents, cuts, matrix, row_bits
from measure import COMMANDS, load, yosys_version

from qcompile.cost import forms, structure
from qcompile.cost.forms import ECP5, XC7, XCUP, Features, Traits

HERE = Path(__file__).resolve().parent
COSTS = HERE.parent / "costs" / "primitives.toml"
ERRORS = HERE / "errors.md"
TRAITS = {"xc7": XC7, "xcup": XCUP, "ecp5": ECP5}
FOLDS = 5
SMALL = 6.0  # LUTs below which an error counts as if there were that many
FREE = {"adders", "chains", "shared"}


def _affine(t: Traits, p: Params) -> Features:
    c = affine(p)
    return forms.multiply_add_shift(t, c["MUL"], c["ADD"], c["SHIFT"], c["LO"], c["HI"], p["acc"], c["N"])


def _rows(t: Traits, p: Params) -> Features:
    lo, hi, _ = row_bits(p)
    return forms.rows(t, structure.rows(matrix(p), lo, hi))


LUT = {
    "mul_lut": lambda t, p: forms.multiplier(t, p["w"], p["a"], p["signed"]),
    "mul_dsp": lambda t, p: forms.multiplier_dsp(t, p["w"], p["a"], p["signed"]),
    "mul_const": lambda t, p: forms.constants(t, np.array([constant(p)]), p["a"], p["signed"]),
    "adder_tree": lambda t, p: forms.adder_tree(t, p["terms"], p["bits"]),
    "accumulator": lambda t, p: forms.accumulator(t, p["in"], p["bits"], p["signed"], p["minus"]),
    "thresholds": lambda t, p: forms.thresholds(t, np.array(cuts(p)), p["acc"]),
    "mul_add_shift": _affine,
    "clamp": lambda t, p: forms.clamp(t, p["in"], p["lo"], p["hi"]),
    "table": lambda t, p: forms.table(t, np.array(contents(p)), p["in"], p["out"]),
    "mux": lambda t, p: forms.mux(t, p["n"], p["bits"]),
    "shifter": lambda t, p: forms.shifter(t, p["bits"], p["most"], p["right"]),
    "minifloat_decode": lambda t, p: forms.minifloat_decode(t, p["e"]),
    "minifloat_mul": lambda t, p: forms.minifloat_product(t, (p["ea"], p["ma"]), (p["eb"], p["mb"])),
    "minifloat_round": lambda t, p: forms.minifloat_round(t, p["in"], p["shift"], p["e"], p["m"], p["even"]),
    "fifo": lambda t, p: forms.fifo(t, p["depth"], p["width"], p["style"] == "block"),
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


def least_errors(x: np.ndarray, y: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Coefficients of least absolute relative error, >= 0 unless free: of all choices of features the best one without a negative.

    Absolute, not squared: one point on which the synthesis is lucky must not move all others. By least squares, reweighted.
    """
    base = 1 / np.maximum(y, SMALL)
    best, error = np.zeros(x.shape[1]), np.inf
    for size in range(1, x.shape[1] + 1):
        for chosen in combinations(range(x.shape[1]), size):
            part = np.array(chosen)
            weight = base.copy()
            for _ in range(12):
                found, *_ = np.linalg.lstsq(x[:, part] * weight[:, None], y * weight, rcond=None)
                rest = np.abs(x[:, part] @ found - y) * base
                weight = base / np.sqrt(np.maximum(rest, 0.005))
            if np.any((found < 0) & ~free[part]):
                continue
            # A feature must earn its place.
            if rest.sum() < error * 0.99:
                best, error = np.zeros(x.shape[1]), float(rest.sum())
                best[part] = found
    return best


def fit(name: str, fabric: str) -> Fit | None:
    points = [(p, r) for f, p, r in load(name) if f == fabric]
    if not points:
        return None
    rows = [LUT[name](TRAITS[fabric], p) for p, _ in points]
    names = tuple(dict.fromkeys(k for row in rows for k in row))
    x = np.array([[float(row.get(k, 0)) for k in names] for row in rows])
    y = np.array([float(r["lut"]) for _, r in points])
    free = np.array([k in FREE for k in names])
    left_out = np.zeros(len(y))
    order = np.arange(len(y)) % FOLDS
    Random(len(y)).shuffle(order)  # the grid is periodic, folds must not be
    for fold in range(FOLDS):
        seen = order != fold
        left_out[~seen] = np.maximum(x[~seen] @ least_errors(x[seen], y[seen], free), 0)
    return Fit(names, np.round(least_errors(x, y, free), 4), y, left_out)


def summary(f: Fit) -> tuple[int, float, float, float, bool]:
    """(points, median %, 95th percentile %, share in % within 15 % or 3 LUT, whether the limits are met) of the points left out."""
    error = np.abs(f.left_out - f.lut)
    relative = 100 * error / np.maximum(f.lut, 1)
    inside = (relative <= 15) | (error <= 3)
    median, high = float(np.median(relative)), float(np.percentile(relative, 95))
    return len(error), median, high, 100 * float(inside.mean()), median <= 5 and inside.mean() >= 0.95


def main() -> None:
    fits = {(n, f): found for n in LUT for f in COMMANDS if (found := fit(n, f))}
    for (n, f), found in fits.items():
        c = ", ".join(f"{k} {v:g}" for k, v in zip(found.names, found.coefficients, strict=True))
        points, median, high, inside, met = summary(found)
        print(f"{n:18} {f:5} {points:4} {median:6.1f} {high:6.1f} {inside:6.1f} {'' if met else 'NOT MET'}   {c}")


if __name__ == "__main__":
    main()
