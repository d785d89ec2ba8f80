"""The units of architecture `dataflow`, a file each, and the unrolled layers of architecture `parallel`."""

from __future__ import annotations

from qcompile.hardware.site import Folding
from qcompile.hardware.units.buffered import BufferedUnit
from qcompile.hardware.units.concat import ConcatUnit
from qcompile.hardware.units.depthwise import DepthwiseUnit
from qcompile.hardware.units.dynamic import DynamicMatVecUnit
from qcompile.hardware.units.elementwise import ElementwiseUnit, QuotientUnit
from qcompile.hardware.units.fork import ForkUnit
from qcompile.hardware.units.gathered import GatheredUnit
from qcompile.hardware.units.held import HeldUnit
from qcompile.hardware.units.matvec import MatVecUnit
from qcompile.hardware.units.pad import PadUnit
from qcompile.hardware.units.paired import PairedUnit
from qcompile.hardware.units.pool import ArgMaxUnit, GlobalPoolUnit, PoolUnit
from qcompile.hardware.units.port import InputUnit, OutputUnit
from qcompile.hardware.units.reorder import ReorderUnit
from qcompile.hardware.units.repeat import RepeatUnit
from qcompile.hardware.units.requant import RequantUnit
from qcompile.hardware.units.scaled import ScaledUnit
from qcompile.hardware.units.sparse import SparseUnit
from qcompile.hardware.units.unit import Traffic, Unit, WindowUnit
from qcompile.hardware.units.unrolled import UnrolledUnit
from qcompile.hardware.units.whole_window import WholeWindowUnit
from qcompile.hardware.units.width import WidthUnit
from qcompile.hardware.units.window import SlidingWindowUnit
from qcompile.ir import Graph, Node

CHOSEN: tuple[type[Unit], ...] = (
    SparseUnit,
    ScaledUnit,
    PairedUnit,
    MatVecUnit,
    DepthwiseUnit,
    DynamicMatVecUnit,
    GlobalPoolUnit,
    PoolUnit,
    ArgMaxUnit,
    RequantUnit,
    ElementwiseUnit,
    QuotientUnit,
    PadUnit,
    ConcatUnit,
    RepeatUnit,
    ReorderUnit,
    BufferedUnit,
)
"""Units for nodes; the first one that is for a node makes it."""
UNITS: tuple[type[Unit], ...] = (
    *CHOSEN,
    SlidingWindowUnit,
    WholeWindowUnit,
    HeldUnit,
    ForkUnit,
    WidthUnit,
    InputUnit,
    OutputUnit,
)


def unit_of(node: Node, graph: Graph, folding: Folding = Folding()) -> Unit:
    """The unit that makes a node. folding divides its `limits`."""
    return next(found for kind in CHOSEN if (found := kind.of(node, graph, folding)) is not None)


__all__ = [
    "UNITS",
    "ArgMaxUnit",
    "BufferedUnit",
    "ConcatUnit",
    "DepthwiseUnit",
    "DynamicMatVecUnit",
    "ForkUnit",
    "GatheredUnit",
    "GlobalPoolUnit",
    "HeldUnit",
    "InputUnit",
    "MatVecUnit",
    "ElementwiseUnit",
    "OutputUnit",
    "PadUnit",
    "PairedUnit",
    "PoolUnit",
    "QuotientUnit",
    "ReorderUnit",
    "RepeatUnit",
    "RequantUnit",
    "ScaledUnit",
    "SparseUnit",
    "Traffic",
    "Unit",
    "UnrolledUnit",
    "WholeWindowUnit",
    "WidthUnit",
    "WindowUnit",
    "SlidingWindowUnit",
    "unit_of",
]
