"""What becomes of every operator of ONNX: the limits of those that are supported in part, the way out of the others.

Errors, `docs/operators.md` and a test read the same tables; an operator of the newest ONNX that stands in none fails
that test.
"""

from __future__ import annotations

import onnx.defs

_END = "replace it in the model, or leave it to the host: --outputs in front of it, --inputs behind it"
_DYNAMIC = "its scales depend on the data; quantize statically, or give the float model to qcompile assign"
_NORM = "normalization over data of one sample is not supported; use batch normalization"
_RANDOM = "hardware computes the same of the same input; take it out, as in evaluation mode"
_LISTS = "sequences and optional values have no hardware; export with tensors"
_TEXT = "text has no hardware; do it in front of the network"
_LOSS = "a loss is for training; export the network without it"
_SPECTRUM = "write the transform as a MatMul or Conv with quantized weights"
_BOXES = "leave it to the host: --outputs in front of it"

# Way out by operator.
REFUSED: dict[str, str] = {
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("Bernoulli", "Multinomial"), _RANDOM),
    **dict.fromkeys(("ConcatFromSequence", "SplitToSequence", "Optional", "OptionalGetElement"), _LISTS),
    **dict.fromkeys(("OptionalHasElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty"), _LISTS),
    **dict.fromkeys(("SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"), _LISTS),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _TEXT),
    "ImageDecoder": "decode images in front of the network",
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _LOSS),
    **dict.fromkeys(("DFT", "STFT"), _SPECTRUM),
    **dict.fromkeys(("NonMaxSuppression", "RoiAlign", "MaxRoiPool", "Unique", "NonZero"), _BOXES),
    "TensorScatter": _END,
    **dict.fromkeys(("DeformConv", "GridSample", "AffineGrid"), "use Resize, or a Conv with constant weights"),
    **dict.fromkeys(("MaxUnpool", "Col2Im"), "use ConvTranspose or Resize"),
    "Det": _END,
}
# Only as constants: their inputs must be constant too.
CONSTANT = {
    *("ConstantOfShape", "Range", "BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
}
# Limits by operator.
PARTLY: dict[str, str] = {
    "Attention": "the softmax gets its format by --state-format or qcompile assign",
    "AveragePool": "1 to 3 spatial axes",
    "BatchNormalization": "in training mode, with its own statistics, of one sample of rank 3 or more",
    "BitShift": "by constants",
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), "of two data tensors up to 16 bits"),
    "Constant": "numbers; no text, no sparse tensors",
    "CastLike": "the type of a tensor whose type is known",
    "Conv": "1 to 3 spatial axes, constant weights",
    "ConvInteger": "1 to 3 spatial axes, constant weights",
    "ConvTranspose": "1 to 3 spatial axes, constant weights",
    "CumSum": "along a constant axis",
    "DepthToSpace": "two spatial axes",
    "SpaceToDepth": "two spatial axes",
    "Div": "by constants; by data that keep one sign, a quantizer behind it, or functions of one tensor",
    "DynamicQuantizeLinear": "its scale depends on the data: for qcompile assign with --data, which calibrates it",
    "Expand": "to a constant shape",
    "Gather": "constant indices, or computed ones into a constant table along its first axis",
    **dict.fromkeys(("GatherElements", "GatherND"), "constant indices"),
    "If": "a constant condition",
    "Loop": "a constant number of iterations; unrolled",
    "Scan": "opset 9 on; unrolled",
    **dict.fromkeys(("RNN", "GRU", "LSTM"), "unrolled; formats inside by --state-format or qcompile assign"),
    **dict.fromkeys(("Scatter", "ScatterElements", "ScatterND"), "constant indices, without reduction"),
    "Softmax": "a quantizer behind it, or at the end of a network",
    "LRN": "its factor, at most 1, is rounded to 16 bits, or as --state-format or qcompile assign say",
    "LpPool": "p of 1 or 2, 1 to 3 spatial axes",
    "GlobalLpPool": "p of 1 or 2",
    "MaxPool": "1 to 3 spatial axes, not the indices of the maxima",
    "MeanVarianceNormalization": "not over the samples of a batch",
    "Mod": "by constants, or by data that a Clip keeps from 0",
    "OneHot": "constant depth and values",
    "Pad": "constant amounts and value",
    "Pow": "constant exponents up to 64, of integers up to 8; a single constant base; data above 0 to data",
    "QLinearConv": "1 to 3 spatial axes, constant weights",
    "QuantizeLinear": "constant scales and zero points",
    "DequantizeLinear": "constant scales and zero points",
    "Reshape": "to a constant shape",
    "RotaryEmbedding": "constant tables and positions",
    **dict.fromkeys(
        ("Resize", "Upsample"), "constant sizes, no antialiasing, cubic of real numbers; regions inside the tensor"
    ),
    "ReverseSequence": "constant lengths",
    **dict.fromkeys(("Slice", "Split", "Tile", "Squeeze", "Unsqueeze"), "constant places and sizes"),
    "TopK": "constant k",
    "Trilu": "a constant diagonal",
    "Compress": "a constant condition",
    "CenterCropPad": "a constant shape",
}


def way_out(op: str, domain: str) -> str:
    """What to do about an operator that is not supported."""
    if "fpgadataflow" in domain:
        return (
            "this graph is already on its way to hardware in another compiler; start from the QONNX file that it was"
            " made of"
        )
    if op.startswith("Dynamic"):
        return _DYNAMIC
    if op in CONSTANT:
        return "it is folded where its inputs are constant; export with fixed shapes"
    return REFUSED.get(op, _NORM if "Norm" in op else _END)


def operators() -> list[str]:
    """Every operator of the newest operator set of ONNX that is installed."""
    return sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated})
