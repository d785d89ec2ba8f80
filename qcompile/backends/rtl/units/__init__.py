"""The processes of architecture `dataflow` as modules: of each unit a view, and a template that prints it."""

from collections.abc import Callable

from qcompile.backends.rtl.process import Maker, ProcessModule
from qcompile.backends.rtl.units.elementwise import combined, mapped
from qcompile.backends.rtl.units.folded import arg_max, depthwise, dynamic, matvec, pool
from qcompile.backends.rtl.units.gathered import gathered
from qcompile.backends.rtl.units.plane import bordered, concatenated, whole_window, window
from qcompile.backends.rtl.units.plumbing import fork, from_port, held, reorder, repeat, to_port, width
from qcompile.hardware import units

PROCESSES: dict[type[units.Unit], Callable[[Maker], ProcessModule]] = {
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
    units.GatheredUnit: gathered,
    units.ReorderUnit: reorder,
    units.RepeatUnit: repeat,
    units.HeldUnit: held,
    units.ForkUnit: fork,
    units.WidthUnit: width,
    units.InputUnit: from_port,
    units.OutputUnit: to_port,
}

__all__ = ["PROCESSES", "Maker", "ProcessModule"]
