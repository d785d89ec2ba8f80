"""An estimate as a picture: what every layer takes of the part, resources stacked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from qcompile.cost.budget import NAMES
from qcompile.cost.devices import Device
from qcompile.cost.report import shares
from qcompile.cost.resources import Estimate, Resources, together
from qcompile.errors import QCompileError, visible
from qcompile.files import write_file

MOST = 40  # bars; what is left is one bar
SUFFIXES = (".svg", ".png", ".pdf")
COLOURS = {
    "lut": "#4477aa",
    "ff": "#66ccee",
    "dsp": "#ee6677",
    "bram18": "#228833",
    "uram": "#ccbb44",
}  # Paul Tol's bright scheme


def draw(estimate: Estimate, device: Device, file: str | Path) -> None:
    """Write the picture; its kind is that of the suffix. QCompileError for another suffix or a place that cannot be
    written.
    """
    path = Path(file)
    if path.is_dir():
        raise QCompileError(
            "this is a folder", str(path), f"name a file in it that ends in one of {', '.join(SUFFIXES)}"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise QCompileError(
            f"'{path.suffix}' is no kind of picture that can be drawn", str(path), f"one of {', '.join(SUFFIXES)}"
        )
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "qcompile"  # the same estimate gives the same bytes
    from matplotlib import pyplot

    bars = _bars(estimate)
    figure, (above, below) = pyplot.subplots(
        2,
        1,
        figsize=(9, 2.6 + 0.28 * len(bars)),
        height_ratios=(len(bars) + 1, 3),
        layout="constrained",
    )
    _stacked(above, bars, device)
    above.set_title(
        f"{estimate.part}: share of the part by layer (predicts logic {estimate.stage})"
        if estimate.stage == "synthesis"
        else f"{estimate.part}: share of the part by layer (predicts the HLS report)"
    )
    above.legend(loc="best", fontsize="small")
    _totals(below, estimate, device)
    drawn = io.BytesIO()
    kind = path.suffix.lower()[1:]
    figure.savefig(
        drawn,
        format=kind,
        dpi=120,
        metadata={"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None,
    )
    pyplot.close(figure)
    write_file(path, drawn.getvalue(), "the picture", path.suffix.lower())


def _bars(estimate: Estimate) -> list[tuple[str, Resources]]:
    """A bar per layer; of many layers the largest, in their order."""
    layers = list(estimate.layers)
    if len(layers) > MOST:
        kept = sorted(sorted(range(len(layers)), key=lambda i: -layers[i].cost.lut)[: MOST - 1])
        rest = together(layers[i].cost for i in range(len(layers)) if i not in kept)
        return [(_label(layers[i].name, layers[i].op), layers[i].cost) for i in kept] + [
            (f"{len(layers) - len(kept)} smaller ones", rest)
        ]
    return [(_label(layer.name, layer.op), layer.cost) for layer in layers]


def _label(name: str, op: str) -> str:
    name = visible(name)
    short = name if len(name) <= 32 else "..." + name[-29:]
    return f"{short} ({op})".replace("$", r"\$")  # matplotlib reads formulas between dollars


def _stacked(axes: Any, bars: list[tuple[str, Resources]], device: Device) -> None:
    left = [0.0] * len(bars)
    for kind, colour in COLOURS.items():
        parts = [100 * shares(cost, device).get(kind, 0.0) for _, cost in bars]
        if any(parts):
            axes.barh(range(len(bars)), parts, left=left, color=colour, label=NAMES[kind])
            left = [a + b for a, b in zip(left, parts, strict=True)]
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("% of the part, resources one after the other")


def _totals(axes: Any, estimate: Estimate, device: Device) -> None:
    found = shares(estimate.total, device)
    axes.barh(list(range(len(found))), [100 * v for v in found.values()], color=[COLOURS[k] for k in found])
    axes.set_yticks(range(len(found)), [NAMES[k] for k in found], fontsize="small")
    axes.invert_yaxis()
    axes.axvline(100, color="black", linewidth=1)
    axes.set_xlabel("whole design, % of the part; the line is all of it")
