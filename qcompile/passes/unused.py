"""Nodes whose output nobody reads are removed."""

from __future__ import annotations

import dataclasses

from qcompile.ir import Graph
from qcompile.ir.walk import live


def remove_unused(graph: Graph) -> Graph:
    """The same graph without them; inputs stay, they are ports."""
    return dataclasses.replace(graph, nodes=live(graph.nodes, graph.outputs))
