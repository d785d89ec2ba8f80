"""Layers of constant products as additions: a structure of C++ for each, which kernels call wherever its rows are
computed.
"""

from __future__ import annotations

from qcompile.backends.hls.builder import Builder, SumsLayer
from qcompile.backends.sums import view
from qcompile.hardware.site import rows_of, site
from qcompile.hardware.units.unrolled import adder_graphs
from qcompile.ir import Node


def sums(b: Builder, node: Node) -> SumsLayer | None:
    """Of a node that is unrolled and whose weights are constant."""
    graphs = adder_graphs(node, b.graph) if b.unrolled and not b.buffered else ()
    if not graphs:
        return None
    parts, column, row = [], 0, 0
    for i, graph in enumerate(graphs):
        parts.append(view(graph, "", column, row, f"g{i}s" if len(graphs) > 1 else "s"))
        column, row = column + graph.columns, row + len(graph.node)
    signs = any(v.type.codes.lane.signs for v in node.inputs if b.constant(v) is None)
    made = SumsLayer(
        f"Sums{len(b.sums)}",
        tuple(parts),
        column,
        row,
        sum(g.adders for g in graphs),
        max(g.levels for g in graphs),
        tuple(rows_of(site(b.graph, node))[0].sum(axis=1).tolist()) if signs else (),
    )
    b.sums.append(made)
    return made
