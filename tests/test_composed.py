"""Operators that are made of others, one small model each, beside onnxruntime (see test_operators)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_operators import IMAGE, Build, Net, examine, one

import qcompile as qc

VOLUME = (1, 2, 4, 5, 3)


def divisor(g: Net) -> str:
    return g("Clip", g.raw("INT8", 1, 5), g.const(1, "INT8"), g.const(9, "INT8"))


def resized(mode: str, scale: float = 2.0, **attributes: Any) -> Build:
    return one("Resize", None, np.array([1, 1, scale, scale], np.float32), shape=(1, 2, 4, 3), mode=mode, **attributes)


def softmax_tail(g: Net, kind: str, op: str = "Softmax") -> str:
    y = g.linear(g("MatMul", g.x(1, 6), g.w(6, 4)), "INT8", 0.0625)
    return g.linear(g(op, y, axis=-1), kind, 1 / 256, 0 if kind == "UINT8" else -128)


def blocked(g: Net, *shape: int, axis: int, block: int, kind: str, zero: bool) -> str:
    """Weights with a scale, and perhaps a zero point, for every block."""
    sizes = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
    scale = (2.0 ** -g.rng.integers(1, 5, sizes)).astype(np.float32)
    more = [g.ints(kind, *sizes, low=0, high=5)] if zero else []
    return g("DequantizeLinear", g.ints(kind, *shape), scale, *more, axis=axis, block_size=block)


LINEAR = ("half_pixel", "asymmetric", "pytorch_half_pixel")
ROWS: dict[str, Build] = {
    **{
        f"resize linear {mode}": resized("linear", coordinate_transformation_mode=mode)
        for mode in ("half_pixel", "asymmetric", "pytorch_half_pixel")
    },
    "resize linear align_corners ~": resized("linear", coordinate_transformation_mode="align_corners"),
    "resize linear by 3 ~": resized("linear", 3.0),
    "resize linear down": resized("linear", 0.5),
    "resize linear sizes ~": one("Resize", None, None, [1, 2, 7, 5], shape=(1, 2, 4, 3), mode="linear"),
    "resize cubic": resized("cubic"),
    "resize cubic exclude ~": resized("cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    "upsample linear @9": one("Upsample", np.array([1, 1, 2, 2], np.float32), shape=(1, 2, 4, 3), mode="linear"),
    "resize linear and quantized": lambda g: g.quant(
        g("Resize", g.x(*IMAGE), None, np.array([1, 1, 2, 2], np.float32), mode="linear"), 4, 1
    ),
    "resize keeps the aspect @18 ~": one(
        "Resize", None, None, [12, 14], axes=[2, 3], keep_aspect_ratio_policy="not_larger", mode="linear"
    ),
    "reducemin": one("ReduceMin", axes=[2], shape=(1, 3, 4)),
    "reduceprod": one("ReduceProd", axes=[1], shape=(1, 3, 4), bits=3),
    "reducel1": one("ReduceL1", axes=[1, 2], shape=(1, 3, 4)),
    "reducesumsquare": one("ReduceSumSquare", axes=[2], keepdims=0, shape=(1, 3, 4)),
    "reducel2 ~": one("ReduceL2", axes=[2], shape=(1, 3, 4)),
    "reducelogsum ~": lambda g: g("ReduceLogSum", g("Add", g.x(1, 3, 4), 3.0), axes=[2]),
    "einsum matmul": lambda g: g("Einsum", g.x(1, 3, 4), g.w(5, 4), equation="bik,jk->bij"),
    "einsum batched": lambda g: g("Einsum", g.x(1, 2, 3, 4), g.x(1, 2, 5, 4), equation="bhik,bhjk->bhij"),
    "einsum ellipsis": lambda g: g("Einsum", g.x(1, 2, 3, 4), g.w(4, 5), equation="...ik,kj->...ij"),
    "einsum outer": lambda g: g("Einsum", g.x(1, 3), g.x(1, 4), equation="bi,bj->bij"),
    "einsum transpose": lambda g: g("Einsum", g.x(1, 3, 4), equation="bij->bji"),
    "einsum sum": lambda g: g("Einsum", g.x(1, 3, 4), equation="bij->bj"),
    "einsum three": lambda g: g("Einsum", g.x(1, 3), g.w(3, 4), g.w(4, 2), equation="bi,ij,jk->bk"),
    "einsum diagonal": lambda g: g("Einsum", g.x(1, 3, 3), g.w(3), equation="bii,i->bi"),
    "pow by element ~": lambda g: g("Pow", g.x(1, 3), np.array([2.0, 1.0, 3.0], np.float32)),
    "l1 normalization ~": lambda g: g.quant(g("LpNormalization", g.x(1, 3, 4), axis=1, p=1), bits=8, frac=7),
    "lrn ~": lambda g: g.quant(g("LRN", g.x(1, 4, 2, 2), size=3, alpha=0.5, bias=2.0), bits=8, frac=5),
    "lrn by a root ~": lambda g: g.quant(g("LRN", g.x(1, 5, 1, 2), size=5, beta=0.5, alpha=1.0), bits=8, frac=5),
    "conv 3d": lambda g: g(
        "Conv", g.x(*VOLUME), g.w(3, 2, 2, 3, 2), g.w(3), pads=[1, 0, 0, 1, 1, 1], strides=[2, 1, 1]
    ),
    "conv 3d dilations": lambda g: g("Conv", g.x(*VOLUME), g.w(2, 2, 2, 2, 2), dilations=[2, 1, 1]),
    "conv 3d groups": lambda g: g("Conv", g.x(*VOLUME), g.w(4, 1, 2, 2, 2), group=2),
    "conv 3d quantized weights": lambda g: g(
        "Conv", g.x(*VOLUME), g("DequantizeLinear", g.ints("INT8", 2, 2, 2, 2, 2), 0.25, g.const(3, "INT8"))
    ),
    "convtranspose 3d": lambda g: g("ConvTranspose", g.x(1, 2, 2, 3, 2), g.w(2, 3, 2, 2, 2), strides=[2, 1, 2]),
    "maxpool 3d": one("MaxPool", shape=VOLUME, kernel_shape=[2, 2, 2], strides=[2, 1, 1], pads=[0, 1, 0, 0, 0, 1]),
    "averagepool 3d": one("AveragePool", shape=VOLUME, kernel_shape=[2, 2, 2], strides=[1, 2, 1]),
    "lppool": one("LpPool", kernel_shape=[2, 2], p=1),
    "topk 3": lambda g: g("TopK", g.x(1, 6), [3], n=2),
    "topk 2 smallest": lambda g: g("TopK", g.x(1, 3, 4), [2], n=2, axis=1, largest=0),
    "argmax inside": lambda g: g("Add", g("Cast", g("ArgMax", g.x(1, 5, 3), axis=1, keepdims=0), to=1), g.x(1, 3)),
    "onehot": lambda g: g("OneHot", g("ArgMax", g.x(1, 5), axis=1, keepdims=0), 5, np.array([0.0, 2.0], np.float32)),
    "hardmax": lambda g: g("Hardmax", g.x(1, 5)),
    "cumsum": lambda g: g("CumSum", g.x(1, 4, 3), 1),
    "cumsum exclusive reverse": lambda g: g("CumSum", g.x(1, 4), 1, exclusive=1, reverse=1),
    "gatherelements": lambda g: g("GatherElements", g.x(1, 4, 3), np.array([[[0, 3, 1], [-1, 2, 0]]]), axis=1),
    "gathernd": lambda g: g("GatherND", g.x(1, 4, 3), np.array([[0, 3], [0, 1]])),
    "gathernd batch": lambda g: g("GatherND", g.x(2, 4, 3), np.array([[3], [1]]), batch_dims=1),
    "scatterelements @18": lambda g: g("ScatterElements", g.x(1, 4), np.array([[2, 0]]), g.x(1, 2), axis=1),
    "scatternd @18": lambda g: g("ScatterND", g.x(1, 4), np.array([[[0, 3]]]), g.x(1, 1)),
    "trilu": lambda g: g("Trilu", g.x(1, 4, 4), upper=0),
    "compress": lambda g: g("Compress", g.x(1, 4), np.array([True, False, True]), axis=1),
    "bitwise and @18": lambda g: g("Cast", g("BitwiseAnd", g.raw("UINT8", 1, 5), g.const(0x35, "UINT8")), to=1),
    "bitwise xor @18": lambda g: g("Cast", g("BitwiseXor", g.raw("INT8", 1, 5), g.const(0x35, "INT8")), to=1),
    "bitwise or of each @18": lambda g: g(
        "Cast", g("BitwiseOr", g.raw("INT16", 1, 3), g.const([3, -5, 200], "INT16")), to=1
    ),
    "bitwise and of data @18": lambda g: g("Cast", g("BitwiseAnd", g.raw("INT8", 1, 5), g.raw("INT8", 1, 5)), to=1),
    "bitwise xor of data @18": lambda g: g("Cast", g("BitwiseXor", g.raw("UINT8", 1, 5), g.raw("UINT8", 1, 5)), to=1),
    "div of integers": lambda g: g("Cast", g("Div", g.raw("INT8", 1, 5), divisor(g)), to=1),
    "mod of integers": lambda g: g("Cast", g("Mod", g.raw("INT8", 1, 5), divisor(g)), to=1),
    "prelu of data": lambda g: g("PRelu", g.x(1, 5), g.x(1, 5)),
    "pow of a constant ~": lambda g: g.quant(g("Pow", 0.75, g.x(1, 5)), bits=6, frac=3),
    "pow of constants": lambda g: g("Mul", g.x(1, 3), g("Pow", 2.0, np.array([1.0, -3.0, 0.0], np.float32))),
    "resize of integers": lambda g: g(
        "Cast", g("Resize", g.raw("INT8", *IMAGE), None, np.array([1, 1, 2, 2], np.float32), mode="linear"), to=1
    ),
    "resize crop ~": lambda g: g(
        "Resize",
        g.x(1, 2, 4, 4),
        [0.0, 0, 0.25, 0, 1, 1, 0.75, 1],
        None,
        [1, 2, 3, 7],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "bitwise not @18": lambda g: g("Cast", g("BitwiseNot", g.raw("INT8", 1, 5)), to=1),
    "reversesequence": lambda g: g("ReverseSequence", g.x(1, 5), np.array([3]), time_axis=1, batch_axis=0),
    "conv of computed bias": lambda g: g("Conv", g.x(1, 2, 5, 5), g.w(3, 2, 2, 2), g.x(3)),
    "softmax and uint8": lambda g: softmax_tail(g, "UINT8"),
    "softmax and int8": lambda g: softmax_tail(g, "INT8"),
    "blocked columns @21": lambda g: g("MatMul", g.x(1, 8), blocked(g, 8, 3, axis=0, block=4, kind="INT4", zero=False)),
    "blocked rows @21": lambda g: g("MatMul", g.x(1, 6), blocked(g, 6, 8, axis=1, block=3, kind="UINT4", zero=True)),
    "dead channel": lambda g: g(
        "MatMul", g.x(1, 4), g("DequantizeLinear", g.ints("INT8", 4, 3), np.array([0.5, 0.0, 0.25], np.float32), axis=1)
    ),
    "fusedmatmul": lambda g: g("FusedMatMul", g.x(1, 3, 4), g.x(1, 3, 5), transA=1, alpha=0.5, domain="com.microsoft"),
    "fusedgemm": lambda g: g(
        "FusedGemm", g.x(1, 4), g.w(4, 3), g.w(3), activation="LeakyRelu", activation_alpha=0.5, domain="com.microsoft"
    ),
    "fusedconv and z": lambda g: g(
        "FusedConv", g.x(1, 2, 4, 4), g.w(3, 2, 2, 2), None, g.x(1, 3, 3, 3), activation="Relu", domain="com.microsoft"
    ),
    "biasgelu ~": lambda g: g("BiasGelu", g.x(1, 4), g.w(4), domain="com.microsoft"),
    "fastgelu ~": lambda g: g("FastGelu", g.x(1, 4), g.w(4), domain="com.microsoft"),
    "quickgelu ~": lambda g: g("QuickGelu", g.x(1, 4), alpha=1.5, domain="com.microsoft"),
    "matmulintegertofloat": lambda g: g(
        "MatMulIntegerToFloat",
        g.raw("UINT8", 1, 4),
        g.ints("INT8", 4, 3),
        0.5,
        0.25,
        g.const(3, "UINT8"),
        g.const(0, "INT8"),
        g.w(3),
        domain="com.microsoft",
    ),
    "matmulnbits": lambda g: g(
        "MatMulNBits",
        g.x(1, 32),
        g.ints("UINT8", 3, 2, 8),
        (2.0 ** -g.rng.integers(1, 4, 6)).astype(np.float32),
        K=32,
        N=3,
        bits=4,
        block_size=16,
        domain="com.microsoft",
    ),
    "gatherblockquantized": lambda g: g(
        "GatherBlockQuantized",
        g.ints("UINT8", 5, 8),
        g("Cast", g("ArgMax", g.x(1, 5), axis=1, keepdims=0), to=6),
        (2.0 ** -g.rng.integers(1, 4, (5, 1))).astype(np.float32),
        block_size=16,
        domain="com.microsoft",
    ),
    "qlinearaveragepool": lambda g: g(
        "Cast",
        g(
            "QLinearAveragePool",
            g.raw("INT8", 1, 2, 4, 4),
            0.5,
            g.const(3, "INT8"),
            0.25,
            g.const(-5, "INT8"),
            kernel_shape=[2, 2],
            strides=[2, 2],
            domain="com.microsoft",
        ),
        to=1,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_operator(name: str) -> None:
    examine(name, ROWS[name])


@pytest.mark.parametrize("softmax", ["host", "integer", "logits"])
def test_softmax_with_a_quantizer_behind(softmax: str) -> None:
    net = Net("softmax")
    outputs = [softmax_tail(net, "UINT8")]
    design = qc.compile(net.model(outputs), softmax=softmax)
    host = design.outputs[0]
    assert (host.softmax is not None) == (softmax == "host") and bool(host.behind) == (softmax == "host")


def test_rows_of_a_transposed_input_pass_in_their_order(tmp_path: Path) -> None:
    """A transpose at a port is free, and so is one whose elements are laid side by side: not both at once."""
    net = Net("rows")
    rows = net("Reshape", net("Transpose", net.x(1, 4, 3), perm=[0, 2, 1]), [3, 4])
    qc.compile(net.model([net("MatMul", rows, net.w(4, 2))]), arch="dataflow").write(tmp_path / "b")
    qc.verify(tmp_path / "b", *net.vectors, samples=6, float32=False)
