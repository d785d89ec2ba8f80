"""How many products an inference takes, and whether all of them can be circuits of their own."""

from __future__ import annotations

from qcompile.ir import Graph, Node, ops
from qcompile.ir.walk import weights_of

UNROLLED = 200_000  # multiplications beyond which `parallel` cannot be meant for hardware
WIDE = 16  # bits of weights beyond which nobody has chosen them


def multiplications(graph: Graph) -> int:
    """Products of one inference."""
    return sum(_products(n) for n in graph.nodes)


def _products(node: Node) -> int:
    if node.op.products:
        return node.output.type.size * node.terms
    return node.output.type.size if isinstance(node.op, ops.Mul) else 0


def rolled(graph: Graph) -> bool:
    """Whether the layers stay loops: convolutional networks for whose planes unrolling makes no sense."""
    windowed = any(n.op.windowed or isinstance(n.op, ops.Pad) for n in graph.nodes)
    largest = max(v.type.size for v in (*graph.inputs, *(n.output for n in graph.computed)))
    return windowed and max(multiplications(graph), largest) > UNROLLED


def too_many(graph: Graph) -> str | None:
    """A warning where full unrolling cannot be meant for hardware."""
    total = multiplications(graph)
    if rolled(graph):
        return (
            f"{total:,} multiplications are too many to be unrolled in architecture parallel: the layers stay loops,"
            " one multiplication after the other; the project simulates exactly, but is slow in hardware: with --fit or"
            " --arch dataflow they work side by side"
        )
    if total <= UNROLLED:
        return None
    return (
        f"{total:,} multiplications are unrolled: too many for any part in architecture parallel; the project still"
        " simulates; --fit, or --arch dataflow, shares hardware between them"
    )


def unquantized(graph: Graph) -> str | None:
    """A warning where layers have weights as a float network has them."""
    constants = [weights_of(graph, n) for n in graph.nodes if n.op.products]
    wide = [n for n in (c.output.type.codes.width for c in constants if c is not None) if n > WIDE]
    if not wide:
        return None
    return (
        f"layers with weights of up to {max(wide)} bits, as real numbers need them: {len(wide)}; exact, but hardware as"
        " large as that; qcompile assign chooses fewer bits"
    )
