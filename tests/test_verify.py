"""verify finds faults that were put into a project, and names layer and element."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import qcompile as qc


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


def test_wrong_weight_in_cpp(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    constants = copy / "src" / "constants.hpp"
    text = constants.read_text()
    first = re.search(r"int8_t c\d+\[2048\] = \{\n(-?\d+),", text)
    assert first
    changed = text[: first.start(1)] + str(int(first[1]) + 1) + text[first.end(1) :]
    constants.write_text(changed)
    with pytest.raises(
        qc.VerificationError,
        match=r"simulator and C\+\+ diverge first here: vector \d+, element \[0, 0\]: simulator -?\d+, C\+\+ -?\d+",
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
