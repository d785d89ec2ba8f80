"""Simulators: one plan, run in process or printed as a numpy-only program."""

from qcompile.backends.pysim.emit import emit
from qcompile.backends.pysim.plan import plan
from qcompile.backends.pysim.simulator import Simulator, layers

__all__ = ["Simulator", "emit", "layers", "plan"]
