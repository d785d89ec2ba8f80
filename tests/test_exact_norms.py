"""Normalizations whose codes are the correctly rounded ones: ties are ties, what is promised is proven or refused."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.passes import exact_norms
from qcompile.project import functions

UNIT = 1 / 16


def model(op: str, size: int, step: float = 1 / 32, constants: tuple[Any, ...] = (), **attributes: Any) -> Any:
    """8-bit codes through one normalization of rows, and a quantizer of 8 bits."""
    shape = [1, *((2, 4, 5) if op in ("InstanceNormalization", "GroupNormalization") else (2, size))]
    held = {"s": np.float32(UNIT), "z": np.int8(0), "t": np.float32(step)}
    held |= {f"c{i}": np.asarray(c, np.float32) for i, c in enumerate(constants)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node(op, ["d", *(f"c{i}" for i in range(len(constants)))], ["f"], "norm", **attributes),
        helper.make_node("QuantizeLinear", ["f", "t", "z"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "t", "z"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    stored = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def test_ties_are_ties() -> None:
    """Factors of k + 1/2 times 1: halves go to the even number. Within delta some go the other way."""
    factors = np.arange(16) - 7.5
    x = np.broadcast_to(np.arange(1, 128).repeat(2).reshape(-1, 1, 2, 1), (127, 1, 2, 16)) * UNIT
    wanted = np.broadcast_to(np.rint(factors), (127, 2, 16))
    found = {}
    for norms in ("near", "exact"):
        made = model("RMSNormalization", 16, 1.0, (factors,), axis=-1, epsilon=0.0)
        found[norms] = qc.compile(made, norms=norms).simulator.codes(x)[0].reshape(wanted.shape)
    assert np.array_equal(found["exact"], wanted) and not np.array_equal(found["near"], wanted)


CASES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "layer": ("LayerNormalization", (np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6)), {"axis": -1}),
    "RMS": ("RMSNormalization", (np.linspace(0.5, 1.5, 6),), {"axis": -1}),
    "Euclidean": ("LpNormalization", (), {"axis": -1, "p": 2}),
    "instance": ("InstanceNormalization", (np.array([1.25, -0.75]), np.array([0.5, 0.25])), {}),
    "group": ("GroupNormalization", (np.array([1.25, -0.75]), np.array([0.5, 0.25])), {"num_groups": 1}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_every_execution(name: str, arch: str, tmp_path: Path) -> None:
    """Reference, simulators and C++, and no code but that of the real function."""
    op, constants, attributes = CASES[name]
    design = qc.compile(model(op, 6, constants=constants, **attributes), norms="exact", arch=arch)
    assert [(f["op"], f["grade"]) for f in functions(design)] == [("Normalize", "exact")] and not design.warnings
    report = qc.verify(design.write(tmp_path / "p"), samples=200)
    assert [r.differing for r in report.rows[:3]] == [0, 0, 0] and "0 of" in report.rows[0].note


def test_tokens_fit_into_words() -> None:
    """Products of 129 bits with drawn factors: as many at a time as a word takes, not as many as come."""
    rng = np.random.default_rng(0)
    drawn = (rng.uniform(0.5, 1.5, 16).astype(np.float32), rng.normal(size=16).astype(np.float32))
    made = model("LayerNormalization", 16, 1 / 32, drawn, axis=-1)
    for port in (*made.graph.input, *made.graph.output):
        del port.type.tensor_type.shape.dim[1]  # one row
    assert qc.compile(made, norms="exact", arch="dataflow").schedule is not None


def test_against_rationals() -> None:
    """Squares of rational numbers compared, of every boundary."""
    design = qc.compile(model("LpNormalization", 3, 1 / 16, axis=-1, p=2), norms="exact")
    x = np.random.default_rng(0).integers(-9, 10, (300, 1, 2, 3))
    found = design.simulator.codes(x * UNIT)[0].reshape(-1, 3)
    for row, codes in zip(x.reshape(-1, 3).tolist(), found.tolist(), strict=True):
        total = sum(v * v for v in row)
        for v, code in zip(row, codes, strict=True):
            square = Fraction(256 * v * v, total) if total else Fraction(0)
            assert (Fraction(2 * abs(code) - 1, 2) ** 2 if code else 0) <= square <= Fraction(2 * abs(code) + 1, 2) ** 2
            assert code * v >= 0


def test_what_stays_within_delta_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_norms, "MOST", 90)
    fine = (np.linspace(0.5, 1.5, 6) + 1e-7 * np.pi, np.linspace(-1, 1, 6) * np.e)
    wide = qc.compile(model("LayerNormalization", 6, 0.037, fine, axis=-1), norms="exact")
    assert [f["grade"] for f in functions(wide)] == ["within delta"]
    assert any("stays within delta: its scales and biases are so fine" in w for w in wide.warnings)
    assert qc.compile(model("Relu", 6), norms="exact").warnings == (
        "--norms exact changes nothing: there is no normalization",
    )
