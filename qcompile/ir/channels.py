"""Channels of layers: which tensors have them in common, and which of them any layer behind reads."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from qcompile.ir import ops
from qcompile.ir.types import Graph, Node, Value
from qcompile.records import dataclass

BY_CHANNEL = (*ops.SCALAR, ops.BatchNorm, ops.Requant, ops.Add, ops.Mul, ops.Pool, ops.Pad, ops.Reduce)
"""A channel of the result is made of the same channel of every operand."""


@dataclass(frozen=True)
class Channels:
    """Tensors whose channels go together: element by element they become each other, or are added.

    count: of channels; axes: by tensor, along which it has them (blocks of one length, behind a flattened image);
    makers, readers: layers whose outputs, whose inputs they are; between: all other nodes that make them.
    """

    count: int
    axes: dict[str, int]
    makers: tuple[Node, ...]
    readers: tuple[Node, ...]
    between: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return *self.makers, *self.between, *self.readers

    def read(self, weights: Callable[[Node], np.ndarray]) -> np.ndarray:
        """(count,): which of them any reader multiplies by something else than 0. weights: of a layer, as its operand
        has them.
        """
        found = np.zeros(self.count, dtype=bool)
        for node in self.readers:
            found |= _inputs_first(node, weights(node) != 0).reshape(self.count, -1).any(axis=1)
        return found


def channels(graph: Graph, layer: Node, layers: Collection[str]) -> Channels | None:
    """Those that a layer makes; None where something else than layers and functions of single channels has them.
    layers: results of the products that count as layers, each with constant weights of its own.
    """
    count = layer.output.type.shape[_axis_of_outputs(layer)]
    axes: dict[str, int] = {}
    nodes: dict[str, dict[str, Node]] = {"makers": {}, "readers": {}, "between": {}}
    near = [(layer.output, _axis_of_outputs(layer))]
    while near:
        value, axis = near.pop()
        made = graph.producers.get(value.name)
        if axes.setdefault(value.name, axis) != axis or made is None or value in graph.outputs:
            return None
        if value.type.shape[axis] % count:
            return None
        if _is_layer(made, layers) and axis == _axis_of_outputs(made) and value.type.shape[axis] == count:
            nodes["makers"][value.name] = made
            found: list[tuple[Value, int]] | None = []
        else:
            nodes["between"][value.name] = made
            found = _operands(made, axis, layers)
        for node in graph.consumers.get(value.name, []):
            if _is_layer(node, layers) and node.data == value and axis == input_axis(node):
                nodes["readers"][node.output.name] = node
            elif found is not None:
                behind = _result(node, value, axis, layers)
                found = None if behind is None else [*found, behind]
        if found is None:
            return None
        near += [(v, a) for v, a in found if axes.get(v.name) != a]
    return Channels(count, axes, *(tuple(found.values()) for found in nodes.values()))


def is_depthwise(node: Node) -> bool:
    """Whether a product filters every channel alone."""
    groups = node.op.groups if isinstance(node.op, ops.Conv) else 1
    return bool(groups > 1 and groups == node.output.type.shape[1] == node.data.type.shape[1])


def input_axis(node: Node) -> int:
    """Along which the data of a layer have its inputs."""
    return len(node.data.type.shape) - 1 if isinstance(node.op, ops.MatMul) else 1


def weight_axis(node: Node) -> int:
    """Along which the weights of a layer have its inputs."""
    return 0 if isinstance(node.op, ops.MatMul) else 1


def _axis_of_outputs(node: Node) -> int:
    return int(node.op.axis_of_outputs(len(node.output.type.shape)))


def _inputs_first(node: Node, weights: np.ndarray) -> np.ndarray:
    return np.moveaxis(weights, weight_axis(node), 0)


def _is_layer(node: Node, layers: Collection[str]) -> bool:
    """A product in which all outputs see all inputs."""
    return bool(node.output.name in layers and node.op.products and node.op.groups == 1)


def _operands(node: Node, axis: int, layers: Collection[str]) -> list[tuple[Value, int]] | None:
    """Tensors whose channels a result has, with their axes; None where it has no one's."""
    if node.op.products:
        own = node.output.name in layers and is_depthwise(node) and axis == 1
        return [(node.data, 1)] if own else None
    alike = bool(node.inputs) and all(_keeps(node, v, axis) for v in node.inputs)
    return [(v, axis) for v in node.inputs] if alike else None


def _result(node: Node, value: Value, axis: int, layers: Collection[str]) -> tuple[Value, int] | None:
    """The result that has the channels of an operand."""
    found = _operands(node, axis, layers)
    return (node.output, axis) if found is not None and (value, axis) in found else None


def _keeps(node: Node, value: Value, axis: int) -> bool:
    """Whether a result has the channels of an operand along the same axis."""
    own, shape = value.type.shape, node.output.type.shape
    if isinstance(node.op, ops.Reshape):
        return axis == 1 and len(shape) == 2 and len(own) > 1 and own[0] == shape[0] and shape[1] % own[1] == 0
    if isinstance(node.op, ops.Reduce):
        return min(node.op.axes) > axis
    return isinstance(node.op, BY_CHANNEL) and len(own) == len(shape) and own[axis] == shape[axis]
