"""Nodes whose output nobody reads are removed."""

from __future__ import annotations

import dataclasses

from qcompile.ir import Graph


def remove_unused(graph: Graph) -> Graph:
    """The same graph without them; inputs stay, they are ports."""
    needed = {v.name for v in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if any(v.name in needed for v in node.outputs):
            kept.append(node)
            needed |= {v.name for v in node.inputs}
    return dataclasses.replace(graph, nodes=tuple(reversed(kept)))
