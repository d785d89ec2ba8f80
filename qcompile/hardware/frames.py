"""Frames of all steps, which hardware of one step takes one after the other: architecture `parallel` with a cell for
all steps of a recurrence.
"""

from __future__ import annotations

from qcompile.ir import Value
from qcompile.records import dataclass


@dataclass(frozen=True)
class FramePort:
    """A port with what all steps read or make: element j of step t is (j // group * steps + t) * group + j % group; of
    the last step alone where group is 0.
    """

    value: Value
    group: int


@dataclass(frozen=True)
class Frames:
    """Of `steps` steps. The last input of a step, which the frame lacks, is 1 in the first one."""

    steps: int
    inputs: tuple[FramePort, ...]
    outputs: tuple[FramePort, ...]
