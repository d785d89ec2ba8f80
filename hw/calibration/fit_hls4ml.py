"""Fits hw/costs/hls4ml.toml to published reports of hls4ml designs and prints how far the rules are off.

    python hw/calibration/fit_hls4ml.py --data FOLDER [--check]

FOLDER (or QCOMPILE_GROUND_TRUTH) holds the reports; none of their rows come into the project. --check prints only. The
same data give the same file.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from hls4ml_rebuilt import DRAWS, estimated
from hls4ml_reports import (
    FORKS,
    Number,
    Reader,
    Row,
    group_of,
    modules,
    other_designs,
    ours,
    projects,
    single_layers,
    synthesised_mlps,
    whole,
)
from scipy.optimize import least_squares, nnls

from qcompile.cost.hls4ml import network
from qcompile.cost.hls4ml.layers import Hls4mlLayer
from qcompile.cost.hls4ml.network import Coefficients
from qcompile.cost.hls4ml.rules import RULES, Terms

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "hw" / "costs" / "hls4ml.toml"
DEFAULT = ROOT.parent / "shared" / "ground_truth"
# --- fitting

FLOOR = 100.0
"""Reports below this many LUTs or FFs weigh less: nobody plans with them."""


def solve(terms: Sequence[Terms], truth: Sequence[float], weight: Sequence[float]) -> Number:
    """Non-negative coefficients with the least sum of logarithmic errors: too much and too little weigh the same,
    outliers little.
    """
    names = sorted({n for t in terms for n in t})
    matrix = np.array([[t.get(n, 0.0) for n in names] for t in terms], dtype=float)
    wanted, root = np.array(truth, dtype=float), np.sqrt(np.array(weight))
    size = np.maximum(np.abs(matrix).max(axis=0), 1e-9)
    scaled = matrix / size * np.median(wanted + FLOOR)
    factor = root / (wanted + FLOOR)
    start, _ = nnls(scaled * factor[:, None], wanted * factor, maxiter=10000)

    def off(c: np.ndarray) -> np.ndarray:
        return root * np.log((scaled @ c + FLOOR) / (wanted + FLOOR))

    def slope(c: np.ndarray) -> np.ndarray:
        return root[:, None] * scaled / (scaled @ c + FLOOR)[:, None]

    found = least_squares(off, start + 1e-3, jac=slope, bounds=(0, np.inf), loss="soft_l1", f_scale=0.1, max_nfev=400)
    kept = np.where(found.x < 1e-6, 0.0, found.x)
    return {n: float(c) for n, c in zip(names, kept / size * np.median(wanted + FLOOR), strict=True)}


def repeats(row: Row, rows: Sequence[Row]) -> int:
    """Rows of one repository share their weight, so that no author's habits rule; single layers have theirs already."""
    return 1 if row.group.startswith("single") else sum(r.group == row.group for r in rows)


def fit_groups(rows: Iterable[Row]) -> Coefficients:
    """Coefficients of every group of layers for the HLS report."""
    found: Coefficients = {}
    single = [r for r in rows if len(r.layers) == 1]
    for group in sorted({group_of(r.layers[0]) for r in single}):
        mine = [r for r in single if group_of(r.layers[0]) == group]
        found[f"hls.lut.{group}"] = fit_rows("lut", mine)
        split = group in ("latency", "resource")
        for slow in (False, True) if split else (None,):
            some = [r for r in mine if slow is None or r.target.fabric.slow == slow]
            if some:
                found[f"hls.ff.{group}{'_slow' if slow else ''}"] = fit_rows("ff", some)
    return found


def fit_rows(what: str, rows: Sequence[Row]) -> Number:
    terms = [getattr(RULES[r.layers[0].kind], what)(r.layers[0]) for r in rows]
    return solve(terms, [r.truth[what] for r in rows], [r.weight / math.sqrt(repeats(r, rows)) for r in rows])


def total(terms: Callable[[Hls4mlLayer], Terms], layers: Iterable[Hls4mlLayer]) -> Terms:
    out: Terms = {}
    for layer in layers:
        for name, size in terms(layer).items():
            out[name] = out.get(name, 0.0) + size
    return out


def fit_between(rows: Sequence[Row], known: Coefficients) -> Coefficients:
    """FIFOs, from the reports that count them apart; registers between parallel layers, from what is left."""
    found: Coefficients = {}
    queued = [r for r in rows if r.truth.get("fifo_lut", 0) and any(n.stream for n in r.layers)]
    for what in ("lut", "ff"):
        terms = [total(network.fifo, r.layers[:-1]) for r in queued]
        found[f"hls.{what}.fifo"] = (
            solve(terms, [r.truth[f"fifo_{what}"] for r in queued], [1.0] * len(queued)) if queued else {}
        )
    parallel = [r for r in rows if not any(n.stream for n in r.layers)]
    left = [
        max(0.0, r.truth["ff"] - sum(network.layer_cost(n, r.target, known).ff for n in network.in_dataflow(r.layers)))
        for r in parallel
    ]
    found["hls.ff.top"] = (
        solve([total(network.held, r.layers) for r in parallel], left, [1.0] * len(parallel)) if parallel else {}
    )
    return found


def fit_loop(rows: Sequence[Row]) -> Coefficients:
    out = {}
    for what, terms in (("lut", network.loop_lut), ("ff", network.loop_ff)):
        out[f"synthesis.{what}.loop"] = solve(
            [total(terms, r.layers) for r in rows], [r.truth[what] for r in rows], [1.0] * len(rows)
        )
    return out


def fit_share(rows: Sequence[Row]) -> Coefficients:
    """Which part of what HLS counts remains: the median ratio of the two reports, of designs without loops of the
    resource strategy.

    One ratio for all kinds of logic: nine designs do not tell more.
    """
    plain = [r for r in rows if not any(group_of(n) == "resource" for n in r.layers)]
    out: Coefficients = {}
    for what in ("lut", "ff"):
        ratio = float(np.median([r.truth[what] / r.truth[f"hls_{what}"] for r in plain])) if plain else 1.0
        out[f"synthesis.{what}.share"] = {"latency": ratio, "other": ratio, "fifo": ratio}
    return out


def fit(modules_: Sequence[Row], projects_: Sequence[Row], loops: Sequence[Row], after: Sequence[Row]) -> Coefficients:
    known = fit_groups(modules_)
    # Additions and products of two layers appear in no report: an adder's LUT per bit, and registers as elsewhere.
    known["hls.lut.merge"], known["hls.ff.merge"] = {"each": 1.0}, {"each": 1.0}
    known |= fit_between(projects_, known)
    known |= fit_loop(loops)
    return known | fit_share(after)


# --- judging


def smape(pairs: Sequence[tuple[float, float]]) -> float:
    """Per cent, with one added to the denominator, as estimators publish it."""
    return 200 / max(1, len(pairs)) * sum(abs(p - t) / (abs(p) + abs(t) + 1) for p, t in pairs)


def interval(pairs: Sequence[tuple[float, float]], groups: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """95 % of bootstrap draws of whole groups."""
    rng = np.random.default_rng(seed)
    names = sorted(set(groups))
    by = {g: [p for p, own in zip(pairs, groups, strict=True) if own == g] for g in names}
    draws = [smape([p for g in rng.choice(names, len(names)) for p in by[str(g)]]) for _ in range(1000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def predict(row: Row, known: Coefficients) -> Number:
    _, whole_, best = network.design(row.layers, row.target, known)
    return {
        "lut": whole_.lut,
        "ff": whole_.ff,
        "dsp": whole_.dsp,
        "bram18": whole_.bram18,
        "latency": whole_.latency,
        "best": best,
        "interval": whole_.interval,
    }


WHAT = ("lut", "ff", "dsp", "bram18", "latency", "interval")


ERRORS = Path(__file__).with_name("hls4ml.md")
HEAD = """Errors of the rules for hls4ml on published reports: SMAPE with a 95 % bootstrap interval over groups
(repositories, or shapes of a network). Written by hw/calibration/fit_hls4ml.py. Forks of hls4ml, whose functions are
others than hls4ml's, are in the tables that do not say otherwise.

"""
PRINTED: list[str] = []


def say(*words: str) -> None:
    """Print a line, and keep it for the file of errors."""
    PRINTED.append(" ".join(words))
    print(PRINTED[-1])


def table(title: str, rows: Sequence[Row], predictions: Sequence[Number], detail: bool = False) -> None:
    say(f"{title}: {len(rows)} rows, {len({r.group for r in rows})} groups")
    for what in WHAT:
        kept = [(p, r) for p, r in zip(predictions, rows, strict=True) if what in r.truth]
        pairs = [(p[what], r.truth[what]) for p, r in kept]
        if pairs:
            low, high = interval(pairs, [r.group for _, r in kept])
            near = sum(abs(p - t) <= 1 for p, t in pairs) / len(pairs)
            extra = f"   within one cycle {100 * near:.0f} %" if what == "latency" else ""
            say(f"  {what:9s} SMAPE {smape(pairs):6.1f} %  [{low:5.1f}, {high:5.1f}]{extra}")
    if detail:
        for p, r in zip(predictions, rows, strict=True):
            say("   ", r.name[:60], " ".join(f"{w} {p[w]:.0f}/{r.truth[w]:.0f}" for w in WHAT if w in r.truth))


def across(rows: Sequence[Row], maker: Callable[[Callable[[Row], bool]], Coefficients]) -> list[Number]:
    """Predictions for each row by coefficients that no row of its group had a part in."""
    made = {g: maker(lambda r, g=g: r.group != g) for g in sorted({r.group for r in rows})}
    return [predict(r, made[r.group]) for r in rows]


def rebuilt_errors(data: Path, draw: str, zeros: bool, forks: bool = False) -> tuple[int, Number]:
    """(projects, SMAPE by kind) of what the public function says of projects with random weights; forks: of
    these too.
    """
    known = [
        p
        for p in projects(data)
        if p.get("csynth") and Reader(p).layers() and (forks or not any(f in p["source"] for f in FORKS))
    ]
    pairs = [(e, p["csynth"]) for p in known if (e := estimated(p, DRAWS[draw], zeros)) is not None]
    named = {"lut": "lut", "dsp": "dsp", "latency": "lat_max"}
    return len(pairs), {what: smape([(e[what], float(t[name])) for e, t in pairs]) for what, name in named.items()}


def rebuilt_table(data: Path) -> None:
    for zeros, forks in ((True, False), (False, False), (True, True), (False, True)):
        how = "as many of them zero as in the project" if zeros else "none of them zero"
        say(f"whole projects{'' if forks else ' but forks'} as QONNX models with random weights, {how}")
        for draw in DRAWS:
            count, errors = rebuilt_errors(data, draw, zeros, forks)
            say(
                f"  {draw:27s}{count:3d} rows, SMAPE",
                "  ".join(f"{what} {error:.1f} %" for what, error in errors.items()),
            )
    say(
        "Left out is a project with a result of 78 bits; the reuse factor is the one request that gives most layers of"
        " the project theirs."
    )


# --- the file

UNITS = {
    "base": "per layer",
    "in": "per bit of input",
    "out": "per bit of accumulator",
    "inner": "per bit that another layer reads",
    "rom": "per 64 bits of weights",
    "index": "per 64 bits of index table",
}


def text(known: Coefficients, notes: dict[str, tuple[int, str]]) -> str:
    out = [
        (
            "# Written by hw/calibration/fit_hls4ml.py: coefficients of qcompile/cost/hls4ml. Terms are explained"
            " beside the formulas that make them."
        ),
        "",
    ]
    for name in sorted(known):
        rows, what = notes.get(name, (0, ""))
        out += [
            f"[{name}]",
            f'unit = "{name.split(".")[1].upper()} per unit of the term"',
            f"rows = {rows}",
            f'fitted_on = "{what}"',
        ]
        out.append(f"[{name}.coefficients]")
        out += [f"{term} = {factor:.6g}" if factor else f"{term} = 0.0" for term, factor in sorted(known[name].items())]
        out.append("")
    return "\n".join(out)


def notes_of(
    known: Coefficients, single: Sequence[Row], big: Sequence[Row], loops: Sequence[Row], after: Sequence[Row]
) -> dict[str, tuple[int, str]]:
    found = {}
    for name in known:
        stage, _, group = name.split(".")
        mine = [r for r in single if group_of(r.layers[0]) == group.removesuffix("_slow")]
        if group.endswith("_slow"):
            mine = [r for r in mine if r.target.fabric.slow]
        if stage == "synthesis":
            found[name] = (len(loops), span(loops)) if group == "loop" else (len(after), "designs with both reports")
        elif mine:
            found[name] = (len(mine), span(mine))
        else:
            found[name] = (len(big), "whole designs") if group in ("fifo", "top") else (0, "assumed, no report has it")
    return found


def span(rows: Sequence[Row]) -> str:
    layers = [n for r in rows for n in r.layers]
    parts = []
    for name in ("n_in", "n_out", "x", "w", "factor"):
        seen = [getattr(n, name) for n in layers]
        parts.append(f"{name} {min(seen)}..{max(seen)}")
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("QCOMPILE_GROUND_TRUTH", DEFAULT)))
    parser.add_argument("--check", action="store_true", help="print errors, write nothing")
    parser.add_argument("--detail", action="store_true", help="print every design")
    args = parser.parse_args()
    single, functions = single_layers(args.data), modules(args.data)
    big, loops, after = whole(args.data, "hls"), synthesised_mlps(args.data), whole(args.data, "synthesis")

    def maker(keep: Callable[[Row], bool]) -> Coefficients:
        kept = [[r for r in rows if keep(r) and ours(r)] for rows in ((*single, *functions), big, loops, after)]
        return fit(kept[0], kept[1], kept[2], kept[3])

    known = maker(ours)
    table("MLPs of the resource strategy, logic synthesis, fitted", loops, [predict(r, known) for r in loops])
    made = {g: {**known, **fit_loop([r for r in loops if r.group != g])} for g in sorted({r.group for r in loops})}
    table("the same, each shape predicted from the others", loops, [predict(r, made[r.group]) for r in loops])
    table("single dense layers, HLS report, fitted", single, [predict(r, known) for r in single])
    table("functions of projects, HLS report, fitted", functions, [predict(r, known) for r in functions], args.detail)
    plain = [r for r in big if ours(r)]
    table("whole projects but forks, HLS report, fitted", plain, [predict(r, known) for r in plain])
    table("the same, each repository predicted from the others", plain, across(plain, maker))
    table("whole projects, HLS report, fitted", big, [predict(r, known) for r in big], args.detail)
    table("the same, each repository predicted from the others", big, across(big, maker), args.detail)
    table(
        "whole projects, logic synthesis, each repository predicted from the others",
        after,
        across(after, maker),
        args.detail,
    )
    say(
        "Left out are rows of the fit of LUTs and flip-flops. DSP blocks, block RAM and cycles are closed formulas;"
        " their constants, the"
    )
    say(
        "spread of trained weights and the choice of terms were made with all rows in view: there the two tables say"
        " the same."
    )
    rebuilt_table(args.data)
    singles = other_designs(args.data)
    table("single networks (not fitted on)", singles, [predict(r, known) for r in singles], args.detail)
    if not args.check:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        fitted_on = [r for r in functions if ours(r)]
        ERRORS.write_text(HEAD + "```\n" + "\n".join(PRINTED) + "\n```\n", encoding="utf-8")
        OUTPUT.write_text(text(known, notes_of(known, (*single, *fitted_on), plain, loops, after)), encoding="utf-8")


if __name__ == "__main__":
    main()
