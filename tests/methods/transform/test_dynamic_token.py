"""Scales of tokens that follow the data."""

from pathlib import Path

import pytest
from studies import MLP

import qcompile as qc
from methods.transform.checks import after, check_normalized, normalized
from qcompile.ir import ops


def test_it_is_exact() -> None:
    """Both layers read one quotient."""
    graph = check_normalized("dynamic_token")
    kinds = [type(n.op) for n in graph.nodes]
    assert kinds.count(ops.Divide) == kinds.count(ops.ReduceMax) == 1 and kinds.count(ops.Mul) == 2


def test_products_of_sums_have_no_tokens() -> None:
    with pytest.raises(qc.QCompileError, match="dynamic_token finds no activation"):
        after(MLP, ("dynamic_token",))


def test_all_executions_agree(tmp_path: Path) -> None:
    """Of tokens of very different sizes, one of zeros among them; the scale has a format of its own."""
    model, x = normalized()
    x = x.copy()
    x[::2] /= 64
    x[0] = 0
    limits = {"part": "vu13p", "arch": "dataflow", "budget": "lut=1", "metric": "sqnr", "minimize": "loss"}
    plan = qc.assign(model, calibration=x, candidates="int5", loss="mse", transforms=("dynamic_token",), **limits)
    assert any(name.endswith(":size") for name in plan.tensors)
    qc.compile(model, plan, part="vu13p").write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", x[:10], samples=10, float32=False)
    assert len(report.rows) >= 3 and not any(row.differing for row in report.rows)
