"""Estimates: the record, the rules' sense, the picture, budgets, and what is said where something is impossible."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import GROUND_TRUTH, ROOT, needs_results
from onnx import TensorProto, helper, numpy_helper, save

import qcompile as qc
from qcompile.cli import main
from qcompile.cost import primitives as hw
from qcompile.cost.budget import Budget
from qcompile.cost.devices import device
from qcompile.cost.exchange import fabric_of
from qcompile.cost.picture import draw
from qcompile.cost.price import price
from qcompile.formats import Bipolar
from qcompile.hardware.units import MatVecUnit

KINDS = ("lut", "ff", "dsp", "bram18", "uram", "latency_cycles", "interval_cycles")


def run(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [*map(str, arguments)], env={"COLUMNS": "160"})
    assert done.exit_code == code, done.output
    return done


def dense(folder: Path, weights: np.ndarray, weight_bits: float = 8, in_bits: float = 8, out_bits: float = 8) -> Path:
    """One MatMul between two quantizers; weights are integers."""

    def quant(name: str, source: str, scale: float, bits: float) -> list:
        given = {f"{name}_s": scale, f"{name}_z": 0.0, f"{name}_b": bits}
        constants.extend(numpy_helper.from_array(np.float32(v), k) for k, v in given.items())
        return [
            helper.make_node(
                "Quant",
                [source, *given],
                [name],
                f"quant_{name}",
                domain="qonnx.custom_op.general",
                signed=1,
                narrow=0,
                rounding_mode="ROUND",
            )
        ]

    constants = [numpy_helper.from_array(weights.astype(np.float32), "weights")]
    nodes = [
        *quant("xq", "x", 1.0, in_bits),
        *quant("wq", "weights", 1.0, weight_bits),
        helper.make_node("MatMul", ["xq", "wq"], ["h"], "fc"),
        *quant("y", "h", 16.0, out_bits),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weights.shape[1]])],
        constants,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    path = folder / "dense.onnx"
    save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def test_record(digits: Path) -> None:
    """Exactly the promised keys, whole numbers, layers under the names of the user's nodes."""
    found = json.loads(run("estimate", digits, "--part", "xc7z020", "--json").stdout)
    assert list(found) == ["part", "stage", "total", "layers", "available", "fits"]
    assert (found["part"], found["stage"], found["fits"]) == ("xc7z020", "synthesis", True)
    assert found["available"] == {"lut": 42560, "ff": 85120, "dsp": 198, "bram18": 252, "uram": 0}
    assert tuple(found["total"]) == KINDS and all(isinstance(v, int) for v in found["total"].values())
    for layer in found["layers"]:
        assert tuple(layer) == ("name", "op", *KINDS)
    for kind in KINDS[:5]:
        assert 0 <= found["total"][kind] and abs(
            sum(layer[kind] for layer in found["layers"]) - found["total"][kind]
        ) <= len(found["layers"])
    names = {n.origin.node for n in qc.load(digits).graph.nodes}
    assert {layer["name"] for layer in found["layers"]} <= names | {"registers"}
    assert (
        found["total"]["lut"] > 1000
        and found["total"]["latency_cycles"] >= 1
        and found["total"]["interval_cycles"] == 1
    )


def test_project_and_model_agree(digits: Path, tmp_path: Path) -> None:
    run("compile", digits, "-o", tmp_path / "p", "--part", "zcu104")
    of_project = json.loads(run("estimate", tmp_path / "p", "--json").stdout)
    of_model = json.loads(run("estimate", digits, "--part", "zcu104", "--json").stdout)
    assert of_project["total"] == of_model["total"]
    elsewhere = json.loads(run("estimate", tmp_path / "p", "--part", "ecp5-85f", "--json").stdout)
    assert elsewhere["part"] == "ecp5-85f" and elsewhere["total"]["lut"] != of_project["total"]["lut"]


def test_table(digits: Path) -> None:
    text = run("estimate", digits, "--part", "ice40up5k", "--clock", "20").stdout
    for word in (
        "total",
        "of the part",
        "bottleneck",
        "latency",
        "throughput",
        "weights:",
        "basis:",
        "IT DOES NOT FIT",
        "smallest part",
        "next:",
    ):
        assert word in text, word


def test_project_takes_no_other_options(digits: Path, tmp_path: Path) -> None:
    run("compile", digits, "-o", tmp_path / "p")
    assert "is a project" in run("estimate", tmp_path / "p", "--softmax", "integer", code=2).stderr


def test_advice_keeps_to_the_budget(digits: Path) -> None:
    """A part that is named would do under the same shares."""
    text = run("estimate", digits, "--part", "xc7z010", "--budget", "lut=0.5").stdout
    named = device(text.split("that holds it: ")[1].split()[0])
    assert json.loads(run("estimate", digits, "--part", named.name, "--budget", "lut=0.5", "--json").stdout)["fits"]


def test_products_go_where_the_estimate_says(tmp_path: Path) -> None:
    """Constants and narrow products in LUTs, wide products of data in DSP blocks; the build files tell the vendor's
    tool.
    """

    def build(bits: float) -> tuple[str, int]:
        quant = [
            helper.make_node(
                "Quant",
                [x, "s", "z", "b"],
                [f"{x}q"],
                f"quant_{x}",
                domain="qonnx.custom_op.general",
                signed=1,
                narrow=0,
                rounding_mode="ROUND",
            )
            for x in ("a", "c")
        ]
        constants = [numpy_helper.from_array(np.float32(v), k) for k, v in {"s": 1.0, "z": 0.0, "b": bits}.items()]
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("a", "c", "y")]
        graph = helper.make_graph(
            [*quant, helper.make_node("Mul", ["aq", "cq"], ["y"], "product")], "m", values[:2], values[2:], constants
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
        save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
        design = qc.compile(tmp_path / "m.onnx")
        design.write(tmp_path / f"p{bits}")
        return (tmp_path / f"p{bits}" / "build.tcl").read_text(), design.estimate().total.dsp

    narrow, wide = build(4), build(18)
    assert "config_op mul -impl fabric" in narrow[0] and narrow[1] == 0
    assert "config_op" not in wide[0] and wide[1] == 4


@pytest.mark.parametrize(
    ("said", "shown"),
    [("xc7z02", "xc7z020"), ("pynq-z2", "xc7z020"), ("xc7z020-clg400-1", "xc7z020-clg400-1"), ("ZU3EG", "ZU3EG")],
)
def test_part_is_named(digits: Path, said: str, shown: str) -> None:
    assert json.loads(run("estimate", digits, "--part", said, "--json").stdout)["part"] == shown


def test_design() -> None:
    design = qc.compile(ROOT / "examples" / "digits_mlp.onnx")
    small, large = design.estimate(), design.estimate(part="xcvu9p", clock_ns=2.5)
    assert large.part == "xcvu9p" and large.total.latency > small.total.latency
    assert str(small).count("\n") == len(small.layers) + 2 and "total" in str(small)


@pytest.mark.parametrize("part", ["xc7z020", "xczu9eg", "ecp5-85f", "vck190", "ice40up5k"])
def test_constants_count(tmp_path: Path, part: str) -> None:
    """Zeros and powers of two are wires; more digits, bits and terms cost more."""
    rng = np.random.default_rng(1)
    dense_weights = rng.integers(-127, 128, (16, 8))

    def lut(weights: np.ndarray, **bits: float) -> float:
        design = qc.compile(dense(tmp_path, weights, **bits), part=part)
        return sum(layer.cost.lut for layer in design.estimate(clock_ns=25).layers if layer.op == "MatMul")

    whole, sparse = lut(dense_weights), lut(dense_weights * (rng.random((16, 8)) < 0.5))
    powers, few = lut(np.sign(dense_weights) * 2 ** rng.integers(0, 6, (16, 8))), lut(dense_weights // 16)
    assert sparse < 0.75 * whole and powers < few < whole
    assert lut(dense_weights, in_bits=4) < whole < lut(dense_weights, in_bits=12)
    assert lut(np.zeros((16, 8))) == 0


def test_every_primitive_is_named() -> None:
    """Rules stand on primitives: a fabric for every device of the catalogue, measured or marked."""
    from qcompile.cost.devices import catalogue
    from qcompile.cost.resources import Basis

    design = qc.compile(ROOT / "examples" / "digits_mlp.onnx")
    for found in catalogue().devices:
        estimate = design.estimate(part=found.name, clock_ns=25)
        assert estimate.total.lut > 0
        if found.family.startswith("Versal"):
            assert estimate.total.basis == Basis.EXTRAPOLATED


def test_picture(digits: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.svg", "b.svg", "c.png")]
    for file in files:
        run("estimate", digits, "--plot", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    text = files[0].read_text()
    assert text.count("<path") > 20 and files[2].read_bytes().startswith(b"\x89PNG")


def test_picture_of_strange_names(tmp_path: Path) -> None:
    from qcompile.cost.resources import Estimate, LayerCost, Resources

    layers = tuple(
        LayerCost(f"$\\frac{{{i}}}$ <&>" + "x" * i, "MatMul", Resources(lut=i, ff=2 * i, dsp=1)) for i in range(90)
    )
    draw(
        Estimate("xc7z020", "synthesis", layers, Resources(lut=4000, ff=8000, dsp=90)),
        device("xc7z020"),
        tmp_path / "p.svg",
    )
    assert (tmp_path / "p.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--part", "xc7z02O"], ["'xc7z02O' is not in the catalogue", "nearest", "xc7z020"]),
        (["--part", "pynq-z3"], ["'pynq-z3'", "nearest", "pynq-z2"]),
        (["--part", "xc7z020", "--clock", "0.5"], ["2,000 MHz", "beyond xc7z020", "--clock"]),
        (["--budget", "luts=0.5,dps=3"], ["'dps' is no resource", "did you mean dsp"]),
        (["--budget", "lut=1.5"], ["more than the whole part", "a share ends at 1.0"]),
        (["--budget", "lut=-1"], ["not possible"]),
        (["--budget", "lut=nan"], ["not possible"]),
        (["--budget", "lut=many"], ["is no number"]),
        (["--budget", "lut=1e999"], ["not possible"]),
        (["--budget", "lut=0.5,luts=0.9"], ["says lut twice"]),
        (["--plot", "."], ["this is a folder"]),
        (["--fold", "full"], ["architecture parallel cannot be folded"]),
        (["--budget", "dsp=100000"], ["more than", "has: 220", "at most dsp=220"]),
        (["--stage", "hls"], ["--generator hls4ml"]),
        (["--plot", "x.bmp"], ["'.bmp' is no kind of picture", ".svg"]),
        (["--plot", "/nowhere/x.svg"], ["cannot be written"]),
        (["--generator", "hls4ml", "--reuse-factor", "0"], ["reuse factor"]),
    ],
)
def test_errors(digits: Path, arguments: list[str], words: list[str]) -> None:
    done = run("estimate", digits, *arguments, code=1)
    for word in words:
        assert word in done.stderr, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--reuse-factor", "4"], ["--strategy", "resource"], ["--generator", "finn"]])
def test_wrong_usage(digits: Path, arguments: list[str]) -> None:
    run("estimate", digits, *arguments, code=2)


def test_budget_decides(digits: Path) -> None:
    free = json.loads(run("estimate", digits, "--part", "xc7z020", "--json").stdout)
    tight = json.loads(
        run("estimate", digits, "--part", "xc7z020", "--budget", f"lut={free['total']['lut'] - 1}", "--json").stdout
    )
    exact = json.loads(
        run("estimate", digits, "--part", "xc7z020", "--budget", f"lut={free['total']['lut']},dsp=0", "--json").stdout
    )
    assert (free["fits"], tight["fits"], exact["fits"]) == (True, False, True)
    assert Budget.parse("lut=0.5,bram=10%").limits(device("xc7z020")) == {
        "lut": 26600,
        "ff": 85120,
        "dsp": 198,
        "bram18": 28,
        "uram": 0,
    }


@needs_results
def test_closer_than_finn() -> None:
    """LUTs of FINN's matrix-vector units after synthesis: our rule against FINN's own estimate, where the folding is
    published.
    """
    rows = [json.loads(line) for line in (GROUND_TRUTH / "finn_layers_post_synth.jsonl").read_text().splitlines()]
    ours, theirs = [], []
    for row in (r for r in rows if "MVAU" in r["node"] and r.get("post_synth") and r.get("finn_estimate")):
        fold, sizes = row["hw_config"], row["ops"]
        (limit,) = [(int(k.split("_")[-1][:-1]), n) for k, n in sizes.items() if "threshold" in k] or [(7, 10)]
        acc, outputs = limit
        fabric, pe, inputs = fabric_of("xc7z020"), fold["PE"], sizes["param_weight_1b"] // outputs
        unit = MatVecUnit(outputs, inputs, 1, 1, pe, fold["SIMD"], Bipolar(), Bipolar(), 1, acc)
        cost = price(unit.parts(), fabric)
        if any("threshold" in k for k in sizes):
            cost = cost + hw.adder(fabric, acc).times(pe) + hw.rom(fabric, outputs // pe, pe * acc)
        truth = row["post_synth"]["LUT"]
        ours.append(abs(cost.lut - truth) / truth)
        theirs.append(abs(row["finn_estimate"]["LUT"] - truth) / truth)
    assert len(ours) == 16 and np.median(ours) < 0.4 and np.median(ours) < np.median(theirs) / 3


def test_the_page_has_the_errors() -> None:
    """The table of docs/estimates.md is the one that the fit wrote, and one command prints it."""
    rows = [
        line for line in (ROOT / "hw" / "calibration" / "errors.md").read_text().splitlines() if line.startswith("|")
    ]
    page, printed = (ROOT / "docs" / "estimates.md").read_text(), run("calibration").stdout
    assert len(rows) > 40 and "\n".join(rows) in page and "\n".join(rows) in printed


# (depth, width): LUTs, flip-flops and block RAMs that synth_ice40 makes of stream.sv and ram.sv.
STREAMS = {(2, 8): (22, 25, 0), (4, 8): (50, 46, 0), (8, 8): (85, 83, 0), (12, 5): (100, 84, 0)}
MEMORIES = {(4, 8): (28, 40, 0), (8, 8): (56, 72, 0), (12, 5): (60, 65, 0), (16, 2): (47, 34, 0), (64, 12): (1, 0, 1)}


def test_memories_where_luts_are_none() -> None:
    """What is small is made of flip-flops."""
    fabric = hw.fabric(device("ice40hx8k"))
    for priced, points in ((hw.fifo, STREAMS), (hw.ram, MEMORIES)):
        for (depth, width), (lut, ff, blocks) in points.items():
            cost = priced(fabric, depth, width)
            assert (cost.ff, cost.bram18) == (ff, blocks) and abs(cost.lut - lut) <= 5


def test_times_grow_with_the_network() -> None:
    """A network of 24,600 LUTs was placed for 47.5 MHz where the times of small ones say 57."""
    ecp5, ice40 = (hw.fabric(device(part)) for part in ("lfe5u-85f", "ice40hx8k"))
    assert ecp5.longer(3000) == 1.0 < ecp5.longer(6000) < ecp5.longer(24_600) == pytest.approx(57.2 / 47.5, rel=0.02)
    assert ice40.longer(7000) == 1.0
