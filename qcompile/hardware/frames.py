"""Frames of all steps, which hardware of one step takes one after the other: architecture `parallel` with a cell for
all steps of a recurrence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qcompile.errors import QCompileError
from qcompile.ir import Graph, Param, Shape, Value, ops
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.records import dataclass


@dataclass(frozen=True)
class Sides:
    """An integer graph, and what the host does at its ports."""

    graph: Graph
    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]


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


def frames(whole: Sides, step: Sides, steps: int) -> Frames:
    """whole: of all steps, step: of one. QCompileError where their ports differ in more than that."""
    inputs = zip(whole.graph.in_ports, whole.inputs, step.graph.in_ports, step.inputs, strict=False)
    outputs = zip(whole.graph.out_ports, whole.outputs, step.graph.out_ports, step.outputs, strict=False)
    sides = (
        tuple(_port(a, b, steps, _alike(_does(x), _does(y))) for a, x, b, y in side)
        for side in (list(inputs), list(outputs))
    )
    return Frames(steps, *sides)


def _does(host: HostInput | HostOutput) -> tuple[object, ...]:
    """What the host does at a port, but for the order of elements."""
    if isinstance(host, HostInput):
        return host.affine, host.clip, host.quantize, host.count
    return host.steps, host.softmax is None, host.behind


def _alike(a: object, b: object) -> bool:
    """The same steps, whatever the shapes of their parameters."""
    if isinstance(a, Param) and isinstance(b, Param):
        return not any(a.combine(b, lambda x, y: x - y).values)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, ops.Step):
        return type(a) is type(b) and all(map(_alike, vars(a).values(), vars(b).values()))
    return a == b


def _port(whole: Value, step: Value, steps: int, same: bool) -> FramePort:
    group = _group(whole.type.shape, step.type.shape, steps) if same else None
    if group is None:
        what = f"'{whole.name}' has other numbers in a step than in all of them"
        raise QCompileError(what, "--recurrence rolled", "--arch dataflow")
    return FramePort(whole, group)


def _group(whole: Shape, step: Shape, steps: int) -> int | None:
    if whole == step:
        return 0
    differs: Sequence[int] = [i for i, (a, b) in enumerate(zip(whole, step, strict=False)) if a != b]
    if len(whole) != len(step) or len(differs) != 1 or whole[differs[0]] != steps * step[differs[0]]:
        return None
    return math.prod(step[differs[0] :])
