"""The user's data."""

from __future__ import annotations

from collections.abc import Callable

from qcompile.assignment.data import Data
from qcompile.assignment.jobs import StepProgress
from qcompile.assignment.methods import SourceMethod
from qcompile.ir import Graph


def real(
    graph: Graph, given: Callable[[], Data], seed: int, progress: StepProgress, span: tuple[float, float] | None = None
) -> Data:
    """The user's data, as they are."""
    return given()


METHOD = SourceMethod(
    name="real",
    what="calibration data of the user",
    paper="A White Paper on Neural Network Quantization, arXiv 2106.08295",
    needs=("data",),
    run=real,
    makes=False,
)
