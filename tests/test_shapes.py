"""Arrays have the shapes of the source framework: its batch axis is the vector index, and no axis of 1 is left over."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.cli import main

rng = np.random.default_rng(0)


def network(shapes: list[Any], outputs: list[str], *nodes: tuple[Any, ...], **constants: np.ndarray) -> bytes:
    """An ONNX file with inputs x0, x1, ... of integers. nodes: (operator, inputs, output, attributes)."""
    made = [helper.make_node(op, names.split(), [out], **(more[0] if more else {})) for op, names, out, *more in nodes]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, s) for i, s in enumerate(shapes)],
        [
            helper.make_tensor_value_info(
                o, TensorProto.INT64 if any(n[0] == "ArgMax" for n in nodes) else TensorProto.FLOAT, None
            )
            for o in outputs
        ],
        [numpy_helper.from_array(np.asarray(c), n) for n, c in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def weights(*shape: int) -> np.ndarray:
    return rng.integers(-3, 4, shape).astype(np.float32)


CASES: dict[str, tuple[bytes, list[tuple[int, ...]]]] = {
    "dense": (network([[1, 4]], ["y"], ("MatMul", "x0 w", "y"), w=weights(4, 3)), [(3,)]),
    "dynamic batch": (network([["N", 4]], ["y"], ("MatMul", "x0 w", "y"), w=weights(4, 3)), [(3,)]),
    "one feature": (network([["N", 4]], ["y"], ("MatMul", "x0 w", "y"), w=weights(4, 1)), [(1,)]),
    "1-D convolution": (
        network([["N", 1, 8]], ["y"], ("Conv", "x0 w", "y"), w=weights(2, 1, 3)),
        [(2, 6)],
    ),
    "one channel": (network([["N", 1, 8]], ["y"], ("Conv", "x0 w", "y"), w=weights(1, 1, 3)), [(1, 6)]),
    "sequence": (network([[1, 1, 4]], ["y"], ("MatMul", "x0 w", "y"), w=weights(4, 3)), [(1, 3)]),
    "class": (
        network(
            [["N", 4]],
            ["y"],
            ("MatMul", "x0 w", "h"),
            ("ArgMax", "h", "y", {"axis": 1, "keepdims": 0}),
            w=weights(4, 3),
        ),
        [()],
    ),
    "class, axis kept": (
        network([["N", 4]], ["y"], ("MatMul", "x0 w", "h"), ("ArgMax", "h", "y", {"axis": 1}), w=weights(4, 3)),
        [(1,)],
    ),
    "softmax": (
        network([["N", 4]], ["y"], ("MatMul", "x0 w", "h"), ("Softmax", "h", "y", {"axis": -1}), w=weights(4, 3)),
        [(3,)],
    ),
    "several": (
        network(
            [["N", 4], ["N", 2, 3]],
            ["y", "z"],
            ("MatMul", "x0 w", "y"),
            ("Transpose", "x1", "t", {"perm": [0, 2, 1]}),
            ("Relu", "t", "z"),
            w=weights(4, 3),
        ),
        [(3,), (3, 2)],
    ),
}
OWN: dict[str, tuple[bytes, list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    # Graphs on single vectors: their results have no batch axis, the vector index comes in front.
    "no batch": (network([[4]], ["y"], ("MatMul", "x0 w", "y"), w=weights(4, 3)), [(4,)], [(3,)]),
    "no batch, axis made": (
        network([[4]], ["y"], ("Unsqueeze", "x0 a", "u"), ("MatMul", "u w", "y"), w=weights(4, 3), a=np.array([0])),
        [(4,)],
        [(1, 3)],
    ),
    "batch behind": (
        network([[1, 4]], ["y"], ("MatMul", "x0 w", "h"), ("Transpose", "h", "y", {"perm": [1, 0]}), w=weights(4, 3)),
        [(4,)],
        [(3, 1)],
    ),
    "batch flattened": (
        network(
            [[1, 2, 4]], ["y"], ("Reshape", "x0 s", "h"), ("MatMul", "h w", "y"), w=weights(4, 3), s=np.array([-1, 4])
        ),
        [(2, 4)],
        [(2, 3)],
    ),
}


def emitted(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("model", folder / "sim" / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs_of(source: bytes) -> list[np.ndarray]:
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in onnx.load_from_string(source).graph.input
    ]
    return [rng.integers(-8, 8, (5, *s)).astype(np.float32) for s in shapes]


@pytest.mark.parametrize("name", CASES)
def test_shapes_of_the_source(name: str, tmp_path: Path) -> None:
    source, shapes = CASES[name]
    x = inputs_of(source)
    session = onnxruntime.InferenceSession(source)
    fixed = "N" not in str(session.get_inputs()[0].shape)
    rows = [session.run(None, {f"x{i}": v[n : n + 1] for i, v in enumerate(x)}) for n in range(5)]
    wanted = [np.concatenate(r) for r in zip(*rows, strict=True)]
    if not fixed:
        whole = session.run(None, {f"x{i}": v for i, v in enumerate(x)})
        assert [w.shape for w in whole] == [w.shape for w in wanted]
    design = qc.compile(source, input_formats=("s5",) * len(x), arch="dataflow", part="pynq-z2")
    design.write(tmp_path / "p")
    found = design.simulate(*x)
    for f, w, shape in zip(found if isinstance(found, list) else [found], wanted, shapes, strict=True):
        assert f.shape == w.shape == (5, *shape) and np.allclose(f, w)
    one = design.simulator(*(v[:1] for v in x))
    assert [o.shape for o in one] == [(1, *s) for s in shapes]
    with_axis = design.simulator(*(v[:, None] for v in x))
    assert all(np.array_equal(a, b) for a, b in zip(with_axis, design.simulator(*x), strict=True))
    module = emitted(tmp_path / "p")
    for codes in (False, True):
        ours = design.simulator.codes(*x) if codes else design.simulator(*x)
        for a, b in zip(module.simulate(*x, codes=codes), ours, strict=True):
            assert a.shape == b.shape and np.array_equal(a, b)
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert [tuple(o["shape"]) for o in manifest["outputs"]] == shapes
    assert [tuple(i["shape"]) for i in manifest["inputs"]] == [v.shape[1:] for v in x]


@pytest.mark.parametrize("name", OWN)
def test_graphs_without_a_batch_axis(name: str) -> None:
    source, given, shapes = OWN[name]
    x = [rng.integers(-8, 8, (5, *s)).astype(np.float32) for s in given]
    found = qc.compile(source, input_formats=("s5",) * len(x)).simulator(*x)
    assert [f.shape for f in found] == [(5, *s) for s in shapes]
    session = onnxruntime.InferenceSession(source)
    for n in range(5):
        feed = {v.name: a[n].reshape(v.shape) for v, a in zip(session.get_inputs(), x, strict=True)}
        for f, w in zip(found, session.run(None, feed), strict=True):
            assert np.array_equal(f[n].reshape(w.shape), w)


def test_simulate_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, and inputs for verify of either shape."""
    monkeypatch.chdir(tmp_path)
    source, shapes = CASES["1-D convolution"]
    Path("m.onnx").write_bytes(source)
    (x,) = inputs_of(source)
    np.save("x.npy", x)
    for options in ([], ["--codes"]):
        line = ["simulate", "m.onnx", "--input-format", "s5", "--input", "x.npy", "--output", "y.npy", *options]
        result = click.testing.CliRunner().invoke(main, line)
        assert result.exit_code == 0, result.output
        assert np.load("y.npy").shape == (5, *shapes[0])
    folder = qc.compile(source, input_formats=("s5",)).write("p")
    for array in (x, x[:, None]):
        assert all(r.differing == 0 for r in qc.verify(folder, array, samples=4, float32=False).rows)
