"""What compiled kernels do in one: a border, the convolutions that read it, and the functions behind each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from qcompile.backends.pysim.plan import KernelCall, Ref, SimulatorPlan, ends, names
from qcompile.sim.compiled import FUNCTIONS

_CONVOLUTIONS = ("conv", "depthwise")
_HEADS = (*_CONVOLUTIONS, "combine", *FUNCTIONS)


def fused(p: SimulatorPlan) -> SimulatorPlan:
    """The plan with calls of `chain` (see `sim.compiled.bound`), and without what those take in."""
    readers = Counter(name for call in p.calls for name in names(call.args)) + Counter(p.outputs)
    calls = {call.target: call for call in p.calls}
    borders = _borders(calls, readers)
    behind = {
        call.args[0].name: call
        for call in p.calls
        if call.kernel in FUNCTIONS and isinstance(call.args[0], Ref) and readers[call.args[0].name] == 1
    }
    out: list[KernelCall] = []
    for call in p.calls:
        first = names(call.args[:1])
        if call.target in borders or (call.kernel in FUNCTIONS and first and _heads(first[0], behind, calls, call)):
            continue
        out.append(_chain(call, behind, borders, calls) if call.kernel in _HEADS else call)
    return dataclasses.replace(p, calls=tuple(out), done=ends(out, p.outputs))


def _heads(source: str, behind: dict[str, KernelCall], calls: dict[str, KernelCall], call: KernelCall) -> bool:
    """Whether what makes the source does this call too."""
    return behind.get(source) is call and source in calls and calls[source].kernel in _HEADS


def _chain(
    head: KernelCall, behind: dict[str, KernelCall], borders: dict[str, Any], calls: dict[str, KernelCall]
) -> KernelCall:
    """The call with all functions behind it, each the only reader of what is in front of it."""
    source, border, last = head.args[0], None, head
    if isinstance(source, Ref) and source.name in borders and head.kernel in _CONVOLUTIONS:
        source, border = calls[source.name].args[0], borders[source.name]
    steps = [(head.kernel, head.args[1:])]
    while (follower := behind.get(last.target)) is not None:
        last = follower
        steps.append((last.kernel, last.args[1:]))
    return KernelCall(last.target, "chain", (source, border, steps))


def _borders(calls: dict[str, KernelCall], readers: Counter[str]) -> dict[str, Any]:
    """(before, after, fill) along the axes of the windows, of all borders that nothing but convolutions reads."""
    taken = {}
    for name, call in calls.items():
        if call.kernel == "border" and isinstance(call.args[0], Ref):
            own = [c for c in calls.values() if c.kernel in _CONVOLUTIONS and c.args[0] == Ref(name)]
            sides = [_sides(call, len(c.args[2])) for c in own]
            if own and len(own) == readers[name] and sides[0] is not None and all(s == sides[0] for s in sides):
                taken[name] = sides[0]
    return taken


def _sides(call: KernelCall, rank: int) -> tuple[Any, ...] | None:
    """(before, after, fill) of a border of one number around the last `rank` axes; None where it is another."""
    _, before, after, interior, fill, _ = call.args
    plain = isinstance(fill, float) and not any(interior) and min((*before, *after)) >= 0
    inner = not any(before[:-rank]) and not any(after[:-rank])
    return (before[-rank:], after[-rank:], fill) if plain and inner else None
