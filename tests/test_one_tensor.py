"""Functions of one tensor, however many nodes write them: one function of one code, exact; and constants that are
computed. Judged by onnxruntime, or by the same function in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from test_operators import Build, Net, examine

import qcompile as qc
from qcompile.formats import FixedPoint
from qcompile.ir import Array, Param, ops
from qcompile.passes.pieces import pieces
from qcompile.passes.ranges import evaluate_rows

SHAPE = (1, 2, 5)


def behind(fn: Callable[[Net, str], str], bits: int = 6, frac: int = 4, signed: int = 1) -> Build:
    """A function of 6-bit data, and a quantizer of 8 bits behind it."""
    return lambda g: g.quant(fn(g, g.x(*SHAPE, bits=bits, frac=frac, signed=signed)), 8, 5)


def gelu_tanh(g: Net, x: str) -> str:
    cubed = g("Mul", g("Mul", x, x), x)
    inner = g("Mul", g("Add", x, g("Mul", cubed, 0.044715)), 0.7978845608)
    return g("Mul", g("Mul", x, 0.5), g("Add", g("Tanh", inner), 1.0))


def where(g: Net, condition: str, yes: Any, no: Any) -> str:
    return g("Where", condition, yes, no)


def dead_zone(g: Net, x: str) -> str:
    return where(g, g("Less", g("Abs", x), 0.5), 0.0, x)


def branch(g: Net) -> str:
    """An If whose condition is constant; the branch reads a tensor of the graph around it."""
    x, other = g.x(1, 4), g.const(g.w(4, 2))
    made = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    parts = [
        helper.make_graph([helper.make_node(op, inputs, ["r"])], op, [], [made])
        for op, inputs in (("MatMul", [x, other]), ("Relu", [x]))
    ]
    return g("If", np.array(True), then_branch=parts[0], else_branch=parts[1])


FUNCTIONS: dict[str, Build] = {
    "constants: a branch": branch,
    "mish by hand ~": behind(lambda g, x: g("Mul", x, g("Tanh", g("Softplus", x)))),
    "mish by log and exp ~": behind(lambda g, x: g("Mul", x, g("Tanh", g("Log", g("Add", g("Exp", x), 1.0))))),
    "silu by exp ~": behind(lambda g, x: g("Div", x, g("Add", g("Exp", g("Neg", x)), 1.0))),
    "gelu by erf ~": behind(lambda g, x: g("Mul", g("Mul", x, 0.5), g("Add", g("Erf", g("Div", x, 1.4142135)), 1.0))),
    "gelu by tanh ~": behind(gelu_tanh),
    "tanh by exp ~": behind(
        lambda g, x: g(
            "Div", g("Sub", g("Exp", x), g("Exp", g("Neg", x))), g("Add", g("Exp", x), g("Exp", g("Neg", x)))
        )
    ),
    "sine and cosine ~": behind(lambda g, x: g("Add", g("Sin", x), g("Mul", g("Cos", g("Mul", x, 3.0)), 0.5))),
    "power ~": behind(lambda g, x: g("Pow", x, 1.5), signed=0),
    "cube": behind(lambda g, x: g("Pow", x, 3.0), bits=4, frac=2),
    "log of one more ~": behind(lambda g, x: g("Log", g("Add", g("Abs", x), 1.0))),
    "yolo ~": behind(
        lambda g, x: g(
            "Mul", g("Pow", g("Mul", g("Sigmoid", x), 2.0), 2.0), np.array([0.5, 0.75], np.float32).reshape(1, 2, 1)
        )
    ),
    "celu ~": behind(lambda g, x: g("Celu", x, alpha=0.5)),
    "reciprocal ~": behind(lambda g, x: g("Reciprocal", g("Add", g("Abs", x), 1.0))),
    "dead zone": behind(dead_zone),
    "dead zone unquantized": lambda g: dead_zone(g, g.x(*SHAPE)),
    "spike": lambda g: g("Cast", g("GreaterOrEqual", g.x(*SHAPE), 0.5), to=1),
    "equal": lambda g: g("Cast", g("Equal", g.x(*SHAPE), 0.5), to=1),
    "less of two": lambda g: g("Cast", g("Less", g.x(*SHAPE), g.x(*SHAPE)), to=1),
    "less or equal of a constant": lambda g: g("Cast", g("LessOrEqual", 0.5, g.x(*SHAPE)), to=1),
    "between": lambda g: where(g, g("And", g("Greater", x := g.x(*SHAPE), -0.5), g("Less", x, 0.75)), x, 0.25),
    "outside": lambda g: g("Cast", g("Or", g("Greater", x := g.x(*SHAPE), 0.5), g("Not", g("Greater", x, -0.5))), to=1),
    "exclusive or": lambda g: g("Cast", g("Xor", g("Greater", g.x(*SHAPE), 0.5), g("Less", g.x(*SHAPE), 0.0)), to=1),
    "cast to bool": lambda g: g("Cast", g("Cast", g.x(*SHAPE), to=9), to=1),
    "where of two tensors": lambda g: where(g, g("Greater", g.x(*SHAPE), 0.0), g.x(*SHAPE), g.x(*SHAPE, frac=1)),
    "where with constant condition": lambda g: where(g, np.array([[[True], [False]]]), g.x(*SHAPE), g.x(*SHAPE)),
    "bool output": lambda g: g("Greater", g.x(*SHAPE), 0.25),
    "shrink": lambda g: g("Shrink", g.x(*SHAPE), bias=0.25, lambd=0.5),
    "thresholded relu": lambda g: g("ThresholdedRelu", g.x(*SHAPE), alpha=0.5),
    "sum of three": lambda g: g("Sum", g.x(*SHAPE), g.x(*SHAPE, frac=1), g.x(*SHAPE)),
    "mean of two": lambda g: g("Mean", g.x(*SHAPE), g.x(*SHAPE)),
    "max of three": lambda g: g("Max", g.x(*SHAPE), g.x(*SHAPE), g.x(*SHAPE)),
    "min of two that broadcast": lambda g: g("Min", g.x(*SHAPE), g.x(1, 2, 1)),
    "straight through": behind(lambda g, x: g("Add", x, g("Sub", g("Round", x), x))),
    "quantizer by hand ~": lambda g: g(
        "Mul", g("Mul", g("Sign", x := g.x(*SHAPE)), g("Floor", g("Add", g("Mul", g("Abs", x), 2.0), 0.5))), 0.5
    ),
    "mish behind a layer @18~": lambda g: g.quant(g("Mish", g("MatMul", g.x(1, 8, bits=6), g.w(8, 3, bits=6))), 8, 4),
    "silu by exp behind a layer ~": lambda g: g.quant(
        g("Div", y := g("MatMul", g.x(1, 8, bits=7), g.w(8, 3, bits=7)), g("Add", g("Exp", g("Neg", y)), 1.0)), 8, 2
    ),
    "data to the power of data ~": lambda g: g.quant(
        g("Pow", g("Clip", g.x(*SHAPE, bits=6, frac=3), 0.5, 3.0), g("Sigmoid", g.x(*SHAPE, bits=6, frac=3))), 8, 5
    ),
    "a function of itself as power ~": behind(lambda g, x: g("Pow", g("Add", g("Abs", x), 0.5), x)),
    "a pool of powers ~": lambda g: g.quant(  # with a clip that makes cubes of 100 bits
        g("Pow", g("GlobalAveragePool", g("Pow", g("Clip", g.x(1, 2, 3, 3), 1e-3), 3.0)), 1 / 3), 8, 5
    ),
    "sine behind a layer ~": lambda g: g.quant(g("Sin", g("MatMul", g.x(1, 4), g.w(4, 3))), 6, 4),
    "constants: tanh ~": lambda g: g("MatMul", g.x(1, 6), g("Tanh", g.const(g.w(6, 3)))),
    "constants: a product": lambda g: g("MatMul", g.x(1, 6), g("MatMul", g.const(g.w(6, 2)), g.const(g.w(2, 3)))),
    "constants: zero times U ~": lambda g: g(
        "Tanh",
        g(
            "Add",
            g("MatMul", g.const(np.zeros((1, 3), np.float32)), g.const(g.w(3, 4))),
            g("MatMul", g.x(1, 6), g.w(6, 4)),
        ),
    ),
    "constants: mean of absolute values ~": lambda g: g(
        "Mul", g("MatMul", g.x(1, 6), g("Sign", w := g.const(g.w(6, 3)))), g("ReduceMean", g("Abs", w), keepdims=0)
    ),
    "constants: einsum ~": lambda g: g(
        "MatMul", g.x(1, 6), g("Einsum", g.const(g.w(6, 2)), g.const(g.w(3, 2)), equation="ik,jk->ij")
    ),
}


def yolo_head(g: Net) -> str:
    """Parts with functions of their own, one quantizer behind their concatenation."""
    a, b = g("Split", g.quant(g("MatMul", g.x(1, 6), g.w(6, 8)), 6, 3), n=2, axis=1)
    joined = g("Concat", g("Mul", g("Sigmoid", a), 2.0), g("Exp", g("Clip", b, -2.0, 1.0)), axis=1)
    return g.quant(joined, 8, 5)


FUNCTIONS["a quantizer behind a concatenation of functions ~"] = yolo_head
FUNCTIONS["a quantizer that two layers have each"] = lambda g: (
    lambda x: g("Add", g("MatMul", g.linear(x), g.w(4, 3)), g("MatMul", g.linear(x), g.w(4, 3)))
)(g.raw("FLOAT", 1, 4))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    examine(name, FUNCTIONS[name])


def requant(steps: tuple[ops.Step, ...], q: ops.Quantize) -> ops.Requant:
    one = Array(np.ones((1, 1), dtype=np.int64))
    return ops.Requant(Array(np.zeros((), dtype=np.int64)), one, (*steps, q))


@pytest.mark.parametrize("name", ["sin", "cos", "tan", "reciprocal", "power", "mish", "acos", "cosh", "atanh"])
def test_pieces_are_the_function(name: str) -> None:
    """Of functions that turn or jump, alone and times another one."""
    scale = ops.Affine(Param.of(1 / 64), Param.of(-1 / 128))
    func, gate = ops.Func(name, Param.of(1.5).scalar), ops.Func("tanh")
    q = ops.Quantize(FixedPoint(6, 3, True))
    for steps in (
        (scale, func),
        (scale, ops.Combine(True, (func,), (gate,))),
        (scale, ops.Combine(False, (func,), ())),
    ):
        op = requant(steps, q)
        found = pieces(op, 0, -300, 300)
        assert found is not None
        x = np.arange(-300, 301)
        wanted = evaluate_rows(op, x[None])[0]
        starts, codes = found
        assert np.array_equal(codes[np.searchsorted(starts, x, side="right") - 1], wanted)


def test_wide_function_of_many_codes_is_refused() -> None:
    net = Net("wide")
    y = net("Sin", net("Mul", net("MatMul", net.x(1, 64, bits=16), net.w(64, 2, bits=16)), 100.0))
    with pytest.raises(qc.QCompileError, match="steps over its"):
        qc.compile(net.model([net.quant(y, 8, 5)]))


def test_dynamic_quantization_is_for_assign() -> None:
    """Refused by compile with the node's name; to assign it is a float network with integer weights."""
    net = Net("dynamic")
    codes, scale, zero = net("DynamicQuantizeLinear", net.raw("FLOAT", 1, 4), n=3)
    product = net("MatMulInteger", codes, net.ints("INT8", 4, 3), zero, net.const(0, "INT8"))
    y = net("Mul", net("Cast", product, to=TensorProto.FLOAT), net("Mul", scale, 0.25))
    model = net.model([y])
    with pytest.raises(qc.UnsupportedError, match="node_DynamicQuantizeLinear.*qcompile assign"):
        qc.compile(model)
    loaded = qc.load(model)
    assert loaded.dynamic and "1 MatMul" in loaded.graph.census()
