"""Families of candidates for weights: their error, what a product takes, what whole networks lose for how many LUTs.

`python benchmarks/grids.py [error] [price] [front] [wide]`, all without a name; some minutes.

error: squared error on the squares of 128 x 512 numbers, a row scaled by itself, of a normal distribution and of
Student's t with 4 degrees of freedom, the mean and the range over four seeds; orderings that papers claim. price: LUTs
by Yosys (xc7) of a process with 512 inputs and 16 outputs, 2 x 16 products a cycle on data of 8 bits, the bits of a
weight in its memories, and beside it the estimate. front: accuracy on held-out images and estimated LUTs of `parallel`,
data of 6 bits. wide: divergence of a perceptron 64-512-32-10 from its float outputs on held-out images, four seeds, if
the weights of its layer of 512 inputs have these formats and all else stays float.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "hw" / "calibration"), str(ROOT / "examples")]

import torch  # noqa: E402
import train_float  # noqa: E402
from grid import RTL  # noqa: E402
from measure import COMMANDS, PREPARE, cells, counts, netlist, used  # noqa: E402

import qcompile as qc  # noqa: E402
from qcompile.assignment.candidates import Candidate, parse  # noqa: E402
from qcompile.assignment.coding import in_blocks, largest  # noqa: E402
from qcompile.assignment.data import data  # noqa: E402
from qcompile.assignment.jobs import Jobs  # noqa: E402
from qcompile.assignment.losses import loss_of  # noqa: E402
from qcompile.assignment.network import FloatNetwork  # noqa: E402
from qcompile.assignment.plan import Choice, Plan  # noqa: E402
from qcompile.assignment.ranges import fit  # noqa: E402
from qcompile.assignment.study import study  # noqa: E402
from qcompile.assignment.tensors import WEIGHT, tensors  # noqa: E402
from qcompile.assignment.transforms import transformed  # noqa: E402
from qcompile.backends.rtl.dataflow import StreamView  # noqa: E402
from qcompile.cost.devices import device  # noqa: E402
from qcompile.cost.fabrics import measured  # noqa: E402
from qcompile.cost.price import price  # noqa: E402
from qcompile.cost.primitives import fabric  # noqa: E402
from qcompile.formats import E2M1, FixedPoint, Format  # noqa: E402
from qcompile.hardware.units import MatVecUnit  # noqa: E402
from qcompile.parts import memory_bits  # noqa: E402
from qcompile.templating import templates  # noqa: E402

ALL = parse(
    "int2-5,float3-4,codebook2-4,khot4-6,pow_sqrt23-5,binary_scaled1,tritplane3,salient2-4,twin_log3-5,nested4,ovp4,"
    "bitmod3-4,group2-4,group_bits3-4,dual_grain2-4,po2_group2-4,mx4-6,nvfp4"
)
PRICED = parse("int4,int8,float4,khot6,pow_sqrt24,salient4,ovp4,bitmod4,tritplane3,dual_grain4,po2_group4,mx4,nvfp4")
WIDE = parse("int2-4,group2-4,dual_grain2-4,po2_group2-4,mx4,nvfp4")  # a row, blocks of 128 (twice), 32 (twice), 16
SEEDS = range(4)
DRAWN: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "gauss": lambda rng: rng.standard_normal((128, 512)),
    "t4": lambda rng: rng.standard_t(4, (128, 512)),
}
CLAIMS = (  # (what is claimed, distribution, families of falling error)
    ("BitMoD", "gauss", ("int4 by 128", "E2M1 by 128", "bitmod4")),
    ("BitMoD, long tails", "t4", ("int4 by 128", "E2M1 by 128", "bitmod4")),
    ("PTQTP between 3 and 4 bits", "gauss", ("int3 by 128", "tritplane3", "int4 by 128")),
    ("PTQTP, long tails", "t4", ("int3 by 128", "tritplane3", "int4 by 128")),
    ("NVFP4 below MXFP4", "gauss", ("mx4", "nvfp4")),
    ("NVFP4 below MXFP4, long tails", "t4", ("mx4", "nvfp4")),
    ("blocks below rows: DGQ", "t4", ("int4", "dual_grain4")),
    ("OliVe", "t4", ("int4", "ovp4")),
    ("POST, 5 bits", "t4", ("int5", "pow_sqrt25")),
    ("LRQ-DiT, 5 bits", "t4", ("int5", "twin_log5")),
)
BY_BLOCK: dict[str, Format] = {f"int{b} by 128": FixedPoint(b, 0, True, True) for b in (3, 4)} | {"E2M1 by 128": E2M1}
PART = "xc7z020clg400-1"
LAYER, PE, SIMD = (512, 16), 2, 16


def errors() -> dict[str, dict[str, np.ndarray]]:
    """By distribution and family, an error per seed."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for kind, draw in DRAWN.items():
        rows = [draw(np.random.default_rng(seed)).astype(np.float32) for seed in SEEDS]
        found[kind] = {str(c): np.array([_error(c, x) for x in rows]) for c in ALL}
        found[kind] |= {name: np.array([_by_block(fmt, x) for x in rows]) for name, fmt in BY_BLOCK.items()}
    return found


def _by_block(fmt: Format, x: np.ndarray) -> float:
    """Of blocks of 128 with any scale, their largest magnitudes at the end of the grid."""
    blocks = in_blocks(x.astype(np.float64), 128)
    step = largest(blocks)[..., None] / fmt.max_units
    return float(np.square(fmt.nearest(blocks / step) * step - blocks).sum() / np.square(x).sum())


def _error(candidate: Candidate, x: np.ndarray) -> float:
    q = fit(x, candidate, axis=0, weight=True)
    return float(np.square(q(x) - x).sum() / np.square(x).sum())


def error(console: Console) -> None:
    found, table = errors(), Table("family", *DRAWN, title="squared error, mean of 4 seeds (range)")
    for c in (*map(str, ALL), *BY_BLOCK):
        table.add_row(c, *(f"{e.mean():.5f} ({e.min():.5f}-{e.max():.5f})" for e in (found[k][c] for k in DRAWN)))
    console.print(table)
    claims = Table("claim", "distribution", "falling error", "seeds that hold")
    for what, kind, order in CLAIMS:
        held = np.all([found[kind][a] > found[kind][b] for a, b in zip(order, order[1:], strict=False)], axis=0)
        claims.add_row(what, kind, " > ".join(order), f"{held.sum()} of {len(held)}")
    console.print(claims)


def layer(candidate: Candidate) -> qc.Design:
    """A dense layer alone."""
    w = np.random.default_rng(0).standard_t(4, LAYER).astype(np.float32)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in zip("xy", LAYER, strict=True)]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "dense")
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    q = fit(w, candidate, axis=1, weight=True)
    plan = Plan({"x": Choice(FixedPoint(8, 4)), "dense.weight": Choice.of(q, 2)})
    fold = json.dumps({"dense": {"pe": PE, "simd": SIMD}})
    return qc.compile(model, plan, arch="dataflow", backend="rtl", part=PART, fold=fold)


def synthesised(design: qc.Design) -> tuple[int, int, int, float]:
    """(LUTs, DSP blocks, block RAM, LUTs by the estimate) of the layer's process."""
    assert design.network is not None and isinstance(design.rtl, StreamView)
    placed = zip(design.network.stages, design.rtl.placed, strict=True)
    made = next(r.process for s, r in placed if isinstance(s.unit, MatVecUnit))
    text = templates().get_template("rtl/process.sv.j2").render(p=made)
    text = text.replace(f"module {made.name} (", f"(* keep_hierarchy *)\nmodule {made.name} (")
    circuits = {p.name: p.read_text() for p in RTL.glob("*.sv")}
    top = f"module wrap (); (* keep *) {made.name} u ();\nendmodule\n"
    sources = [text, *(circuits[name] for name in used([text], circuits)), top]
    files = {"layer.sv": "\n".join(sources).encode(), **{r.file: r.content for r in made.roms}}
    found = counts(cells(netlist(files, f"{PREPARE}; {COMMANDS['xc7']}"), f"\\{made.name}"), measured()["xc7"].cells)
    return found["lut"], found["dsp"], found["bram18"], price(made.parts(), fabric(device(PART))).lut


def prices(console: Console) -> None:
    table = Table("family", "unit", "bits of a weight", "LUT", "a product", "DSP", "BRAM18", "estimate", "accumulator")
    for c in PRICED:
        design = layer(c)
        assert design.network is not None
        unit = next(s.unit for s in design.network.stages if isinstance(s.unit, MatVecUnit))
        lut, dsp, bram, estimate = synthesised(design)
        bits = memory_bits(unit.memory) / (LAYER[0] * LAYER[1])
        shown = (f"{bits:.2f}", f"{lut}", f"{lut / (PE * SIMD):.1f}", f"{dsp}", f"{bram}", f"{estimate:.0f}")
        table.add_row(str(c), unit.name, *shown, f"{unit.accumulator}")
    console.print(table)


def front(console: Console) -> None:
    x, y = np.load(ROOT / "examples" / "digits_x.npy"), np.load(ROOT / "examples" / "digits_y.npy")
    models = {name: qc.load(ROOT / "examples" / f"digits_float_{name}.onnx") for name in ("mlp", "cnn")}
    for name, model in (models | {"depthwise": trained(train_float.depthwise(), 0)}).items():
        rows = []
        for c in ALL:
            design = qc.compile(model, _plan(model, c), part=PART)
            right = float((design.simulate(x).reshape(len(x), -1).argmax(axis=1) == y).mean())
            rows.append((design.estimate().total.lut, right, str(c)))
        table = Table("family", "LUT", "accuracy", "on the front", title=f"digits {name}")
        best = -1.0
        for lut, right, c in sorted(rows):
            table.add_row(c, f"{lut:,.0f}", f"{right:.3f}", "yes" if right > best else "")
            best = max(best, right)
        console.print(table)


def trained(module: torch.nn.Module, seed: int) -> qc.Model:
    """On the images that are neither for calibration nor for tests."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    x, y, *_ = train_float.data(seed)
    train_float.train(module, x[train_float.CALIBRATION_ROWS :], y[train_float.CALIBRATION_ROWS :], seed=seed)
    return qc.load(train_float.onnx_bytes(module))


def wide(console: Console) -> None:
    nn, found = torch.nn, dict[str, list[tuple[float, float]]]()
    for seed in SEEDS:
        hidden = [nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 32), nn.ReLU()]
        model = trained(nn.Sequential(*hidden, nn.Linear(32, 10)), seed)
        x, labels = (v.numpy() for v in train_float.data(seed)[2:])
        held = data(x, model.graph, labels)
        network = FloatNetwork.of(model.graph)
        (layer,) = (t for t in tensors(model.graph) if t.kind == WEIGHT and 512 in t.shape and 32 in t.shape)
        own = study(network, [layer], {layer.name: WIDE}, held, loss_of(network, held, "kl"), Jobs(), "mse")
        for i, c in enumerate(WIDE):
            right = float((own.evaluation.outputs({layer.name: i}).argmax(axis=1) == labels).mean())
            found.setdefault(str(c), []).append((own.evaluation({layer.name: i}), right))
    table = Table("family", "divergence", "accuracy", title="512 inputs, mean of 4 seeds (range)")
    for c, rows in found.items():
        losses, right = np.array(rows).T
        table.add_row(c, f"{losses.mean():.2e} ({losses.min():.1e}-{losses.max():.1e})", f"{right.mean():.4f}")
    console.print(table)


def _plan(model: qc.Model, candidate: Candidate) -> Plan:
    """Weights of a family, data of 6 bits."""
    graph = transformed(model.graph, ("fold_bn",))
    net, images = FloatNetwork.of(graph), np.load(ROOT / "examples" / "digits_calibration.npz")["x"]
    seen, chosen, ties = net.run(net.start([images]), keep=None), dict[str, Choice](), dict[str, Choice]()
    for t in tensors(graph):
        weight = t.kind == WEIGHT
        numbers = net.weights()[t.value][0] if weight else seen[t.value]
        own = candidate if weight else Candidate("fixed", 6)
        q = fit(numbers, own, axis=t.axis if weight else None, weight=weight)
        chosen[t.name] = ties.setdefault(t.tie or t.name, Choice.of(q, len(t.shape)))
    return Plan(chosen, model.sha256, model.name, ("fold_bn",))


PARTS = {"error": error, "price": prices, "front": front, "wide": wide}

if __name__ == "__main__":
    shown = Console(width=160)
    for wanted in sys.argv[1:] or PARTS:
        PARTS[wanted](shown)
