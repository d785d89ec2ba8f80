"""What only moves elements: what of it costs nothing, because streams, ports or the next layer have the same order, and
what one process does for several nodes.
"""

from __future__ import annotations

from qcompile.hardware.order import passing, permutation, stream_shape
from qcompile.ir import Graph, Node, Shape, Value, ops
from qcompile.ir.walk import maker, only_reader

MOVING = ops.Reshape, ops.Transpose  # all that comes; what is only taken in its order passes as it comes


def moved_for_nothing(graph: Graph) -> set[str]:
    """Results that no process makes: those in the order of what they are made of, those that ports turn, and those that
    the next one moves too.
    """
    return results_in_order(graph) | _turned_at_ports(graph)


def results_in_order(graph: Graph) -> set[str]:
    """Of these without what ports turn."""
    return {n.output.name for n in graph.nodes if _free(graph, n)}


def moves(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The nodes whose elements a process moves that makes the result of the last one, from the first on."""
    found = [node]
    while isinstance(node.op, MOVING) and (made := _moved_alone(graph, found[0].inputs[0])) is not None:
        found.insert(0, made)
    return tuple(found)


def _turned_at_ports(graph: Graph) -> set[str]:
    inputs = ((v, port_value(graph, v)[0]) for v in graph.inputs)
    turned = {inner.name for v, inner in inputs if inner is not v}
    return turned | {v.name for v in graph.outputs if port_value(graph, v)[0] is not v}


def _free(graph: Graph, node: Node) -> bool:
    return _passes(graph, node) or _left_to_next(graph, node)


def _left_to_next(graph: Graph, node: Node) -> bool:
    """Whether another node behind it, with nothing but such between, moves its result by a process."""
    while _moved_alone(graph, node.output) is node:
        reader = only_reader(graph, node.output)
        if reader is None or not isinstance(reader.op, MOVING) or _at_port(graph, reader):
            return False
        if not _passes(graph, reader):
            return True
        node = reader
    return False


def _moved_alone(graph: Graph, value: Value) -> Node | None:
    """The node that moves data to a value which one node alone reads, unless a port turns it."""
    made = graph.producers.get(value.name)
    if made is None or not isinstance(made.op, MOVING) or only_reader(graph, value) is None:
        return None
    if _at_port(graph, made) or made.inputs[0].name in graph.constants:
        return None
    turned = maker(graph, made.inputs[0], ops.Transpose)
    apart = turned is not None and _laid_out(graph, turned) and _moved_alone(graph, turned.output) is None
    return None if apart else made  # the order of what others read too is known behind it alone


def _at_port(graph: Graph, node: Node) -> bool:
    """Whether a port turns it."""
    ports = {v.name: v for v in (*graph.inputs, *graph.outputs)}
    source, out = node.inputs[0], node.output
    if source.name in ports and port_value(graph, source)[0] == out:
        return True
    return out.name in ports and port_value(graph, ports[out.name])[0] != out


def _passes(graph: Graph, node: Node) -> bool:
    """Constants, and what leaves the order of the stream as it is."""
    if isinstance(node.op, ops.Constant):
        return True
    if isinstance(node.op, ops.Reshape):
        made = maker(graph, node.inputs[0], ops.Transpose)
        laid = made is not None and _laid_out(graph, made)
        return laid or _same_order(node.inputs[0].type.shape, node.output.type.shape)
    return isinstance(node.op, ops.Transpose) and (_same_after(node) or _laid_out(graph, node))


def _laid_out(graph: Graph, node: Node) -> bool:
    """A transpose to the order of the stream, whose elements then are laid side by side."""
    readers = graph.consumers.get(node.output.name, [])
    return (
        tuple(node.op.perm) == permutation(len(node.op.perm))
        and bool(readers)
        and node.output not in graph.outputs
        and all(isinstance(n.op, ops.Reshape) and _raster(n.output.type.shape) for n in readers)
    )


def _raster(shape: Shape) -> bool:
    """Whether the stream's order is the raster order of the tensor."""
    axes = passing(shape)
    return axes == sorted(axes)


def _same_order(before: Shape, after: Shape) -> bool:
    return (_raster(before) and _raster(after)) or (
        len(before) > 2
        and len(after) > 2
        and _squeezed(stream_shape(before)) == _squeezed(stream_shape(after))
        and before[1] == after[1]
    )


def _squeezed(shape: Shape) -> Shape:
    return tuple(n for n in shape if n > 1)


def _same_after(node: Node) -> bool:
    """A transpose that only turns what the streams turn too."""
    before, perm = node.inputs[0].type.shape, node.op.perm
    out = [perm[a] for a in permutation(len(perm))]
    return [a for a in out if before[a] > 1] == passing(before)


def port_value(graph: Graph, value: Value) -> tuple[Value, Shape]:
    """What passes at the port of an input or output, and the axes of the port's tensor in the order of that: a
    transpose there costs nothing, its other side is streamed.
    """
    same = tuple(range(len(value.type.shape)))
    made, readers = graph.producers.get(value.name), graph.consumers.get(value.name, [])
    ports = {v.name for v in (*graph.inputs, *graph.outputs)}
    if made is not None:
        if (
            readers
            or not isinstance(made.op, ops.Transpose)
            or made.inputs[0].name in ports
            or len(graph.consumers[made.inputs[0].name]) > 1
        ):
            return value, same
        return made.inputs[0], tuple(made.op.perm.index(a) for a in same)
    if (
        len(readers) == 1
        and isinstance(readers[0].op, ops.Transpose)
        and readers[0].output.name not in ports
        and value not in graph.outputs
        and not _laid_out(graph, readers[0])  # which is free in the order of the port's own tensor
    ):
        return readers[0].output, readers[0].op.perm
    return value, same
