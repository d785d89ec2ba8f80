"""RNN, GRU and LSTM of ONNX, with all their attributes. What the input contributes to all steps is one product in front
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

import numpy as np
import onnx

from qcompile.frontend.call import Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.unroll.writer import Scope, Writer
from qcompile.records import dataclass

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
# Of activations with parameters, their defaults: alpha, and beta where there is one. None: the standard has no default.
_PARAMETERS: dict[str, tuple[float | None, ...]] = {
    "Affine": (None, None),
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "ScaledTanh": (None, None),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0,),
}
_UNITS = {"Sigmoid", "HardSigmoid"}
_ACTIVATIONS = {n.lower(): n for n in (*_PARAMETERS, "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")}


@dataclass(frozen=True)
class Activation:
    """A function of gates or states, with its parameters."""

    name: str
    parameters: tuple[float, ...] = ()

    def write(self, out: Writer, x: str, name: str) -> str:
        values = self.parameters
        if self.name == "Affine":
            scaled = out.add("Mul", x, out.constant(np.float32(values[0])), name=f"{name}/scaled")
            return out.add("Add", scaled, out.constant(np.float32(values[1])), name=name)
        if self.name == "ScaledTanh":
            scaled = out.add("Mul", x, out.constant(np.float32(values[1])), name=f"{name}/scaled")
            bent = out.add("Tanh", scaled, name=f"{name}/Tanh")
            return out.add("Mul", bent, out.constant(np.float32(values[0])), name=name)
        named: dict[str, Any] = dict(zip(("alpha", "beta"), values, strict=False))
        return out.add(self.name, x, name=name, **named)


@dataclass
class Direction:
    """One direction of a recurrent node, as far as it is written. Weights stand transposed: one column per gate unit.

    x: what the input contributes to the gates of all steps, biases included (T, B, gates * H); bias: of what is reset
    (H), where it is wanted alone; zeros: the state that is not given, or of zeros.
    """

    scope: Scope
    number: int
    functions: tuple[Activation, ...]
    clip: float
    size: int
    x: str = ""
    recurrent: str = ""
    bias: str = ""
    zeros: str = ""
    peepholes: list[str] = field(default_factory=list)

    def writer(self, t: int | None = None) -> Writer:
        inner = ("forward/", "reverse/")[self.number] if len(_directions(self.scope)) > 1 else ""
        return self.scope.writer(inner if t is None else f"{inner}t{t}/")

    def state(self, tensor: str, kind: str) -> str:
        """A tensor that needs a format: h, c, a gate, or one of numbers from 0 to 1 (unit)."""
        self.scope.call.builder.states[tensor] = kind
        return tensor

    def bent(self, out: Writer, which: int, x: str, name: str) -> str:
        """Behind an activation."""
        function = self.functions[which]
        return self.state(function.write(out, x, name), "unit" if function.name in _UNITS else "gate")

    def activated(self, out: Writer, which: int, x: str, name: str) -> str:
        """Behind an activation, in front of which everything is clipped."""
        if self.clip:
            ends = [out.constant(np.float32(v)) for v in (-self.clip, self.clip)]
            if out.opset < 11:
                x = out.add("Clip", x, name=f"{name}/clipped", min=-self.clip, max=self.clip)
            else:
                x = out.add("Clip", x, *ends, name=f"{name}/clipped")
        return self.bent(out, which, x, name)

    def gate(self, out: Writer, tensor: str, which: int, name: str) -> str:
        """The part of one gate."""
        return out.part(tensor, which * self.size, (which + 1) * self.size, -1, name)


# What the input contributes, and the states -> the states.
CellStep = Callable[[Direction, Writer, str, list[str]], list[str]]


@dataclass(frozen=True)
class Kind:
    """gates: how many; functions: the default activations; states: inputs that hold their initial values."""

    gates: int
    functions: tuple[str, ...]
    states: tuple[int, ...]
    step: CellStep


def rnn(scope: Scope) -> Iterator[onnx.GraphProto]:
    """RNN (ONNX, opset 7 on)."""
    return _unrolled(scope, Kind(1, ("Tanh",), (5,), _rnn_step))


def gru(scope: Scope) -> Iterator[onnx.GraphProto]:
    """GRU (ONNX, opset 7 on)."""
    return _unrolled(scope, Kind(3, ("Sigmoid", "Tanh"), (5,), _gru_step))


def lstm(scope: Scope) -> Iterator[onnx.GraphProto]:
    """LSTM (ONNX, opset 7 on)."""
    return _unrolled(scope, Kind(4, ("Sigmoid", "Tanh", "Tanh"), (5, 6), _lstm_step))


def dynamic_quantize_lstm(scope: Scope) -> Iterator[onnx.GraphProto]:
    """DynamicQuantizeLSTM (com.microsoft, no opsets): LSTM with codes of weights, (D, I, 4 H) and (D, H, 4 H), whose
    scales and zero points are (D) or (D, 4 H) and stand at the end; as DynamicQuantizeLinear for `assign` alone.
    """
    scope.call.builder.dynamic.append(scope.call.node.name or scope.call.node.output[0])
    out, node = scope.writer(), onnx.NodeProto()
    node.CopyFrom(scope.node)
    node.op_type, node.domain = "LSTM", ""
    for position, scale, name in ((1, 8, "w"), (2, 10, "r")):
        shape = scope.shape(scope.given(position))
        each = [scope.constant(scope.given(i), "a scale or zero point") for i in (scale, scale + 1)]
        each = [np.broadcast_to(v.reshape(v.shape[0], 1, -1), shape) for v in each]
        real = out.add("DequantizeLinear", scope.given(position), *map(out.constant, each), name=f"{name}/real")
        node.input[position] = out.add("Transpose", real, name=f"{name}/columns", perm=[0, 2, 1])
    del node.input[8:]
    out.graph.node.append(node)
    yield out.graph


def _rnn_step(layer: Direction, out: Writer, x: str, states: list[str]) -> list[str]:
    """H = f(x + h R)."""
    product = out.add("MatMul", states[0], layer.recurrent, name="recurrent")
    return [layer.state(layer.activated(out, 0, out.add("Add", x, product, name="sum"), "h"), "h")]


def _gru_step(layer: Direction, out: Writer, x: str, states: list[str]) -> list[str]:
    """z, r = f(x + h R); H = (1 - z) g(x + r (h R)), or of (r h) R."""
    (h,) = states
    if layer.scope.call.attribute("linear_before_reset", 0):
        product = out.add("MatMul", h, layer.recurrent, name="recurrent")
        parts = [layer.gate(out, product, i, f"recurrent/{n}") for i, n in enumerate("zrh")]
    else:
        columns = [layer.gate(out, layer.recurrent, i, f"weight/{n}") for i, n in enumerate("zrh")]
        parts = [out.add("MatMul", h, c, name=f"recurrent/{n}") for c, n in zip(columns[:2], "zr", strict=True)]
    own = [layer.gate(out, x, i, f"x/{n}") for i, n in enumerate("zrh")]
    sums = [out.add("Add", own[i], parts[i], name=f"{n}/sum") for i, n in enumerate("zr")]
    z, r = (layer.activated(out, 0, total, n) for total, n in zip(sums, "zr", strict=True))
    if layer.scope.call.attribute("linear_before_reset", 0):
        part = parts[2] if h == layer.zeros else out.add("Mul", r, parts[2], name="reset")
        if layer.bias:  # apart from the product, which is nothing where the state is
            part = out.add("Add", out.add("Mul", r, layer.bias, name="reset/bias"), part, name="reset/biased")
    else:
        part = out.add("MatMul", out.add("Mul", r, h, name="reset"), columns[2], name="recurrent/h")
    new = layer.activated(out, 1, out.add("Add", own[2], part, name="new/sum"), "new")
    rest = out.add("Sub", out.constant(np.float32(1)), z, name="1-z")
    added, kept = out.add("Mul", rest, new, name="added"), out.add("Mul", z, h, name="kept")
    return [layer.state(out.add("Add", added, kept, name="h"), "h")]


def _lstm_step(layer: Direction, out: Writer, x: str, states: list[str]) -> list[str]:
    """i, o, f = f(x + h R + P c); C = f c + i g(x + h R); H = o h(C)."""
    h, c = states
    product = out.add("MatMul", h, layer.recurrent, name="recurrent")
    total = out.add("Add", x, product, name="sum")

    def gate(which: int, name: str, cell: str) -> str:
        own = layer.gate(out, total, which, f"{name}/sum")
        if layer.peepholes:
            seen = out.add("Mul", cell, layer.peepholes[which], name=f"{name}/peephole")
            own = out.add("Add", own, seen, name=f"{name}/all")
        return layer.activated(out, 0, own, name)

    i = gate(0, "i", c)
    if layer.scope.call.attribute("input_forget", 0):
        f = out.add("Sub", out.constant(np.float32(1)), i, name="f")
    else:
        f = gate(2, "f", c)
    new = layer.activated(out, 1, layer.gate(out, total, 3, "g/sum"), "g")
    kept, added = out.add("Mul", f, c, name="kept"), out.add("Mul", i, new, name="added")
    cell = layer.state(out.add("Add", kept, added, name="c"), "c")
    o = gate(1, "o", cell)
    return [layer.state(out.add("Mul", o, layer.bent(out, 2, cell, "bent"), name="h"), "h"), cell]


def _directions(scope: Scope) -> tuple[bool, ...]:
    """Whether each of the directions is the reverse one."""
    name = str(scope.call.attribute("direction", "forward"))
    if name not in _DIRECTIONS:
        raise Unsupported(f"direction '{name}' does not exist", "forward, reverse or bidirectional")
    return _DIRECTIONS[name]


def _unrolled(scope: Scope, kind: Kind) -> Iterator[onnx.GraphProto]:
    batch_first = bool(scope.call.attribute("layout", 0))
    shapes = [scope.shape(scope.given(i)) for i in range(3)]
    if [len(s) for s in shapes] != [3, 3, 3] or shapes[2][1] != kind.gates * shapes[2][2]:
        raise Unsupported(f"X, W and R have shapes {[list(s) for s in shapes]}", "export the model again")
    batch, steps = shapes[0][:2] if batch_first else shapes[0][1::-1]
    lengths = _lengths(scope, batch, scope.counted(steps))
    if len(set(lengths)) > 1:
        yield _each_sample(scope, kind, lengths, batch_first)
        return
    front = scope.writer()
    x = front.add("Transpose", scope.given(0), name="x", perm=[1, 0, 2]) if batch_first else scope.given(0)
    zeros = front.constant(np.zeros((batch, shapes[2][2]), np.float32))
    yield front.graph
    ends, rows = list[list[str]](), list[list[str]]()
    for number, back in enumerate(_directions(scope)):
        layer = _layer(scope, kind, number, shapes[2][2])
        layer.zeros = zeros
        yield _prepared(layer, kind, x)
        states = []
        for position in kind.states:
            start = layer.writer()
            given = scope.given(position)
            held = scope.operand(given)
            given = "" if isinstance(held, Const) and not held.held.any() else given
            name = f"start_{position}"
            states.append(start.element(given, number, 1 if batch_first else 0, name) if given else zeros)
            yield start.graph
        made = {}
        for t in range(lengths[0])[:: -1 if back else 1]:
            step = layer.writer(t)
            states = kind.step(layer, step, step.element(layer.x, t, 0, "x"), states)
            made[t] = states[0]
            yield step.graph
        ends.append(states)
        rows.append([made.get(t, zeros) for t in range(steps)])
    yield _outputs(scope, kind, ends, rows, batch_first)


def _outputs(
    scope: Scope, kind: Kind, ends: list[list[str]], rows: list[list[str]], batch_first: bool
) -> onnx.GraphProto:
    """Y (T, D, B, H) of rows per direction, and the last states (D, B, H); batch axis first by layout 1."""
    out, wanted = scope.writer(), [*scope.node.output, "", "", ""]
    if wanted[0]:
        steps = [out.stacked([row[t] for row in rows], 0, f"y/t{t}") for t in range(len(rows[0]))]
        y = out.stacked(steps, 0, "y")
        out.alias(out.add("Transpose", y, name="y/turned", perm=[2, 0, 1, 3]) if batch_first else y, wanted[0])
    for i, outer in enumerate(wanted[1 : 1 + len(kind.states)]):
        if outer:
            last = out.stacked([states[i] for states in ends], 0, f"last_{i}")
            turned = out.add("Transpose", last, name=f"last_{i}/turned", perm=[1, 0, 2]) if batch_first else last
            out.alias(turned, outer)
    return out.graph


def _layer(scope: Scope, kind: Kind, number: int, size: int) -> Direction:
    return Direction(scope, number, _functions(scope, kind)[number], float(scope.call.attribute("clip", 0.0)), size)


def _prepared(layer: Direction, kind: Kind, x: str) -> onnx.GraphProto:
    """Weights and biases of a direction, and what the input contributes to all steps."""
    scope, out, width = layer.scope, layer.writer(), kind.gates * layer.size
    columns = out.add("Transpose", out.element(scope.given(1), layer.number, 0, "w"), name="w/turned", perm=[1, 0])
    layer.recurrent = out.add(
        "Transpose", out.element(scope.given(2), layer.number, 0, "r"), name="r/turned", perm=[1, 0]
    )
    layer.x = out.add("MatMul", x, columns, name="input")
    if scope.given(3):
        both = out.element(scope.given(3), layer.number, 0, "b")
        own = out.part(both, 0, width, 0, "b/input")
        other = out.part(both, width, 2 * width, 0, "b/recurrent")
        if kind.gates == 3 and scope.call.attribute("linear_before_reset", 0):
            layer.bias = layer.gate(out, other, 2, "b/reset")
            none = out.constant(
                np.repeat(np.array([1, 1, 0], np.float32), layer.size)
            )  # those of the other gates are sums
            other = out.add("Mul", other, none, name="b/gates")
        layer.x = out.add("Add", layer.x, out.add("Add", own, other, name="b/sum"), name="input/biased")
    if kind.gates == 4 and scope.given(7):
        row = out.element(scope.given(7), layer.number, 0, "p")
        layer.peepholes = [layer.gate(out, row, i, f"p/{n}") for i, n in enumerate("iof")]
    return out.graph


def _functions(scope: Scope, kind: Kind) -> list[tuple[Activation, ...]]:
    """The activations of every direction; parameters are taken in their order by the functions that have some."""
    count = len(_directions(scope))
    names = [n.decode(errors="replace") for n in scope.call.attribute("activations", [])] or [*kind.functions] * count
    if len(names) != count * len(kind.functions):
        raise Unsupported(f"it has {len(names)} activations, not {count * len(kind.functions)}")
    given = [[float(v) for v in scope.call.attribute(f"activation_{n}", [])] for n in ("alpha", "beta")]
    found = []
    for name in names:
        known = _ACTIVATIONS.get(name.lower())
        if known is None:
            raise Unsupported(f"activation '{name}' does not exist in ONNX")
        values = [(rest.pop(0) if rest else v) for v, rest in zip(_PARAMETERS.get(known, ()), given, strict=False)]
        if None in values:
            raise Unsupported(f"{known} has no default parameters", "state activation_alpha and activation_beta")
        found.append(Activation(known, tuple(v for v in values if v is not None)))
    return [tuple(found[i : i + len(kind.functions)]) for i in range(0, len(found), len(kind.functions))]


def _lengths(scope: Scope, batch: int, steps: int) -> list[int]:
    """The number of steps of every sample."""
    if not scope.given(4):
        return [steps] * batch
    given = [int(v) for v in scope.constant(scope.given(4), "the number of steps (sequence_lens)").ravel().tolist()]
    lengths = given * batch if len(given) == 1 else given
    if len(lengths) != batch or not all(0 < n <= steps for n in lengths):
        raise Unsupported(f"sequence_lens are {lengths} for {batch} samples of {steps} steps")
    return lengths


def _each_sample(scope: Scope, kind: Kind, lengths: list[int], batch_first: bool) -> onnx.GraphProto:
    """Samples of lengths of their own: a node per sample, and their outputs side by side."""
    out = scope.writer()
    parts: list[list[str]] = [[] for _ in scope.node.output]
    for b, length in enumerate(lengths):
        node = onnx.NodeProto()
        node.CopyFrom(scope.node)
        node.name = f"{out.prefix}b{b}"
        node.input[4] = out.constant(np.array([length], np.int32))
        for position in (0, *kind.states):
            if scope.given(position):
                axis = 0 if batch_first else 1
                node.input[position] = out.part(scope.given(position), b, b + 1, axis, f"b{b}/in_{position}")
        node.output[:] = [f"{node.name}/out_{i}" if n else "" for i, n in enumerate(scope.node.output)]
        out.graph.node.append(node)
        parts = [[*row, name] for row, name in zip(parts, node.output, strict=True)]
    for i, (row, outer) in enumerate(zip(parts, scope.node.output, strict=True)):
        axis = 0 if batch_first else (2 if i == 0 else 1)
        if outer:
            out.graph.node.append(onnx.helper.make_node("Concat", row, [outer], name=outer, axis=axis))
    return out.graph
