"""A node about to be built, as patterns of several nodes see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qcompile.frontend.call import GraphBuilder
from qcompile.ir import Node, Origin, Value
from qcompile.records import dataclass


@dataclass(frozen=True)
class NewNode:
    """A node about to be built, its inputs as they are now."""

    builder: GraphBuilder
    op: Any
    inputs: tuple[Value, ...]
    origin: Origin

    def maker(self, x: Value) -> Node | None:
        """The node that makes a tensor; None for inputs of the graph."""
        return self.builder.makers.get(x.name)

    def emit(self, op: Any, *inputs: Value) -> Value:
        """A node in place of this one."""
        return self.builder.emit(op, inputs, self.origin)


Pattern = Callable[[NewNode], Value | None]
