"""The processes of architecture `dataflow`: of each unit a view of final numbers, and a template that prints it."""

from collections.abc import Callable

from qcompile.backends.hls.units.buffered import buffered
from qcompile.backends.hls.units.context import Context, View
from qcompile.backends.hls.units.elementwise import combined, mapped
from qcompile.backends.hls.units.matvec import arg_max, depthwise, dynamic, matvec, pool
from qcompile.backends.hls.units.plane import bordered, concatenated, whole_window, window
from qcompile.backends.hls.units.plumbing import Loader, fork, from_port, held, reorder, repeat, to_port, width
from qcompile.hardware import units
from qcompile.hardware.network import Stage

VIEWS: dict[type[units.Unit], Callable[[Context, Stage], View]] = {
    units.MatVecUnit: matvec,
    units.SparseUnit: matvec,
    units.ScaledUnit: matvec,
    units.PairedUnit: matvec,
    units.DepthwiseUnit: depthwise,
    units.DynamicMatVecUnit: dynamic,
    units.PoolUnit: pool,
    units.GlobalPoolUnit: pool,
    units.ArgMaxUnit: arg_max,
    units.RequantUnit: mapped,
    units.ElementwiseUnit: combined,
    units.QuotientUnit: combined,
    units.SlidingWindowUnit: window,
    units.WholeWindowUnit: whole_window,
    units.PadUnit: bordered,
    units.ConcatUnit: concatenated,
    units.BufferedUnit: buffered,
    units.ReorderUnit: reorder,
    units.RepeatUnit: repeat,
    units.HeldUnit: held,
    units.ForkUnit: fork,
    units.WidthUnit: width,
    units.InputUnit: from_port,
    units.OutputUnit: to_port,
}

__all__ = ["VIEWS", "Context", "Loader", "View"]
