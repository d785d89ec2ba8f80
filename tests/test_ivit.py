"""I-ViT's kernels, number for number as plain integer arithmetic has them."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import needs
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile.project import functions

RNG = np.random.default_rng(0)
N = 12
GAMMA, BETA = RNG.normal(1, 0.3, N).astype(np.float32), RNG.normal(0, 0.5, N).astype(np.float32)
MOST = 2**31 - 1


class Net:
    """Nodes behind each other, from x."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.nodes, self.constants = shape, list[Any](), list[Any]()

    def const(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}{len(self.nodes)}", **attributes))
        return name

    def codes(self, x: str, scale: float, kind: Any = np.int8) -> str:
        """Behind a quantizer."""
        ends = self.const(np.float32(scale)), self.const(kind(0))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, *ends), *ends)

    def model(self) -> onnx.ModelProto:
        last = self.nodes[-1].output[0]
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def shift_exp(x: int, unit: Fraction, places: int) -> Fraction:
    """As the published code writes it."""
    x = x + math.floor(Fraction(x, 2)) - math.floor(Fraction(x, 16))
    x0 = math.floor(-1 / unit)
    x = max(x, places * x0)
    q = math.floor(Fraction(x, x0))
    r = x - x0 * q
    return max(math.floor((Fraction(r, 2) - x0) * Fraction(2) ** (places - q)), 0)


def shiftmax(row: list[int], unit: Fraction, bits: int = 16) -> list[int]:
    e = [shift_exp(a - max(row), unit, 15) for a in row]
    factor = MOST // min(sum(e), MOST)
    return [v * factor // 2 ** (31 - bits + 1) for v in e]


def gates(row: list[int], unit: Fraction, bits: int = 8) -> list[int]:
    steep, found = unit * Fraction(1702, 1000), []
    zero = shift_exp(-max(row), steep, 23)
    for a in row:
        e = shift_exp(a - max(row), steep, 23)
        found.append(e * (MOST // min(e + zero, MOST)) // 2 ** (31 - bits + 1))
    return found


def normed(row: list[int]) -> list[int]:
    y = [a - round(Fraction(sum(row), len(row))) for a in row]
    factor = MOST // max(1, math.isqrt(sum(v * v for v in y)))
    return [v * factor // 2 for v in y]


def rows(count: int, n: int) -> np.ndarray:
    """[count, 1, n] codes of 8 bits, with wide and narrow rows, equal and one-hot ones."""
    x = np.clip(np.round(RNG.normal(0, RNG.choice([1, 8, 40, 200], (count, 1, 1)), (count, 1, n))), -128, 127)
    x += np.clip(RNG.integers(-60, 60, (count, 1, 1)), -128 - x.min(2, keepdims=True), 127 - x.max(2, keepdims=True))
    x[0], x[1], x[2], x[3] = 127, -128, -128, 0
    x[2, 0, 3] = x[3, 0, 1] = 127
    return x.astype(np.int64)


@pytest.mark.parametrize("scale", [1 / 16, 0.1, 1.5, 1 / 3000])
def test_shiftmax(scale: float) -> None:
    net, x = Net((1, 1, N)), rows(400, N)
    net.add("Softmax", net.codes("x", scale))
    design = qc.compile(net.model(), kernels="ivit", softmax="integer")
    unit = Fraction(float(np.float32(scale)))
    wanted = np.array([shiftmax(row, unit) for row in x[:, 0].tolist()])
    assert np.array_equal(design.simulate(x * float(unit))[:, 0] * 2**15, wanted)
    assert not design.warnings


@pytest.mark.parametrize("form", ["Gelu", "Erf", "Tanh"])
def test_shiftgelu(form: str) -> None:
    """Of all pairs of codes."""
    net = Net((1, 1, 2))
    c = net.codes("x", 1 / 16)
    if form == "Gelu":
        net.add("Gelu", c, approximate="tanh")
    elif form == "Tanh":
        cube = net.add("Mul", net.add("Pow", c, net.const(np.float32(3))), net.const(np.float32(0.044715)))
        inner = net.add("Mul", net.add("Add", c, cube), net.const(np.float32((2 / np.pi) ** 0.5)))
        gate = net.add("Add", net.add("Tanh", inner), net.const(np.float32(1)))
        net.add("Mul", net.add("Mul", c, net.const(np.float32(0.5))), gate)
    else:
        gate = net.add(
            "Add", net.add("Erf", net.add("Div", c, net.const(np.float32(2**0.5)))), net.const(np.float32(1))
        )
        net.add("Mul", net.add("Mul", c, gate), net.const(np.float32(0.5)))
    design = qc.compile(net.model(), kernels="ivit")
    x = np.stack(np.meshgrid(*[np.arange(-128, 128)] * 2), -1).reshape(-1, 1, 2)
    unit = Fraction(1, 16)
    wanted = np.array([[a * g for a, g in zip(r, gates(r, unit), strict=True)] for r in x[:, 0].tolist()])
    assert np.array_equal(design.simulate(x / 16)[:, 0] * 2**11, wanted)
    assert not design.warnings


def test_layer_norm() -> None:
    net, x, step = Net((1, 1, N)), rows(400, N), Fraction(1, 32)
    made = net.add("LayerNormalization", net.codes("x", 1 / 16), net.const(GAMMA), net.const(BETA))
    net.codes(made, float(step))
    design = qc.compile(net.model(), kernels="ivit")
    scale = Fraction(float(np.float32(math.sqrt(N)))) / 2**30
    gamma, beta = ([Fraction(float(v)) for v in p] for p in (GAMMA, BETA))
    wanted = np.array([
        [round((v * scale * g + b) / step) for v, g, b in zip(normed(r), gamma, beta, strict=True)]
        for r in x[:, 0].tolist()
    ])  # fmt: skip
    assert np.array_equal(design.simulate(x / 16)[:, 0] * 32, wanted.clip(-128, 127))
    assert not design.warnings


def attention() -> onnx.ModelProto:
    """Normalized tokens that attend to each other, and a GELU."""
    net = Net((1, 4, 6))
    x = net.add("LayerNormalization", net.codes("x", 1 / 16), net.const(GAMMA[:6]), net.const(BETA[:6]))
    x = net.codes(x, 1 / 32)
    scores = net.codes(net.add("MatMul", x, net.add("Transpose", x, perm=[0, 2, 1])), 1 / 8)
    scores = net.add("Mul", scores, net.const(np.float32(0.5)))
    share = net.codes(net.add("Softmax", scores), 1 / 256, np.uint8)
    x = net.codes(net.add("MatMul", share, x), 1 / 32)
    net.codes(net.add("Gelu", x), 1 / 32)
    return net.model()


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_every_execution(arch: str, tmp_path: Path) -> None:
    design = qc.compile(attention(), kernels="ivit", arch=arch)
    assert not design.warnings
    found = [(f["op"], f["grade"]) for f in functions(design)]
    assert found == [("I-LayerNorm", "defined"), ("Shiftmax", "defined"), ("ShiftGELU", "defined")]
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20)
    assert [(r.differing, r.codes > 0) for r in report.rows] == [(0, True)] * 3 + [(0, False)]
    assert not report.rows[0].note and "not claimed" in report.rows[3].note


def test_systemverilog(tmp_path: Path) -> None:
    """Which divides a constant by data."""
    needs("iverilog")
    net = Net((1, 1, 4))
    net.add("Softmax", net.codes("x", 1 / 16))
    qc.compile(net.model(), kernels="ivit", softmax="integer", backend="rtl").write(tmp_path / "p")
    assert [r.differing for r in qc.verify(tmp_path / "p", samples=20).rows] == [0, 0, 0, 0]


def test_other_functions_are_no_gelu() -> None:
    net = Net((1, 1, 2))
    x = net.codes("x", 1 / 16)
    net.codes(net.add("Mul", x, net.add("Sigmoid", net.add("Mul", x, net.const(np.float32(1.702))))), 1 / 16)
    design = qc.compile(net.model(), kernels="ivit")
    assert functions(design) == []
    assert design.warnings == (
        "--kernels ivit changes nothing: hardware makes no softmax, GELU or layer normalization",
    )


def test_roots_of_wide_codes_stay_real() -> None:
    net = Net((1, 1, N))
    net.codes(net.add("LayerNormalization", net.codes("x", 2**-10, np.int16), net.const(GAMMA)), 1 / 32)
    model = net.model()
    model.opset_import[0].version = 21
    (warning,) = qc.compile(model, kernels="ivit").warnings
    assert "stays the real function, not I-LayerNorm: its root has 113509 values, more than 65536" in warning


def test_what_has_no_integers_stays_real() -> None:
    net = Net((1, 1, N))
    x = net.codes("x", 1 / 16)
    net.codes(net.add("Softmax", net.add("Mul", x, x)), 1 / 256, np.uint8)
    net.add("ReduceSum", net.nodes[-1].output[0], net.const(np.array([2])))
    design = qc.compile(net.model(), kernels="ivit")
    (warning,) = design.warnings
    assert "'Softmax3' (Softmax) stays the real function, not Shiftmax: no quantizer of one scale" in warning
    assert [f["grade"] for f in functions(design)] == ["within delta"]
