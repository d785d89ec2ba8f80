"""What people read: tables at any width, names, short representations, the documentation."""

from __future__ import annotations

import ast
import fcntl
import inspect
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import CORPUS, ROOT, or_absent, records
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import cli, evaluation, float32, planning, verification
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.tensors import WEIGHT, tensors
from qcompile.evaluation import evaluate
from qcompile.formats import parse_format
from qcompile.frontend.call import origin_of
from qcompile.layers import layers
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.tables import paragraph, shortened, table
from qcompile.verification import Report, Row, random_inputs

ROWS = [
    [f"/encoder/layers.{i}/self_attention/MatMul_{i}", f"{i * 1234567:,}", "8.901e-05", "-12..34", "a word of mine", 3]
    for i in range(7, 12)
]
HEAD = ["layer", "LUT", "loss", "bound", "note", "n"]


@pytest.mark.parametrize("width", [None, 100, 80, 60, 40, 20])
def test_tables_keep_numbers_and_names_whole(width: int | None) -> None:
    text = table("a title", HEAD, ROWS, width)
    lines = text.splitlines()
    assert lines[0] == "a title" and text.endswith("\n")
    assert width is None or width < 40 or max(map(len, lines)) <= width
    for row in ROWS:
        assert all(any(str(cell) in line for line in lines) for cell in (row[1], row[2], row[3], row[5]))
    first = [line.split()[0] for line in lines if line.startswith("/")]
    assert len(set(first)) == len(ROWS) and all(re.search(r"_(7|8|9|10|11)$", name) for name in first)
    assert width is not None or first == [row[0] for row in ROWS]


def test_names_are_cut_in_the_middle_and_stay_apart() -> None:
    assert shortened(["conv1d_output#4", "fc"], 20) == ["conv1d_output#4", "fc"]
    assert shortened(["/features/conv1d_output#4"], 12) == ["/fe..utput#4"]
    inner = [f"block{i}_of_the_network_with_a_long_name" for i in range(12)]
    assert len(set(shortened(inner, 14))) == 12
    assert paragraph("latency: 1,234 cycles = 6.170 us", 20) == "latency: 1,234\n  cycles = 6.170 us"


def test_control_characters_stay_out_of_tables() -> None:
    assert "\x1b" not in table("\x1b[31m", ["name"], [["a\x1b[2Jb\nc"]]) and "a\\x1b[2Jb\\nc" in table(
        "", ["n"], [["a\x1b[2Jb\nc"]]
    )


def terminal(cwd: Path, columns: int, *arguments: str) -> str:
    """Output of the command line on a terminal of so many columns."""
    mine, theirs = pty.openpty()
    size = struct.pack("HHHH", 50, columns, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "qcompile", *arguments], cwd=cwd, stdout=theirs, stderr=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            part = os.read(mine, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        out += part
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode()
    return out.decode().replace("\r\n", "\n")


X, Y = str(ROOT / "examples" / "digits_x.npy"), str(ROOT / "examples" / "digits_y.npy")
MIXED = str(ROOT / "examples" / "digits_mixed.onnx")
COMMANDS: dict[str, list[str]] = {
    "inspect": ["inspect", MIXED],
    "compile": ["compile", MIXED, "-o", "mixed"],
    "compile for a small part": ["compile", MIXED, "--part", "xc7s25", "-o", "large"],
    "compile --fit": ["compile", MIXED, "--fit", "-o", "fitted"],
    "verify --layers": ["verify", "build", "--samples", "20", "--layers"],
    "evaluate": ["evaluate", "build", "--input", X, "--labels", Y],
    "estimate": ["estimate", MIXED, "--arch", "dataflow"],
    "estimate hls4ml": ["estimate", MIXED, "--generator", "hls4ml"],
    "parts": ["parts", "zynq"],
    "methods": ["methods"],
}


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's first result, for every call."""
    found: list[Any] = []

    def called(*arguments: Any, **more: Any) -> Any:
        if not found:
            found.append(function(*arguments, **more))
        return found[0]

    return called


COPIED = ("next:", "this does:")  # lines with a command stay in one piece, to be copied


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """A folder with a project of the shipped network."""
    folder = tmp_path_factory.mktemp("people")
    qc.compile(digits).write(folder / "build")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_break_nothing(project: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On terminals the lines fit, and every number of the piped output is there in one piece."""
    monkeypatch.chdir(project)
    for module, name in ((verification, "verify"), (evaluation, "evaluate")):  # once for all widths
        monkeypatch.setattr(module, name, once(getattr(module, name)))
    shown = {}
    for columns in (None, 80, 60):
        monkeypatch.setattr(cli.terminal, "terminal_width", lambda columns=columns: columns)
        result = CliRunner().invoke(cli.main, COMMANDS[command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        shown[columns] = result.stdout
    numbers = re.compile(r"(?<![\w./-])-?\d[\d,]*(?:\.\d+)?(?![\w./])")
    for columns, text in shown.items():
        if columns is not None:
            long = [line for line in text.splitlines() if len(line) > columns and not line.startswith(COPIED)]
            assert not long, long
            assert set(numbers.findall(shown[None])) <= set(numbers.findall(text))
            units = [line for line in text.splitlines() if re.match(r" *(LUT|FF|DSP|BRAM18|%|cycles)\b", line)]
            assert not command.startswith("compile") or not units, units  # a line begins with a number's unit


def test_a_terminal_and_a_pipe(tmp_path: Path, digits: Path) -> None:
    """The width is the terminal's; a pipe has none, whatever COLUMNS says."""
    shown = terminal(tmp_path, 60, "estimate", str(digits))
    assert max(map(len, shown.splitlines()[1:10])) <= 60 and "/3/..r/Quant" in shown
    command = [sys.executable, "-m", "qcompile", "estimate", str(digits)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "40"}
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment).stdout
    assert "/3/act_quant/export_handler/Quant" in piped


# --- names


def known_names(model: onnx.ModelProto) -> set[str]:
    """What the user calls layers and ports of a file."""
    nodes = {origin_of(n).node for n in model.graph.node}
    return nodes | {v.name for v in (*model.graph.input, *model.graph.output)}


def shown_names(folder: Path, file: Path, *options: str) -> dict[str, list[str]]:
    """Names of layers and ports by the command or file that shows them."""

    def run(*command: str) -> Any:
        done = CliRunner().invoke(cli.main, [*command])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    seen, project = run("inspect", str(file), *options, "--json"), folder / "b"
    run("compile", str(file), *options, "--fit", "--part", "zcu104", "--json", "-o", str(project))
    manifest, schedule, proofs = (
        json.loads((project / f"{n}.json").read_text()) for n in ("manifest", "schedule", "certificate")
    )
    design = qc.compile(file, arch="dataflow", **{"input_formats": options[1::2]} if options else {})
    return {
        "inspect": [row["name"] for k in ("layers", "inputs", "outputs") for row in seen[k]],
        "inspect --verbose": [row["layer"] for k in ("nodes", "lowered") for row in seen[k] or ()],
        "manifest.json": [port["name"] for k in ("inputs", "outputs") for port in manifest[k]],
        "folding": list(json.loads(manifest["options"]["fold"])),
        "schedule.json": [p["layer"] for p in schedule["processes"] if p["layer"]],
        "certificate.json": [row["layer"] for part in proofs.values() for row in part],
        "estimate": [r["name"] for r in run("estimate", str(project), "--json")["layers"] if r["name"] != "streams"],
        "verify --layers": [row.layer for row in layers(design, *random_inputs(design, 2, 0))],
        "plan.json": [t.name.removesuffix(".weight") for t in tensors(design.model.graph)],
    }


NAMED = [
    "BrevitasProjects2020/simplecnv",
    "brevitas/asym_shifted_uint8__qonnx_ts",
    "brevitas/sigmoid_tanh_hardtanh_1d__qonnx_ts",
    "nn2fpga/two_layers",
    "qkeras_qconv2d_9",
    "qkeras_qdense_12",
]
NAMED_FILES = [r for r in records("cnn", "mlp") if r["id"].endswith(tuple(NAMED))]


@pytest.mark.parametrize("model", or_absent(NAMED_FILES), ids=lambda r: r["id"])
def test_every_command_calls_layers_as_the_file_does(model: dict[str, Any], tmp_path: Path) -> None:
    file = CORPUS / model["file"]
    formats = [w for f in model.get("input_format", ()) for w in ("--input-format", f)]
    known = known_names(onnx.load(file, load_external_data=False))
    for place, names in shown_names(tmp_path, file, *formats).items():
        strange = {n for n in names if n not in known and n.rpartition(":")[0] not in known}
        assert names and not strange, (place, strange)


def linear(names: list[str], tensors: list[str]) -> bytes:
    """Quant, MatMul, Quant, MatMul, Quant with these names of nodes and tensors."""
    made = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    out = [helper.make_tensor_value_info(tensors[-1], TensorProto.FLOAT, [1, 4])]
    weights = [numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4) - 7, n) for n in ("w", "v")]
    scalars = [numpy_helper.from_array(np.float32(v), n) for n, v in (("s", 1), ("z", 0), ("b", 5))]
    nodes, before = [], "x"
    for name, tensor, weight in zip(names, tensors, [None, "w", None, "v", None], strict=True):
        inputs = [before, weight] if weight else [before, "s", "z", "b"]
        more = {} if weight else {"domain": "qonnx.custom_op.general", "signed": 1, "rounding_mode": "ROUND"}
        nodes.append(helper.make_node("MatMul" if weight else "Quant", inputs, [tensor], name=name, **more))
        before = tensor
    graph = helper.make_graph(nodes, "net", made, out, [*weights, *scalars])
    return helper.make_model(graph).SerializeToString()


def test_a_layer_has_one_name_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its node; in tables, schedule, certificate, folding and what comes back from --fit."""
    monkeypatch.chdir(tmp_path)
    source = linear(["q0", "first", "q1", "second", "q2"], ["a", "b#1", "c", "d", "y"])
    (tmp_path / "net.onnx").write_bytes(source)
    fold = json.dumps({"first": {"pe": 2, "simd": 2}, "second": {"pe": 4, "simd": 1}})
    design = qc.compile(source, arch="dataflow", fold=fold)
    design.write("p")
    names = {"first", "second"}
    assert names <= {layer.name for layer in design.estimate().layers}
    processes = {p["layer"]: (p["pe"], p["simd"]) for p in json.loads(Path("p/schedule.json").read_text())["processes"]}
    assert processes["first"] == (2, 2) and processes["second"] == (4, 1)
    assert names <= {a["layer"] for a in json.loads(Path("p/certificate.json").read_text())["accumulators"]}
    assert names <= {row.layer for row in layers(design, np.zeros((2, 4), np.float32))}
    assert set(json.loads(qc.compile(source, fit=True).options.fold)) == {*names, "x"}  # and the input
    shown = CliRunner().invoke(cli.main, ["compile", "net.onnx", "--fold", "p/none.json", "-o", "q"])
    assert shown.exit_code == 1 and "cannot be read" in shown.stderr
    summary = CliRunner().invoke(cli.main, ["compile", "net.onnx", "-o", "q"]).stdout
    assert {(line.split() or [""])[0] for line in summary.splitlines()} >= names
    old = json.dumps({"a": {"pe": 4}, "b#1": {"pe": 2, "simd": 2}, "d": {"pe": 4, "simd": 1}})  # of older versions
    assert qc.compile(source, arch="dataflow", fold=old).network.stages == design.network.stages
    with pytest.raises(qc.QCompileError) as caught:
        qc.compile(source, arch="dataflow", fold='{"frist": {"pe": 2}}').files()
    assert str(caught.value) == (
        "--fold: the folding names 'frist', which is no layer of this network\n"
        "  hint: did you mean first (pe up to 4, simd up to 4)"
    )


def test_nodes_without_names_are_called_by_operator_and_tensor() -> None:
    design = qc.compile(linear(["", "", "q", "q", ""], ["10", "11", "12", "13", "y"]))
    named = list(design.graph.layers.values())
    assert "MatMul_11" in named and "y" in named and len(set(named)) == len(named)
    assert {"q", "q:Requant"} & set(named) and not any(name.isdigit() for name in named)


def test_the_product_has_the_name_of_its_node() -> None:
    """Not the padding in front of it: foldings name products."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 4, 4]) for n in "xy")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv1", pads=[1, 1, 1, 1])
    source = helper.make_model(helper.make_graph([node], "net", [x], [y], [weight])).SerializeToString()
    design = qc.compile(source, input_formats=["u4"], arch="dataflow", fold='{"conv1": {"pe": 1}}')
    kinds = {layer.name: layer.op for layer in design.estimate().layers}
    assert kinds["conv1"] == "Conv" and kinds["conv1:Pad"] == "Pad"


# --- accuracy


@pytest.fixture(scope="module")
def planned() -> qc.Design:
    """The float network with a plan whose input has two bits behind the point: much of the loss is there."""
    model = qc.load(ROOT / "examples" / "digits_float_mlp.onnx")
    (port,) = (v.name for v in model.graph.inputs)
    formats = {
        t.name: "s8f5" if t.kind == WEIGHT else "u2f2" if t.value == port else "s10f4" for t in tensors(model.graph)
    }
    return qc.compile(model, Plan({name: Choice(parse_format(text)) for name, text in formats.items()}))


def test_weights_that_nobody_quantized_are_told() -> None:
    """Two layers of 20 and 3 bits."""
    model = onnx.load_from_string(linear(list("abcde"), list("klmno")))
    quiet = qc.compile(model).warnings
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(70_001 * np.eye(4) * [1, 2, 3, 7]), "w"))
    (found,) = {*qc.compile(model).warnings} - {*quiet}
    assert "weights of up to 20 bits, as real numbers need them: 1;" in found


def test_the_float_row_is_the_float_model(planned: qc.Design) -> None:
    """onnxruntime on the user's file and the user's data; quantized inputs are a row of their own."""
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'qcompile[float]'")
    x, y = np.load(X), np.load(Y)
    session = runtime.InferenceSession(planned.model.source, providers=["CPUExecutionProvider"])
    (known,) = session.get_inputs()
    rows = [session.run(None, {known.name: row.reshape(1, -1).astype(np.float32)})[0].argmax() for row in x]
    right = int(np.sum(np.array(rows) == y))
    result = evaluate(planned, [x], y)
    assert result["right"]["float model"] == right and result["executor"] == "onnxruntime"
    assert result["right"]["float model, inputs on the grid"] < right
    assert result["accuracy"]["float model"] == right / len(y)
    assert sum(row[1] for row in result["classes"]) == len(y) and sum(row[3] for row in result["classes"]) == right
    assert sum(row[3] for row in result["confusion"]) == np.sum(
        (np.array(rows) != y) | (planned.simulate(x).reshape(len(y), -1).argmax(1) != y)
    )


@pytest.mark.parametrize("name", ["digits_mixed", "digits_float_mlp"])
def test_the_float_model_runs_without_its_executors(
    name: str, planned: qc.Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnx' evaluator or the exact reference take their place, and the result says what is missing."""
    monkeypatch.setattr(float32, "execute", lambda *a: (None, "not run: someone is not installed (pip install them)"))
    x, y = np.load(X)[:40], np.load(Y)[:40]
    design = planned if "float" in name else qc.compile(MIXED)
    result = evaluate(design, [x], y)
    by = "onnx' reference evaluator" if "float" in name else "the exact reference"
    assert result["executor"] == f"{by}; someone is not installed (pip install them)"
    assert result["accuracy"]["float model"] > 0.9 and 0.9 < result["agreement"] <= 1


def test_evaluate_prints_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    shown = CliRunner().invoke(cli.main, ["evaluate", "build", "--input", X, "--labels", Y]).stdout
    assert re.search(r"bit-accurate  0\.\d{4} \(\d+ of 200\)", shown) and "None" not in shown
    assert "right, by class" in shown and "next: qcompile verify build" in shown


# --- prompts and notebooks


def test_what_ends_a_cell_shows_a_few_lines(planned: qc.Design, digits: Path) -> None:
    design = qc.compile(digits, arch="dataflow")
    estimate = design.estimate()
    report = Report(rows=[Row("reference = simulator", 10, 100, 0)], notes=["a note"])
    shown = [design, design.model, design.graph, estimate, planned, planned.plan, report]
    for thing in shown:
        text = repr(thing)
        assert len(text) < 1500 and len(text.splitlines()) <= 20, text
    for thing in (one for one in shown if one is not design.graph):
        page = thing._repr_html_()
        assert 100 < len(page) < 20_000 and page.startswith("<b>") and page.count("<table>") == page.count("</table>")
    lines = repr(design).splitlines()
    assert lines[0] == "Design digits_mlp" and lines[1] == "  part    xc7z020clg400-1 at 200 MHz, dataflow"
    assert [line.split()[0] for line in lines[1:]] == ["part", "input", "output", "layers"]
    assert "total" in str(estimate) and len(str(estimate).splitlines()) > 5
    assert len(qc.print_graph(design.graph)) > 2000


def test_names_of_a_file_stay_text_in_a_notebook() -> None:
    model = qc.load(linear(["q", "<script>", "q1", "b", "c"], ["t1", "t2", "t3", "t4", "y\x1b[2J"]))
    assert "<script>" not in model._repr_html_() and "\x1b" not in model._repr_html_() + repr(model)


def test_the_module_shows_what_it_has() -> None:
    assert {"load", "compile", "assign", "verify", "Budget", "Design"} <= set(dir(qc))
    assert all(getattr(qc, name).__doc__ for name in qc.__all__)
    assert (ROOT / "qcompile" / "py.typed").is_file()


@pytest.mark.parametrize("name", qc.__all__)
def test_public_members_are_documented(name: str) -> None:
    found = getattr(qc, name)
    for member, value in vars(found).items() if isinstance(found, type) else ():
        function = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
        if not member.startswith("_") and callable(function):
            assert function.__doc__, f"{name}.{member}"


@pytest.mark.parametrize(
    ("function", "wrong", "right"),
    [
        ("compile", "prat", "part"),
        ("assign", "metrc", "metric"),
        ("load", "exampel", "example"),
        ("verify", "sample", "samples"),
    ],
)
def test_wrong_keywords_are_answered(function: str, wrong: str, right: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(qc, function)("x", **{wrong: 1})
    assert f"{function}() has no argument '{wrong}'; did you mean '{right}'?" in str(caught.value)
    assert isinstance(caught.value, qc.QCompileError)


def test_keywords_are_named_in_full() -> None:
    """What completes in an editor is all that there is, with the defaults that hold."""
    given = inspect.signature(qc.compile).parameters
    assert {f.name for f in fields(Options)} <= set(given)
    given = inspect.signature(qc.assign).parameters
    assert {f.name: f.default for f in fields(Settings)} == {
        f.name: given[f.name].default for f in fields(Settings) if f.name in given
    }
    own = inspect.signature(planning.run).parameters
    assert all(given[name].default == p.default for name, p in own.items() if name != "settings")


def test_modules_take_numpy_examples() -> None:
    torch = pytest.importorskip("torch", reason="pip install 'qcompile[torch]'")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    for example in (np.zeros((1, 4)), (np.zeros((1, 4), np.float32),), torch.zeros(1, 4)):
        assert qc.load(module, example).graph.inputs[0].type.shape == (1, 4)
    with pytest.raises(qc.QCompileError, match="the example input is a str"):
        qc.load(module, "x.npy")


def test_inspect_of_a_float_model_says_what_to_do() -> None:
    path = str(ROOT / "examples" / "digits_float_mlp.onnx")
    shown = CliRunner().invoke(cli.main, ["inspect", path])
    assert shown.exit_code == 0 and "error" not in shown.output
    assert shown.stdout.endswith(f"next: qcompile assign {path} --data x.npy -o run\n")
    record = json.loads(CliRunner().invoke(cli.main, ["inspect", path, "--json"]).stdout)
    assert record["supported"] and record["float"] and record["problem"] is None
    assert record["estimate"]["arch"] == "parallel" and record["parameters"] == 3658 and record["macs"] == 3392
    wrong = CliRunner().invoke(cli.main, ["inspect", path, "--input-format", "x9"])
    assert wrong.exit_code == 1 and "error: " in wrong.stderr


def test_inspect_is_one_screen() -> None:
    shown = CliRunner().invoke(cli.main, ["inspect", MIXED]).stdout.splitlines()
    assert len(shown) < 20 and "everything is supported" in shown[0]
    assert [line.split() for line in shown if line.startswith(("input", "/1/MatMul"))] == [
        "input image 64 s6 -1.044 to 1.011 in steps of 0.03261".split(),
        "/1/MatMul MatMul 1x48 s6 s6n 3,264 3,072".split(),
    ]
    assert shown[-2].startswith("estimate: ") and "; fits (limits" in shown[-2]
    more = CliRunner().invoke(cli.main, ["inspect", MIXED, "--verbose"]).stdout
    assert "graph after import\n" in more and "graph after lowering\n" in more


def test_inspect_lists_what_later_passes_refuse(tmp_path: Path) -> None:
    """An operator that is unknown, an input without a format, and a product of real numbers: all at once."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y"))
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4])
    constants = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("s", 0.5), ("o", 0), ("b", 4))]
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Bernoulli", ["x"], ["a"], name="drawn"),
        helper.make_node("Quant", ["a", "s", "o", "b"], ["q"], **quant),
        helper.make_node("Add", ["q", "z"], ["t"]),
        helper.make_node("Exp", ["t"], ["e"]),
        helper.make_node("Mul", ["e", "z"], ["y"], name="product"),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    graph = helper.make_graph(nodes, "g", [x, z], [y], constants)
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    done = CliRunner().invoke(cli.main, ["inspect", str(path), "--json"])
    record = json.loads(done.stdout)
    assert [f["where"] for f in record["unsupported"]] == ["node 'drawn'", "input 'z'", "node 'product'"]
    assert done.exit_code == 1 and "3 things are missing" in done.stderr


# --- documentation

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """Arguments of every call of qcompile in the code blocks of a page."""
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    calls = [re.split(r" && |  +#| #", line)[0] for line in lines if line.startswith("qcompile ")]
    return [shlex.split(call)[1:] for call in calls]


def test_the_readme_is_one_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 80 and "make demo" in text and "make test" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_of_pages_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command and option exists, with values that are possible."""
    for name, *arguments in commands(page):
        command = cli.main.commands[name]
        for parameter in command.params:
            monkeypatch.setattr(parameter, "callback", None)  # files of the examples are not there
        command.make_context(name, arguments, parent=click.Context(cli.main, **cli.main.context_settings))


def test_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the search, on the files of the checkout."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ran = []
    for arguments in commands(ROOT / "README.md"):
        if arguments[0] != "assign" and "--plan" not in arguments:
            result = CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            ran.append(arguments[0])
    assert ran == ["inspect", "compile", "verify", "evaluate", "simulate"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_of_pages_uses_what_there_is(page: Path) -> None:
    """Names of the module, and keywords of its functions."""
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "qc":
                assert hasattr(qc, node.attr), node.attr
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("qc."):
                known = inspect.signature(getattr(qc, ast.unparse(node.func)[3:])).parameters
                assert all(k.arg in known for k in node.keywords), ast.unparse(node)
