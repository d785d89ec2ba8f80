"""The published methods that qcompile implements or will: data, and a check of the code for each that claims to be
there.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

PLANNED = "planned"


@dataclass(frozen=True)
class Method:
    """One method. home: module:attribute once it is in the code, else empty; the name is that of the public extension
    point.
    """

    name: str
    kind: str
    what: str
    paper: str
    home: str = ""

    @property
    def where(self) -> str:
        """The file that has it, or 'planned'. The code is asked, so that this list cannot promise what is not there."""
        module, _, attribute = self.home.partition(":")
        try:
            found = importlib.import_module(module) if module else None
        except ImportError:
            return PLANNED
        if found is None or not hasattr(found, attribute):
            return PLANNED
        return f"{module.replace('.', '/')}.py: {attribute}"


_QONNX = "QONNX: Arbitrary-Precision Quantized Neural Networks, arXiv 2206.07527"
_MINIFLOATS = "Post-Training Quantization with Low-precision Minifloats and Integers on FPGAs, arXiv 2311.12359"
_FINN = "FINN: A Framework for Fast, Scalable Binarized Neural Network Inference, arXiv 1612.07119"
_QFX = "Trainable Fixed-Point Quantization for Deep Learning Acceleration on FPGAs, arXiv 2401.17544"
_OCP = "OCP 8-bit Floating Point and Microscaling Formats specifications"
_WHITEPAPER = "Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342"
_INTEGER = "Integer Quantization for Deep Learning Inference, arXiv 2004.09602"
_NAGEL = "A White Paper on Neural Network Quantization, arXiv 2106.08295"
_DFQ = "Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv 1906.04721"
_IAH = "Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision PTQ, arXiv 2306.04879"
_MIXQUANT = "MixQuant: Mixed Precision Quantization with a Bit-width Optimization Search, arXiv 2309.17341"
_HAWQ3 = "HAWQ-V3: Dyadic Neural Network Quantization, arXiv 2011.10680"
_ZEROQ = "ZeroQ: A Novel Zero Shot Quantization Framework, arXiv 2001.00281"
_IVIT = "I-ViT: Integer-only Quantization for Efficient Vision Transformer Inference, arXiv 2207.01405"

METHODS = (
    Method(
        "fixed",
        "format",
        "fixed point with any binary point, rounding and overflow",
        _QFX,
        "qcompile.formats.fixed:FixedPoint",
    ),
    Method("bipolar", "format", "weights and activations of {-1, +1}", _FINN, "qcompile.formats.bipolar:Bipolar"),
    Method(
        "minifloat",
        "format",
        "ExMy floats as exact integers of a unit",
        _MINIFLOATS,
        "qcompile.formats.minifloat:Minifloat",
    ),
    Method(
        "ocp",
        "format",
        "E4M3, E5M2, E3M2, E2M3, E2M1 with their special codes",
        _OCP,
        "qcompile.formats.minifloat:E4M3",
    ),
    Method("mx", "format", "block-scaled minifloats and integers (MX, NVFP4)", _OCP),
    Method("tritplane", "format", "two ternary planes a weight", "PTQTP: Post-Training Quantization to Trit-Planes"),
    Method("ovp", "format", "outlier-victim pairs", "OliVe, arXiv 2304.07493"),
    Method(
        "quant",
        "import",
        "QONNX quantizers with any scale, zero point and rounding",
        _QONNX,
        "qcompile.frontend.onnx.quantizers:quant",
    ),
    Method(
        "l1_bound",
        "arithmetic",
        "accumulator width proven from the weight codes (the bound of A2Q; weights stay as they are)",
        "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance, arXiv 2308.13504",
        "qcompile.passes.ranges:ranges",
    ),
    Method(
        "thresholds",
        "arithmetic",
        "activation and quantizer as comparisons (streamlining)",
        _FINN,
        "qcompile.ir.ops:Thresholds",
    ),
    Method(
        "multiply_add_shift",
        "arithmetic",
        "requantization by (m * acc + b) >> s, here with the smallest exact m",
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, arXiv"
        " 1712.05877",
        "qcompile.passes.requant:multiply_add_shift",
    ),
    Method(
        "int_softmax",
        "kernel",
        "softmax on codes as a composition with a stated error: maximum, table of exp, sum, quotient",
        _IVIT,
        "qcompile.passes.lower:softmax_error",
    ),
    Method("int_gelu", "kernel", "GELU on wide codes", _IVIT),
    Method("int_layernorm", "kernel", "layer norm on codes", _IVIT),
    Method("minmax", "range", "scale from the extremes", _INTEGER, "qcompile.assignment.ranges:minmax"),
    Method(
        "percentile",
        "range",
        "scale from a percentile of the activations",
        _INTEGER,
        "qcompile.assignment.ranges:percentile",
    ),
    Method("mse", "range", "scale of the least squared error", _NAGEL, "qcompile.assignment.ranges:mse"),
    Method("real", "source", "calibration data of the user", _NAGEL, "qcompile.assignment.sources:real"),
    Method(
        "bn_distill",
        "source",
        "calibration data from batch norm statistics",
        _ZEROQ,
        "qcompile.assignment.sources:bn_distill",
    ),
    Method(
        "fold_bn", "transform", "batch norm folded into weights", _WHITEPAPER, "qcompile.assignment.transforms:fold_bn"
    ),
    Method("equalize", "transform", "cross-layer equalisation", _DFQ, "qcompile.assignment.transforms:equalize"),
    Method(
        "bias_correct",
        "transform",
        "mean error of the outputs moved into the bias",
        _DFQ,
        "qcompile.assignment.correction:bias_offsets",
    ),
    Method(
        "split_layers",
        "transform",
        "weights split by value into layers of narrower range",
        "SplitQuant: Layer Splitting for Low-Bit Neural Network Quantization",
    ),
    Method(
        "fit",
        "metric",
        "Fisher trace times quantization noise",
        "FIT: A Metric for Model Sensitivity, arXiv 2210.08502",
        "qcompile.assignment.metrics:fit",
    ),
    Method(
        "hawq_v2",
        "metric",
        "Hessian trace times squared weight error",
        "HAWQ-V2, arXiv 1911.03852",
        "qcompile.assignment.metrics:hawq_v2",
    ),
    Method(
        "perturbation",
        "metric",
        "measured loss, one tensor quantized at a time",
        _INTEGER,
        "qcompile.assignment.metrics:perturbation",
    ),
    Method("sqnr", "metric", "signal to quantization noise of each tensor", _NAGEL, "qcompile.assignment.metrics:sqnr"),
    Method(
        "roundoff",
        "metric",
        "round-off error of the weights, no data",
        _MIXQUANT,
        "qcompile.assignment.metrics:roundoff",
    ),
    Method(
        "kl_output",
        "metric",
        "divergence of the outputs, one tensor quantized at a time",
        _ZEROQ,
        "qcompile.assignment.metrics:kl_output",
    ),
    Method(
        "interaction", "metric", "pairs of layers measured together", _IAH, "qcompile.assignment.metrics:interaction"
    ),
    Method(
        "ilp",
        "search",
        "one format per tensor by an integer program over all resources",
        _HAWQ3,
        "qcompile.assignment.search:ilp",
    ),
    Method(
        "pareto",
        "search",
        "the whole front of loss against cost",
        "HAWQ-V2, arXiv 1911.03852",
        "qcompile.assignment.search:pareto",
    ),
    Method(
        "iqp",
        "search",
        "the integer program with terms for pairs of layers",
        "CLADO: Mixed-Precision Quantization with Cross-Layer Dependencies",
        "qcompile.assignment.search:iqp",
    ),
    Method(
        "greedy",
        "search",
        "step by step the most saved per loss: a baseline",
        "our baseline",
        "qcompile.assignment.search:greedy",
    ),
    Method(
        "ga",
        "search",
        "evolution over evaluated configurations",
        "EQ-Net: Elastic Quantization Neural Networks, arXiv 2308.07650",
    ),
    Method(
        "surrogate", "search", "regression on evaluated configurations proposes the next", "Quantune, arXiv 2202.05048"
    ),
    Method(
        "bisect",
        "search",
        "fewest bits at a wanted accuracy along an order of layers",
        _IAH,
        "qcompile.assignment.search:bisect",
    ),
    Method(
        "error_ratio",
        "search",
        "fewest bits whose error stays within a factor of a reference",
        _MIXQUANT,
        "qcompile.assignment.search:error_ratio",
    ),
    Method("rtn", "rounding", "to the nearest number of the grid", _WHITEPAPER, "qcompile.assignment.rounding:rtn"),
    Method(
        "adaround",
        "rounding",
        "learned rounding direction",
        "Up or Down? Adaptive Rounding, arXiv 2004.10568",
        "qcompile.assignment.rounding:adaround",
    ),
    Method(
        "gptq",
        "rounding",
        "column by column with error feedback",
        "GPTQ, arXiv 2210.17323",
        "qcompile.assignment.rounding:gptq",
    ),
    Method("flexround", "rounding", "learned division before rounding", "FlexRound, arXiv 2306.00317"),
    Method("qft", "rounding", "one finetuning of all quantization parameters", "QFT, arXiv 2212.02634"),
)


def methods() -> list[dict[str, str]]:
    """What `qcompile methods` shows: those in the code first."""
    rows = [{"name": m.name, "kind": m.kind, "what": m.what, "paper": m.paper, "where": m.where} for m in METHODS]
    return sorted(rows, key=lambda row: row["where"] == PLANNED)
