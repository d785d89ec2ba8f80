"""The emitted simulator: `sim/model.py` (numpy only) and `sim/params.npz`, printed from the same plan that runs in
process.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.backends.pysim.plan import DTYPES, KernelCall, Ref, input_call, output_steps, plan, steps_behind
from qcompile.backends.pysim.simulator import Simulator
from qcompile.ir import Graph, ops
from qcompile.ir.walk import maker
from qcompile.passes.ports import HostOutput
from qcompile.records import dataclass
from qcompile.sim import kernels as kernels_module
from qcompile.templating import templates

_INLINE = 1  # arrays with more numbers go to params.npz


@dataclass(frozen=True)
class SimulatorInput:
    shape: str
    structural: tuple[str, ...]
    quantize: str


@dataclass(frozen=True)
class SimulatorOutput:
    variable: str
    steps: tuple[str, ...]
    softmax: str
    behind: tuple[str, ...]
    index: bool
    encode: str
    shape: str


@dataclass(frozen=True)
class SimulatorState:
    """What a frame makes of a state, and what it is at first."""

    variable: str
    initial: str


@dataclass(frozen=True)
class SimulatorView:
    """All that the template prints; every text is final and made of our own identifiers and numbers only."""

    kernels: str
    inputs: tuple[SimulatorInput, ...]
    entry: tuple[str, ...]
    calls: tuple[str, ...]
    outputs: tuple[SimulatorOutput, ...]
    tile: int
    states: tuple[SimulatorState, ...] = ()


class _PythonPrinter:
    """Prints arguments as Python; arrays become parameters p0, p1, ..."""

    def __init__(self) -> None:
        self.params: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}

    def variable(self, name: str) -> str:
        return self.names.setdefault(name, f"v{len(self.names)}")

    def arg(self, a: Any) -> str:
        if isinstance(a, Ref):
            return self.variable(a.name)
        if isinstance(a, np.ndarray):
            return self._array(a)
        if isinstance(a, list):
            return "[" + ", ".join(map(self.arg, a)) + "]"
        if isinstance(a, tuple):
            return "(" + "".join(self.arg(i) + ", " for i in a) + ")"
        if isinstance(a, np.generic):
            return repr(a.item())
        return repr(a)

    def _array(self, a: np.ndarray) -> str:
        name = f"p{len(self.params)}"
        if a.dtype == object:
            # npz holds no Python integers without pickle: print them as text.
            self.params[name] = np.array([str(v) for v in a.ravel().tolist()]).reshape(a.shape)
            return f'_big(P["{name}"])'
        self.params[name] = np.ascontiguousarray(a)
        return f'P["{name}"]'

    def done(self, name: str) -> str:
        variable = self.variable(name)
        return f"{variable} = _done(trace, {variable!r}, {variable})"

    def call(self, c: KernelCall) -> str:
        args = ", ".join(map(self.arg, c.args))
        return f"{self.variable(c.target)} = {c.kernel}({args})"


def emit(simulator: Simulator) -> dict[str, bytes]:
    """sim/model.py and sim/params.npz."""
    p, show = simulator.plan, _PythonPrinter()
    entry = tuple(show.variable(name) for name, _ in p.inputs)
    in_views = tuple(
        SimulatorInput(
            show.arg(h.source_shape),
            tuple(_structural(op, show) for op in h.structural),
            _entry(*input_call(h, d), show),
        )
        for h, (_, d) in zip(simulator.host_inputs, p.inputs, strict=False)
    )
    calls = tuple(
        line for c, done in zip(p.calls, p.done, strict=True) for line in (show.call(c), *map(show.done, done))
    )
    out_views = tuple(_output(simulator.graph, i, h, show) for i, h in enumerate(simulator.host_outputs))
    dtypes = dict(p.inputs)
    states = tuple(
        SimulatorState(show.variable(s.output), show.arg(s.initial.data[None].astype(DTYPES[dtypes[s.input]])))
        for s in simulator.graph.states
    )
    kernels = Path(kernels_module.__file__).read_text().split('"""', 2)[2].strip()
    view = SimulatorView(kernels, in_views, entry, calls, out_views, p.tile, states)
    text = templates().get_template("pysim/model.py.j2").render(view=view)
    return {"sim/model.py": text.encode(), "sim/params.npz": _npz(show.params)}


def _entry(kernel: str, arguments: tuple[Any, ...], show: _PythonPrinter) -> str:
    return f"{kernel}(x, {', '.join(map(show.arg, arguments))})"


def variables(graph: Graph) -> dict[str, str]:
    """Value name -> variable of `run` in the emitted simulator."""
    p, show = plan(graph), _PythonPrinter()
    for name, _ in p.inputs:
        show.variable(name)
    for call in p.calls:
        show.call(call)
    return show.names


def _structural(op: Any, show: _PythonPrinter) -> str:
    if isinstance(op, ops.Reshape):
        return f"x = reshape(x, {op.shape!r})"
    if isinstance(op, ops.Transpose):
        return f"x = transpose(x, {op.perm!r})"
    return f"x = take(x, {op.axis}, {show.arg(np.array(op.indices))})"


def _output(graph: Graph, position: int, host: HostOutput, show: _PythonPrinter) -> SimulatorOutput:
    value = graph.out_ports[position]
    steps, behind = (
        tuple(f"y = host_step(y, {name!r}, {show.arg(a)}, {show.arg(b)})" for name, a, b in found(host))
        for found in (output_steps, steps_behind)
    )
    softmax = _softmax(host.softmax) if host.softmax else ""
    index = maker(graph, value, ops.ArgMax) is not None
    return SimulatorOutput(
        show.variable(value.name),
        steps,
        softmax,
        behind,
        index,
        _encode(value.type.format, show),
        show.arg(host.vector_shape),
    )


def _softmax(op: ops.Softmax) -> str:
    if op.codes is not None:
        return f"y = softmax_codes(y, {op.axis + 1}, {', '.join(map(str, op.codes))})"
    return f"y = softmax(y, {op.axis + 1}, {op.log})"


def _encode(fmt: Any, show: _PythonPrinter) -> str:
    if fmt.consecutive:
        return "_integers(u)"
    if fmt.lane.signs:
        return "(_integers(u) + 1) // 2"
    grid = fmt.grid()
    return f"{show.arg(np.asarray(fmt.encode(grid)))}[np.searchsorted({show.arg(grid)}, _integers(u))]"


def _npz(params: dict[str, np.ndarray]) -> bytes:
    """An npz with fixed time stamps, not compressed: the same parameters give the same bytes with every zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in params.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), content.getvalue())
    return buffer.getvalue()
