"""Parts of models: what is compiled between named tensors, and what the host runs in front and behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import cli

pytest.importorskip("onnxruntime", reason="pip install 'qcompile[float]'")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype(np.float32) * 3 + 1


def network() -> onnx.ModelProto:
    """(x - mean) / deviation, quantized, a product, and behind it what has no hardware: a division of data."""
    numbers = {
        "mean": RNG.normal(size=6).astype(np.float32),
        "deviation": RNG.uniform(1, 3, 6).astype(np.float32),
        "step": np.float32(1 / 32),
        "zero": np.int8(0),
        "w": RNG.integers(-7, 8, (6, 4)).astype(np.float32) / 8,
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"], name="subtract"),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"], name="divide"),
        helper.make_node("QuantizeLinear", ["scaled", "step", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["held"]),
        helper.make_node("MatMul", ["held", "w"], ["logits"], name="dense"),
        helper.make_node("Exp", ["logits"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axes"], ["total"]),
        helper.make_node("Div", ["e", "total"], ["p"], name="quotient"),
        helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])
    p = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 4])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["n"])
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in numbers.items()]
    graph = helper.make_graph(nodes, "net", [x], [p, label], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def source() -> bytes:
    return network().SerializeToString()


def whole(source: bytes, x: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    return list(onnxruntime.InferenceSession(source).run(None, {"x": x}))


def test_a_part_is_what_the_file_says_there(source: bytes) -> None:
    model = qc.load(source, inputs="scaled", outputs="logits")
    assert [v.name for v in model.graph.inputs] == ["scaled"] and model.graph.inputs[0].type.shape == (1, 6)
    assert model.before is not None and model.before.inputs == ("x",) and model.before.outputs == ("scaled",)
    assert model.after is not None and model.after.inputs == ("logits",) and model.after.outputs == ("p", "label")
    p, label = qc.compile(model).simulate(X)
    wanted, classes = whole(source, X)
    assert np.allclose(p, wanted, atol=1e-6) and np.array_equal(label, classes) and p.dtype == np.float32


def test_nodes_are_names_too(source: bytes) -> None:
    by_node = qc.load(source, inputs=["divide"], outputs=["dense"])
    assert [v.name for v in by_node.graph.inputs] == ["centred"] and by_node.graph.outputs[0].name == "logits"


def test_a_project_has_the_parts_of_the_host(source: bytes, tmp_path: Path) -> None:
    file, x, y = tmp_path / "m.onnx", tmp_path / "x.npy", tmp_path / "y.npz"
    file.write_bytes(source)
    np.save(x, X)
    ends = ["--inputs", "scaled", "--outputs", "logits"]
    project = str(tmp_path / "p")
    arch = ["--arch", "dataflow", "--part", "pynq-z2"]

    def command(*words: str) -> str:
        done = CliRunner().invoke(cli.main, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "on the host: x -> scaled (host_before.onnx, by onnxruntime)" in command("inspect", str(file), *ends)
    assert "on the host: logits -> p, label" in command("compile", str(file), *ends, *arch, "-o", project)
    files = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert files["host"]["after"] == {"file": "host_after.onnx", "inputs": ["logits"], "outputs": ["p", "label"]}
    command("simulate", project, "--input", str(x), "--output", str(y))
    with np.load(y) as found:
        assert np.array_equal(found["y1"], whole(source, X)[1]) and found["y0"].shape == (50, 4)
    command("verify", project, "--input", str(x), "--samples", "5")
    (tmp_path / "p" / "host_after.onnx").write_bytes(b"other")
    with pytest.raises(qc.VerificationError, match="host_after.onnx"):
        qc.verify(project, X, samples=5)


def test_the_driver_runs_them(source: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a process that has the parts of another project of the same name."""
    import importlib.util

    design = qc.compile(source, inputs="scaled", outputs="logits", arch="dataflow", part="pynq-z2")
    design.write(tmp_path / "p")
    for part in ("model", "ports", "host"):
        monkeypatch.setitem(sys.modules, f"{design.top}_{part}", ModuleType("of another project"))
    spec = importlib.util.spec_from_file_location("driver_of_a_part", tmp_path / "p" / "board" / "driver.py")
    assert spec is not None and spec.loader is not None
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    net = driver.Accelerator(simulate=True)
    assert all(np.array_equal(a, b) for a, b in zip(net(X), design.simulate(X), strict=True))
    assert np.array_equal(net.codes(X), design.simulate(X, codes=True))


def test_the_first_outputs_alone(source: bytes) -> None:
    """Outputs of the file that are chosen leave nothing to the host."""
    model = qc.load(source, inputs="scaled", outputs="logits")
    again = qc.load(model.source, outputs="logits")
    assert again.before is None and again.after is None


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"inputs": "scald"}, "'scald' is no tensor or node of the model; did you mean scaled"),
        ({"outputs": "logit"}, "--outputs: 'logit' is no tensor"),
        ({"inputs": "logits", "outputs": "scaled"}, "reads input 'x' of the model too"),
        ({"inputs": "x,e", "outputs": "logits"}, "depends on 'e'"),
        ({"inputs": "x", "outputs": "x"}, "no node between"),
        ({"inputs": "w"}, "'w' is no tensor or node"),
    ],
)
def test_names_that_enclose_nothing(source: bytes, ends: dict[str, str], words: str) -> None:
    with pytest.raises(qc.QCompileError, match=words):
        qc.load(source, **ends)


def test_a_loaded_model_is_not_cut(source: bytes) -> None:
    with pytest.raises(qc.QCompileError, match="cut when it is loaded"):
        qc.compile(qc.load(source, inputs="scaled", outputs="logits"), inputs="scaled")


def test_assign_takes_the_data_of_the_file() -> None:
    given = network()
    for node in [n for n in given.graph.node if "Linear" in n.op_type]:
        given.graph.node.remove(node)
    given.graph.node[2].input[0] = "scaled"
    file, ends = given.SerializeToString(), {"inputs": "scaled", "outputs": "dense"}
    plan = qc.assign(file, X, metric="kl_output", refine=0, baselines=False, candidates="fixed8", **ends)
    assert set(plan.tensors) == {"scaled"}  # the weights are on a grid already
    label = qc.compile(file, plan, **ends).simulate(X)[1]
    assert np.mean(label == whole(file, X)[1]) > 0.9


def open_network() -> onnx.ModelProto:
    """A sum over the columns of an image of any size."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("ReduceSum", ["positive", "axes"], ["y"], keepdims=0),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("x", ["N", 2, "H", "W"]), ("y", ["N", 2, "H"]))
    ]
    axes = [numpy_helper.from_array(np.array([3]), "axes")]
    return helper.make_model(
        helper.make_graph(nodes, "open", ends[:1], ends[1:], axes), opset_imports=[helper.make_opsetid("", 18)]
    )


@pytest.mark.parametrize("shapes", ["x=1x2x3x4", ("H=3", "W=4")])
def test_open_sizes(shapes: str | tuple[str, ...], tmp_path: Path) -> None:
    design = qc.compile(open_network(), shapes=shapes, input_formats="s4")
    x = RNG.integers(-8, 8, (5, 2, 3, 4)).astype(np.float32)
    assert np.array_equal(design.simulate(x), np.maximum(x, 0).sum(axis=3))
    design.write(tmp_path)
    assert qc.open_project(tmp_path).graph.inputs[0].type.shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ((), "--shape x=1x2x32x32"),
        ("x=1x2x3", "4 axes"),
        ("x=1x3x3x4", "axis 1 has 2 elements"),
        ("x:1x2x3x4", "is no shape"),
        ("x=1x2x0x4", "is no shape"),
        ("q=3", "known: x, N, H, W"),
        ("H=3x4", "known: x, N, H, W"),
    ],
)
def test_sizes_that_there_are_not(shapes: str | tuple[str, ...], words: str) -> None:
    with pytest.raises(qc.QCompileError, match=words):
        qc.load(open_network(), shapes=shapes)
