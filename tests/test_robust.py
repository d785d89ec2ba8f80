"""Hostile and odd models and options: no code of theirs runs, nothing of theirs obeys a terminal, no process dies,
hangs or ends in a traceback. `../shared/field/robust` holds the cases that others found, beside siblings made here.
"""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper
from test_bad_input import QONNX, mlp

import qcompile as qc
from qcompile import isolated
from qcompile.backends.hls import identifier, remark
from qcompile.errors import QCompileError, UnsupportedError, visible
from qcompile.float32 import execute

ROBUST = ROOT.parent / "shared" / "field" / "robust"

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
