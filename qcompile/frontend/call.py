"""What an import rule is given: one ONNX node, its inputs, and the builder of the model graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import onnx

from qcompile.formats import FixedPoint
from qcompile.frontend.const import INTEGERS, Const
from qcompile.ir import Node, Origin, TensorType, Value, ops, output_shape
from qcompile.records import dataclass

Operand = Value | Const


@dataclass(frozen=True)
class Comparison:
    """What truth values were made of: data > limit (or >=), or less. A Where that chooses between data and limit
    clips.
    """

    data: Value
    limit: Const
    greater: bool


class Unsupported(Exception):
    """Raised by an import rule: why a node cannot be imported, and the way out."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason, self.hint = reason, hint
        super().__init__(reason)


@dataclass
class Call:
    """One ONNX node for an import rule: its inputs (None where left out), attributes, and the builder."""

    node: onnx.NodeProto
    inputs: list[Operand | None]
    opset: int
    builder: GraphBuilder
    kind: int = 0  # ONNX element type of the first output, 0 where it is not known
    kinds: tuple[int, ...] = ()  # of the inputs of the node

    @property
    def integer(self) -> FixedPoint | None:
        """The format of the integers that the node makes; None where it makes real numbers."""
        return INTEGERS.get(self.kind)

    def attribute(self, name: str, default: Any) -> Any:
        for a in self.node.attribute:
            if a.name == name:
                value = onnx.helper.get_attribute_value(a)
                value = value.decode(errors="replace") if isinstance(value, bytes) else value
                for kind, allowed in _KINDS.items():
                    if isinstance(default, kind) and not isinstance(value, allowed):
                        raise Unsupported(
                            f"its attribute '{name}' is {value!r:.40}, which is of the wrong type",
                            "export the model again",
                        )
                return value
        return default

    def input(self, position: int) -> Operand | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def data(self, position: int = 0) -> Operand:
        found = self.input(position)
        if found is None:
            raise Unsupported(f"input {position} is missing")
        return found

    def const(self, position: int, what: str) -> Const:
        found = self.data(position)
        if not isinstance(found, Const):
            raise Unsupported(f"{what} is computed by the network; only constants are possible")
        return found

    def ints(self, position: int, attribute: str, default: Any = None) -> Any:
        """Integers that are an input in newer opsets and an attribute in older ones."""
        found = self.input(position)
        if isinstance(found, Const):
            return [int(v) for v in found.held.ravel().tolist()]
        if found is not None:
            raise Unsupported(f"{attribute} is computed by the network; only constants are possible")
        return self.attribute(attribute, default)

    def emit(self, op: Any, *inputs: Value) -> Value:
        return self.builder.emit(op, inputs, origin_of(self.node))

    def warn(self, text: str) -> None:
        self.builder.warnings.append(f"node '{self.node.name or self.node.output[0]}': {text}")

    def value(self, x: Operand) -> Value:
        """A constant as a node of the graph."""
        return self.builder.constant(x, origin_of(self.node)) if isinstance(x, Const) else x


# Of a default -> of the value.
_KINDS: dict[type, tuple[type, ...]] = {int: (int, float), float: (int, float), str: (str,)}


LARGEST = 2**26  # elements of one tensor


MOST_AXES = 30  # numpy broadcasts 32, a batch in front included


Rule = Callable[[Call], Any]


@dataclass
class GraphBuilder:
    """A model graph that grows node by node, in topological order."""

    nodes: list[Node] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    count: int = 0
    batch: int = 0  # the file's own batch size, where samples are compiled instead
    makers: dict[str, Node] = field(default_factory=dict)
    compared: dict[str, Comparison] = field(default_factory=dict)  # by the truth values that were made of it
    single_step: bool = False  # a recurrent node has one step only
    states: dict[str, str] = field(default_factory=dict)  # real tensors inside recurrent layers, and what they are
    dynamic: list[str] = field(default_factory=list)  # nodes that would quantize by what they see
    places: dict[str, int] = field(default_factory=dict)  # of what makes a tensor, in their order

    def emit(self, op: Any, inputs: tuple[Value, ...], origin: Origin) -> Value:
        """Append a node; its output gets a name of its own until the importer knows the final one."""
        try:
            shape = output_shape(op, tuple(v.type for v in inputs))
        except ValueError as error:
            raise Unsupported(str(error), "check the shapes in the model") from None
        check_size(shape)
        type_ = (
            TensorType(shape, op.format, op.scale, op.zero_point) if isinstance(op, ops.Quantize) else TensorType(shape)
        )
        return self.append(op, inputs, type_, origin)

    def constant(self, c: Const, origin: Origin) -> Value:
        try:
            check_size(c.shape)
            units, type_ = c.tensor()
        except ValueError as error:
            raise Unsupported(str(error)) from None
        return self.append(ops.Constant(units), (), type_, origin)

    def append(self, op: Any, inputs: tuple[Value, ...], type_: TensorType, origin: Origin) -> Value:
        """A node whose output has this type."""
        self.count += 1
        value = Value(f"{origin.tensor or origin.node}#{self.count}", type_)
        self.nodes.append(Node(op, inputs, (value,), origin))
        self.makers[value.name], self.places[value.name] = self.nodes[-1], self.count
        return value


def origin_of(node: onnx.NodeProto) -> Origin:
    """What people know a node by: its name; its tensor's where it has none, with the operator if that is a number."""
    tensor = node.output[0] if node.output else ""
    return Origin(node.name or (f"{node.op_type}_{tensor}" if tensor.isdigit() else tensor), tensor, node.op_type)


def check_size(shape: Sequence[int]) -> None:
    """Unsupported unless a tensor of this shape is possible."""
    if len(shape) > MOST_AXES:
        raise Unsupported(f"it makes a tensor of {len(shape)} axes; {MOST_AXES} are the most")
    if not 0 < math.prod(shape) <= LARGEST:
        size = "too large" if math.prod(shape) else "empty"
        raise Unsupported(f"it makes a tensor of shape {list(shape)}, which is {size}", "check the shapes in the model")
