"""Which folding every layer gets: as the user says, or the least and the most that is possible."""

from __future__ import annotations

from qcompile.cost.site import Folding
from qcompile.errors import QCompileError
from qcompile.ir import Graph, Node, ops
from qcompile.schedule.stages import WHOLE, fullest, kind


def foldings(graph: Graph, text: str) -> dict[str, Folding]:
    """`min` (one product a cycle), `full` (everything that can be unrolled), or JSON {node: {"pe": P, "simd": S}}; by
    the node's result.
    """
    if text == "min":
        return {}
    constants = {n.output.name for n in graph.nodes if isinstance(n.op, ops.Constant)}
    units = {n.output.name: (n, kind(n, constants)) for n in graph.nodes if not isinstance(n.op, ops.Constant)}
    if text == "full":
        return {
            name: fullest(graph, n, k) for name, (n, k) in units.items() if k != WHOLE and len(n.output.type.shape) > 1
        }
    return _given(text, units)


def _given(text: str, units: dict[str, tuple[Node, str]]) -> dict[str, Folding]:
    from qcompile import documents  # most foldings are no JSON

    hint = 'a JSON object: {"layer": {"pe": 2, "simd": 4}, ...}'
    wanted = documents.checked(
        documents.FoldingFile, documents.parse(text, "the folding", hint=hint), "the folding", hint=hint
    )
    made = {name: Folding(f.pe, f.simd) for name, f in wanted.root.items()}
    by_node = {n.origin.node: name for name, (n, _) in units.items() if n.origin.node} | {name: name for name in units}
    unknown = [name for name in made if name not in by_node]
    if unknown:
        raise QCompileError(
            f"the folding names '{unknown[0]}', which is no layer", hint=f"layers: {', '.join(list(by_node)[:12])}"
        )
    return {by_node[name]: f for name, f in made.items()}
