"""What compiled kernels do in one: a border, the convolutions that read it, and the functions behind each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from qcompile.backends.pysim.plan import KernelCall, Ref, SimulatorPlan, ends, names
from qcompile.sim.compiled import FUNCTIONS

_CONVOLUTIONS = ("conv", "depthwise")
_HEADS = (*_CONVOLUTIONS, "combine", *FUNCTIONS)


def fused(p: SimulatorPlan) -> SimulatorPlan:
    """The plan with calls of `chain` (see `sim.compiled.bound`), and without what those take in."""
    readers = Counter(name for call in p.calls for name in names(call.args)) + Counter(p.outputs)
    made = _with_lookups(p.calls, readers)
    calls = {call.target: call for call in made}
    borders = _borders(calls, readers)
    behind = {
        call.args[0].name: call
        for call in made
        if call.kernel in FUNCTIONS and isinstance(call.args[0], Ref) and readers[call.args[0].name] == 1
    }
    out: list[KernelCall] = []
    for call in made:
        first = names(call.args[:1])
        if call.target in borders or (call.kernel in FUNCTIONS and first and _heads(first[0], behind, calls, call)):
            continue
        out.append(_chain(call, behind, borders, calls) if call.kernel in _HEADS else call)
    return dataclasses.replace(p, calls=tuple(out), done=ends(out, p.outputs))


def _with_lookups(calls: Sequence[KernelCall], readers: Counter[str]) -> list[KernelCall]:
    """The calls with one function where a number is repeated along a new axis, goes through a function each time, and
    the results are multiplied by a column of weights.
    """
    by_target, out, taken = {call.target: call for call in calls}, list[KernelCall](), set[str]()
    for call in calls:
        each = _source(call, "matmul", by_target, readers)
        repeated = _source(each, each.kernel, by_target, readers) if each and each.kernel in _SUMS else None
        source = _source(repeated, "take", by_target, readers)
        if each is None or repeated is None or source is None or not _is_repeated(source, repeated):
            out.append(call)
            continue
        weights, dtype = call.args[1:]
        whole = isinstance(weights, np.ndarray) and weights.shape[-1] == 1 and dtype in ("f4", "f8")
        found = _SUMS[each.kernel](weights.ravel().astype(np.float64), each.args[1:], dtype) if whole else None
        out.append(call if found is None else KernelCall(call.target, found[0], (repeated.args[0], *found[1])))
        taken |= set() if found is None else {each.target, repeated.target}
    return [call for call in out if call.target not in taken]


def _is_repeated(source: KernelCall, call: KernelCall) -> bool:
    """Whether what is taken is all there is along a last axis of size 1."""
    shape: tuple[int, ...] = source.args[1] if source.kernel == "reshape" else ()
    return len(shape) > 0 and shape[-1] == 1 and call.args[1] == len(shape) - 1


def _sum_of_counts(weights: np.ndarray, args: Sequence[Any], dtype: str) -> tuple[str, tuple[Any, ...]] | None:
    """A search among all cuts."""
    cuts, start, step, _ = args
    if len(cuts) != 1 or np.shape(cuts[0]) != weights.shape or cuts[0].dtype.kind != "f":
        return None
    order = np.argsort(cuts[0], kind="stable")
    jumps = (weights * (1.0 if step is None else step))[order]
    values = np.cumsum([np.sum(weights * start), *jumps])
    return "search_thresholds", (0, cuts[0][None, order], values[None], dtype)


def _sum_of_lookups(weights: np.ndarray, args: Sequence[Any], dtype: str) -> tuple[str, tuple[Any, ...]] | None:
    """One table."""
    index, first, values = args
    if values.dtype.kind != "f" or np.shape(index) not in ((), weights.shape):
        return None
    rows = np.broadcast_to(0 if index is None else index, weights.shape)
    return "lookup", (None, first, (weights @ values[rows])[None].astype(dtype))


_SUMS = {"count_thresholds": _sum_of_counts, "lookup": _sum_of_lookups}


def _source(
    call: KernelCall | None, kernel: str, calls: dict[str, KernelCall], readers: Counter[str]
) -> KernelCall | None:
    """What makes the first operand of a call of this kernel, and for nobody else."""
    first = names(call.args[:1]) if call is not None and call.kernel == kernel else []
    return calls.get(first[0]) if first and readers[first[0]] == 1 else None


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
