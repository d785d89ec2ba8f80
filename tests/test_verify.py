"""verify finds faults that were put into a project, and names layer and element."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, ROOT, records

import qcompile as qc
from qcompile import authenticity, verification
from qcompile.ir import ops
from qcompile.verification import layer_traces


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "project"
    qc.compile(digits).write(folder)
    return folder


def test_sound(project: Path) -> None:
    report = qc.verify(project, samples=50, float32=False)
    assert [(r.what, r.differing) for r in report.rows] == [
        ("reference = simulator", 0),
        ("simulator = emitted simulator", 0),
        ("simulator = compiled C++", 0),
    ]


@pytest.mark.parametrize("clock", [5, np.int64(5), np.float32(5), 5.0])
def test_numbers_of_any_type_are_read_back(clock: float, digits: Path, tmp_path: Path) -> None:
    folder = qc.compile(digits, clock_ns=clock, accumulator_bits=np.int64(16)).write(tmp_path / "p")
    assert authenticity.checked(folder)[2] == {}


def flipped(path: Path) -> bytes:
    """Another bit in the middle of a file; what was there before."""
    old = path.read_bytes()
    new = bytearray(old)
    new[len(new) // 2] ^= 1
    path.write_bytes(new)
    return old


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_one_bit_in_any_file_is_noticed(
    arch: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = qc.compile(digits, arch=arch, part="pynq-z2")
    folder = design.write(tmp_path / "p")
    files = sorted(design.files().files)
    assert ("board/driver.py" in files) == (arch == "dataflow") and authenticity.checked(folder)[2] == {}
    for name in ("model.onnx", "manifest.json"):
        old = flipped(folder / name)
        with pytest.raises(qc.QCompileError, match=name):
            qc.verify(folder)
        (folder / name).write_bytes(old)
    made, given = design.files(), qc.open_project(folder)
    monkeypatch.setattr(authenticity, "open_project", lambda path: given)  # the same again each time
    monkeypatch.setattr(qc.Design, "files", lambda self: made)
    for name in set(files) - {"model.onnx", "manifest.json"}:
        old = flipped(folder / name)
        assert authenticity.checked(folder)[2] == {name: "differs"}
        (folder / name).unlink()
        assert authenticity.checked(folder)[2] == {name: "is missing"}
        (folder / name).write_bytes(old)


def test_every_byte_of_the_manifest_counts(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    good = (copy / "manifest.json").read_text()
    changes = {
        '"clock_ns": 5.0': '"clock_ns": 6.0',
        "xc7z020clg400-1": "xc7z010clg400-1",
        '"arch": "parallel"': '"arch": "dataflow"',
        '"options"': '"optionz"',
        '"version": "': '"version": "1',
        '"top": "d': '"top": "e',
        '"files": {': '"filez": {',
        "\n}\n": "\n} \n",
        '"README.md": "': '"README.md": "0',
    }
    for old, new in changes.items():
        (copy / "manifest.json").write_text(good.replace(old, new))
        with pytest.raises(qc.QCompileError, match="manifest.json"):
            qc.verify(copy, samples=5, float32=False)


def test_files_of_the_user_are_no_errors_and_strange_sources_are(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    for name in ("notes.txt", "build/csim.log", "board/net.bit", "solution1/syn/report.rpt", "src/README"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("mine")
    assert authenticity.checked(copy)[2] == {}
    for name in ("src/qc/old.hpp", "src/weights/w9.inc", "plan.json", "board/driver.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("mine")
        assert authenticity.checked(copy)[2] == {name: "does not belong here"}
        (copy / name).unlink()


def test_a_file_that_no_execution_reads_is_named(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    top = next(copy.glob("src/*.cpp"))
    top.write_text(top.read_text() + "\n#ifdef QC_VENDOR\n#error\n#endif\n")
    with pytest.raises(qc.VerificationError, match=rf"1 file not as compiled: src/{top.name} differs; the executions"):
        qc.verify(copy, samples=5, float32=False)


def differing(project: Path, change: Callable[[str], str], *, file: str = "src/*.cpp") -> tuple[qc.Design, set[str]]:
    """Tensors that the layers of a project make differently, each by itself, where its source is changed."""
    path = next(project.glob(file))
    path.write_text(change(path.read_text()))
    subprocess.run(["make", "-C", str(project), "build/csim"], check=True, capture_output=True)
    design = qc.open_project(project)
    zeros = [np.zeros((1, *v.type.shape), dtype=np.int64) for v in design.graph.inputs]
    wanted, found = layer_traces(design, project, zeros)
    return design, {n for n in wanted if (wanted[n].astype(np.int64) != found[n].astype(np.int64)).any()}


def narrower(source: str) -> str:
    """One bit less in the type of every array of more than one bit."""
    return re.sub(
        r"(ap_u?int<)(\d+)(> (?:static )?(?:v\d+|total)\[)",
        lambda m: f"{m[1]}{max(1, int(m[2]) - 1)}{m[3]}",
        source,
    )


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("file", ["examples/digits_mlp.onnx", "../shared/field/robust/acc_width_64x8x8.onnx"])
def test_one_bit_less_in_any_accumulator_is_noticed(arch: str, file: str, tmp_path: Path) -> None:
    if not (ROOT / file).exists():
        pytest.skip(f"{file} is absent; it belongs beside the checkout")
    folder = qc.compile(ROOT / file, arch=arch).write(tmp_path / "p")
    design, found = differing(folder, narrower)
    sums = {n.output.name for n in design.graph.nodes if isinstance(n.op, ops.MatMul)}
    assert sums and sums <= found
    done = subprocess.run(["make", "-C", str(folder), "csim"], capture_output=True, text=True)
    assert done.returncode != 0 and "FAIL" in done.stdout  # the shipped vectors notice it too


def test_a_changed_weight_makes_its_layer_differ_and_no_other(digits: Path, tmp_path: Path) -> None:
    folder = qc.compile(digits, arch="dataflow").write(tmp_path / "p")
    flipped(sorted((folder / "src" / "weights").glob("w*.bin"))[1])
    design, found = differing(folder, str)
    sums = [n.output.name for n in design.graph.nodes if isinstance(n.op, ops.MatMul)]
    assert found == {sums[1]}


def test_wrong_sum_in_cpp(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    sums = copy / "src" / "sums.hpp"
    sums.write_text(sums.read_text().replace("y[0] = Y(r0);", "y[0] = Y(r0) + 1;", 1))
    with pytest.raises(
        qc.VerificationError,
        match=r"diverge first here: vector \d+ of those for single layers, element \[0, 0\]: simulator -?\d+,"
        r" C\+\+ -?\d+; 1 file not as compiled: src/sums.hpp differs",
    ):
        qc.verify(copy, samples=50, float32=False)


def test_wrong_parameter_in_emitted_simulator(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    with np.load(copy / "sim" / "params.npz") as file:
        params = {n: file[n] for n in file.files}
    name = next(n for n, a in params.items() if a.ndim == 3)
    params[name] = params[name].copy()
    params[name][0, 3, 5] += 1
    np.savez(copy / "sim" / "params.npz", **params)
    with pytest.raises(
        qc.VerificationError, match=r"simulator and emitted simulator diverge first here: vector \d+, element \[0, 5\]"
    ):
        qc.verify(copy, samples=50, float32=False)


def test_integer_softmax_and_logits(tmp_path: Path) -> None:
    import generate
    from onnx import helper

    model = next(m for m in map(generate.seeded_mlp, range(400)) if any(n.op_type == "Softmax" for n in m.graph.node))
    assert helper
    text = generate.input_format(model)
    formats = (text,) * len(qc.load(model).graph.inputs) if text else ()
    for choice in ("host", "logits", "integer"):
        qc.compile(model, softmax=choice, input_formats=formats).write(tmp_path / choice)
        report = qc.verify(tmp_path / choice, samples=40, float32=False)
        assert [r.differing for r in report.rows] == [0, 0, 0]


def scaled(factor: float) -> bytes:
    """x * factor, quantized in steps of 0.2: with 0.1 every second product is a tie in exact arithmetic."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    data = {"factor": np.float32(factor), "scale": np.float32(0.2), "zero": np.uint8(0)}
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in "xy"]
    graph = helper.make_graph(
        nodes, "ties", info[:1], info[1:], [numpy_helper.from_array(np.array(v), n) for n, v in data.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_a_difference_from_float32_is_explained_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'qcompile[float]'")
    monkeypatch.setattr(verification, "FLOAT_VECTORS", 256)
    x = np.arange(256, dtype=np.float32).reshape(-1, 1, 1)
    design = qc.compile(scaled(0.1), input_formats=("u8",))
    report = verification.Report()
    verification._compare_float32(design, (x,), report)
    assert report.rows[0].differing > 0 and "explained: 10 numbers" in report.rows[0].note
    other = dataclasses.replace(design, model=dataclasses.replace(design.model, source=scaled(0.101)))
    with pytest.raises(qc.VerificationError, match="tensor 'q'") as caught:
        verification._compare_float32(other, (x,), report)
    assert "rounding does not explain it" in str(caught.value) and "nearest boundary" in str(caught.value)


@pytest.mark.parametrize("record", records("residual", "qcdq", "integer")[::19], ids=lambda r: r["id"])
def test_bounds_of_float32_hold_in_models_of_others(record: dict) -> None:
    pytest.importorskip("qonnx", reason="pip install 'qcompile[float]'")
    formats = tuple(f for f in record.get("input_format") or () if f)
    design = qc.compile(CORPUS / record["file"], input_formats=formats)
    x = verification.to_float_inputs(design, verification.random_inputs(design, 3, 0))
    verification._explained(design, x, np.arange(3), "qonnx")  # as if every vector differed
