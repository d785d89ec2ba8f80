"""Every fully connected model that others made: compiles, verifies with 0 differing codes, equals its stored reference."""

import numpy as np
import pytest
from conftest import CORPUS, records

import qcompile as qc

FLOAT32 = 2.0**-20  # of the largest output: what float32 sums of a few hundred terms may lose


@pytest.mark.parametrize("record", records("mlp"), ids=lambda r: r["id"])
def test_model(record: dict, tmp_path) -> None:
    formats = tuple(f for f in record.get("input_format") or () if f)
    design = qc.compile(CORPUS / record["file"], input_formats=formats)
    design.write(tmp_path / "project")
    inputs, outputs = [], []
    if record["reference"]:
        with np.load(CORPUS / record["reference"]["file"]) as stored:
            inputs = [stored[k] for k in stored.files if k[0] == "x"]
            outputs = [stored[k] for k in stored.files if k[0] == "y" and k != "y_torch"]
        for found, wanted in zip(design.simulator(*inputs), outputs, strict=True):
            difference = np.abs(found.reshape(wanted.shape) - wanted).max()
            assert difference <= FLOAT32 * np.abs(wanted).max()
    report = qc.verify(tmp_path / "project", *inputs, samples=1000)
    assert [r.differing for r in report.rows] == [0, 0, 0, 0]
    assert all(r.vectors >= 1000 + len(inputs[0] if inputs else ()) for r in report.rows[:3])
