"""Minifloats with a free scale."""

from __future__ import annotations

from qcompile.assignment.methods import GridMethod
from qcompile.assignment.methods.grid.minifloat import minifloat

METHOD = GridMethod(
    name="float",
    what="minifloats with a free scale, 3 to 8 bits",
    paper="Post-Training Quantization with Low-precision Minifloats and Integers on FPGAs, arXiv 2311.12359",
    run=minifloat,
    least=3,
    most=8,
)
