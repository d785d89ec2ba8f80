"""QuantLSTMCell, the operator that stands for a QuantLSTM of Brevitas in QONNX exports."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from qcompile.frontend.call import Unsupported
from qcompile.frontend.unroll.writer import Scope, Writer

# Inputs 15 on: scale, zero point and bit width of every quantizer.
_QUANTIZERS = (
    *("output", "cell_state", "input_acc", "forget_acc", "cell_acc", "output_acc", "input_sigmoid", "forget_sigmoid"),
    *("cell_tanh", "output_sigmoid", "hidden_state_tanh"),
)
_ONE = np.float32(1)
_GATES = ("input", "forget", "cell", "output")  # the order of weights (3 on of the input, 7 on of h) and biases (11 on)


def quant_lstm_cell(scope: Scope) -> Iterator[onnx.GraphProto]:
    """QuantLSTMCell (QONNX exports of Brevitas): 15 tensors, then scale, zero point and bit width of 11 quantizers, as
    brevitas.nn.quant_rnn computes it. Outputs: h of all steps, the last h, the last c.
    """
    if len(scope.node.input) != 15 + 3 * len(_QUANTIZERS):
        raise Unsupported(f"it has {len(scope.node.input)} inputs, not 48", "export with Brevitas 0.10 or newer")
    axis = 1 if scope.call.attribute("batch_first", 0) else 0
    shape = scope.shape(scope.given(0))
    if len(shape) != 3:
        raise Unsupported(f"its input has shape {list(shape)}, not three axes", "export again")
    steps = scope.counted(shape[axis])
    order = range(steps)[::-1] if scope.call.attribute("reverse_input", 0) else range(steps)
    weights = scope.writer()
    turned = [weights.add("Transpose", scope.given(i), name=f"weight_{i}", perm=[1, 0]) for i in range(3, 11)]
    yield weights.graph
    h, c = scope.given(1), scope.given(2)
    made = {}
    for t in order:
        step = scope.writer(f"t{t}/")
        x = step.element(scope.given(0), t, axis, "x")
        h, c = _step(scope, step, turned, x, h, c)
        made[t] = h
        yield step.graph
    out = scope.writer()
    out.alias(out.stacked([made[t] for t in range(steps)], axis, "h"), scope.node.output[0])
    for tensor, outer in zip((h, c), scope.node.output[1:], strict=False):
        out.alias(tensor, outer)
    yield out.graph


def _step(scope: Scope, step: Writer, turned: list[str], x: str, h: str, c: str) -> tuple[str, str]:
    """h and c behind one step (brevitas.nn.quant_rnn._QuantLSTMCell.forward_iter)."""

    def quantized(tensor: str, by: str, name: str) -> str:
        return _quantized(scope, step, tensor, by, name)

    def gate(which: int) -> str:
        name = _GATES[which]
        of_x = step.add("MatMul", x, turned[which], name=f"{name}/x")
        of_h = step.add("MatMul", h, turned[4 + which], name=f"{name}/h")
        both = step.add("Add", of_x, of_h, name=f"{name}/sum")
        total = step.add("Add", both, scope.given(11 + which), name=f"{name}/biased")
        acc = quantized(total, f"{name}_acc", f"{name}/acc")
        function = "Tanh" if name == "cell" else "Sigmoid"
        by = "cell_tanh" if name == "cell" else f"{name}_sigmoid"
        return quantized(step.add(function, acc, name=f"{name}/{function}"), by, name)

    taken = gate(0)
    if scope.call.attribute("cifg", 0):
        one = quantized(step.constant(_ONE), "input_sigmoid", "one")
        kept = step.add("Sub", one, taken, name="forget")
    else:
        kept = gate(1)
    new, shown = gate(2), gate(3)
    old = quantized(step.add("Mul", kept, c, name="kept"), "cell_state", "kept/quantized")
    added = quantized(step.add("Mul", taken, new, name="added"), "cell_state", "added/quantized")
    cell = quantized(step.add("Add", old, added, name="c/sum"), "cell_state", "c")
    bent = quantized(step.add("Tanh", cell, name="c/Tanh"), "hidden_state_tanh", "c/bent")
    return quantized(step.add("Mul", shown, bent, name="h/product"), "output", "h"), cell


def _quantized(scope: Scope, step: Writer, tensor: str, by: str, name: str) -> str:
    """Behind one of the quantizers, whose attributes carry its name."""
    first = 15 + 3 * _QUANTIZERS.index(by)
    narrow = scope.call.attribute(f"{by}_narrow_range", scope.call.attribute(f"{by}_narrow", 0))
    return step.add(
        "Quant",
        tensor,
        *scope.node.input[first : first + 3],
        name=name,
        domain=scope.node.domain,
        signed=scope.call.attribute(f"{by}_signed", 1),
        narrow=narrow,
        rounding_mode=scope.call.attribute(f"{by}_rounding_mode", "ROUND"),
    )
