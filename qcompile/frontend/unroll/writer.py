"""What the unrollers share: what they know of their node, and graphs of ONNX nodes that grow one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from qcompile.frontend.call import Call, Operand, Unsupported, origin_of
from qcompile.frontend.const import Const
from qcompile.frontend.tensors import shape_of
from qcompile.ir import Shape
from qcompile.records import dataclass

MOST_STEPS = 2**12
LONG = f"at most {MOST_STEPS} steps can be unrolled"


@dataclass(frozen=True)
class Scope:
    """A recurrent node, and the tensors that are known where it stands. count: numbers for constants."""

    call: Call
    values: Mapping[str, Any]
    count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def node(self) -> onnx.NodeProto:
        return self.call.node

    @property
    def place(self) -> str:
        """What names of inner nodes begin with."""
        return origin_of(self.node).node

    def given(self, position: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def operand(self, name: str) -> Operand | None:
        found = self.values.get(name)
        assert found is None or isinstance(found, Operand)
        return found

    def shape(self, name: str) -> Shape:
        found = self.operand(name)
        if found is None:
            raise Unsupported(f"tensor '{name}' is not known in front of it", "export the model again")
        return shape_of(found)

    def constant(self, name: str, what: str) -> np.ndarray:
        found = self.operand(name)
        if not isinstance(found, Const):
            raise Unsupported(f"{what} is computed by the network; only constants are possible")
        return found.held

    def writer(self, inner: str = "") -> Writer:
        """An empty graph whose names begin with that of the node."""
        return Writer(f"{self.place}/{inner}", self.call.opset, self.count)

    def counted(self, steps: int) -> int:
        """The number of steps that a shape states. A single one tells that the first axis of the file's input, which
        was taken for the batch, may be that of the steps.
        """
        if steps > MOST_STEPS:
            raise Unsupported(f"it has {steps} steps", LONG)
        self.call.builder.single_step |= steps == 1
        return steps


class Writer:
    """A graph of ONNX nodes; `name` is that of a node and of the tensor it makes, behind the prefix."""

    def __init__(self, prefix: str, opset: int, count: Iterator[int]) -> None:
        self.graph, self.prefix, self.opset, self._count = onnx.GraphProto(), prefix, opset, count

    def constant(self, array: np.ndarray | np.generic) -> str:
        name = f"{self.prefix}constant_{next(self._count)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op: str, *inputs: str, name: str, domain: str = "", **attributes: Any) -> str:
        """The tensor that a new node makes of others."""
        made = self.prefix + name
        node = helper.make_node(op, list(inputs), [made], name=made, domain=domain, **attributes)
        self.graph.node.append(node)
        return made

    def alias(self, tensor: str, outer: str) -> None:
        """An output of the unrolled node, if somebody asks for it."""
        if outer:
            self.graph.node.append(helper.make_node("Identity", [tensor], [outer], name=outer))

    def element(self, tensor: str, index: int, axis: int, name: str) -> str:
        """One element along an axis, which disappears."""
        return self.add("Gather", tensor, self.constant(np.asarray(index, np.int64)), name=name, axis=axis)

    def part(self, tensor: str, start: int, stop: int, axis: int, name: str) -> str:
        """Elements start to stop along an axis."""
        return self.add("Gather", tensor, self.constant(np.arange(start, stop)), name=name, axis=axis)

    def raised(self, tensor: str, axis: int, name: str) -> str:
        """With an axis of size 1 more."""
        if self.opset < 13:
            return self.add("Unsqueeze", tensor, name=name, axes=[axis])
        return self.add("Unsqueeze", tensor, self.constant(np.array([axis])), name=name)

    def stacked(self, tensors: list[str], axis: int, name: str) -> str:
        """Tensors of one shape side by side along a new axis."""
        rows = [self.raised(t, axis, f"{name}/{i}") for i, t in enumerate(tensors)]
        return self.add("Concat", *rows, name=name, axis=axis)
