"""Tensors that take a format although no product or sum reads them: inputs of the network, real functions in front of
what compares or divides integers, quotients that nothing rounds; with I-ViT's integers what these are made of.
"""

from __future__ import annotations

from collections.abc import Collection

from qcompile.ir import Graph, Node, Value, ops
from qcompile.ir.walk import is_constant, is_irrational, maker
from qcompile.passes import ivit, ports
from qcompile.passes.rows import at_end
from qcompile.passes.summed import guarded
from qcompile.sim.reference import increasing

Use = tuple[Value, Node | None]  # a tensor, and what reads it
_INTEGERS = (ops.Divide, ops.Normalize, ops.MaxPool, ops.ReduceMax, ops.Pad, ops.Concat)
_CHAINED = (ops.Affine, ops.Clip, ops.Leaky, ops.Reshape, ops.Transpose, ops.Take)


def unrounded(graph: Graph, rounded: Collection[str]) -> list[Use]:
    """What needs a format beside tensors that have one."""
    found: dict[str, Use] = {v.name: (v, None) for v in ports.unformatted(graph, rounded) if not _chooses(graph, v)}
    for node in graph.nodes:
        for value in node.inputs if _takes_integers(graph, node) else ():
            known = {*rounded, *found}
            if is_constant(graph, value) and value.type.format is None and value.name not in known:
                found[value.name] = value, node
            value = guarded(graph, value) if isinstance(node.op, ops.Divide) else value
            real = is_irrational(graph.producers, value, known) and not _in_order(graph, node, value, known)
            if real or (isinstance(node.op, ops.Softmax) and _is_fine(graph, value, known)):
                found[value.name] = value, node
    for node in graph.nodes:
        if _is_quotient(graph, node) and not _is_rounded(graph, node.output, {*rounded, *found}):
            found[node.output.name] = node.output, node
    return list(found.values())


def in_front_of_kernels(graph: Graph, rounded: Collection[str]) -> list[Use]:
    """Operands of the functions that I-ViT's integers can stand for, without the quantizer that these need."""
    users = {n.inputs[0].name: n for n in graph.nodes if ivit.kernel_of(n) and not _on_host(graph, n)}
    return [(n.inputs[0], n) for n in users.values() if not _has_codes(graph, n.inputs[0], rounded)]


def _has_codes(graph: Graph, value: Value, rounded: Collection[str]) -> bool:
    made = graph.producers.get(value.name)
    if value.name in rounded or made is None or isinstance(made.op, ops.Quantize):
        return True
    return ivit.keeps_codes(made) and _has_codes(graph, made.inputs[0], rounded)


_MASK = -64  # exponentials of less are 0


def _is_fine(graph: Graph, value: Value, rounded: Collection[str]) -> bool:
    """Whether a tensor is shifted by float constants, whose last bits no table of exponentials tells apart. Masks are
    none: what they are added to becomes 0.
    """
    made = graph.producers.get(value.name)
    if made is None or value.name in rounded or not isinstance(made.op, _CHAINED):
        return False
    fine = isinstance(made.op, ops.Affine) and any(v and v > _MASK for v in made.op.add.values)
    return fine or _is_fine(graph, made.inputs[0], rounded)


def _chooses(graph: Graph, value: Value) -> bool:
    """Whether a tensor only has the places of entries of tables: it is no number that could be rounded."""
    readers = graph.consumers.get(value.name, [])
    return bool(readers) and all(
        isinstance(n.op, ops.Lookup) or (isinstance(n.op, (*_CHAINED, ops.Combine)) and _chooses(graph, n.output))
        for n in readers
    )


def _takes_integers(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, ops.Softmax):
        return not _on_host(graph, node)
    return isinstance(node.op, (*_INTEGERS, ops.ArgMax))


def _on_host(graph: Graph, node: Node) -> bool:
    return isinstance(node.op, ops.Softmax) and at_end(graph, node)


def _in_order(graph: Graph, node: Node, value: Value, rounded: Collection[str]) -> bool:
    """Whether a comparison of what a function is of says the same."""
    if not isinstance(node.op, (ops.MaxPool, ops.ReduceMax, ops.ArgMax)):
        return False
    made = graph.producers.get(value.name)
    while made is not None and isinstance(made.op, ops.Step) and increasing(made.op):
        value = made.inputs[0]
        made = graph.producers.get(value.name)
    return not is_irrational(graph.producers, value, rounded)


def divided_outputs(graph: Graph, rounded: Collection[str]) -> set[str]:
    """Outputs of the graph that are quotients and have a quantizer: what they have no digits without."""
    return {v.name for v in graph.outputs if v.name in rounded and maker(graph, v, ops.Divide) is not None}


def _is_quotient(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, ops.Softmax):
        return not node.op.log and node.op.codes is None and not at_end(graph, node)
    return isinstance(node.op, ops.Divide)


def _is_rounded(graph: Graph, value: Value, rounded: Collection[str]) -> bool:
    """Whether all that reads a quotient rounds it before it computes anything else."""
    if value.name in rounded:
        return True
    if value in graph.outputs:
        return False
    return all(
        isinstance(n.op, (ops.Quantize, ops.Round))
        or (isinstance(n.op, _CHAINED) and _is_rounded(graph, n.output, rounded))
        for n in graph.consumers.get(value.name, [])
    )
