"""Random graphs that mix minifloat and fixed point: generated graphs in which some quantizers are replaced by
FloatQuant.
"""

from __future__ import annotations

import generate
import generate_cnn
import numpy as np
import onnx
from onnx import helper, numpy_helper

# (exponent bits, mantissa bits, bias, largest value or None for the whole grid): OCP, FNUZ, powers of two, and odd
# ones.
FORMATS = [
    (4, 3, 7, 448.0),
    (5, 2, 15, 57344.0),
    (3, 2, 3, None),
    (2, 3, 1, None),
    (2, 1, 1, None),
    (4, 3, 8, 240.0),
    (5, 2, 16, 57344.0),
    (3, 0, 3, None),
    (4, 0, 7, None),
    (1, 2, 1, None),
    (2, 2, 0, None),
    (3, 1, 2, 3.0),
    (3, 3, 5, None),
    (2, 4, 1, None),
]


def seeded_float(seed: int) -> onnx.ModelProto:
    """A generated network, fully connected or convolutional, with a FloatQuant in place of about half of its
    quantizers.
    """
    rng = np.random.default_rng([seed, 11])
    model = (generate.seeded_mlp if seed % 2 else generate_cnn.seeded_cnn)(seed)
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type in ("Quant", "IntQuant") and rng.random() < 0.6 and all(i in known for i in node.input[1:4]):
            _replace(model, node, number, known, rng)
    return model


def _replace(model: onnx.ModelProto, node: onnx.NodeProto, number: int, known: dict, rng: np.random.Generator) -> None:
    exponent, mantissa, bias, largest = FORMATS[rng.integers(len(FORMATS))]
    top = 2.0 ** (2**exponent - 1 - bias) * (2 - 2.0**-mantissa)
    width, scale = float(known[node.input[3]].ravel()[0]), known[node.input[1]]
    # About the range that the fixed-point quantizer had; a power of two where it was one.
    shift = 2.0 ** np.round(width - 1 - np.log2(min(top, largest or top)))
    values = {
        "scale": (scale * shift).astype(np.float32),
        "exponent": exponent,
        "mantissa": mantissa,
        "bias": bias,
        "max": largest or top,
    }
    names = []
    for name, value in values.items():
        names.append(f"float{number}_{name}")
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), names[-1]))
    mode = rng.choice(["ROUND", "ROUND", "ROUND", "FLOOR", "CEIL"])
    attributes = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1, "rounding_mode": str(mode)}
    made = helper.make_node(
        "FloatQuant", [node.input[0], *names], list(node.output), name=node.name, domain=node.domain, **attributes
    )
    node.CopyFrom(made)
