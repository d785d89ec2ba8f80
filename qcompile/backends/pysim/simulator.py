"""The in-process simulator: runs the plan, batch by batch, exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qcompile.arrays import NUMBERS, Header
from qcompile.backends.pysim.fuse import fused
from qcompile.backends.pysim.plan import (
    KernelCall,
    Ref,
    SimulatorPlan,
    input_call,
    names,
    output_steps,
    plan,
    steps_behind,
)
from qcompile.errors import QCompileError
from qcompile.ir import Graph, ops
from qcompile.ir.walk import maker
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.sim import compiled, kernels
from qcompile.sim.structure import rearrange

_MORE = 2  # times the vectors at once where kernels are compiled, which need no memory for columns
MOST_RESULTS = 2**27  # numbers of all outputs together: 1 GiB


class Simulator:
    """Bit-accurate execution of an integer graph and of the host's part around it.

    Arrays have the vector index first: floats and codes as the source framework shapes them (N, *vector_shape), units
    (N, *port shape). Vectors of a graph that keeps states are frames one behind the other.
    """

    def __init__(self, graph: Graph, inputs: tuple[HostInput, ...], outputs: tuple[HostOutput, ...]) -> None:
        self.graph, self.host_inputs, self.host_outputs = graph, inputs, outputs
        self.plan: SimulatorPlan = plan(graph)
        self._entries = [input_call(h, d) for h, (_, d) in zip(inputs, self.plan.inputs, strict=False)]
        self._steps = [output_steps(h) for h in outputs]
        self._behind = [steps_behind(h) for h in outputs]
        self._compiled: _Compiled | None = None

    def quantize(self, *x: np.ndarray) -> list[np.ndarray]:
        """Float inputs -> units of every input port."""
        self._require_all(x)
        return [self._quantize(i, np.asarray(a)) for i, a in enumerate(x)]

    def check(self, x: Sequence[np.ndarray | Header]) -> None:
        """QCompileError where these arrays, of which only shape and type are looked at, are no inputs."""
        self._require_all(x)
        counts = {batch_shape(a.shape, a.dtype, h)[0] for a, h in zip(x, self.host_inputs, strict=True)}
        if len(counts) > 1:
            raise QCompileError(f"the inputs have different numbers of vectors: {sorted(counts)}")
        values = max(counts, default=1) * sum(v.type.size for v in self.graph.out_ports)
        if values > MOST_RESULTS:
            raise QCompileError(
                f"{max(counts)} vectors give {values:,} numbers; {MOST_RESULTS:,} are the most",
                "",
                "give fewer at a time",
            )

    def _require_all(self, x: Sequence[np.ndarray | Header]) -> None:
        if len(x) != len(self.host_inputs):
            raise QCompileError(
                f"the model has {len(self.host_inputs)} input(s), {len(x)} were given",
                hint="in order: "
                + ", ".join(h.name for h in self.host_inputs)
                + "; several are arrays of one .npz file",
            )

    def _quantize(self, position: int, x: np.ndarray) -> np.ndarray:
        host = self.host_inputs[position]
        x = with_batch(x, host)
        for op in host.structural:
            x = rearrange(op, lead=1)(x)
        try:
            kernel, arguments = self._entries[position]
            fast = self._fast()
            entry = None if fast is None else fast.entries[position]
            return np.asarray(getattr(kernels, kernel)(x, *arguments) if entry is None else entry(x))
        except ValueError as error:
            raise QCompileError(str(error), f"input '{host.name}'") from None

    def run(self, units: list[np.ndarray], keep: bool = False) -> dict[str, np.ndarray]:
        """Units of every output port (keep: of every value) for units of the input ports, behind which those of states
        may stand (see `with_states`).
        """
        units = self.with_states(units)
        values: dict[str, Any] = {
            name: u.astype(dtype, copy=False) for (name, dtype), u in zip(self.plan.inputs, units, strict=True)
        }
        results = dict(values) if keep else {}
        fast = None if keep else self._fast()
        if fast is not None:
            fast.run(values)
        else:
            self._run(values, keep)
        if keep:
            results.update(values)
        batch = len(units[0]) if units else 1
        for name in self.plan.outputs:
            results[name] = _batched(values[name], batch)
        return results

    def with_states(self, units: list[np.ndarray]) -> list[np.ndarray]:
        """Units of the ports, and what the states are in every frame, from the first on."""
        states = self.graph.states
        if not self.graph.keeps or len(units) == len(self.plan.inputs):
            return units
        now = [s.initial.data[None] for s in states]
        found: list[list[np.ndarray]] = [[] for _ in states]
        for i in range(len(units[0])):
            for one, kept in zip(now, found, strict=True):
                kept.append(one)
            made = self.run([*(u[i : i + 1] for u in units), *now])
            now = [made[s.output] for s in states]
        empty = (np.zeros((0, *s.initial.data.shape), dtype=np.int64) for s in states)
        return [*units, *(np.concatenate(k) if k else e for k, e in zip(found, empty, strict=True))]

    def _fast(self) -> _Compiled | None:
        """With compiled kernels, where there are some."""
        library = compiled.library()
        if library is not None and self._compiled is None:
            self._compiled = _Compiled(self.plan, self._entries, library)
        return None if library is None else self._compiled

    def _run(self, values: dict[str, Any], keep: bool) -> None:
        """All calls, by numpy alone."""
        start = time.perf_counter()
        for call, done in zip(self.plan.calls, self.plan.done, strict=True):
            values[call.target] = getattr(kernels, call.kernel)(*[_resolve(a, values) for a in call.args])
            for name in () if keep else done:
                del values[name]
        compiled.spent(time.perf_counter() - start)

    def port_units(self, *x: np.ndarray) -> list[np.ndarray]:
        """Units of every output port, for float inputs; tiled over the batch."""
        return self._tiled(x, lambda position, units: units)

    def _tiled(self, x: tuple[np.ndarray, ...], finish: Callable[[int, np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """finish(position, units) of every output port, tile by tile of the batch."""
        x = tuple(np.asarray(a) for a in x)
        self.check(x)
        x = tuple(with_batch(a, h) for a, h in zip(x, self.host_inputs, strict=True))
        count, results = len(x[0]), list[np.ndarray]()
        units = self.with_states(self.quantize(*x)) if self.graph.keeps else []
        tile = self.plan.tile * (1 if compiled.library() is None else _MORE)
        for start in range(0, max(count, 1), tile):
            stop = start + tile
            some = [u[start:stop] for u in units] or self.quantize(*(a[start:stop] for a in x))
            run = self.run(some)
            part = [finish(i, run[v.name]) for i, v in enumerate(self.graph.out_ports)]
            if count <= tile:
                return part
            results = results or [np.empty((count, *p.shape[1:]), dtype=p.dtype) for p in part]
            for whole, p in zip(results, part, strict=True):
                whole[start:stop] = p
        return results

    def codes(self, *x: np.ndarray) -> list[np.ndarray]:
        """Codes of every output port."""
        return [
            encode(u, v.type.format).reshape(len(u), *h.vector_shape)
            for u, v, h in zip(self.port_units(*x), self.graph.out_ports, self.host_outputs, strict=True)
        ]

    def __call__(self, *x: np.ndarray) -> list[np.ndarray]:
        """Real values of every output, the host's part included (float64; int64 for indices)."""
        return self._tiled(x, self.finish)

    def finish(self, position: int, units: np.ndarray) -> np.ndarray:
        """Output units -> real values."""
        host = self.host_outputs[position]
        if maker(self.graph, self.graph.out_ports[position], ops.ArgMax):
            return units.astype(np.int64).reshape(len(units), *host.vector_shape)
        value = units.astype(np.float64) + 0.0  # never -0: which zero a kernel makes differs
        for name, a, b in self._steps[position]:
            value = kernels.host_step(value, name, a, b)
        if host.softmax:
            value = softmax(value, host.softmax, 1)
            for name, a, b in self._behind[position]:
                value = kernels.host_step(value, name, a, b)
        return np.asarray(value).reshape(len(units), *host.vector_shape)


def softmax(x: np.ndarray, op: ops.Softmax, lead: int) -> np.ndarray:
    """Of the host, behind `lead` axes of the batch."""
    if op.codes is not None:
        return np.asarray(kernels.softmax_codes(x, op.axis + lead, *op.codes))
    return np.asarray(kernels.softmax(x, op.axis + lead, op.log))


class _Compiled:
    """The plan with compiled kernels where there are some."""

    def __init__(self, p: SimulatorPlan, entries: list[tuple[str, tuple[Any, ...]]], library: compiled.Library) -> None:
        self.plan = fused(p)
        self.entries = [compiled.bound(library, *entry) for entry in entries]
        self.bound = [_bound(library, call) for call in self.plan.calls]

    def run(self, values: dict[str, Any]) -> None:
        for call, bound, done in zip(self.plan.calls, self.bound, self.plan.done, strict=True):
            if bound is not None:
                values[call.target] = bound(_resolve(call.args[0], values))
            else:
                values[call.target] = getattr(kernels, call.kernel)(*[_resolve(a, values) for a in call.args])
            for name in done:
                del values[name]


def _bound(library: compiled.Library, call: KernelCall) -> compiled.Bound | None:
    """The compiled kernel of a call, None where numpy's is the only one."""
    found = None if names(call.args[1:]) else compiled.bound(library, call.kernel, call.args[1:])
    return found or (compiled.unbound(call.args[1:]) if call.kernel == "chain" else None)


def _batched(x: np.ndarray, batch: int) -> np.ndarray:
    return np.broadcast_to(x, (batch, *x.shape[1:])) if len(x) != batch else x


def _resolve(a: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(a, Ref):
        return values[a.name]
    return [_resolve(i, values) for i in a] if isinstance(a, list) else a


def encode(units: np.ndarray, fmt: Any) -> np.ndarray:
    """Units, in any dtype that holds them exactly, as codes."""
    return np.asarray(fmt.encode(units.astype(np.int64) if units.dtype.kind in "fiu" else units))


def with_batch(x: np.ndarray, host: HostInput) -> np.ndarray:
    """The input with the vector index first, as `batch_shape` says."""
    return x.reshape(batch_shape(x.shape, x.dtype, host))


def layers(plan: SimulatorPlan, units: Sequence[np.ndarray], given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every node makes of its operands, where the tensors in `given` have those units and not what was made of the
    inputs.
    """
    values: dict[str, Any] = {}
    made: dict[str, np.ndarray] = {}

    def put(name: str, value: np.ndarray) -> None:
        made[name] = value
        values[name] = given[name].astype(value.dtype) if name in given else value

    for (name, dtype), u in zip(plan.inputs, units, strict=True):
        put(name, u.astype(dtype, copy=False))
    for call in plan.calls:
        put(call.target, getattr(kernels, call.kernel)(*[_resolve(a, values) for a in call.args]))
    return made


def batch_shape(given: tuple[int, ...], dtype: np.dtype, host: HostInput) -> tuple[int, ...]:
    """(N, *shape) of an array of vectors; given: that, or (N, *shape[1:]) where the model's own batch axis is 1.
    QCompileError where the array is no input.
    """
    shape = host.source_shape
    if dtype.kind not in NUMBERS:
        raise QCompileError(f"the array must hold numbers, not {dtype}", f"input '{host.name}'")
    if given[1:] == shape and len(given) == len(shape) + 1:
        return given
    if shape and shape[0] == 1 and given[1:] == shape[1:] and len(given) == len(shape):
        return given[:1] + shape
    if shape and shape[0] == 1 and given[2:] == shape[1:] and len(given) == len(shape) + 1:
        return (given[0] * given[1], *shape)  # N batches of the size that the file states
    allowed = (
        f"(N, {', '.join(map(str, shape[1:]))})" if shape and shape[0] == 1 else f"(N, {', '.join(map(str, shape))})"
    )
    raise QCompileError(f"the array has shape {given}; {allowed} is needed, N vectors", f"input '{host.name}'")
