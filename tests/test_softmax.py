"""The integer softmax, a composition: all executions beside plain Python integers, and beside the real softmax within
the stated error.
"""

from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import verification
from qcompile.ir import ops
from qcompile.passes.lower import softmax_error

FRAC, STEP, LAST = 15, 64, 1023


def exponentials() -> list[int]:
    with mpmath.workdps(40):
        return [int(mpmath.nint(mpmath.exp(-mpmath.mpf(i) / STEP) * 2**FRAC)) for i in range(LAST + 1)]


TABLE = exponentials()


def by_hand(row: list[Fraction]) -> list[int]:
    """Units of 2**-FRAC of the softmax of exact numbers."""
    e = [TABLE[min((max(row) - v) * STEP // 1, LAST)] for v in row]
    return [(v * 2**FRAC + sum(e) // 2) // sum(e) for v in e]


def model(
    shape: tuple[int, ...], scale: float, weights: np.ndarray | None = None, axis: int = -1, op: str = "Softmax"
) -> bytes:
    """Softmax of 8-bit codes times a scale, or of their products with weights [inputs, outputs]."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node(op, ["d" if weights is None else "p"], ["y"], axis=axis),
    ]
    data = {"scale": np.array(np.float32(scale)), "zero": np.array(np.int8(0))}
    out = shape
    if weights is not None:
        nodes[2:2] = [
            helper.make_node("DequantizeLinear", ["w", "fine", "zero"], ["v"]),
            helper.make_node("MatMul", ["d", "v"], ["p"]),
        ]
        data |= {"w": weights, "fine": np.array(np.float32(0.001))}
        out = (*shape[:-1], weights.shape[1])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", out))]
    constants = [numpy_helper.from_array(v, n) for n, v in data.items()]
    graph = helper.make_graph(nodes, "softmax", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def rows(size: int, scale: float) -> np.ndarray:
    """Random, equal, and one that is larger than all others, on the grid of the codes."""
    rng = np.random.default_rng(size)
    codes = rng.integers(-128, 128, (40, 1, size)) // rng.integers(1, 30, (40, 1, 1))
    codes[0], codes[1], codes[2], codes[2, :, -1] = -128, 127, -128, 127
    return (codes * np.float64(np.float32(scale))).astype(np.float32)


@pytest.mark.parametrize("size", [1, 3, 10, 64])
@pytest.mark.parametrize("scale", [0.0173, 1e-6, 3e9])
def test_every_code_is_as_stated(size: int, scale: float) -> None:
    x = rows(size, scale)
    design = qc.compile(model((1, size), scale), softmax="integer")
    y = design.simulate(x)
    exact = [[Fraction(float(v)) for v in row] for row in x.reshape(-1, size)]
    assert (y.reshape(-1, size) * 2**FRAC).tolist() == [by_hand(row) for row in exact]
    e = np.exp(x.astype(np.float64) - x.astype(np.float64).max(axis=-1, keepdims=True))
    assert np.abs(y.reshape(x.shape) - e / e.sum(axis=-1, keepdims=True)).max() <= softmax_error(size)


def test_the_stated_error_holds_for_long_rows() -> None:
    """Where every other term rounds to 0, or up, the sum is off by as much as it can be."""
    size = 4000
    for distance in (11.0, 11.1):
        x = np.full((1, 1, size), -distance / 2, dtype=np.float32)
        x[0, 0, 0] = distance / 2
        y = qc.compile(model((1, size), 0.05), softmax="integer").simulate(x)
        e = np.exp((np.rint(x / np.float32(0.05)) * np.float32(0.05)).astype(np.float64))
        off = np.abs(y.reshape(-1) - (e / e.sum()).reshape(-1)).max()
        assert off <= softmax_error(size)


def test_it_is_a_composition() -> None:
    graph = qc.compile(model((1, 4), 0.1), softmax="integer").graph
    made = [type(n.op) for n in graph.nodes]
    assert made == [ops.ReduceMax, ops.Requant, ops.Requant, ops.ReduceSum, ops.Requant, ops.Divide]


WIDE = np.random.default_rng(3).integers(-128, 128, (700, 6)).astype(np.int8)
CASES = {
    "rows": model((1, 3, 5), 0.07),
    "one number": model((1, 1), 0.5),
    "64 numbers": model((1, 64), 0.02),
    "accumulators of 24 bits": model((1, 700), 0.01, WIDE),
}


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("case", CASES)
def test_all_executions_agree(case: str, arch: str, tmp_path: Path) -> None:
    """`verify` tries rows of equal numbers, and every layer by itself on numbers up to its ends."""
    design = qc.compile(CASES[case], softmax="integer", arch=arch)
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]


def test_verify_finds_what_is_no_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qc.compile(model((1, 4), 0.1), softmax="integer").write(tmp_path / "p")
    monkeypatch.setattr(verification, "softmax_error", lambda size: 1e-5)
    with pytest.raises(qc.VerificationError, match=r"'y': softmax and integer softmax \(stated error 1e-05\) differ"):
        qc.verify(tmp_path / "p", samples=20, float32=False)


@pytest.mark.parametrize(("op", "axis"), [("Softmax", 1), ("LogSoftmax", -1)])
def test_what_it_is_not(op: str, axis: int) -> None:
    with pytest.raises(qc.QCompileError, match="a plain softmax along the last axis"):
        qc.compile(model((1, 3, 4), 0.1, axis=axis, op=op), softmax="integer")
