"""Whole layers of real networks as the SystemVerilog backend emits them, against what the cost rules predict.

`layers.py` synthesises what hw/calibration/layers.csv does not have yet and writes it and layers.md; `--predict` renews
the predictions alone; `--check` compares those stored with the rules of now and prints the table. Networks that are not
in examples/ come from the folder QCOMPILE_CORPUS, else ../shared/models beside the checkout; of them only the numbers
are stored.

What is built are modules of qcompile/backends/rtl: of an unrolled layer its cells, each once (one place of a
convolution, one element for each parameter row of a Requant), without registers; of a folded layer its whole process
with the Requant that joined it. What is predicted is the price of the same parts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from grid import RTL
from measure import COMMANDS, HERE, PREPARE, cells, counts, netlist, used, yosys_version
from table import Row, Table

import qcompile as qc
from qcompile.backends.rtl import StreamView
from qcompile.backends.rtl.emit import CIRCUITS, STREAMED
from qcompile.backends.rtl.layers import layer as module_of
from qcompile.backends.rtl.numbers import Delays
from qcompile.backends.rtl.process import ProcessModule
from qcompile.cost import primitives as hw
from qcompile.cost.devices import device
from qcompile.cost.fabrics import fabrics
from qcompile.cost.price import price
from qcompile.cost.resources import Resources
from qcompile.frontend import load
from qcompile.hardware.site import Folding, Site, rows_of, site
from qcompile.hardware.units import UnrolledUnit
from qcompile.hardware.units.unrolled import requantized
from qcompile.ir import Graph, ops
from qcompile.passes import implement, ranges
from qcompile.passes.lower import lower
from qcompile.passes.ports import split, with_input_formats
from qcompile.passes.requant import float_round, multiply_add_shift
from qcompile.pipeline import Options
from qcompile.templating import templates

ROOT = HERE.parents[1]
CORPUS = Path(os.environ.get("QCOMPILE_CORPUS", ROOT.parent / "shared" / "models"))
RESULTS = ("lut", "ff", "dsp", "bram18")
THRESHOLDS, AFFINE, ROUND, LOOKUP = "thresholds", "multiply-add-shift", "multiply-add-normalise", "table"


@dataclass(frozen=True)
class Point:
    """A layer and how it is built. op, number: the how-manieth node of that kind; pe, simd: 0 is unrolled; how:
    implementation of a Requant.
    """

    network: str
    op: str
    number: int
    pe: int = 0
    simd: int = 0
    how: str = ""
    fabric: str = "xc7"

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(v) for v in dataclasses.astuple(self))


# Input formats of networks whose inputs have no quantizer.
INPUTS = {
    "qonnx_model_zoo/qkeras_jettagging": "s12f8",
    "qonnx_tests_hist/qkeras_qdense_0": "s12f10",
    "BrevitasProjects2020/LeNet_w2_a2": "s12f3",
    "BrevitasProjects2020/simplecnv": "s12f3",
    "dory_examples/nemo_eegnet_dw": "u8f0",
}

_DIGITS, _JET = "examples/digits_mlp", "qonnx_model_zoo/qkeras_jettagging"
_TFC1, _TFC2 = "qonnx_model_zoo/TFC_1W1A", "qonnx_model_zoo/TFC_2W2A"
_LENET, _SIMPLE, _GTSRB = (
    "BrevitasProjects2020/LeNet_w2_a2",
    "BrevitasProjects2020/simplecnv",
    "finn_pynq_labs/gtsrb_12x12_w2a3",
)
_SIGMOID, _TERNARY, _MIXED = (
    "brevitas/sigmoid_tanh_hardtanh_1d__qonnx",
    "brevitas/ternary_w_binary_a__qonnx",
    "brevitas/round_floor_mixed_bits__qonnx",
)
_FP4, _FP6A, _FP6B = "brevitas/fp4_e2m1_ocp_b__qonnx", "brevitas/fp6_e2m3_ocp_b__qonnx", "brevitas/fp6_e3m2_ocp__qonnx"
_FP8, _LINEAR, _CEIL = (
    "brevitas/fp8_e4m3_unscaled__qonnx",
    "brevitas/input_out_quant_linear__qonnx",
    "brevitas/round_ceil_b__qonnx",
)
_RL, _EEG = "finn_rl/finn_rl_075_025_post", "dory_examples/nemo_eegnet_dw"
_FLOATQUANT, _RESIDUAL = "qonnx/floatquant_act_weight_fp8", "brevitas/int8_residual_floatbias__qonnx"

UNROLLED = (
    (_DIGITS, "MatMul", 2),
    (_JET, "MatMul", 3),
    (_TFC1, "MatMul", 3),
    (_TFC2, "MatMul", 3),
    (_TERNARY, "MatMul", 1),
    (_SIMPLE, "Conv", 0),
    (_SIMPLE, "Conv", 1),
    (_MIXED, "Conv", 0),
    (_SIGMOID, "Conv", 0),
    (_SIGMOID, "Conv", 1),
    (_GTSRB, "Conv", 0),
    (_LINEAR, "MatMul", 0),
    (_RL, "Conv", 0),
    (_EEG, "Conv", 2),
    (_FP4, "Conv", 0),
    (_FP6A, "Conv", 0),
    (_FP6B, "Conv", 0),
    (_FP8, "Conv", 0),
    (_FLOATQUANT, "MatMul", 0),
    (_RESIDUAL, "Conv", 0),
    (_RESIDUAL, "MatMul", 0),
)
MAPS = (
    (_DIGITS, 0, THRESHOLDS),
    (_DIGITS, 1, AFFINE),
    (_DIGITS, 1, THRESHOLDS),
    (_JET, 0, AFFINE),
    (_JET, 2, AFFINE),
    (_TFC1, 0, THRESHOLDS),
    (_SIMPLE, 1, LOOKUP),
    (_MIXED, 0, LOOKUP),
    (_FP4, 0, THRESHOLDS),
    (_FP4, 1, THRESHOLDS),
    (_FP6A, 0, THRESHOLDS),
    (_FP6B, 1, ROUND),
    (_FP8, 0, ROUND),
    (_GTSRB, 0, THRESHOLDS),
    (_SIGMOID, 0, THRESHOLDS),
    (_CEIL, 0, AFFINE),
    (_LINEAR, 0, AFFINE),
    (_RL, 0, THRESHOLDS),
    (_RESIDUAL, 0, AFFINE),
    (_RESIDUAL, 3, AFFINE),
)
FOLDED = (
    (_DIGITS, "MatMul", 0, 4, 8),
    (_DIGITS, "MatMul", 0, 1, 16),
    (_DIGITS, "MatMul", 2, 2, 8),
    (_JET, "MatMul", 1, 4, 8),
    (_JET, "MatMul", 0, 8, 4),
    (_TFC1, "MatMul", 0, 8, 49),
    (_TFC1, "MatMul", 1, 4, 16),
    (_TFC2, "MatMul", 0, 4, 28),
    (_LENET, "Conv", 1, 4, 6),
    (_SIGMOID, "Conv", 1, 2, 8),
    (_TERNARY, "MatMul", 0, 4, 8),
    (_TERNARY, "MatMul", 1, 2, 12),
    (_EEG, "MatMul", 0, 4, 4),
    (_FP4, "MatMul", 0, 2, 12),
    (_FP6A, "MatMul", 0, 2, 6),
    (_FP6B, "MatMul", 0, 2, 1),
    (_FP8, "MatMul", 0, 1, 4),
)
POINTS: tuple[Point, ...] = (
    *(Point(network, op, number) for network, op, number in UNROLLED),
    *(Point(network, "Requant", number, how=how) for network, number, how in MAPS),
    *(Point(*layer) for layer in FOLDED),
    *(
        Point(*layer, fabric="ecp5")
        for layer in ((_DIGITS, "MatMul", 2), (_SIMPLE, "Conv", 1), (_MIXED, "Conv", 0), (_FP4, "Conv", 0))
    ),
    *(
        Point(*layer, fabric="ecp5")
        for layer in ((_DIGITS, "MatMul", 0, 4, 8), (_TFC1, "MatMul", 1, 4, 16), (_LENET, "Conv", 1, 4, 6))
    ),
    *(
        Point(network, "Requant", number, how=how, fabric="ecp5")
        for network, number, how in ((_DIGITS, 1, AFFINE), (_GTSRB, 0, THRESHOLDS))
    ),
)


def path(network: str) -> Path:
    """The file of a network."""
    return (ROOT if network.startswith("examples/") else CORPUS) / f"{network}.onnx"


@cache
def graph(network: str) -> Graph:
    """The integer graph, its Requants without an implementation: which one is cheapest depends on the prices, which
    these layers are to judge.
    """
    model = load(path(network))
    formats = (INPUTS[network],) if network in INPUTS else ()
    reference = with_input_formats(model.graph, Options(input_formats=formats).formats(), model.annotated)
    return lower(reference, split(reference, "host"), 0)[0]


@cache
def known_ranges(network: str) -> dict[str, ranges.Range]:
    return ranges.ranges(graph(network))


@cache
def layer(p: Point) -> Site:
    """The node of a point, with the implementation that the point asks for."""
    g = graph(p.network)
    node = [n for n in g.nodes if type(n.op).__name__ == p.op][p.number]
    if isinstance(node.op, ops.Requant):
        low, high = ranges.row_ranges(node, [known_ranges(p.network)[v.name] for v in node.inputs])
        node = dataclasses.replace(
            node, op=dataclasses.replace(node.op, impl=implementation(node.op, p.how, low, high))
        )
    return site(g, node, Folding(p.pe, p.simd))


def implementation(op: ops.Requant, how: str, low: np.ndarray, high: np.ndarray) -> Any:
    """An implementation of that kind over [low, high] (per row)."""
    ends = ranges.evaluate_rows(op, np.stack([low, high], axis=-1))
    if how == THRESHOLDS:
        return implement.thresholds(op, low, high)
    if how == LOOKUP:
        return implement._table(op, low, high)
    found = multiply_add_shift(op, low, high, ends) if how == AFFINE else float_round(op, low, high, ends)
    assert found is not None
    return found


def fabric(p: Point) -> hw.Fabric:
    return hw.fabric(device(fabrics()[p.fabric].part))


def used_rows(s: Site) -> np.ndarray:
    """The parameter rows of a Requant that elements use, each once."""
    op: ops.Requant = s.node.op
    assert (op.coeffs.data == 1).all()
    return np.unique(op.index.data).astype(np.int64)


@cache
def process(p: Point) -> ProcessModule:
    """The process of a folded layer in the whole network."""
    formats = (INPUTS[p.network],) if p.network in INPUTS else ()
    options = {"backend": "rtl", "arch": "dataflow", "input_formats": formats, "part": fabrics()[p.fabric].part}
    plain = qc.compile(str(path(p.network)), **options)
    node = [n for n in plain.graph.nodes if type(n.op).__name__ == p.op][p.number]
    fold = json.dumps({node.output.name: {"pe": p.pe, "simd": p.simd}})
    made = qc.compile(str(path(p.network)), fold=fold, **options)
    assert made.network is not None and isinstance(made.rtl, StreamView)
    both = zip(made.network.stages, made.rtl.placed, strict=True)
    name = node.output.name
    return next(r.process for s, r in both if s.node is not None and s.node.output.name == name and s.unit.folded)


def emitted(p: Point) -> tuple[list[str], dict[str, bytes]]:
    """(modules that are measured, files) of the backend."""
    memories: dict[str, bytes] = {}
    if p.pe:
        made = process(p)
        text, names = templates().get_template("rtl/process.sv.j2").render(p=made), [made.name]
        memories = {r.file: r.content for r in made.roms}
    else:
        found = module_of(layer(p).node, graph(p.network), "layer", Delays(fabric(p), 0)).cells
        page = templates().get_template("rtl/cell.sv.j2")
        text, names = "".join(page.render(cell=c) for c in found), [c.name for c in found]
    for name in names:  # each stays apart from the others
        text = text.replace(f"module {name} (", f"(* keep_hierarchy *)\nmodule {name} (")
    circuits = {file: (RTL / file).read_text() for file in (*STREAMED, *CIRCUITS)}
    sources = [text, *(circuits[file] for file in used([text], circuits))]
    instances = " ".join(f"(* keep *) {name} u{i} ();" for i, name in enumerate(names))
    top = f"module wrap (); {instances} endmodule\n"
    return names, {"layer.sv": "\n".join([*sources, top]).encode(), **memories}


def predicted(p: Point) -> Resources:
    """What the parts of the same modules take."""
    if p.pe:
        return price(process(p).parts(), fabric(p))
    s = layer(p)
    if p.op == "Requant":
        uses = np.bincount(used_rows(s), minlength=s.node.op.coeffs.data.shape[1])
        return price(requantized(s.node.op, tuple(v.type.codes for v in s.node.inputs), uses), fabric(p))
    return price(UnrolledUnit.of(s.node, graph(p.network), True, False).parts(), fabric(p)).times(1 / rows_of(s)[1])


def circuit(p: Point) -> str:
    """A digest of all that a measurement depends on."""
    texts = [text for pair in sorted(emitted(p)[1].items()) for text in (pair[0].encode(), pair[1])]
    commands = (PREPARE, COMMANDS[p.fabric], (HERE / "adders.v").read_text(), yosys_version())
    return hashlib.sha256(b"\0".join([*texts, *(c.encode() for c in commands)])).hexdigest()[:12]


def measured(p: Point) -> dict[str, int]:
    """The modules synthesised, each flattened."""
    names, files = emitted(p)
    found = netlist(files, f"{PREPARE}; {COMMANDS[p.fabric]}")
    each = [counts(cells(found, f"\\{name}"), fabrics()[p.fabric].cells) for name in names]
    return {k: sum(one[k] for one in each) for k in RESULTS}


def shape(p: Point) -> dict[str, Any]:
    """What a reader wants to know of a layer: rows and columns (of a Requant elements and steps), formats."""
    s = layer(p)
    out = str(s.node.output.type.format)
    if p.op == "Requant":
        impl = s.node.op.impl
        steps = next((getattr(impl, k).data.shape[1] for k in ("cuts", "values") if hasattr(impl, k)), 1)
        return {"rows": len(used_rows(s)), "columns": steps, "data": str(s.data.type.format), "weights": "", "out": out}
    rows, columns = rows_of(s)[0].shape
    return {
        "rows": rows,
        "columns": columns,
        "data": str(s.data.type.format),
        "weights": str(s.node.inputs[s.constant].type.format),
        "out": out,
    }


def row_of(p: Point, found: dict[str, Any], digest: str) -> Row:
    """A line of the file: the point, its layer, measured and predicted resources."""
    cost = predicted(p)
    now = {f"predicted_{k}": round(getattr(cost, k)) for k in RESULTS}
    error = 100 * (now["predicted_lut"] / max(int(found["lut"]), 1) - 1)
    point = dict(zip((f.name for f in dataclasses.fields(Point)), p.key, strict=True))
    values = {
        **point,
        **shape(p),
        **{k: found[k] for k in RESULTS},
        **now,
        "error_percent": f"{error:.1f}",
        "circuit": digest,
    }
    return {k: str(v) for k, v in values.items()}


def errors(rows: list[Row]) -> list[float]:
    """Of the predicted LUTs, in percent of those measured."""
    return [100 * (int(r["predicted_lut"]) / max(int(r["lut"]), 1) - 1) for r in rows]


def summary(rows: list[Row]) -> tuple[float, float]:
    """(median, 95th percentile) of the absolute errors in percent."""
    sizes = np.abs(errors(rows))
    return float(statistics.median(sizes)), float(np.percentile(sizes, 95))


def kind(row: Row) -> str:
    if row["op"] == "Requant":
        return f"Requant by {row['how']}"
    return "products, folded" if int(row["pe"]) else "products, unrolled"


def report(rows: list[Row]) -> str:
    """The Markdown table."""
    lines = [
        ("LUTs of whole layers, modules that the SystemVerilog backend emits, against what the cost rules predict."),
        f"Made by hw/calibration/layers.py, which says what a layer here contains. Synthesis: {yosys_version()}.",
        "",
        "| kind | points | median error | 95th percentile | mean with sign |",
        "|---|---|---|---|---|",
    ]
    for name in ["all", *sorted({kind(r) for r in rows})]:
        some = [r for r in rows if name in ("all", kind(r))]
        median, high = summary(some)
        lines.append(
            f"| {name} | {len(some)} | {median:.1f} % | {high:.1f} % | {statistics.mean(errors(some)):+.1f} % |"
        )
    titles = [
        "network",
        "layer",
        "rows x columns",
        "data, weights, result",
        "built",
        "fabric",
        "LUT",
        "predicted",
        "error",
    ]
    titles += [title for k in RESULTS[1:] for title in (k.upper(), "predicted")]
    lines += ["", "| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for r, error in zip(rows, errors(rows), strict=True):
        formats = ", ".join(v for v in (r["data"], r["weights"], r["out"]) if v)
        built = r["how"] or (f"PE {r['pe']}, SIMD {r['simd']}" if int(r["pe"]) else "unrolled")
        start = (r["network"], f"{r['op']} {r['number']}", f"{r['rows']} x {r['columns']}", formats, built, r["fabric"])
        rest = (v for k in RESULTS[1:] for v in (r[k], r[f"predicted_{k}"]))
        lines.append("| " + " | ".join((*start, r["lut"], r["predicted_lut"], f"{error:+.1f} %", *rest)) + " |")
    return "\n".join([*lines, ""])


def head() -> str:
    used_fabrics = dict.fromkeys(p.fabric for p in POINTS)
    commands = "".join(f"# {fabric}: {COMMANDS[fabric]}\n" for fabric in used_fabrics)
    return f"# {yosys_version()}: read_verilog -sv; {PREPARE}; then\n{commands}"


TABLE = Table(
    "layers",
    POINTS,
    row_of,
    circuit,
    measured,
    lambda p: predicted(p).lut,
    lambda p: path(p.network).exists(),
    report,
    head,
    lambda row: f"{row['lut']} {row['predicted_lut']} {row['error_percent']} %",
)

if __name__ == "__main__":
    TABLE.main()
