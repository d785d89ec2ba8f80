"""The report of a run: pictures and one page that opens without a network connection."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.errors import visible
from qcompile.records import dataclass
from qcompile.tables import shortened

BLUE, RED, GREEN, GREY = "#4477aa", "#ee6677", "#228833", "#bbbbbb"  # Paul Tol's bright scheme
_MOST = 60  # tensors of a picture
PICTURES = ("sensitivity", "front", "bits")


HEADER = ("plan", "LUT", "DSP", "BRAM18", "cycles a result", "loss", "accuracy")


@dataclass(frozen=True)
class Mark:
    """A plan in numbers; row: under `HEADER`. interval: cycles between inferences."""

    name: str
    lut: float
    dsp: float
    bram18: float
    interval: float
    loss: float
    accuracy: float | None

    @property
    def row(self) -> tuple[str, ...]:
        whole = (self.lut, self.dsp, self.bram18, self.interval)
        known = "" if self.accuracy is None else f"{self.accuracy:.4f}"
        return (self.name, *("" if not n else f"{math.ceil(n):,}" for n in whole), f"{self.loss:.4g}", known)


@dataclass(frozen=True)
class Figures:
    """What pictures and page show. table: [tensor, candidate], NaN where a tensor does not have it; steps: from a
    uniform plan to the chosen one.
    """

    title: str
    tensors: tuple[str, ...]
    kinds: tuple[str, ...]
    candidates: tuple[str, ...]
    table: np.ndarray
    chosen: tuple[str, ...]
    bits: tuple[int, ...]
    front: tuple[Mark, ...]
    mixed: Mark
    uniform: tuple[Mark, ...]
    steps: tuple[Mark, ...]
    limit: float | None
    float_loss: float
    metric: str
    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    next_step: str


def pictures(f: Figures) -> dict[str, bytes]:
    """sensitivity, front and bits, each as .png and .svg; the same run gives the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "qcompile"
    from matplotlib import pyplot

    out: dict[str, bytes] = {}
    for name, draw in zip(PICTURES, (_sensitivity, _front, _bits), strict=True):
        figure = draw(pyplot, f)
        for kind in ("png", "svg"):
            held = io.BytesIO()
            figure.savefig(held, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
            out[f"{name}.{kind}"] = held.getvalue()
            figure.set_layout_engine("none")  # laid out: half of the drawing
        pyplot.close(figure)
    return out


def _label(name: str, length: int = 34) -> str:
    return _labels([name], length)[0]


def _labels(names: Sequence[str], length: int = 34) -> list[str]:
    """Names for a picture, cut in the middle so that they stay apart."""
    return [name.replace("$", r"\$") for name in shortened([visible(n) for n in names], length)]


def _sensitivity(pyplot: Any, f: Figures) -> Any:
    n = min(len(f.tensors), _MOST)
    figure, axes = pyplot.subplots(figsize=(2.8 + 0.55 * len(f.candidates), 1.6 + 0.3 * n), layout="constrained")
    values = np.log10(np.maximum(f.table[:n], np.nanmax(f.table) * 1e-7 if np.isfinite(f.table).any() else 1e-12))
    image = axes.imshow(values, aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(f.candidates)), f.candidates, rotation=60, ha="right", fontsize="small")
    axes.set_yticks(range(n), _labels(f.tensors[:n]), fontsize="small")
    for i, c in enumerate(f.chosen[:n]):
        axes.add_patch(
            pyplot.Rectangle((f.candidates.index(c) - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=2)
        )
    figure.colorbar(image, ax=axes, label=f"harm by {f.metric}: log10 (dark: little)")
    axes.set_title(
        "sensitivity; framed: chosen" + ("" if n == len(f.tensors) else f" (first {n} tensors)"), fontsize="medium"
    )
    return figure


_AGAINST = (("lut", "LUTs, estimated"), ("dsp", "DSP blocks"), ("bram18", "BRAM18"), ("interval", "cycles a result"))


def _front(pyplot: Any, f: Figures) -> Any:
    """Loss against LUTs, large; beside it accuracy, and loss against whatever else differs between the plans."""
    points = (*f.front, f.mixed, *f.uniform)
    others = [(what, "loss") for what, _ in _AGAINST[1:] if len({getattr(p, what) for p in points}) > 1]
    if f.mixed.accuracy is not None:
        others.insert(0, ("lut", "accuracy"))
    figure = pyplot.figure(figsize=(7.5 + 3.5 * (len(others) > 0), 4.6), layout="constrained")
    grid = figure.add_gridspec(max(1, len(others)), 3)
    axes = figure.add_subplot(grid[:, : 2 if others else 3])
    _marked(axes, f, "lut", "loss")
    _named(axes, f)
    if f.limit is not None and f.limit <= 3 * max([f.mixed.lut, *(p.lut for p in f.uniform)]):
        axes.axvline(f.limit, color="black", linewidth=1, linestyle=":", label="budget")
    if f.float_loss > 0:
        axes.axhline(f.float_loss, color=GREEN, linewidth=1, linestyle="--", label="float")
    axes.set_ylabel("loss on the calibration data")
    axes.legend(fontsize="small")
    axes.set_title(_label(f.title, 70), fontsize="medium")
    for row, (what, judged) in enumerate(others):
        small = figure.add_subplot(grid[row, 2])
        _marked(small, f, what, judged)
        small.set_ylabel(judged, fontsize="small")
        small.tick_params(labelsize="x-small", which="both")
    return figure


def _marked(axes: Any, f: Figures, what: str, judged: str) -> None:
    """All plans by a resource and by loss or accuracy."""

    def xy(points: Sequence[Mark]) -> tuple[list[float], list[float]]:
        return [getattr(p, what) for p in points], [getattr(p, judged) for p in points]

    if f.front:
        stepped = (what, judged) == ("lut", "loss")
        lines = {"linewidth": 1, "drawstyle": "steps-post"} if stepped else {"linestyle": ""}
        axes.plot(*xy(f.front), marker="o", color=BLUE, markersize=4, label="front: plans", **lines)
    if f.uniform:
        axes.plot(*xy(f.uniform), "s", color=GREY, markersize=6, label="uniform")
    axes.plot(*xy([f.mixed]), "*", color=RED, markersize=14, label="chosen")
    numbers, judgements = xy((*f.front, f.mixed, *f.uniform))
    _scaled(axes, numbers)
    axes.margins(x=0.12)  # room for the names
    if judged == "loss":
        axes.set_yscale("symlog" if min(judgements) <= 0 else "log")
    axes.set_xlabel(dict(_AGAINST)[what], fontsize="medium" if what == "lut" and judged == "loss" else "small")


def _scaled(axes: Any, numbers: Sequence[float]) -> None:
    """Whole numbers along x, by their logarithm where they reach far."""
    from matplotlib import ticker

    if min(numbers) > 0 and max(numbers) > 3 * min(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def _named(axes: Any, f: Figures) -> None:
    for p in f.front:
        text = p.name.rpartition("/")[2] + ("" if p.accuracy is None else f": {p.accuracy:.1%}")
        # Below and left of a front there is nothing.
        place = {"xytext": (-4, -2), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(text, (p.lut, p.loss), fontsize="x-small", color=BLUE, **place)
    for p in f.uniform:
        axes.annotate(p.name, (p.lut, p.loss), xytext=(4, 4), textcoords="offset points", fontsize="x-small")


def _bits(pyplot: Any, f: Figures) -> Any:
    n = min(len(f.tensors), _MOST)
    figure, axes = pyplot.subplots(figsize=(7.5, 1.3 + 0.28 * n), layout="constrained")
    axes.barh(range(n), f.bits[:n], color=[BLUE if k == "weight" else RED for k in f.kinds[:n]])
    for i, (b, c) in enumerate(zip(f.bits[:n], f.chosen, strict=False)):
        axes.annotate(c, (b, i), xytext=(3, 0), textcoords="offset points", va="center", fontsize="x-small")
    axes.set_yticks(range(n), _labels(f.tensors[:n]), fontsize="small")
    axes.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.set_xlim(0, max(f.bits) * 1.25)
    axes.set_xlabel("bits")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=c) for c in (BLUE, RED)]
    axes.legend(
        handles, ["weights", "activations"], fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), ncols=2
    )
    return figure


_FRONT = (
    "Every point is a choice of formats for the whole network: to the left it takes less of the part, at the "
    "bottom it is nearer to the float network. Loss is how far its outputs are from those of the float network,"
    " on the calibration data."
)
_STEPS = (
    "From the cheapest uniform plan that loses no more than the chosen one: the chosen formats with every weight "
    "rounded to nearest, then with what was added to them, one after the other."
)
_FORMATS = (
    "Bits of every weight and every activation, and the format that they make: s8f5 is signed, 8 bits, 5 of "
    "them behind the binary point. Alternatives are formats near the chosen one, each with its sensitivity and "
    "the LUTs that it takes more (+) or less (-) than the chosen one."
)
_HARM = (
    "How much a format for this one tensor harms the network, by the chosen metric, on a logarithmic scale. "
    "Framed: what was chosen. White: formats that the tensor does not have."
)
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;font-size:13px}
td,th{border:1px solid #ccc;padding:.25em .6em;text-align:right}
td:first-child,th:first-child{text-align:left}th{background:#f3f3f3}
svg{max-width:100%;height:auto}
code{background:#f3f3f3;padding:.1em .3em}"""


def page(f: Figures, drawn: dict[str, bytes]) -> bytes:
    """The page: facts, tables, and the pictures inline. Nothing is loaded from anywhere."""

    def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        filled = [i for i, _ in enumerate(header) if any(str(row[i]) for row in rows)]
        header, rows = [header[i] for i in filled], [[row[i] for i in filled] for row in rows]
        head = "".join(f"<th>{html.escape(c)}</th>" for c in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{body}</table>"

    shown = [replace(f.mixed, name="chosen").row, *(p.row for p in (*f.uniform, *f.front))]
    steps = f"<h2>What each step gained</h2><p>{_STEPS}</p>{table(HEADER, [p.row for p in f.steps])}" if f.steps else ""
    svg = {name: _inline(drawn[f"{name}.svg"], name) for name in ("front", "bits", "sensitivity")}
    text = (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(f.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(f.title)}</h1>{table(('what', 'value'), f.facts)}"
        f"<p>Next: <code>{html.escape(f.next_step)}</code></p>"
        f"<h2>Loss against LUTs</h2><p>{_FRONT}</p>{svg['front']}{table(HEADER, shown)}{steps}"
        f"<h2>Formats</h2><p>{_FORMATS}</p>{svg['bits']}{table(f.header, f.rows)}"
        f"<h2>Sensitivity</h2><p>{_HARM}</p>{svg['sensitivity']}</body></html>\n"
    )
    return text.encode()


def _inline(svg: bytes, prefix: str) -> str:
    """An SVG for a page that holds several: no prolog, identifiers of its own."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    return (
        text.replace('id="', f'id="{prefix}-')
        .replace('href="#', f'href="#{prefix}-')
        .replace("url(#", f"url(#{prefix}-")
    )
