"""Bad input gives one clear error, exit code 1, no traceback, and leaves nothing on disk; odd names are no bad
input.
"""

import functools
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.backends import hls
from qcompile.cli import main
from qcompile.options import Assigning

Edit = Callable[[onnx.ModelProto], Any]
QONNX = "qonnx.custom_op.general"


def mlp(edit: Edit | None = None, **names: str) -> onnx.ModelProto:
    """x [1, 4] -> Quant s4f2 -> Gemm with quantized weights (3 x 4) -> Quant s6f2 -> y.

    names: other names for tensors and nodes; edit: a last change.
    """

    def n(name: str) -> str:
        return names.get(name, name)

    rng = np.random.default_rng(7)
    constants = {
        "s": 0.25,
        "z": 0.0,
        "b4": 4.0,
        "b6": 6.0,
        "w": rng.normal(size=(4, 3)),
        "bias": np.array([1, -0.5, 0.25]),
    }
    nodes = [
        helper.make_node("Quant", [n("x"), n("s"), n("z"), n("b4")], [n("xq")], n("quant_x"), domain=QONNX),
        helper.make_node("Quant", [n("w"), n("s"), n("z"), n("b4")], [n("wq")], n("quant_w"), domain=QONNX),
        helper.make_node("Gemm", [n("xq"), n("wq"), n("bias")], [n("h")], n("gemm")),
        helper.make_node("Quant", [n("h"), n("s"), n("z"), n("b6")], [n("y")], n("quant_y"), domain=QONNX),
    ]
    graph = helper.make_graph(
        nodes,
        n("net"),
        [helper.make_tensor_value_info(n("x"), TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info(n("y"), TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array(v, np.float32), n(k)) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)])
    if edit is not None:
        edit(model)
    return model


def put(name: str, value: Any, dtype: Any = np.float32) -> Edit:
    """Replaces an initializer."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, dtype), name))

    return edit


def drop(name: str) -> Edit:
    """Removes an initializer."""
    return lambda model: model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == name))


def insert(*ops: str) -> Edit:
    """A chain of such nodes between the Gemm and the last quantizer."""

    def edit(model: onnx.ModelProto) -> None:
        last, previous = model.graph.node[-1], "h"
        for i, op in enumerate(ops):
            model.graph.node.append(helper.make_node(op, [previous], [f"t{i}"], f"node_{op}"))
            previous = f"t{i}"
        last.input[0] = previous

    return edit


def before(op: str, constant: Any, **attributes: Any) -> Edit:
    """A node op(x, constant) in front of the Gemm."""

    def edit(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), "c"))
        model.graph.node.append(helper.make_node(op, ["xq", "c"], ["xr"], f"node_{op}", **attributes))
        model.graph.node[2].input[0] = "xr"

    return edit


def external(location: str, **more: str) -> Edit:
    """Keeps the weights in a file beside (or not beside) the model."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "length": "48", **more}.items():
            tensor.external_data.add(key=key, value=value)

    return edit


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Add", ["h", "back"], ["sum"], "sum"))
    model.graph.node.append(helper.make_node("Relu", ["sum"], ["back"], "back"))
    model.graph.node[3].input[0] = "sum"


def sparse_weight(model: onnx.ModelProto) -> None:
    """A tensor whose declared size is far beyond its data."""
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    del tensor.dims[:]
    tensor.dims.extend([100_000, 10_000])


def text_weight(model: onnx.ModelProto) -> None:
    next(t for t in model.graph.initializer if t.name == "w").CopyFrom(
        helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])
    )


def bomb(model: onnx.ModelProto) -> None:
    """ConstantOfShape of 2^40 elements."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "dims"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["dims"], ["huge"], "bomb"))
    model.graph.node.append(helper.make_node("Add", ["h", "huge"], ["sum"], "sum"))
    model.graph.node[3].input[0] = "sum"


def stacked_weights(model: onnx.ModelProto) -> None:
    put("w", np.ones((2, 4, 3)))(model)
    model.graph.node[2].op_type = "MatMul"
    del model.graph.node[2].input[2:]


def computed_constant(op: str, a: Any, b: Any) -> Edit:
    """Adds op(a, b) of two constants to the Gemm's result."""

    def edit(model: onnx.ModelProto) -> None:
        for name, value in {"ka": a, "kb": b}.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        model.graph.node.append(helper.make_node(op, ["ka", "kb"], ["k"], f"node_{op}"))
        model.graph.node.append(helper.make_node("Add", ["h", "k"], ["sum"], "sum"))
        model.graph.node[3].input[0] = "sum"

    return edit


def input_shape(*dims: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, list(dims)))

    return edit


def no_quantizer(model: onnx.ModelProto) -> None:
    del model.graph.node[0]
    model.graph.node[1].input[0] = "x"


def two_inputs(model: onnx.ModelProto) -> None:
    no_quantizer(model)
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 3]))
    model.graph.node.insert(2, helper.make_node("Add", ["h", "x2"], ["sum"], "sum"))
    model.graph.node[3].input[0] = "sum"


def attribute(node: int, **values: Any) -> Edit:
    return lambda model: model.graph.node[node].attribute.extend(
        [helper.make_attribute(k, v) for k, v in values.items()]
    )


def scaled_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "h"


def empty_output(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"))
    model.graph.output.append(helper.make_tensor_value_info("empty", TensorProto.FLOAT, [0, 3]))


def twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["h"], ["h"], "again"))


# --- running


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing in it, which is the working directory."""
    folder = tmp_path / "box"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def saved(folder: Path, model: onnx.ModelProto, name: str = "m.onnx") -> str:
    (folder / name).write_bytes(model.SerializeToString())
    return name


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in folder.parent.rglob("*")
        if folder in p.parents
    }


def refused(folder: Path, *arguments: str) -> str:
    """The one error of a run that must fail: exit code 1, no traceback, nothing new on disk."""
    earlier = tree(folder)
    result = click.testing.CliRunner().invoke(main, list(arguments), terminal_width=400)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert result.output.count("error: ") == 1
    assert tree(folder) == earlier
    return result.output


def compiled(folder: Path, model: onnx.ModelProto, *options: str) -> str:
    return refused(folder, "compile", saved(folder, model), "-o", "out", *options)


MODELS: dict[str, tuple[Edit, list[str]]] = {
    "unsupported operators": (
        insert("NonZero", "Relu", "Unique", "RoiAlign"),
        ["3 nodes", "node_NonZero", "node_Unique", "node_RoiAlign", "not supported", "leave it to the host"],
    ),
    "a foreign domain": (lambda m: setattr(m.graph.node[3], "op_type", "Fancy"), [f"{QONNX}::Fancy", "not supported"]),
    "tile": (before("Tile", np.array([1, 10**12])), ["Tile", "too large"]),
    "expand": (before("Expand", np.array([10**6, 10**6])), ["Expand", "does not expand"]),
    "scale missing": (drop("s"), ["'s' is not made by any node", "quant_"]),
    "scale left out": (lambda m: m.graph.node[0].input.__setitem__(1, ""), ["quant_x", "input 1 is missing"]),
    "too few inputs": (lambda m: m.graph.node[0].input.__delitem__(slice(1, 4)), ["quant_x", "input 1 is missing"]),
    "no inputs": (lambda m: m.graph.node[0].input.__delitem__(slice(0, 4)), ["quant_x", "input 0 is missing"]),
    "scale computed": (scaled_input, ["cycle"]),
    "scale negative": (put("s", -0.5), ["the scale is -0.5", "positive"]),
    "scale zero": (put("s", 0.0), ["the scale is 0", "positive"]),
    "scale NaN": (put("s", np.nan), ["'s'", "NaN"]),
    "scale infinite": (put("s", np.inf), ["quant_x", "the scale is infinite"]),
    "scale empty": (put("s", np.zeros(0)), ["scale"]),
    "scale of odd shape": (put("s", np.ones((5, 7))), ["shape [5, 7]"]),
    "zero point empty": (put("z", np.zeros(0)), ["[0]"]),
    "zero point of odd shape": (put("z", np.zeros(9)), ["[9]"]),
    "width 0": (put("b4", 0), ["the bit width is 0", "1 to 64"]),
    "width 65": (put("b4", 65), ["the bit width is 65", "1 to 64"]),
    "width negative": (put("b4", -3), ["the bit width is -3"]),
    "width fractional": (put("b4", 3.5), ["the bit width is 3.5"]),
    "width NaN": (put("b4", np.nan), ["'b4'", "NaN"]),
    "widths that do not fit": (put("b4", [3, 4]), ["shape [2]", "[1, 4]"]),
    "one width of several": (put("b4", [[3, 4, 65, 2]]), ["a bit width is 65", "0 to 64"]),
    "width empty": (put("b4", np.zeros(0)), ["width"]),
    "rounding mode": (attribute(0, rounding_mode="SIDEWAYS"), ["SIDEWAYS"]),
    "rounding mode a number": (attribute(0, rounding_mode=3), ["quant_x", "3"]),
    "signed a text": (attribute(0, signed="yes"), ["quant_x", "signed"]),
    "inner shapes": (put("w", np.ones((5, 3))), ["gemm", "[1, 4]", "[5, 3]"]),
    "weights of rank 0": (put("w", 1.0), ["gemm"]),
    "weights of rank 3": (put("w", np.ones((2, 4, 3))), ["gemm"]),
    "matmul of rank 3": (stacked_weights, ["gemm", "[2, 4, 3]", "more axes"]),
    "broadcast bomb": (
        computed_constant("Add", np.ones((2**18, 1)), np.ones((1, 2**18))),
        ["node_Add", "elements", "fold constants"],
    ),
    "power bomb": (computed_constant("Pow", 1.5, 1e9), ["node_Pow", "1e+09"]),
    "empty tensor": (before("Gather", np.zeros(0, np.int64), axis=1), ["node_Gather", "empty"]),
    "attribute NaN": (attribute(2, alpha=float("nan")), ["gemm", "malformed"]),
    "bias does not fit": (put("bias", np.ones(7)), ["gemm", "[7]", "[1, 3]"]),
    "cycle": (cycle, ["cycle", "'sum'", "'back'"]),
    "a tensor made twice": (twice, ["'h' is made twice"]),
    "weights NaN": (put("w", np.full((4, 3), np.nan)), ["'w'", "NaN"]),
    "weights infinite": (put("w", np.full((4, 3), -np.inf)), ["'w'", "infinity"]),
    "weights text": (text_weight, ["'w'", "not numbers"]),
    "weights complex": (put("w", np.ones((4, 3)), np.complex64), ["'w'", "not numbers"]),
    "weights shorter than declared": (sparse_weight, ["'w'"]),
    "constant bomb": (bomb, ["bomb", "1099511627776 elements"]),
    "reshape bomb": (before("Reshape", np.array([2**31, 2**31])), ["cannot reshape", "[1, 4]"]),
    "reshape to nothing": (before("Reshape", np.array([0, 0, 0])), ["cannot reshape"]),
    "reshape negative": (before("Reshape", np.array([-2, -2])), ["cannot reshape"]),
    "gather outside": (before("Gather", np.array([0, 9]), axis=1), ["indices", "axis 1"]),
    "gather deep": (before("Gather", np.array([0]), axis=5), ["axis 5"]),
    "transpose": (
        lambda m: (insert("Transpose")(m), m.graph.node[-1].attribute.append(helper.make_attribute("perm", [0, 0]))),
        ["permutation"],
    ),
    "40 axes": (before("Reshape", np.array([1] * 36 + [4])), ["37 axes"]),
    "input of 40 axes": (input_shape(*[1] * 40), ["the input has 40 axes"]),
    "an empty output": (empty_output, ["output 'empty'", "[0, 3]", "empty"]),
    "input huge": (input_shape(1, 2**40), ["too large"]),
    "input empty": (input_shape(1, 0), ["must have a size"]),
    "input without shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        ["the input has no shape"],
    ),
    "input not a tensor": (
        lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", 1, [1, 4])),
        ["shape"],
    ),
    "output from nowhere": (
        lambda m: setattr(m.graph.output[0], "name", "nowhere"),
        ["'nowhere' is not made by any node"],
    ),
    "no outputs": (lambda m: m.graph.ClearField("output"), ["output"]),
    "an opset below the first": (lambda m: setattr(m.opset_import[0], "version", -5), ["there is no opset -5"]),
    "no nodes": (lambda m: (m.graph.ClearField("node"), m.graph.ClearField("output")), ["no graph"]),
    "input straight to output": (
        lambda m: (m.graph.ClearField("node"), setattr(m.graph.output[0], "name", "x")),
        ["no quantizer", "--input-format"],
    ),
    "external outside": (external("../w.bin"), ["'w'", "outside the model's folder"]),
    "external outside and back": (external("sub/../../w.bin"), ["'w'", "outside the model's folder"]),
    "external absolute": (external("/etc/passwd"), ["'w'", "outside the model's folder"]),
    "external by link": (external("link.bin"), ["'w'", "outside the model's folder"]),
    "external by linked folder": (external("linked/w.bin"), ["'w'", "outside the model's folder"]),
    "external missing": (external("none.bin"), ["'w'", "missing"]),
    "external folder": (external("."), ["'w'", "missing"]),
    "external NUL": (external("a\0b"), ["'w'"]),
    "external too short": (external("near.bin", offset="40"), ["'w'", "reaches outside"]),
    "external offset": (external("near.bin", offset="far"), ["'w'", "no number"]),
    "external offset negative": (external("near.bin", offset="-8"), ["'w'", "reaches outside"]),
    "external length": (external("near.bin", length="8"), ["'w'", "cannot be read"]),
    "no input format": (no_quantizer, ["input 'x' has no quantizer", "--input-format s16f10"]),
    "no input formats": (two_inputs, ["'x', 'x2'", "--input-format s16f10 --input-format s16f10"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(box: Path, name: str) -> None:
    edit, words = MODELS[name]
    (box.parent / "w.bin").write_bytes(bytes(48))
    (box / "near.bin").write_bytes(bytes(48))
    (box / "link.bin").symlink_to(box.parent / "w.bin")
    (box / "linked").symlink_to(box.parent)
    text = compiled(box, mlp(edit))
    for word in words:
        assert word in text


FILES = {
    "text": b"hello world\n",
    "empty": b"",
    "zeros": bytes(1000),
    "noise": np.random.default_rng(1).bytes(4000),
    "truncated": mlp().SerializeToString()[:-150],
    "cut in half": mlp().SerializeToString()[:200],
    "one byte": b"\x08",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_files(box: Path, name: str, command: str) -> None:
    (box / "m.onnx").write_bytes(FILES[name])
    assert "m.onnx: " in refused(box, command, "m.onnx", *(["-o", "out"] if command == "compile" else []))


def test_every_truncation_is_an_error(box: Path) -> None:
    data = mlp().SerializeToString()
    for length in range(0, len(data) - 1, 11):
        with pytest.raises(qc.QCompileError):
            qc.compile(data[:length])


def test_random_damage_is_never_a_crash() -> None:
    data, rng = mlp().SerializeToString(), np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(data)
        for position in rng.integers(len(data), size=rng.integers(1, 6)):
            damaged[position] = rng.integers(256)
        try:
            qc.compile(bytes(damaged))
        except qc.QCompileError:
            pass


@pytest.mark.parametrize(
    "path, words", [("none.onnx", "there is no such file"), (".", "not a file"), ("a\0b", "file"), ("n" * 5000, "file")]
)
def test_paths(box: Path, path: str, words: str) -> None:
    assert words in refused(box, "compile", path, "-o", "out")


# --- exact messages


def test_message_unsupported(box: Path) -> None:
    way = "leave it to the host: --outputs in front of it"
    assert (
        compiled(box, mlp(insert("NonZero", "Unique"))) == "error: m.onnx: 2 nodes cannot be compiled\n"
        f"  - node 'node_NonZero' (NonZero): this operator is not supported; {way}\n"
        f"  - node 'node_Unique' (Unique): this operator is not supported; {way}\n"
    )


def test_message_scale(box: Path) -> None:
    hint = "it must be positive; export the model again with positive scales"
    assert (
        compiled(box, mlp(put("s", -2)))
        == f"error: m.onnx: 2 nodes cannot be compiled\n  - node 'quant_x' (Quant): the scale is -2; {hint}\n"
        f"  - node 'quant_w' (Quant): the scale is -2; {hint}\n"
    )


def test_message_width(box: Path) -> None:
    assert (
        compiled(box, mlp(put("b6", 65)))
        == "error: m.onnx: 1 node cannot be compiled\n  - node 'quant_y' (Quant): the bit width is 65; 1 to 64 are"
        " possible\n"
    )


def test_message_nan(box: Path) -> None:
    text = compiled(box, mlp(put("w", np.full((4, 3), np.nan))))
    assert (
        text == "error: m.onnx: 1 node cannot be compiled\n"
        "  - tensor 'w' (initializer): tensor 'w' holds NaN or infinity; repair the weights and export again\n"
    )


def test_message_cycle(box: Path) -> None:
    assert compiled(box, mlp(cycle)).split("'")[::2] == [
        "error: m.onnx: the graph has a cycle: ",
        " -> ",
        " -> ",
        "\n  hint: recurrent graphs must be unrolled when exporting\n",
    ]


def test_message_not_onnx(box: Path) -> None:
    (box / "m.onnx").write_bytes(b"hello world\n")
    assert (
        refused(box, "compile", "m.onnx", "-o", "out")
        == "error: m.onnx: this is not an ONNX model, or it is truncated\n  hint: export the model again\n"
    )


def test_message_input_format(box: Path) -> None:
    assert (
        compiled(box, mlp(no_quantizer))
        == "error: m: input 'x' has no quantizer, so it has no format\n  hint: give one format per input, for example"
        " --input-format s16f10 (signed, 16 bits, 10 of them after the binary point; choose the integer bits so that"
        " your data fits), or put a Quant node on the input\n"
    )


# --- options


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "12",
        "s0f0",
        "s65f3",
        "float32",
        "s8f",
        "s8f3x",
        "s8 f3",
        "s99999999999f1",
        "e4m3fnuzz",
        "é",
        "s8f3\n",
    ],
)
def test_input_format_text(box: Path, text: str) -> None:
    assert "--input-format" in compiled(box, mlp(no_quantizer), "--input-format", text)


@pytest.mark.parametrize("edit, count", [(no_quantizer, 2), (two_inputs, 1), (two_inputs, 3)])
def test_number_of_input_formats(box: Path, edit: Edit, count: int) -> None:
    text = compiled(box, mlp(edit), *["--input-format", "s8f4"] * count)
    assert f"{count} input format(s)" in text and "once per input" in text


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("--part", 'x"; exec rm', "no part name"),
        ("--part", "", "no part name"),
        ("--part", "a\nb", "no part name"),
        ("--clock", "0", "clock period"),
        ("--clock", "nan", "clock period"),
        ("--clock", "-1", "clock period"),
        ("--clock", "1e9", "clock period"),
    ],
)
def test_options(box: Path, option: str, value: str, words: str) -> None:
    assert words in compiled(box, mlp(), option, value)


@pytest.mark.parametrize("command", ["inspect", "simulate", "evaluate"])
def test_other_commands_refuse_too(box: Path, command: str) -> None:
    np.save(box / "x.npy", np.zeros((2, 4), np.float32))
    np.save(box / "l.npy", np.zeros(2, np.int64))
    more = {
        "inspect": [],
        "simulate": ["--input", "x.npy", "--output", "y.npy"],
        "evaluate": ["--input", "x.npy", "--labels", "l.npy"],
    }[command]
    saved(box, mlp(no_quantizer))
    assert "--input-format s16f10" in refused(box, command, "m.onnx", *more)


# --- output paths


def test_output_paths(box: Path) -> None:
    saved(box, mlp())
    (box / "file").write_text("mine")
    (box / "foreign").mkdir()
    (box / "foreign" / "notes.txt").write_text("mine")
    (box / "link").symlink_to(box / "foreign")
    (box / "dangling").symlink_to(box / "gone")
    for path, words in {
        "file": "no folder",
        "file/below": "cannot be written",
        "file/deep/below": "cannot be written",
        "/proc/out": "cannot be written",
        "/proc/a/b": "cannot be written",
        "/sys/out": "cannot be written",
        "/dev/null": "no folder",
        "foreign": "not a qcompile project",
        "link": "no folder",
        "dangling": "no folder",
        ".": "not a qcompile project",
        "": "",
        "n" * 300: "cannot be written",
        "a\0b": "",
        "new/a\0b": "",
    }.items():
        assert words in refused(box, "compile", "m.onnx", "-o", path), path


def test_foreign_manifest(box: Path) -> None:
    saved(box, mlp())
    (box / "out").mkdir()
    for text in ("{", "[]", '"x"', '{"tool": 3}', '{"tool": {"name": "other"}}', "\xff"):
        (box / "out" / "manifest.json").write_bytes(text.encode("latin1"))
        assert "not a qcompile project" in refused(box, "compile", "m.onnx", "-o", "out")
        assert "not a project" in refused(box, "verify", "out")


def test_dump_and_demo_paths(box: Path) -> None:
    saved(box, mlp())
    (box / "file").write_text("mine")
    assert "cannot be written" in refused(box, "compile", "m.onnx", "-o", "out", "--dump", "file/below")
    assert "no folder" in refused(box, "demo", "-o", "file")


def test_a_project_is_replaced(box: Path) -> None:
    saved(box, mlp())
    for _ in range(2):
        assert click.testing.CliRunner().invoke(main, ["compile", "m.onnx", "-o", "out"]).exit_code == 0
    assert sorted(p.name for p in box.iterdir()) == ["m.onnx", "out"]


# --- arrays


def arrays(box: Path) -> dict[str, str]:
    """Bad arrays for a model with input [1, 4] -> words of the message."""
    good = np.zeros((3, 4), np.float32)
    bad = {
        "width": (np.zeros((3, 5)), "shape"),
        "rank": (np.zeros((3, 2, 2, 1)), "shape"),
        "flat": (np.zeros(4), "shape"),
        "scalar": (np.zeros(()), "shape"),
        "nan": (np.where(np.eye(3, 4) > 0, np.nan, good), "NaN"),
        "inf": (good + np.inf, "NaN or infinity"),
        "text": (np.full((3, 4), "a"), "numbers"),
        "complex": (good + 1j, "numbers"),
        "time": (good.astype("datetime64[s]"), "numbers"),
        "records": (np.zeros((3, 4), [("a", "f4")]), "numbers"),
        "raw": (np.zeros((3, 4), "V4"), "numbers"),
    }
    words = {}
    for name, (array, word) in bad.items():
        np.save(box / f"{name}.npy", array)
        words[f"{name}.npy"] = word
    np.save(box / "object.npy", np.array([None, 1], dtype=object), allow_pickle=True)
    np.array([1, "x"], dtype=object).dump(box / "pickle.npy")
    (box / "junk.npy").write_bytes(b"junk" * 100)
    (box / "empty.npy").write_bytes(b"")
    (box / "cut.npy").write_bytes((box / "width.npy").read_bytes()[:100])
    (box / "cut2.npy").write_bytes((box / "width.npy").read_bytes()[:150])
    (box / "long.npy").write_bytes((box / "width.npy").read_bytes() + b"more")
    (box / "zip.npz").write_bytes(b"PK\x03\x04" + b"junk" * 50)
    for name, header in HEADERS.items():
        text = header.encode().ljust(117) + b"\n"
        (box / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(48))
    (box / "vast.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(1000))
    np.savez(box / "none.npz")
    (box / "folder.npy").mkdir()
    archives(box)
    unreadable = ("object", "pickle", "junk", "empty", "cut", "cut2", "long", "folder", "absent", "vast", *HEADERS)
    packed = ("zip", "deflate", "bomb", "twice", "locked", "lied", "text")
    return (
        words
        | {f"{n}.npy": "cannot be read" for n in unreadable}
        | {f"{n}.npz": "cannot be read" for n in packed}
        | {"none.npz": "1 input(s), 0 were given", "wide.npz": "shape"}
    )


HEADERS = {
    "bomb": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }",
    "open": "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4),",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -4), }",
    "nested": "{'descr': " + "(" * 500 + ")" * 500 + ", 'fortran_order': False, 'shape': (3, 4), }",
    "fractions": "{'descr': '<f4', 'fortran_order': False, 'shape': (3.0, 4), }",
    "digits": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
    "unhashable": "{[]: 1}",
    "axes": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 40 + "12), }",
}


@functools.cache
def bomb() -> bytes:
    """An archive of 1 GB of zeros in 5 MB."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open("x.npy", "w") as member:
        member.write(npy_header(np.int8, (2**28, 4)))
        for _ in range(2**8):
            member.write(bytes(2**22))
    return made.getvalue()


def archives(box: Path) -> None:
    """Bad archives; wide: 64 MB in 60 KB, of another shape than the input's."""
    good = (box / "width.npy").read_bytes()
    (box / "bomb.npz").write_bytes(bomb())
    with zipfile.ZipFile(box / "wide.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy_header(np.int8, (2**24, 5)) + bytes(5 * 2**24))
    np.savez_compressed(box / "deflate.npz", np.random.default_rng(0).normal(size=(100, 4)))
    data = bytearray((box / "deflate.npz").read_bytes())
    data[200:300] = bytes(100)
    (box / "deflate.npz").write_bytes(data)
    with zipfile.ZipFile(box / "twice.npz", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("x.npy", good)
        file.writestr("x.npy", good)
    with zipfile.ZipFile(box / "text.npz", "w") as file:
        file.writestr("x.npy", "hello")
    np.savez(box / "locked.npz", np.zeros((3, 4)))
    data = bytearray((box / "locked.npz").read_bytes())
    data[6] |= 1  # encrypted
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (box / "locked.npz").write_bytes(data)
    np.savez(box / "lied.npz", np.zeros((3, 4)))
    data = bytearray((box / "lied.npz").read_bytes())
    place = data.index(b"PK\x01\x02") + 24  # the uncompressed size
    data[place : place + 4] = (2**27).to_bytes(4, "little")
    (box / "lied.npz").write_bytes(data)


def npy_header(dtype: Any, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("command", ["simulate", "simulate project", "evaluate", "verify"])
def test_arrays(box: Path, command: str) -> None:
    saved(box, mlp())
    words = arrays(box)
    np.save(box / "labels.npy", np.zeros(3, np.int64))
    qc.compile("m.onnx").write("project")
    line = {
        "simulate": ["simulate", "m.onnx", "--output", "y.npy"],
        "simulate project": ["simulate", "project", "--output", "y.npy"],
        "evaluate": ["evaluate", "project", "--labels", "labels.npy"],
        "verify": ["verify", "project", "--samples", "5"],
    }[command]
    for name, word in words.items():
        assert word in refused(box, *line, "--input", name), name


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i1", "u1", "i4", "u8", ">f4", "?"])
@pytest.mark.parametrize("order", "CF")
def test_any_number_type_is_an_input(box: Path, dtype: str, order: str) -> None:
    saved(box, mlp())
    x = np.array([[0, 1, 1, 0], [1, 0, 1, 1]])
    for name, array in {"a": x.astype(dtype, order=order), "b": x.astype(np.float32)}.items():
        np.save(box / f"{name}.npy", array)
        result = click.testing.CliRunner().invoke(
            main, ["simulate", "m.onnx", "--input", f"{name}.npy", "--output", f"y{name}.npy"]
        )
        assert result.exit_code == 0, result.output
    assert (np.load(box / "ya.npy") == np.load(box / "yb.npy")).all()


def test_several_inputs(box: Path) -> None:
    saved(box, mlp(two_inputs))
    formats = ["--input-format", "s8f4"] * 2
    np.savez(box / "two.npz", a=np.zeros((3, 4)), b=np.zeros((3, 3)))
    np.savez(box / "swapped.npz", a=np.zeros((3, 3)), b=np.zeros((3, 4)))
    assert "shape" in refused(box, "simulate", "m.onnx", *formats, "--input", "swapped.npz", "--output", "y.npy")
    result = click.testing.CliRunner().invoke(
        main, ["simulate", "m.onnx", *formats, "--input", "two.npz", "--output", "y.npy"]
    )
    assert result.exit_code == 0, result.output
    assert np.load(box / "y.npy").shape == (3, 3)


@pytest.mark.parametrize(
    "shapes, words",
    [([(3, 4)], "2 input"), ([(3, 4), (2, 3)], "numbers of vectors"), ([(3, 4), (3, 3), (3, 3)], "2 input")],
)
def test_inputs_that_do_not_fit_each_other(box: Path, shapes: list[tuple[int, ...]], words: str) -> None:
    saved(box, mlp(two_inputs))
    np.savez(box / "x.npz", *[np.zeros(s) for s in shapes])
    line = [
        "simulate",
        "m.onnx",
        "--input-format",
        "s8f4",
        "--input-format",
        "s8f4",
        "--input",
        "x.npz",
        "--output",
        "y.npy",
    ]
    assert words in refused(box, *line)


def test_labels(box: Path) -> None:
    saved(box, mlp())
    np.save(box / "x.npy", np.zeros((3, 4)))
    for labels in (
        np.zeros(2, np.int64),
        np.zeros(3),
        np.zeros((3, 2), np.int64),
        np.zeros(0, np.int64),
    ):
        np.save(box / "l.npy", labels)
        assert "labels" in refused(box, "evaluate", "m.onnx", "--input", "x.npy", "--labels", "l.npy")
    for strange in (-1, 99):
        np.save(box / "l.npy", np.array([0, strange, 0]))
        said = refused(box, "evaluate", "m.onnx", "--input", "x.npy", "--labels", "l.npy")
        assert f"the label of vector 1 is {strange}; the output has" in said
    np.save(box / "none.npy", np.zeros((0, 4)))
    np.save(box / "l.npy", np.zeros(0, np.int64))
    assert "no vectors" in refused(box, "evaluate", "m.onnx", "--input", "none.npy", "--labels", "l.npy")
    np.savez(box / "l.npz")
    assert "0 arrays" in refused(box, "evaluate", "m.onnx", "--input", "x.npy", "--labels", "l.npz")
    np.save(box / "l.npy", np.array(["a"] * 3))
    assert "numbers" in refused(box, "evaluate", "m.onnx", "--input", "x.npy", "--labels", "l.npy")


def test_result_path(box: Path) -> None:
    saved(box, mlp())
    np.save(box / "x.npy", np.zeros((3, 4)))
    for path in ("none/y.npy", "x.npy/y.npy", "/proc/y.npy", "."):
        assert "cannot be written" in refused(box, "simulate", "m.onnx", "--input", "x.npy", "--output", path)


def test_projects(box: Path) -> None:
    for command in ("verify", "simulate"):
        more = ["--input", "x.npy", "--output", "y.npy"] if command == "simulate" else []
        np.save(box / "x.npy", np.zeros((3, 4)))
        (box / "empty").mkdir(exist_ok=True)
        assert "not a project" in refused(box, command, "empty", *more)
    assert "not a project" in refused(box, "verify", "none")


def test_damaged_project(box: Path) -> None:
    saved(box, mlp())
    qc.compile("m.onnx").write("out")
    (box / "out" / "sim" / "model.py").unlink()
    refused(box, "verify", "out", "--samples", "5")
    qc.compile("m.onnx").write("out")  # what is missing is written again
    (box / "out" / "model.onnx").write_bytes(b"junk")
    assert "model.onnx does not have" in refused(box, "verify", "out")


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no object": (lambda m: [m], "holds no object"),
    "no schema": (lambda m: m.pop("schema"), "the project's schema is None"),
    "a newer schema": (lambda m: m.update(schema=99), "the project's schema is 99; this version of qcompile reads"),
    "a fractional schema": (lambda m: m.update(schema=1.0), "the project's schema is 1.0"),
    "no model": (lambda m: m.pop("model"), "at model: the field is missing"),
    "model": (lambda m: m.update(model="x"), "at model: it must be"),
    "name": (lambda m: m["model"].update(name=["x"]), "at model.name: it must be a valid string"),
    "no options": (lambda m: m.pop("options"), "at options: the field is missing"),
    "options": (lambda m: m.update(options=[]), "at options: it must be"),
    "an option missing": (lambda m: m["options"].pop("arch"), "at options.arch: the field is missing"),
    "an option more": (lambda m: m["options"].update(colour=1), "at options.colour: there is no such field"),
    "input_formats": (lambda m: m["options"].update(input_formats="s8"), "at options.input_formats: it must be"),
    "input_formats 0": (lambda m: m["options"].update(input_formats=[3]), "at options.input_formats.0: it must be"),
    "an impossible format": (lambda m: m["options"].update(input_formats=["s99f1"]), "--input-format"),
    "clock_ns": (
        lambda m: m["options"].update(clock_ns="x"),
        "at options.clock_ns: it must be a valid number, not 'x'",
    ),
    "a clock of infinity": (lambda m: m["options"].update(clock_ns=float("inf")), "Infinity is no number"),
    "clock": (lambda m: m["options"].update(clock_ns=-1), "the clock period is -1"),
    "accumulator_bits": (lambda m: m["options"].update(accumulator_bits=True), "at options.accumulator_bits"),
    "accumulator_bits huge": (lambda m: m["options"].update(accumulator_bits=10**90), "at options.accumulator_bits"),
    "part": (lambda m: m["options"].update(part=None), "at options.part: it must be a valid string"),
    "a part outside": (lambda m: m["options"].update(part="../../etc"), "is no part name"),
    "board": (lambda m: m["options"].update(board=3), "at options.board"),
    "an unknown board": (lambda m: m["options"].update(board="../x"), "../x"),
    "arch": (lambda m: m["options"].update(arch="x"), "arch is 'x'"),
    "fold": (lambda m: m["options"].update(fold={}), "at options.fold"),
    "a folding of parallel": (lambda m: m["options"].update(fold="full"), "cannot be folded"),
    "plan": (lambda m: m.update(plan=3), "at plan"),
    "no plan": (lambda m: m.update(plan={}), "the plan cannot be read"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests(box: Path, case: str) -> None:
    edit, words = MANIFESTS[case]
    qc.compile(mlp()).write("out")
    path = box / "out" / "manifest.json"
    record = json.loads(path.read_text())
    replaced = edit(record)
    path.write_text(json.dumps(replaced if case == "no object" else record))
    assert words in refused(box, "estimate", "out")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("deep", "[" * 100_000, "levels deep"),
        ("deep object", '{"a":' * 40 + "1" + "}" * 40, "levels deep"),
        ("digits", "9" * 5000, "5000 digits"),
        ("twice", '{"a": 1, "a": 2}', "'a' comes twice"),
        ("surrogate", '{"a\\ud800": 1}', "surrogate"),
        ("infinite", '{"a": 1e400}', "too large"),
        ("NaN", '{"a": NaN}', "NaN is no number"),
        ("cut", '{"a": ', "is no JSON"),
        ("nothing", "", "is no JSON"),
        ("latin", b'{"\xe9": 1}', "no text file"),
    ],
)
@pytest.mark.parametrize("kind", ["plan", "fold", "manifest"])
def test_json(box: Path, kind: str, name: str, text: str | bytes, words: str) -> None:
    """Whatever JSON it is: one error, in bounded memory."""
    saved(box, mlp())
    content = text if isinstance(text, bytes) else text.encode()
    if kind == "manifest":
        qc.compile("m.onnx").write("out")
        (box / "out" / "manifest.json").write_bytes(content)
        assert words in refused(box, "estimate", "out")
        return
    (box / "f.json").write_bytes(content)
    options = ["--plan", "f.json"] if kind == "plan" else ["--arch", "dataflow", "--fold", "f.json"]
    assert words in refused(box, "compile", "m.onnx", "-o", "out", *options)


@pytest.mark.parametrize(
    "text, words",
    [
        ("[]", "it must be an object"),
        ('{"gemm": 3}', "at gemm: it must be"),
        ('{"gemm": {"pe": 1e400}}', "too large"),
        ('{"gemm": {"pe": 2.0}}', "at gemm.pe: it must be a valid integer"),
        ('{"gemm": {"pe": "2"}}', "at gemm.pe: it must be a valid integer"),
        ('{"gemm": {"pe": true}}', "at gemm.pe: it must be a valid integer"),
        ('{"gemm": {"pe": -1}}', "at gemm.pe: it must be greater"),
        ('{"gemm": {"pe": 10000000000000000000000000}}', "at gemm.pe: it must be less"),
        ('{"gemm": {"pi": 1}}', "at gemm.pi: there is no such field"),
        ('{"nogemm": {"pe": 1}}', "nogemm"),
    ],
)
def test_foldings(box: Path, text: str, words: str) -> None:
    saved(box, mlp())
    (box / "f.json").write_text(text)
    assert words in refused(box, "compile", "m.onnx", "-o", "out", "--arch", "dataflow", "--fold", "f.json")


@pytest.mark.parametrize("samples", ["-1", "-1000"])
def test_samples(box: Path, samples: str) -> None:
    saved(box, mlp())
    qc.compile("m.onnx").write("out")
    refused(box, "verify", "out", "--samples", samples)


@pytest.mark.parametrize("size", [4, 7, 12])
def test_cut_results_of_the_cpp(size: int) -> None:
    with pytest.raises(qc.VerificationError, match=f"wrote {size} bytes, and 8 are a vector"):
        hls.read_vectors(qc.compile(mlp()).graph, bytes(size))


def test_what_dataflow_refuses(box: Path) -> None:
    def unused(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("u", TensorProto.UINT8, [1, 4]))

    assert "input 'u'" in compiled(box, mlp(unused), "--arch", "dataflow")
    rows, relu = 5000, helper.make_node("Relu", ["x"], ["y"], "relu")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, rows, rows]) for n in "xy"]
    image = helper.make_model(helper.make_graph([relu], "g", ports[:1], ports[1:]))
    text = compiled(box, image, "--arch", "dataflow", "--input-format", "s8f4")
    assert "25,000,000 tokens are too many" in text


@pytest.mark.parametrize("format", ["e8m23", "s8f2147483648", "s8f-1101", "s8f" + "9" * 50])
def test_input_formats(box: Path, format: str) -> None:
    assert "--input-format" in compiled(box, mlp(no_quantizer), "--input-format", format)


# --- names

EVIL = [
    'x"); system("id',
    "../../etc",
    "class",
    "int",
    "",
    "*/ evil /*",
    "a\nb evil",
    "a\\",
    "$(evil)",
    "`evil`",
    "{{ evil }}",
    "Zürich ☃",
    "a\0evil",
    "%n%s",
    "'''",
    "main",
]


def emitted(folder: Path) -> dict[str, str]:
    kinds = (".cpp", ".hpp", ".h", ".tcl", ".cfg", ".py", ".mk")
    return {
        str(p.relative_to(folder)): p.read_text()
        for p in folder.rglob("*")
        if p.is_file() and (p.suffix in kinds or p.name == "Makefile")
    }


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_names_are_never_printed_in_code(box: Path, name: str) -> None:
    """As name of tensors, nodes and the graph; an empty name of a tensor means "left out", so it only goes to nodes and
    the graph.
    """
    roles = ["quant_x", "quant_w", "gemm", "quant_y", "net"] + (["x", "w", "xq", "h", "y", "s"] if name else [])
    names = {role: f"{name}{role}" if role in ("x", "w", "xq", "h", "y", "s") else name for role in roles}
    saved(box, mlp(**names))
    result = click.testing.CliRunner().invoke(main, ["compile", "m.onnx", "-o", "out"])
    assert result.exit_code == 0, result.output
    text = emitted(box / "out")
    assert qc.compile(saved(box, mlp())).write("plain") == Path("plain")
    plain = emitted(box / "plain")
    assert set(text) == set(plain)
    for path, content in text.items():
        for word in ("evil", "system(", "../../etc", "☃", "\0"):
            assert content.count(word) == plain[path].count(word), f"{path} holds {word!r}"
    x = np.random.default_rng(0).normal(size=(20, 4))
    assert (qc.open_project("out").simulate(x) == qc.open_project("plain").simulate(x)).all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("name", ['x"); system("id', "class", "../../etc"])
@pytest.mark.parametrize("file", ["m.onnx", 'x"); system("id.onnx', "class.onnx", "-o.onnx", "ü $(id) `id`.onnx"])
def test_names_verify(box: Path, name: str, file: str) -> None:
    if file != "m.onnx" and name != "class":
        return
    roles = ("quant_x", "gemm", "net", "x", "h", "y")
    (box / file).write_bytes(
        mlp(**{r: name if r in ("quant_x", "gemm", "net") else name + r for r in roles}).SerializeToString()
    )
    for line in (["compile", "-o", "out", "--", file], ["verify", "out", "--samples", "20", "--no-float32"]):
        result = click.testing.CliRunner().invoke(main, line)
        assert result.exit_code == 0, result.output
    assert sorted(p.name for p in box.iterdir()) == sorted([file, "out"])


def test_many_nodes_of_one_name() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4))
    model = mlp(quant_x="same", quant_w="same", gemm="same", quant_y="same")
    assert (qc.compile(model).simulate(x) == qc.compile(mlp()).simulate(x)).all()


# --- unusual, but right


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
def test_weights_of_other_types(dtype: Any) -> None:
    import ml_dtypes

    model, same = mlp(), mlp()
    values = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w")).astype(ml_dtypes.bfloat16)
    kind = {np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE, "bfloat16": TensorProto.BFLOAT16}[dtype]
    raw = values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    next(t for t in model.graph.initializer if t.name == "w").CopyFrom(
        helper.make_tensor("w", kind, [4, 3], raw.tobytes(), raw=True)
    )
    put("w", values.astype(np.float32))(same)
    x = np.random.default_rng(0).normal(size=(20, 4))
    assert (qc.compile(model).simulate(x) == qc.compile(same).simulate(x)).all()


def test_external_data_beside_the_model(box: Path) -> None:
    model = mlp()
    (box / "w.bin").write_bytes(next(t for t in model.graph.initializer if t.name == "w").raw_data)
    saved(box, mlp(external("w.bin")))
    x = np.random.default_rng(0).normal(size=(20, 4))
    assert (qc.compile("m.onnx").simulate(x) == qc.compile(model).simulate(x)).all()


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_pools_of_rank_2_are_the_identity(op: str, arch: str) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4))
    design = qc.compile(mlp(insert(op)), arch=arch)
    assert (design.simulate(x) == qc.compile(mlp()).simulate(x)).all() and design.files().files


def test_deep_chain() -> None:
    """2,000 nodes in a row: no recursion, no quadratic time."""
    design = qc.compile(mlp(insert(*["Identity"] * 1000, *["Relu"] * 1000)))
    assert design.simulate(np.zeros((2, 1, 4))).shape == (2, 3)


# --- the real command


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["compile", "junk.onnx", "-o", "out"], "not an ONNX model"),
        (["compile", "m.onnx", "-o", "junk.onnx/below"], "cannot be written"),
        (["simulate", "m.onnx", "--input", "junk.onnx", "--output", "y.npy"], "cannot be read"),
    ],
)
def test_real_command(box: Path, arguments: list[str], words: str) -> None:
    saved(box, mlp())
    (box / "junk.onnx").write_bytes(b"junk")
    earlier = tree(box)
    done = subprocess.run(
        [sys.executable, "-m", "qcompile", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.startswith("error: ") and "Traceback" not in done.stderr + done.stdout
    assert tree(box) == earlier


@pytest.mark.parametrize("damaged", [b"Relu", b"made"])
def test_a_name_that_is_no_text(damaged: bytes, tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y"))
    nodes = [helper.make_node("Relu", ["x"], ["made"]), helper.make_node("Relu", ["made"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), ir_version=9)
    broken = model.SerializeToString().replace(damaged, damaged[:-1] + b"\xe1")
    (tmp_path / "m.onnx").write_bytes(broken)
    found = click.testing.CliRunner().invoke(main, ["inspect", str(tmp_path / "m.onnx"), "--json"])
    assert found.exit_code == 1 and "no text" in found.output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"clock_ns": "5"}, "clock_ns is '5'; it is a number"),
        ({"clock_ns": True}, "clock_ns is True; it is a number"),
        ({"accumulator_bits": 16.0}, "accumulator_bits is 16.0; it is a whole number"),
        ({"part": 7}, "part is 7; it is a text"),
        ({"input_formats": 8}, "input_formats is 8; it is a text or a list"),
    ],
)
def test_an_option_of_another_type(given: dict, words: str, digits: Path) -> None:
    with pytest.raises(qc.QCompileError, match=re.escape(words)):
        qc.compile(digits, **given)


def test_a_number_of_assign_of_another_type() -> None:
    with pytest.raises(qc.QCompileError, match="seed is 1.5; it is a whole number"):
        Assigning(seed=1.5)
    with pytest.raises(qc.QCompileError, match="target_fps is '3'; it is a number"):
        qc.Goal(target_fps="3")
