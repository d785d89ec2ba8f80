"""Hostile and odd models and options: no code of theirs runs, nothing of theirs obeys a terminal, no process dies,
hangs or ends in a traceback. `../shared/field/robust` holds the cases that others found, beside siblings made here.
"""

import contextlib
import json
import os
import pty
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import ROOT, SHARED
from onnx import TensorProto, helper, numpy_helper
from test_bad_input import QONNX, mlp

import qcompile as qc
from qcompile import cli, isolated
from qcompile.backends.hls import identifier, remark
from qcompile.errors import QCompileError, UnsupportedError, visible
from qcompile.float32 import execute
from qcompile.sim.ratio import Ratio
from qcompile.verification import Report, _check_reference, random_inputs

ROBUST = SHARED / "field" / "robust"
needs_robust = pytest.mark.skipif(
    not ROBUST.is_dir(), reason=f"needs the odd files of others, which are not in {ROBUST}"
)

# What a name may not do: end a comment, a string, a line or a word of an emitted language, or drive a terminal.
MARK = "QC_INJECTED"
HOSTILE = (
    f'a\nstatic int qc_{MARK} = system("echo > {MARK}.txt");\n//',
    f'*/ system("{MARK}"); /* ??/\nint {MARK};',
    f'"; system("touch {MARK}.txt"); "',
    f"$[exec touch {MARK}.txt] [exec touch {MARK}.txt] $(shell touch {MARK}.txt) $(touch {MARK}.txt)",
    f"`touch {MARK}.txt` \\\n int {MARK}; \\",
    f"'); import os; os.system('touch {MARK}.txt'); ('''\"\"\"",
    f"../../{MARK}/../../etc/passwd",
    f"\x1b]0;{MARK}\x07\x1b[2J\x9b31m\u202e\u2066\u2028\u2029\ufeff\x00\x7f",
    f"[bold]{MARK}[/bold][link=file:///{MARK}]x[/link] {{{{ {MARK} }}}} {{% raw %}} :smile:",
    f'#define {MARK} 1\r\n#include "/etc/passwd" {"n" * 5000}',
)
FORBIDDEN = ("system(", "[exec", "../../", "??/", "$(touch", "`touch", "{% raw", "[bold]", "import os; os.system")
CONTROLS = "".join(map(chr, [*range(9), *range(11, 32), 127, *range(128, 160), 0x202E, 0x2066, 0x2028, 0x2029, 0xFEFF]))
OWN = {"model.onnx"}  # the user's file itself


def hostile(turn: int = 0) -> onnx.ModelProto:
    """A network of every kind of layer whose names are all hostile: graph, nodes, tensors, weights, domains."""
    model = network()
    names: dict[str, str] = {}

    def bad(name: str) -> str:
        if name and name not in names:
            names[name] = f"{HOSTILE[(len(names) + turn) % len(HOSTILE)]} {len(names)}"
        return names.get(name, "")

    for node in model.graph.node:
        node.name = bad(f"node {node.name}")
        node.input[:] = map(bad, list(node.input))
        node.output[:] = map(bad, list(node.output))
        node.doc_string = HOSTILE[0]
        if node.domain:
            node.domain = HOSTILE[turn % len(HOSTILE)]
    for info in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        info.name = bad(info.name)
        info.doc_string = HOSTILE[1]
    model.graph.name = HOSTILE[(turn + 2) % len(HOSTILE)]
    model.producer_name = model.doc_string = model.domain = HOSTILE[3]
    return model


def network() -> onnx.ModelProto:
    """x [1, 2, 4, 4] -> Quant -> Conv -> BatchNormalization -> Relu -> Quant -> (MaxPool + AveragePool) -> Concat ->
    Quant -> Flatten -> Gemm -> Quant -> y, ArgMax -> class.
    """
    rng = np.random.default_rng(3)
    held = {
        **{"s": 0.25, "z": 0.0, "b": 4.0},
        **{"w": rng.normal(size=(3, 2, 3, 3)), "v": rng.normal(size=(24, 3)), "c": rng.normal(size=3)},
        **{k: np.abs(rng.normal(size=3)) + 0.5 for k in ("gamma", "beta", "mean", "var")},
    }
    quant = lambda i, o: helper.make_node("Quant", [i, "s", "z", "b"], [o], o, domain=QONNX)  # noqa: E731
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        quant("v", "vq"),
        helper.make_node("Conv", ["xq", "wq"], ["h0"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h0", "gamma", "beta", "mean", "var"], ["h1"], "bn"),
        helper.make_node("Relu", ["h1"], ["h2"], "relu"),
        quant("h2", "h3"),
        helper.make_node("MaxPool", ["h3"], ["h4"], "max", **pool),
        helper.make_node("AveragePool", ["h3"], ["h5"], "mean", **pool),
        quant("h5", "h6"),
        helper.make_node("Concat", ["h4", "h6"], ["h7"], "concat", axis=1),
        helper.make_node("Flatten", ["h7"], ["h8"], "flat"),
        helper.make_node("Gemm", ["h8", "vq", "c"], ["h9"], "gemm"),
        quant("h9", "y"),
        helper.make_node("ArgMax", ["y"], ["class"], "arg", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("class", TensorProto.INT64, [1, 1]),
        ],
        [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)])


def files_of(folder: Path) -> dict[str, bytes]:
    """Emitted files but the vendored headers and the model."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {n: b for n, b in found.items() if not n.startswith("ap_types/") and n not in OWN}


CASES = [("parallel", "rom", "pynq-z2"), ("dataflow", "rom", "pynq-z2"), ("dataflow", "port", "pynq-z2")]


@pytest.mark.parametrize(("arch", "weights", "part"), CASES)
def test_hostile_names_stay_names(tmp_path: Path, arch: str, weights: str, part: str) -> None:
    model = tmp_path / f"m{HOSTILE[2]} {MARK}\n.onnx".replace("/", "_")
    model.write_bytes(hostile(len(arch) + len(weights)).SerializeToString())
    build = tmp_path / "a \"b\" $(touch c) 'd'"
    design = qc.compile(model, arch=arch, weights=weights, part=part)
    design.write(build)
    for name, content in files_of(build).items():
        assert name.isascii() and name.isprintable() and MARK not in name
        if name.endswith((".json", ".txt")):  # names as escaped strings, which nothing runs
            text = content.decode("ascii" if name.endswith(".json") else "utf-8")
            assert name.endswith(".txt") or json.loads(text) is not None
        elif name.endswith((".npz", ".bin")):
            assert MARK.encode() not in content, name
            continue
        else:
            text = content.decode("ascii")
            assert not [f for f in FORBIDDEN if f in text], name
            assert MARK not in text or name == "README.md", name
        assert not set(CONTROLS) & set(text), name
    report = qc.verify(build, samples=20)
    assert all(row.differing == 0 for row in report.rows)
    done = subprocess.run(["make", "csim"], cwd=build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith((MARK, "c)"))]
    assert not Path(f"{MARK}.txt").exists()


def test_remarks_and_identifiers_are_plain() -> None:
    for text in HOSTILE:
        assert set(remark(text)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.-#:/")
        assert ".." not in remark(text) and "//" not in remark(text)
        assert len(remark(text)) <= 60
        assert identifier(text).isidentifier() and identifier(text).isascii() and len(identifier(text)) <= 40


def test_messages_are_visible_lines() -> None:
    for text in HOSTILE:
        error = QCompileError(text, text, text)
        assert not set(CONTROLS) & set(str(error))
        assert len(str(error).splitlines()) == 2
    assert visible("слой/1 ü") == "слой/1 ü"
    assert visible("\x1b[2J\n\u202e") == "\\x1b[2J\\n\\u202e"


def isolated_signal(x: np.ndarray) -> list[np.ndarray]:
    os.kill(os.getpid(), int(x[0]))
    return []


@pytest.mark.parametrize("signal", [8, 11])
def test_a_crash_in_another_process_is_an_answer(signal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    with pytest.raises(isolated.Failed, match=f"signal {signal}"):
        isolated.call("test_robust:isolated_signal", np.array([signal]), timeout=60)


def isolated_number(x: np.ndarray) -> list[np.ndarray]:
    time.sleep(float(x[0]))
    return [np.array([os.getpid(), os.getppid()])]


def test_calls_are_forks_of_one_process_that_may_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a process of its own; one that takes too long is ended; where the process that waits dies, another is
    started.
    """
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    at_once, long = np.array([0.0]), np.array([100.0])
    found = [isolated.call("test_robust:isolated_number", at_once, timeout=60)[0] for _ in range(2)]
    assert len({os.getpid(), *np.ravel(found).tolist()}) == 5
    with pytest.raises(isolated.Failed, match="no end within 0 s"):
        isolated.call("test_robust:isolated_number", long, timeout=0.2)
    (connection,) = isolated._servers.values()
    connection.shutdown(socket.SHUT_RDWR)
    assert isolated.call("test_robust:isolated_number", at_once, timeout=60)[0][0] > 0


def scan_without_body() -> onnx.ModelProto:
    model = mlp()
    model.graph.node.append(helper.make_node("Scan", ["xq"], ["extra"], "scan", num_scan_inputs=1))
    return model


def zero_stride() -> onnx.ModelProto:
    """A convolution with stride 0 behind an operator that is not supported."""
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 4
    model.graph.node.append(helper.make_node("NonZero", ["xq"], ["nz"], "nz"))
    model.graph.node.append(helper.make_node("Conv", ["xq", "wq"], ["extra"], "c", strides=[1, 0]))
    return model


@pytest.mark.parametrize("make", [scan_without_body, zero_stride])
def test_native_inference_cannot_end_us(make: Any) -> None:
    with pytest.raises(UnsupportedError):
        qc.load(make())


def test_executor_of_a_strange_domain_is_not_imported() -> None:
    """qonnx imports the module that a node's domain names."""
    model = network()
    next(n for n in model.graph.node if n.op_type == "MaxPool").domain = "antigravity"
    loaded = qc.load(model)
    found, why = execute(loaded.source, loaded.graph, (np.zeros((1, 1, 2, 4, 4)),))
    assert found is None and "no executor for domain 'antigravity'" in why


def external(model: onnx.ModelProto, tensor: TensorProto, **entries: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "w.bin"} | entries).items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_models_in_memory_read_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool, inner: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if present:
        Path("w.bin").write_bytes(bytes(80))
    model = mlp()
    tensor = model.graph.initializer[-1]
    if inner:
        node = model.graph.node.add(op_type="Constant", output=["k"])
        node.attribute.append(helper.make_attribute("value", tensor))
        tensor = node.attribute[0].t
    external(model, tensor)
    for source in (model, model.SerializeToString()):
        with pytest.raises(QCompileError, match="has no folder"):
            qc.compile(source)


BAD_EXTERNAL: list[dict[str, str]] = [
    {"location": "/etc/hostname"},
    {"location": "../w.bin"},
    {"location": "link.bin"},
    {"location": "absent.bin"},
    {"location": ""},
    {"location": "."},
    {"location": "a\0b"},
    {"location": "w" * 5000},
    {"offset": "-1"},
    {"offset": "1000"},
    {"offset": "x"},
    {"length": "1000"},
    {"length": "99999999999999999999"},
    {"offset": "9" * 5000},
]


@pytest.mark.parametrize("entries", BAD_EXTERNAL, ids=lambda e: "-".join(e.values())[:20].replace("\0", "0"))
def test_external_data_stay_in_the_folder(tmp_path: Path, entries: dict[str, str]) -> None:
    model = mlp()
    (tmp_path / "w.bin").write_bytes(bytes(64))
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    external(model, next(t for t in model.graph.initializer if t.name == "w"), **entries)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(QCompileError, match="external data"):
        qc.load(tmp_path / "m.onnx")


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """(exit code, what the terminal received on stdout and stderr) of the command line."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "qcompile", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    received = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while chunk := os.read(ours, 65536):
            received += chunk
    os.close(ours)
    return process.wait(), received.decode()


def unsupported() -> onnx.ModelProto:
    model = hostile()
    model.graph.node[3].op_type = HOSTILE[7]
    model.graph.node[7].op_type = "Foo"
    return model


def test_a_terminal_receives_no_control_characters(tmp_path: Path) -> None:
    good, bad = tmp_path / "good \x1b[31m\x9b.onnx", tmp_path / "bad\x07.onnx"
    good.write_bytes(hostile(7).SerializeToString())
    bad.write_bytes(unsupported().SerializeToString())
    build = str(tmp_path / "b \x1b]0;title\x07")
    expected = {
        ("inspect", str(good)): 0,
        ("inspect", str(good), "--json"): 0,
        ("inspect", str(bad)): 1,
        ("compile", str(bad), "-o", build): 1,
        ("compile", str(good), "-o", build, "--arch", "dataflow", "--fit"): 0,
        ("estimate", str(good)): 0,
        ("verify", build, "--samples", "5", "--no-float32", "--layers"): 0,
        ("verify", "\x1b[2J\u202e"): 1,
        ("parts", "\x1b[2J"): 1,
        ("\x1b[2J",): 2,
        ("--\x1b[2J",): 2,
        ("compile", str(good), "-o", build, "--clock", "\x1b[2J"): 2,
        ("compile", str(good), "-o", build, "\x1b[2J"): 2,
        ("compile", str(good), "-o", build, "--input-format", "\x1b[2J"): 1,
    }
    for arguments, code in expected.items():
        found, text = on_a_terminal(*arguments)
        assert found == code, text
        assert not set(CONTROLS) & set(text.replace("\r", "")), text
        assert "Traceback" not in text


# --- every row of ../shared/field/robust/README.md

# What is to come of a model: a project that verifies, one whose reference and simulator agree (their C++ is that of
# other tests), or a refusal with these words.
VERIFIES, AGREES = "verifies", "agrees"
ROWS = {
    "inject_cpp_newline_name.onnx": VERIFIES,
    "native_sigfpe_conv_stride0.onnx": "strides",
    "native_segv_scan_without_body.onnx": "Scan",
    "terminal_escape_unsupported.onnx": "1 node cannot be compiled",
    "crash_unused_input.onnx": VERIFIES,
    "crash_gap_rank2.onnx": VERIFIES,
    "crash_initializer_output.onnx": VERIFIES,
    "crash_argmax_of_constant.onnx": AGREES,
    "hang_s64_thresholds.onnx": AGREES,
    "crash_weight_zero_point_1e-30.onnx": AGREES,
    "crash_64_bit_input_matmul.onnx": AGREES,
    "crash_verify_scale_1e20.onnx": VERIFIES,
    "crash_rank40.onnx": "40 axes",
    "slice_end_int64min_step2.onnx": "which is empty",
    "convtranspose_output_shape_larger.onnx": AGREES,
    "acc_width_64x8x8.onnx": AGREES,
}
FORMATS = {"u64": AGREES, "e8m23": "at most 16", "s8f2147483648": "after the binary point", "s64f-500": AGREES}
BUILD = ["compile", "plain_mlp.onnx", "-o", "new"]
COMMANDS = {
    "array_cut_header.npy": (["simulate", "b", "--input", "FILE", "--output", "y.npy"], "header"),
    "array_bad_deflate.npz": (["simulate", "b", "--input", "FILE", "--output", "y.npy"], "damaged"),
    "plan_scale_1e400.json": (["compile", "float.onnx", "--plan", "FILE", "-o", "new"], "scale"),
    "plan_units_shape.json": (["compile", "float.onnx", "--plan", "FILE", "-o", "new"], "units"),
    "plan_units_bomb.json": (["compile", "float.onnx", "--plan", "FILE", "-o", "new"], "'x'"),
    "fold_inf.json": ([*BUILD, "--arch", "dataflow", "--fold", "FILE"], "pe"),
}
ELSEWHERE = {"plain_mlp.onnx", "external_as_bytes.onnx", "array_bomb.npz.zip", "manifest_values.json"}
ELSEWHERE |= {"verify_tamper.json"}  # tests/test_verify.py: one bit in any file
ARCHITECTURES = pytest.mark.parametrize("arch", ["parallel", "dataflow"])


def come_of(folder: Path, source: str | onnx.ModelProto, wanted: str, **options: Any) -> None:
    """A model compiles as wanted (see ROWS)."""
    if wanted not in (VERIFIES, AGREES):
        with pytest.raises(QCompileError, match=wanted):
            qc.compile(source, **options).files()
        return
    design = qc.compile(source, **options)
    if wanted == VERIFIES:
        design.write(folder / "b")
        assert all(row.differing == 0 for row in qc.verify(folder / "b", samples=20).rows)
        return
    assert design.files().files
    x = random_inputs(design, 20, 0)
    _check_reference(design, x, design.simulator.quantize(*x), Report())


@needs_robust
def test_every_row_is_tried() -> None:
    rows = (line.split("|")[1].strip(" `") for line in (ROBUST / "README.md").read_text().splitlines() if "| `" in line)
    assert set(rows) == {*ROWS, *COMMANDS, *ELSEWHERE}


@needs_robust
@ARCHITECTURES
@pytest.mark.parametrize("file", ROWS)
def test_odd_models_of_others(file: str, arch: str, tmp_path: Path) -> None:
    unread = (file, arch) == ("crash_unused_input.onnx", "dataflow")
    wanted = "architecture dataflow has no port that is not read" if unread else ROWS[file]
    come_of(tmp_path, str(ROBUST / file), wanted, arch=arch)
    assert not list(tmp_path.rglob("QC_*")) and not list(Path().glob("QC_*"))
    sources = [p for p in tmp_path.rglob("*") if p.suffix in (".cpp", ".hpp", ".h", ".tcl", ".py", ".cfg", ".inc")]
    assert not [p for p in sources if "QC_INJECTED" in p.read_text()]


@needs_robust
@ARCHITECTURES
@pytest.mark.parametrize("text", FORMATS)
def test_odd_input_formats(text: str, arch: str, tmp_path: Path) -> None:
    come_of(tmp_path, str(ROBUST / "plain_mlp.onnx"), FORMATS[text], arch=arch, input_formats=(text,))


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with plain_mlp.onnx, its project b and a float model."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROBUST / "plain_mlp.onnx", tmp_path)
    shutil.copy(ROOT / "examples" / "digits_float_mlp.onnx", tmp_path / "float.onnx")
    qc.compile("plain_mlp.onnx").write("b")
    return tmp_path


def command(*arguments: str) -> tuple[int, str]:
    """(exit code, stderr); an exception is a fault of ours, which nothing hides here."""
    done = CliRunner().invoke(cli.main, list(arguments), catch_exceptions=False)
    return done.exit_code, done.stderr


@needs_robust
@pytest.mark.parametrize("file", COMMANDS)
def test_odd_files_of_others(beside: Path, file: str) -> None:
    arguments, words = COMMANDS[file]
    code, text = command(*(str(ROBUST / file) if a == "FILE" else a for a in arguments))
    assert code == 1 and text.startswith("error: ") and text.count("error: ") == 1 and words in text
    assert not Path("new").exists() and not Path("y.npy").exists()


@needs_robust
def test_an_archive_that_unpacks_to_much_more(beside: Path) -> None:
    with zipfile.ZipFile(ROBUST / "array_bomb.npz.zip") as file:
        file.extractall()
    code, text = command("simulate", "b", "--input", "bomb.npz", "--output", "y.npy")
    assert code == 1 and text.count("error: ") == 1 and not Path("y.npy").exists()


@needs_robust
def test_manifests_of_others(beside: Path) -> None:
    path = Path("b/manifest.json")
    good = json.loads(path.read_text())
    for values in json.loads((ROBUST / "manifest_values.json").read_text()):
        path.write_text(json.dumps({**good, "options": {**good["options"], **values}}))
        code, text = command("estimate", "b")
        assert code == 1 and text.count("error: ") == 1 and next(iter(values)) in text


@needs_robust
@pytest.mark.parametrize("present", [False, True])
def test_bytes_of_others_read_no_files(beside: Path, present: bool) -> None:
    if present:
        Path("w.bin").write_bytes(bytes(80))
    with pytest.raises(QCompileError, match="has no folder"):
        qc.compile((ROBUST / "external_as_bytes.onnx").read_bytes())


@needs_robust
def test_odd_options(beside: Path) -> None:
    code, text = command(*BUILD, "--fit", "--target-fps", "1e-300")
    assert code == 0, text
    code, text = command("verify", "b", "--samples", "0", "--layers", "--no-float32")
    assert code == 1 and text.count("error: ") == 1 and "at least one vector" in text
    code, text = command("verify", "b", "--samples", "0", "--no-float32")
    assert code == 0, text


# --- extremes


def single(op: str, shape: list[int], held: dict[str, Any], extra: list[str], **attributes: Any) -> onnx.ModelProto:
    """x -> one operator -> y in float; extra: its other inputs."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *extra], ["y"], "op", **attributes)],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


MAP, KERNEL = [1, 2, 5, 5], (np.arange(36).reshape(2, 2, 3, 3) % 5 - 2).astype(np.float32)
WIDE = {
    "MatMul": single("MatMul", [1, 4], {"w": np.array([[1, -2], [0, 1], [3, 0], [-1, 1]], np.float32)}, ["w"]),
    "Conv": single("Conv", MAP, {"w": KERNEL}, ["w"], pads=[1, 1, 1, 1]),
    "ConvTranspose": single("ConvTranspose", MAP, {"w": KERNEL}, ["w"]),
    "MaxPool": single("MaxPool", MAP, {}, [], kernel_shape=[2, 2]),
    "AveragePool": single("AveragePool", MAP, {}, [], kernel_shape=[2, 2]),
    "ReduceMean": single("ReduceMean", MAP, {}, [], axes=[2, 3]),
    "Add": single("Add", [1, 4], {}, ["x"]),
    "Mul": single("Mul", [1, 4], {}, ["x"]),
    "Div": single("Div", [1, 4], {"c": np.float32(3)}, ["c"]),
    "LeakyRelu": single("LeakyRelu", [1, 4], {}, [], alpha=0.1),
    "Concat": single("Concat", [1, 4], {"c": np.array([[1.5]], np.float32)}, ["c"], axis=1),
    "ArgMax": single("ArgMax", [1, 4], {}, [], axis=1),
}


@ARCHITECTURES
@pytest.mark.parametrize("text", ["s64", "u64f64", "s8f-500", "s8f1000"])
@pytest.mark.parametrize("op", WIDE)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_widest_and_most_distant_inputs(op: str, text: str, arch: str, tmp_path: Path) -> None:
    come_of(tmp_path, WIDE[op], AGREES, arch=arch, input_formats=(text,))


def scaled(scale: float, steps: tuple[str, ...], weight: float = 1.0) -> onnx.ModelProto:
    """x -> Quant with a scale -> operators -> times a quantized constant -> Quant -> y."""
    held = {"s": scale, "z": 0.0, "b": 8.0, "w": [weight, -weight, 0.0, 1.0], "one": 1.0}
    names = ["xq", *(f"h{i}" for i in range(len(steps)))]
    nodes = [
        helper.make_node("Quant", [i, s, "z", "b"], [i + "q"], domain=QONNX) for i, s in (("x", "s"), ("w", "one"))
    ]
    nodes += [
        helper.make_node(op, [a, a] if op == "Mul" else [a], [b])
        for op, a, b in zip(steps, names, names[1:], strict=False)
    ]
    nodes.append(helper.make_node("Mul", [names[-1], "wq"], ["p"], "product"))
    nodes.append(helper.make_node("Quant", ["p", "s", "z", "b"], ["y"], "last", domain=QONNX))
    graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "x"],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "y"],
        [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)])


@ARCHITECTURES
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e30, 3.4e38])
@pytest.mark.parametrize("op", ["Relu", "Exp", "Sigmoid", "Mul"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_scales_at_the_ends_of_float32(op: str, scale: float, arch: str, tmp_path: Path) -> None:
    come_of(tmp_path, scaled(scale, (op,)), AGREES, arch=arch)
    come_of(tmp_path, scaled(scale, (op,), weight=3e38), AGREES, arch=arch)


def test_what_needs_too_many_bits_is_named(tmp_path: Path) -> None:
    come_of(tmp_path, scaled(0.25, ("Mul",) * 200), r"\(Mul\): needs \d+ bits to be exact, more than the 1024")


def test_floats_beside_zeros_are_exact() -> None:
    numbers = np.array([0.0, 3e38, -(2.0**60), 0.0, 2.0**-140, 1e308])
    assert Ratio.of_floats(numbers).rationals().tolist() == [Fraction(v) for v in numbers]
    assert Ratio.of_floats(np.array([0.0, 2.0**60])).rationals().tolist() == [0, 2**60]


@pytest.mark.parametrize("as_json", [False, True])
def test_inspect_ends_with_one_error(tmp_path: Path, as_json: bool) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(unsupported().SerializeToString())
    code, text = command("inspect", str(path), *(["--json"] if as_json else []))
    assert code == 1 and text.startswith("error: ") and text.count("error: ") == 1
    assert "m.onnx: 2 nodes cannot be compiled\n  hint: " in text


def test_the_next_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, build, result = "a 'b' $(touch c).onnx", "d; touch e", 'y "&".npy'
    Path(name).write_bytes(mlp().SerializeToString())
    np.save("x.npy", np.zeros((2, 4), np.float32))
    np.save("labels.npy", np.zeros(2, np.int64))
    last = {
        ("inspect", name): ["qcompile", "compile", name, "-o", "build"],
        ("compile", name, "-o", build): ["qcompile", "verify", build],
        ("estimate", build): ["qcompile", "verify", build],
        ("estimate", name): ["qcompile", "compile", name, "-o", "build"],
        ("evaluate", build, "--input", "x.npy", "--labels", "labels.npy"): ["qcompile", "verify", build],
    }
    for arguments, wanted in last.items():
        done = CliRunner().invoke(cli.main, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0 and shlex.split(done.stdout.splitlines()[-1]) == ["next:", *wanted]
    done = CliRunner().invoke(cli.main, ["simulate", build, "--input", "x.npy", "--output", result])
    line = done.stdout.splitlines()[-1].removeprefix("next: ")
    shown = subprocess.run(line.replace("python", sys.executable, 1), shell=True, capture_output=True, check=True)
    assert shown.stdout.startswith(b"[[")
    assert {p.name for p in Path().iterdir()} == {name, build, result, "x.npy", "labels.npy"}


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_parameters_beyond_64_bits(arch: str, tmp_path: Path) -> None:
    """Float weights and biases without quantizers: rows of parameters are as wide as the products before them."""
    rng = np.random.default_rng(0)
    nodes, constants, last = [], [], "x"
    for i in range(3):
        constants += [
            numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), f"w{i}"),
            numpy_helper.from_array(rng.normal(size=4).astype(np.float32), f"b{i}"),
        ]
        nodes += [helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"])]
        nodes += [helper.make_node("Relu", [f"g{i}"], [f"r{i}"])]
        last = f"r{i}"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", last))
    graph = helper.make_graph(nodes, "wide", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    design = qc.compile(model, arch=arch, input_formats=("s8f4",))
    assert any(v.type.codes.width > 64 for n in design.graph.nodes for v in n.outputs)
    report = qc.verify(design.write(tmp_path / "p"), samples=20)
    assert all(r.differing == 0 for r in report.rows) and design.estimate().total.lut > 0


@pytest.mark.parametrize("op", ["ArgMax", "Reshape", "Transpose", "Gather"])
def test_results_of_weights_alone(op: str, tmp_path: Path) -> None:
    """An output that no input changes."""
    weights = np.arange(-6, 6).reshape(3, 4).astype(np.float32) / 2
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([4, 3]), "shape")]
    constants += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("s", 0.5), ("z", 0), ("b", 5))]
    constants += [numpy_helper.from_array(np.array([1, 0]), "rows")]
    second = {"Reshape": ["shape"], "Gather": ["rows"]}.get(op, [])
    quant = {"domain": QONNX, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], **quant)]
    nodes += [
        helper.make_node("Quant", ["w", "s", "z", "b"], ["q"], **quant),
        helper.make_node(op, ["q", *second], ["k"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y"))
    k = helper.make_tensor_value_info("k", TensorProto.INT64 if op == "ArgMax" else TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    graph = helper.make_graph(nodes, "alone", [x], [y, k], constants)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    design = qc.compile(model)
    wanted = {"ArgMax": weights.argmax(0)[None], "Reshape": weights.reshape(4, 3), "Transpose": weights.T}
    found = design.simulate(np.zeros((2, 4), np.float32))[1]
    assert np.array_equal(np.squeeze(found[0]), np.squeeze(wanted.get(op, weights[[1, 0]])))
    for arch in ("parallel", "dataflow"):
        project = qc.compile(model, arch=arch).write(tmp_path / arch)
        assert all(r.differing == 0 for r in qc.verify(project, samples=5, float32=False).rows)
