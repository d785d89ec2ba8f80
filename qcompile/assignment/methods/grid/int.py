"""Integers with a free scale."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.assignment.methods.grid.fixed import fixed

METHOD = GridMethod(
    name="int",
    what="integers with a free scale, 1 to 16 bits",
    paper="Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342",
    run=fixed,
    least=1,
    most=16,
)
