"""The units of architecture `dataflow`, a file each, and the unrolled layers of architecture `parallel`."""

from __future__ import annotations

from qcompile.hardware.site import Folding
from qcompile.hardware.units.buffered import Buffered
from qcompile.hardware.units.concat import Concat
from qcompile.hardware.units.depthwise import Depthwise
from qcompile.hardware.units.fork import Fork
from qcompile.hardware.units.matvec import MatVec
from qcompile.hardware.units.multiply import Multiply
from qcompile.hardware.units.pad import Pad
from qcompile.hardware.units.pool import Pool
from qcompile.hardware.units.port import Input, Output
from qcompile.hardware.units.requant import Requant
from qcompile.hardware.units.unit import Traffic, Unit
from qcompile.hardware.units.unrolled import Unrolled
from qcompile.hardware.units.width import Width
from qcompile.hardware.units.window import SlidingWindow
from qcompile.ir import Graph, Node

CHOSEN: tuple[type[Unit], ...] = (MatVec, Depthwise, Pool, Requant, Multiply, Pad, Concat, Buffered)
"""Units for nodes; the first one that is for a node makes it."""
UNITS: tuple[type[Unit], ...] = (*CHOSEN, SlidingWindow, Fork, Width, Input, Output)


def unit_of(node: Node, graph: Graph, folding: Folding = Folding()) -> Unit:
    """The unit that makes a node. folding divides its `limits`."""
    return next(found for kind in CHOSEN if (found := kind.of(node, graph, folding)) is not None)


__all__ = [
    "UNITS",
    "Buffered",
    "Concat",
    "Depthwise",
    "Fork",
    "Input",
    "MatVec",
    "Multiply",
    "Output",
    "Pad",
    "Pool",
    "Requant",
    "Traffic",
    "Unit",
    "Unrolled",
    "Width",
    "SlidingWindow",
    "unit_of",
]
