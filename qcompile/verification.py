"""reference == simulator == emitted simulator == compiled C++, on every code of every output."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.authenticity import checked, described
from qcompile.backends import hls
from qcompile.backends.pysim.emit import variables
from qcompile.backends.pysim.simulator import encode, with_batch
from qcompile.errors import QCompileError, VerificationError, keywords
from qcompile.explanation import explain
from qcompile.float32 import execute, execute_all
from qcompile.hardware.products import multiplications
from qcompile.ir import ONE, ZERO, Param, Value, integers, ops
from qcompile.passes import ivit
from qcompile.passes.ports import cuts, port_limits, to_port
from qcompile.passes.rolled import with_all_steps
from qcompile.passes.stepwise import Stepwise
from qcompile.pipeline import Design
from qcompile.processes import run, scratch
from qcompile.project import layer_numbers, layer_results
from qcompile.records import dataclass
from qcompile.sim import ratio
from qcompile.sim.band import Band, beside_real
from qcompile.sim.ratio import Lazy, Ratio
from qcompile.sim.reference import evaluate
from qcompile.tables import card, html

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One comparison: what was compared, on how many vectors and codes, and how many differed."""

    what: str
    vectors: int
    codes: int
    differing: int
    note: str = ""


@dataclass(repr=False)
class Report:
    """Result of `verify`: exact comparisons, and the float32 execution beside them. files: how many were compared."""

    files: int = 0
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        shown = [(r.what, f"{r.differing} of {r.codes} codes differ, {r.vectors} vectors") for r in self.rows]
        return card("Report of verify", [*shown, *(("note", n) for n in self.notes)])

    def _repr_html_(self) -> str:
        rows = [(r.what, r.vectors, r.codes, r.differing, r.note) for r in self.rows]
        facts = [("note", n) for n in self.notes]
        return html("Report of verify", facts, ("comparison", "vectors", "codes", "differing", "note"), rows)

    def record(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [vars(r) for r in self.rows]


@keywords
def verify(
    directory: str | Path,
    *x: np.ndarray,
    samples: int = 1000,
    seed: int = 0,
    float32: bool = True,
    rtl: bool = False,
    progress: Progress = lambda text: None,
) -> Report:
    """Verify a written project: its files are those that its model and options give, and all executions agree on the
    inputs x (vector index first), on random ones, on the extremes of the input format, and layer by layer. rtl: of a
    project of C++ also the SystemVerilog that the same options give.

    VerificationError names every file that differs, and the first layer and element that diverge, with both values.
    """
    folder = Path(directory)
    progress("1 of 5: every file, beside the model compiled again")
    design, files, wrong = checked(folder)
    report = Report(len(files.files))
    x = design.at_ports(*x) if x else x
    try:
        _execute(design, folder, x, samples, seed, (float32, rtl), progress, report)
    except VerificationError as error:
        if not wrong:
            raise
        raise VerificationError(f"{error.what}; {described(wrong)}", error.where, error.hint) from None
    if wrong:
        raise VerificationError(
            f"{described(wrong)}; the executions agree all the same",
            str(folder),
            "compile the model again, or remove what does not belong here",
        )
    return report


def _execute(
    design: Design,
    folder: Path,
    x: tuple[np.ndarray, ...],
    samples: int,
    seed: int,
    more: tuple[bool, bool],
    progress: Progress,
    report: Report,
) -> None:
    """All executions beside each other; more: whether the float32 one and SystemVerilog beside C++ are wanted."""
    float32, beside = more
    fewer = affordable(multiplications(design.graph), samples)
    if fewer < samples:
        report.notes.append(
            f"{fewer} random vectors instead of {samples}: one takes the C++ about {_seconds(design):.2g} s"
        )
    inputs = _inputs(design, x, fewer, seed)
    units = design.simulator.with_states(design.simulator.quantize(*inputs))
    on = f"on {len(inputs[0])} vectors"
    progress(f"2 of 5: reference and simulator {on}")
    values = _check_reference(design, inputs, units, report)
    codes = [encode(values[v.name], v.type.format) for v in design.graph.out_ports]
    progress(f"3 of 5: emitted simulator {on}")
    _check_emitted(design, folder, inputs, units, codes, report)
    if design.options.backend == "rtl":
        progress("4 of 5: the SystemVerilog in a simulator")
        _check_rtl(design, folder, units, codes, report)
    else:
        progress(f"4 of 5: compiling the C++, then {on}")
        _check_cpp(design, folder, units, codes, values, report)
        if beside:
            progress("4 of 5: the SystemVerilog of the same options in a simulator")
            same = replace(design, options=replace(design.options, backend="rtl"))
            with scratch() as work:
                project = work / "beside" / "rtl"  # writing locks the folder around it, and this run holds `work`
                same.files().write(project)
                _check_rtl(same, project, units, codes, report)
    if design.steps is not None:
        _check_sequences(design, design.steps, seed, report)
    if float32:
        progress(f"5 of 5: float32 execution on {min(FLOAT_VECTORS, len(inputs[0]))} vectors")
        _compare_float32(design, inputs, report)


_PER_SECOND = 5 * 10**8  # multiplications of the compiled C++, roughly
_HEAVY = 0.1  # seconds of one vector from which both ends and one mixture of them are all the extremes


def _seconds(design: Design) -> float:
    return multiplications(design.graph) / _PER_SECOND


def affordable(multiplications: int, samples: int) -> int:
    """How many random vectors are run: what is asked for, but no more than about ten seconds' worth (100 where one
    takes less than 0.2 s).
    """
    seconds = max(multiplications / _PER_SECOND, 1e-9)
    return min(samples, max(100, int(8 / seconds)) if seconds <= 0.2 else max(4, int(4 / seconds)))


# --- inputs


def _inputs(design: Design, given: tuple[np.ndarray, ...], samples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Given vectors, then random ones (uniform over a little more than the format's range, and normal), then the
    extremes.
    """
    if given:
        design.simulator.check(given)
    made = []
    for position, (host, random) in enumerate(zip(design.inputs, random_inputs(design, samples, seed), strict=True)):
        low, high = _float_range(host)
        shape = host.source_shape
        rng = np.random.default_rng([seed, position, 1])
        heavy = _seconds(design) > _HEAVY
        ends = _floats32(
            np.array([np.full(shape, v) for v in ((low, high) if heavy else (low, high, 0.0, low * 2, high * 2))])
        )
        mixed = _floats32(np.where(rng.random((1 if heavy else 6, *shape)) < 0.5, low, high))
        parts = [random, ends, mixed]
        if design.steps is not None and host.name == design.steps.reset:
            parts = [_resets(rng, np.concatenate(parts).shape)]
        if given:
            own = with_batch(np.asarray(given[position]), host)
            if not np.isfinite(own).all():
                raise QCompileError("the array holds NaN or infinity", f"input '{host.name}'", "give finite numbers")
            parts.insert(0, own if own.dtype == np.float64 else own.astype(np.float32))
        made.append(np.concatenate(parts))
    if len({len(m) for m in made}) > 1:
        raise QCompileError("the inputs have different numbers of vectors")
    return tuple(made)


def random_inputs(design: Design, samples: int, seed: int) -> tuple[np.ndarray, ...]:
    """float32 vectors for every input: half uniform over a little more than the format's range, half normal."""
    made = []
    for position, host in enumerate(design.inputs):
        rng = np.random.default_rng([seed, position])
        low, high = _float_range(host)
        shape, normals = host.source_shape, samples // 2
        spread = (high - low) or 1.0
        uniform = rng.uniform(low - 0.05 * spread, high + 0.05 * spread, (samples - normals, *shape))
        width = rng.choice([0.02, 0.1, 0.3], size=(normals,) + (1,) * len(shape))
        normal = (low + high) / 2 + rng.normal(size=(normals, *shape)) * spread * width
        made.append(_floats32(np.concatenate([uniform, normal])))
    return tuple(made)


def _float_range(host: Any) -> tuple[float, float]:
    """Smallest and largest input that the port can tell apart."""
    if host.count is not None:
        sign, least = cuts(host)
        ends = [_float32(t * s) for t in (min(least.values), max(least.values)) for s in sign.values]
        return min(ends), max(ends)
    mul, add = to_port(host)
    corners = []
    for limit in port_limits(host):
        for m in mul.values:
            corners += [
                _float32((u - a) / m)
                for u in {min(limit.values), max(limit.values)}
                for a in {add.values[0], add.values[-1]}
                if m
            ]
    corners = corners or [0.0, 0.0]
    return min(corners), max(corners)


def _resets(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Sequences of some steps each."""
    found = (rng.random(shape) < BEGINS).astype(np.float32)
    found[:1] = 1
    return found


BEGINS = 1 / 16  # share of the steps that begin a sequence
_LARGEST = 3e38  # that float32 holds, nearly


def _float32(value: Fraction) -> float:
    return float(min(max(value, Fraction(-_LARGEST)), Fraction(_LARGEST)))


def _floats32(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


# --- the exact comparisons


def _unequal(a: Ratio, b: Ratio) -> np.ndarray:
    unit = ratio.shared(a.unit, b.unit)
    return np.asarray(a.on(unit).num != b.on(unit).num)


def _check_reference(
    design: Design, inputs: tuple[np.ndarray, ...], units: list[np.ndarray], report: Report
) -> dict[str, np.ndarray]:
    """Simulator against reference, quantizer by quantizer and at the outputs, in tiles of the batch."""
    if design.truncated:
        return _beside_reference(design, inputs, units, report)
    names = {v.name for v in design.graph.out_ports}
    kept: dict[str, list[np.ndarray]] = {}
    count, bands = len(inputs[0]), dict[str, Band]()
    largest = max([n.output.type.size for n in design.reference.nodes] + [1])
    tile = max(1, 2**22 // largest)
    for start in range(0, count, tile):
        part = slice(start, start + tile)
        values = design.simulator.run([u[part] for u in units], keep=True)
        given = {h.name: x[part] for h, x in zip(design.inputs, inputs, strict=True)}
        wanted = evaluate(design.reference, given | _states(design, units, part))
        _compare_tile(design, values, wanted, start)
        for kind, found in beside_real(design.reference, wanted, start).items():
            bands[kind] = bands.get(kind, Band()) + found
        for name in names:
            kept.setdefault(name, []).append(values[name])
    outputs = {name: np.concatenate(parts) for name, parts in kept.items()}
    codes = sum(outputs[v.name].size for v in design.graph.out_ports)
    report.rows.append(Row("reference = simulator", count, codes, 0, _band_note(bands)))
    return outputs


SEQUENCES = 16  # that are run as a whole too


def _check_sequences(design: Design, steps: Stepwise, seed: int, report: Report) -> None:
    """Steps one behind the other beside the reference of the whole file, all steps at once."""
    count = steps.steps
    inputs = random_inputs(design, SEQUENCES * count, seed)
    inputs[-1][:] = (np.arange(SEQUENCES * count) % count == 0).reshape(-1, *(1,) * (inputs[-1].ndim - 1))
    each = zip(steps.whole.inputs, inputs, steps.inputs, strict=False)
    wanted = evaluate(steps.whole, {v.name: _of_steps(x, count, axis) for v, x, axis in each})
    made, codes = design.simulator.port_units(*inputs), 0
    for host, units, axis in zip(design.outputs, made, steps.outputs, strict=True):
        whole = units[count - 1 :: count] if axis is None else _of_steps(units, count, axis)
        _compare_output(host, whole, wanted[host.source.removesuffix(".step")], 0)
        codes += whole.size
    note = f"sequences of {count} steps, by the whole file and a step a vector"
    report.rows.append(Row("reference of all steps = simulator", SEQUENCES, codes, 0, note))


def _of_steps(x: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Sequences (N, ...) of the steps (N * count, ...) that an axis has in the file."""
    return np.concatenate([x[t::count] for t in range(count)], axis=axis + 1)


def _states(design: Design, units: list[np.ndarray], part: slice) -> dict[str, np.ndarray]:
    """What the inputs of the reference that are states are in some frames."""
    ports = {n.output.name: n.inputs[0].name for n in design.reference.nodes if n.inputs}
    values = {v.name: v.type for v in design.graph.inputs}
    kept = zip(design.graph.states, units[len(design.inputs) :], strict=True)
    return {
        ports[s.input]: ratio.of_units(u[part], values[s.input].unit(), values[s.input].zero_point).float64()
        for s, u in kept
    }


def _beside_reference(
    design: Design, inputs: tuple[np.ndarray, ...], units: list[np.ndarray], report: Report
) -> dict[str, np.ndarray]:
    """Accumulators that the user made narrower are not exact: how many outputs differ from the exact reference, and by
    how much.
    """
    parts, differing, total, largest = [], 0, 0, 0.0
    for start in range(0, len(inputs[0]), design.simulator.plan.tile):
        part = slice(start, start + design.simulator.plan.tile)
        values = design.simulator.run([u[part] for u in units])
        wanted = evaluate(design.reference, {h.name: x[part] for h, x in zip(design.inputs, inputs, strict=True)})
        for i, (host, value) in enumerate(zip(design.outputs, design.graph.out_ports, strict=True)):
            made = wanted[host.source]
            exact = made.float64()
            off = (
                np.abs(design.simulator.finish(i, values[value.name]).reshape(exact.shape) - exact)
                if host.softmax is None
                else np.zeros(0)
            )
            top = float(np.abs(exact).max(initial=0)) or 1.0
            differing, total = differing + int((off > 1e-12 * top).sum()), total + off.size
            largest = max(largest, float(off.max(initial=0)) / top)
        parts.append(values)
    dropped = f"{len(design.truncated)} accumulators drop up to {max(design.truncated.values())} bits, as asked"
    note = f"{dropped}; largest difference {largest:.2g} of the largest output"
    report.rows.append(Row("exact reference beside simulator", len(inputs[0]), total, differing, note))
    return {v.name: np.concatenate([p[v.name] for p in parts]) for v in design.graph.out_ports}


def _compare_tile(design: Design, values: dict[str, np.ndarray], wanted: dict[str, Any], start: int) -> None:
    inputs = [(v, f"input '{design.graph.layers[v.name]}'") for v in design.graph.in_ports]
    maps = [(n.output, str(n.origin)) for n in design.graph.nodes if isinstance(n.op, ops.Requant)]
    for value, where in inputs + maps:
        expected = wanted.get(value.name)
        if isinstance(expected, Ratio) and _is_whole_quantizer(design, value):
            got = ratio.of_units(values[value.name], value.type.unit(), value.type.zero_point)
            _require(
                _unequal(got, expected),
                got,
                expected,
                f"{where}, tensor '{value.name}'",
                start,
                "reference",
                "simulator",
            )
    for host, value in zip(design.outputs, design.graph.out_ports, strict=True):
        made = wanted[host.source]
        _compare_output(host, values[value.name], made, start)


def _is_whole_quantizer(design: Design, value: Value) -> bool:
    """Whether the reference quantizes a tensor, and none of its channels are left out because nobody reads them."""
    node = design.reference.producers.get(value.name)
    if node is None or not isinstance(node.op, (ops.Quantize, ops.Count)):
        return False
    return node.output.type.size == value.type.size


def _compare_output(host: Any, units: np.ndarray, expected: Any, start: int) -> None:
    got: Any = ratio.of_units(units, ONE, ZERO)
    for step in host.steps:
        got = ratio.apply(got, step)
    got, expected = ratio.exactly(got), ratio.exactly(expected)
    if isinstance(expected, Lazy) and isinstance(got, Lazy):
        expected, got = expected.base, got.base
    _require(_unequal(got, expected), got, expected, f"output '{host.name}'", start, "reference", "simulator")


def _band_note(bands: dict[str, Band]) -> str:
    """Functions of rows that hardware makes beside the real ones."""
    parts = []
    for kind, band in bands.items():
        codes, differing, within = band.counts
        found = f"{differing} of {codes:,} codes differ from the real function, {within} in the band"
        parts.append(f"{kind}: {found} of {band.delta:.2g} steps")
    return "; ".join(parts)


def _require(different: np.ndarray, got: Any, expected: Any, where: str, start: int, left: str, right: str) -> None:
    if not different.any():
        return
    place = tuple(int(i) for i in np.argwhere(different)[0])
    a, b = (
        np.broadcast_to(r.float64() if hasattr(r, "float64") else r, different.shape)[place] for r in (expected, got)
    )
    raise VerificationError(
        f"{left} and {right} differ in {int(different.sum())} of {different.size} elements; first at vector"
        f" {start + place[0]}, element {list(place[1:])}: {left} {a}, {right} {b}",
        where,
    )


# --- emitted simulator


def _save(path: Path, inputs: tuple[np.ndarray, ...]) -> None:
    """The inputs as an npz whose names keep their order."""
    named: dict[str, Any] = {f"x{i:03d}": x for i, x in enumerate(inputs)}
    np.savez(path, **named)


def _check_emitted(
    design: Design,
    folder: Path,
    inputs: tuple[np.ndarray, ...],
    units: list[np.ndarray],
    codes: list[np.ndarray],
    report: Report,
) -> None:
    with scratch() as work:
        source, target = work / "x.npz", work / "y.npz"
        _save(source, inputs)
        _run(
            [sys.executable, str(folder / "sim" / "model.py"), str(source), str(target), "--codes"],
            "the emitted simulator fails",
        )
        with np.load(target, allow_pickle=False) as file:
            found = [
                _at_port(_stored(file[f"y{i}"]), h, c)
                for i, (h, c) in enumerate(zip(design.outputs, codes, strict=True))
            ]
        wrong = _first_difference(codes, found)
        if wrong is not None:
            one = tuple(x[wrong : wrong + 1] for x in inputs)
            trace = {} if design.graph.keeps else _emitted_trace(design, folder, one, work)
            _blame(design, [u[wrong : wrong + 1] for u in units], trace, wrong, "emitted simulator", codes, found)
    report.rows.append(Row("simulator = emitted simulator", len(inputs[0]), sum(c.size for c in codes), 0))


def _stored(y: np.ndarray) -> np.ndarray:
    """Codes of a file; those of more than 64 bits are stored as text."""
    return integers(y.ravel().tolist(), y.shape) if y.dtype.kind == "U" else y


def _at_port(y: np.ndarray, host: Any, codes: np.ndarray) -> np.ndarray:
    """An output of the emitted simulator in the shape of its port, like `codes`; as it is where its shape is wrong."""
    return y.reshape(codes.shape) if y.shape == (len(codes), *host.vector_shape) else y


def _first_difference(a: list[np.ndarray], b: list[np.ndarray]) -> int | None:
    """Number of the first vector in which any output differs."""
    bad = [
        np.flatnonzero((x != y).reshape(len(x), -1).any(axis=1)) if x.shape == y.shape else np.array([0])
        for x, y in zip(a, b, strict=True)
    ]
    firsts = [int(f[0]) for f in bad if len(f)]
    return min(firsts) if firsts else None


_TRACER = """
import sys, importlib.util
import numpy as np
spec = importlib.util.spec_from_file_location("model", sys.argv[1])
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
inputs = np.load(sys.argv[2])
trace = {}
units = [getattr(model, f"quantize_{i}")(inputs[n]) for i, n in enumerate(inputs.files)]
model.run(*units, trace=trace)
text = {k: np.array([str(int(v)) for v in np.ravel(t).tolist()]).reshape(np.shape(t)) for k, t in trace.items()}
np.savez(sys.argv[3], **text)
"""


def _emitted_trace(design: Design, folder: Path, one: tuple[np.ndarray, ...], scratch: Path) -> dict[str, np.ndarray]:
    source, target = scratch / "one.npz", scratch / "trace.npz"
    _save(source, one)
    _run(
        [sys.executable, "-c", _TRACER, str(folder / "sim" / "model.py"), str(source), str(target)],
        "the emitted simulator fails",
    )
    with np.load(target, allow_pickle=False) as file:
        known = set(file.files)
        return {name: file[var].astype(object) for name, var in variables(design.graph).items() if var in known}


def _blame(
    design: Design,
    units: list[np.ndarray],
    trace: dict[str, np.ndarray],
    vector: int,
    who: str,
    codes: list[np.ndarray],
    found: list[np.ndarray],
) -> None:
    """Raise, naming the first value in graph order in which `who` left the simulator on one vector."""
    made = with_all_steps(design.hardware, design.simulator.run(units, keep=True))
    _require_alike(design, made, trace, vector, who)
    for i, (a, b) in enumerate(zip(codes, found, strict=True)):
        if a.shape != b.shape or (a != b).any():
            place = tuple(int(p) for p in np.argwhere(a != b)[0]) if a.shape == b.shape else (0,)
            raise VerificationError(
                f"simulator and {who} differ at vector {place[0]}, element {list(place[1:])}: {a[place]} and"
                f" {b[place]}",
                f"output '{design.outputs[i].name}'",
            )


def _require_alike(
    design: Design, wanted: dict[str, np.ndarray], found: dict[str, np.ndarray], first: int, who: str, kind: str = ""
) -> None:
    """VerificationError with the first value in graph order in which they differ. first: number of the first vector;
    kind: what vectors they are.
    """
    graph = design.hardware
    order = [(v, f"input '{graph.layers[v.name]}'") for v in graph.inputs]
    order += [(n.output, str(n.origin)) for n in graph.nodes]
    for value, where in order:
        if value.name not in found or value.name not in wanted:
            continue
        shape = (-1, *value.type.shape)
        a, b = (_whole(x[value.name]).reshape(shape) for x in (wanted, found))
        if a.shape == b.shape and not (a != b).any():
            continue
        place = tuple(int(i) for i in np.argwhere(a != b)[0]) if a.shape == b.shape else (0,) * a.ndim
        raise VerificationError(
            f"simulator and {who} diverge first here: vector {first + place[0]}{kind}, element {list(place[1:])}:"
            f" simulator {a[place]}, {who} {b[place]}",
            f"{where}, tensor '{value.name}'",
        )


def _whole(x: np.ndarray) -> np.ndarray:
    """Integers in any dtype as integers that can be compared: int64, or Python integers where any is wider."""
    x = np.asarray(x)
    if x.dtype.kind == "f" and np.all(np.abs(x) < 2.0**53):
        return x.astype(np.int64)
    return x if x.dtype == np.int64 else integers(x.ravel().tolist(), x.shape)


# --- C++


def _check_cpp(
    design: Design,
    folder: Path,
    units: list[np.ndarray],
    codes: list[np.ndarray],
    values: dict[str, np.ndarray],
    report: Report,
) -> None:
    graph = design.graph
    if shutil.which("g++") is None:
        raise QCompileError("g++ was not found, so the C++ cannot be checked", hint="install g++")
    with scratch() as above:
        work = above / "project"
        _copy_sources(folder, work)
        _run(["make", "-C", str(work), "build/csim"], "the C++ does not compile")
        alone = _check_layers(design, work, units)
        bits = _bits(design, units)
        found = _run_cpp(design, work, bits)
        found_codes = [
            v.type.codes.from_bits(b).reshape(c.shape) for v, b, c in zip(graph.out_ports, found, codes, strict=True)
        ]
        wrong = _first_difference(codes, found_codes)
        if wrong is not None:
            trace = {} if design.frames is not None else _traced(design, work, bits, wrong)
            _blame(design, [u[wrong : wrong + 1] for u in units], trace, wrong, "C++", codes, found_codes)
    why = "they run once a step" if design.frames is not None else "too many numbers or products"
    note = f"and every layer by itself on {alone}" if alone else f"layers not by themselves: {why}"
    report.rows.append(Row("simulator = compiled C++", len(units[0]), sum(c.size for c in codes), 0, note))


def _traced(design: Design, work: Path, bits: list[np.ndarray], wrong: int) -> dict[str, np.ndarray]:
    """What the C++ makes inside of one vector, behind those before it where it keeps states."""
    first = 0 if design.graph.keeps else wrong
    _run_cpp(design, work, [b[first : wrong + 1] for b in bits], "--trace", str(work / "trace.bin"))
    trace = hls.read_trace(design.hardware, (work / "trace.bin").read_bytes(), design.network)
    return {name: x[-1:] for name, x in trace.items()}


RTL_PRODUCTS, RTL_VECTORS = 3 * 10**5, 8  # of unrolled SystemVerilog: seconds; the least, however long they take
RTL_CYCLES, RTL_FRAMES = 5 * 10**4, 3  # the same of a network of processes
# Clock cycles times LUTs of half a minute: of unrolled SystemVerilog in Icarus Verilog, of processes in Verilator.
RTL_LUT_CYCLES, VERILATED_LUT_CYCLES = 6 * 10**7, 3 * 10**10


def _rtl_vectors(design: Design, vectors: int) -> tuple[str, int]:
    """(simulator, how many of the vectors): Icarus Verilog takes some, Verilator, which builds for long and is fast
    then, all, or what it does in a minute.
    """
    from qcompile.backends.rtl.simulate import MANY, MANY_CYCLES, MANY_LUT_CYCLES, simulator  # which few need

    lut = max(1, int(design.estimate().total.lut))
    if design.schedule is None:
        by = simulator(vectors >= MANY)
        fewer = min(RTL_PRODUCTS // max(1, multiplications(design.graph)), RTL_LUT_CYCLES // lut - design.rtl.latency)
        return by, min(vectors, max(RTL_VECTORS, fewer)) if by == "Icarus Verilog" else vectors
    interval = design.schedule.interval
    cycles = interval * min(vectors, max(RTL_FRAMES, RTL_CYCLES // interval))
    by = simulator(cycles >= MANY_CYCLES or cycles * lut >= MANY_LUT_CYCLES)
    most = RTL_CYCLES if by == "Icarus Verilog" else min(100 * RTL_CYCLES, VERILATED_LUT_CYCLES // lut)
    return by, min(vectors, max(RTL_FRAMES, most // interval))


def _check_rtl(design: Design, folder: Path, units: list[np.ndarray], codes: list[np.ndarray], report: Report) -> None:
    """Codes, and the clock cycle of the first result, with pauses between the inputs and without; of processes of every
    result, and with outputs that are not taken at once.
    """
    from qcompile.backends.rtl.simulate import Simulation  # which few projects need

    by, count = _rtl_vectors(design, len(units[0]))
    some = np.unique(np.linspace(0, len(units[0]) - 1, min(count, len(units[0]))).astype(np.int64))
    if design.graph.keeps:  # frames follow one another
        some = np.arange(len(some))
    bits, wanted = [b[some] for b in _bits(design, units)], [c[some] for c in codes]
    # Weights that are loaded come once more in the middle, the same.
    again = (len(some) // 2, design.rtl.weights) if design.rtl.weights else None
    with scratch() as above:
        work = above / "project"
        work.mkdir()
        for name in ("rtl", "tb"):
            shutil.copytree(folder / name, work / name, symlinks=True)
        rtl = Simulation(work, design.graph, design.rtl, by)
        for pauses in (False, True):
            made = rtl(bits, pauses, again if pauses else None)
            found = [
                v.type.codes.from_bits(b).reshape(c.shape)
                for v, b, c in zip(design.graph.out_ports, made, wanted, strict=True)
            ]
            wrong = _first_difference(wanted, found)
            if wrong is not None:
                _blame(
                    design, [u[some[wrong]][None] for u in units], {}, int(some[wrong]), "SystemVerilog", wanted, found
                )
    every = f"interval {design.schedule.interval} and " if design.schedule is not None else ""
    note = f"by {by}, with pauses and without; {every}latency {design.rtl.latency} cycles, as stated"
    report.rows.append(Row("simulator = SystemVerilog", len(some), sum(c.size for c in wanted), 0, note))


LAYER_WORDS, LAYER_PRODUCTS = 2**22, 2 * 10**8  # of a trace; of the C++: seconds


def _check_layers(design: Design, work: Path, units: list[np.ndarray]) -> int:
    """Every layer of the C++ by itself: on how many vectors; 0 where traces or products are too many."""
    wanted, found = layer_traces(design, work, units)
    _require_alike(design, wanted, found, 0, "C++", " of those for single layers")
    return len(next(iter(wanted.values()), ()))


def layer_traces(
    design: Design, work: Path, units: list[np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Units that every layer should make, and those that the compiled C++ in `work` makes, of numbers that reach the
    ends of its accumulators and the steps of its functions.
    """
    given = layer_numbers(design, LAYER_WORDS, LAYER_PRODUCTS)
    if not given:
        return {}, {}
    count = len(next(iter(given.values())))
    ports = [np.resize(u, (count, *u.shape[1:])) for u in units[: len(design.inputs)]]
    (work / "given.bin").write_bytes(hls.trace_file(design.hardware, given, design.network))
    trace = work / "layers.bin"
    _run_cpp(design, work, _bits(design, ports), "--trace", str(trace), "--given", str(work / "given.bin"))
    found = hls.read_trace(design.hardware, trace.read_bytes(), design.network)
    return layer_results(design, ports, given), found


def _bits(design: Design, units: list[np.ndarray]) -> list[np.ndarray]:
    """Bit patterns of the codes at the input ports."""
    formats = [v.type.format for v in design.graph.in_ports]
    return [f.bits(encode(u, f)) for u, f in zip(units, formats, strict=False) if f is not None]


def _copy_sources(folder: Path, work: Path) -> None:
    """What the C++ is made of, and nothing of the user's: results of a synthesis are large."""
    work.mkdir()
    if (folder / "Makefile").is_file():
        shutil.copy(folder / "Makefile", work)
    for name in ("ap_types", "src", "tb"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, work / name, symlinks=True)


def _run_cpp(design: Design, work: Path, bits: list[np.ndarray], *extra: str) -> list[np.ndarray]:
    (work / "in.bin").write_bytes(hls.vector_file(design.graph, bits, network=design.network))
    _run([str(work / "build" / "csim"), *extra, str(work / "in.bin"), str(work / "out.bin")], "the compiled C++ fails")
    return hls.read_vectors(design.graph, (work / "out.bin").read_bytes(), outputs=True, network=design.network)


def _run(command: list[str], problem: str) -> str:
    """Output of a command. VerificationError with its last lines if it fails."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = run(command, env=environment)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise VerificationError(f"{problem}: {tail}")
    return done.stdout


# --- float32 beside it

FLOAT_VECTORS = 32


def _compare_float32(design: Design, inputs: tuple[np.ndarray, ...], report: Report) -> None:
    """qonnx's (or onnxruntime's) float32 execution of the same file: how many output codes differ, and by how much of a
    step. VerificationError where float32's rounding does not explain a difference.
    """
    what = "float32 execution"
    if design.plan is not None:
        note = "not run: the file is the float model; qcompile evaluate compares accuracies"
        report.rows.append(Row(what, 0, 0, 0, note))
        return
    if design.options.state_formats:
        note = "not run: --state-format rounds what the file leaves real; qcompile evaluate compares accuracies"
        report.rows.append(Row(what, 0, 0, 0, note))
        return
    if design.options.switch:
        report.rows.append(Row(what, 0, 0, 0, "not run: the file has all bits of its weights, and no input for them"))
        return
    if design.steps is not None:
        report.rows.append(Row(what, 0, 0, 0, f"not run: the file takes {design.steps.steps} steps at once"))
        return
    if any(n.origin.op in ivit.NAMES for n in design.reference.nodes):
        note = "not run: --kernels ivit has integers of its own; how far off the real functions are is not claimed"
        report.rows.append(Row(what, 0, 0, 0, note))
        return
    some = to_float_inputs(design, tuple(x[:FLOAT_VECTORS] for x in inputs))
    result, by = execute(design.model.source, design.reference, some)
    if result is None:
        report.rows.append(Row(what, 0, 0, 0, by))
        return
    exact = design.simulator.port_units(*some)
    differs, largest = [], 0.0
    for i, (host, units) in enumerate(zip(design.outputs, exact, strict=True)):
        steps = np.asarray(design.simulator.finish(i, units), dtype=np.float64)
        off = np.abs(np.asarray(result[i], dtype=np.float64).reshape(steps.shape) - steps) / _step_size(host)
        differs.append((off >= (0.5 if _only_scales(host) else REAL)).reshape(len(off), -1))
        largest = max(largest, float(off.max(initial=0)))
    wrong = np.concatenate(differs, axis=1)
    note = f"{by}; largest difference {largest:.2g} of a step"
    if wrong.any():
        note += _explained(design, some, np.flatnonzero(wrong.any(axis=1)), by)
    report.rows.append(Row(what, len(some[0]), wrong.size, int(wrong.sum()), note))


REAL = 1e-4  # of a real number that the host computes: less is no difference


def _explained(design: Design, inputs: tuple[np.ndarray, ...], vectors: np.ndarray, by: str) -> str:
    """How float32's rounding explains what it does otherwise on these vectors. VerificationError where it does not."""
    some = tuple(x[vectors] for x in inputs)
    found, _ = execute_all(design.model.source, design.reference, some)
    if found is None:  # not what it computes inside: bounds then grow from layer to layer
        outputs, _ = execute(design.model.source, design.reference, some)
        found = {v.name: y for v, y in zip(design.reference.outputs, outputs or [], strict=False)}
    names = [v.name for v in design.reference.inputs]
    result = explain(design.reference, dict(zip(names, some, strict=True)), found, vectors)
    if (problem := result.problem) is not None:
        raise VerificationError(
            f"the float32 execution ({by}) gives {problem.found:.9g} where exact arithmetic gives"
            f" {problem.expected:.9g}, and rounding does not explain it: {problem.boundary} (vector {problem.vector},"
            f" element {list(problem.element)})",
            f"{problem.where}, tensor '{problem.tensor}'",
            "the model may mean something else than it was compiled to: please report it; --no-float32 leaves this out",
        )
    if not result.differing:
        return "; explained: no code inside differs, and float32's error of the outputs may be that large"
    inside = f"; explained: {result.differing} numbers inside were so near a rounding boundary"
    return f"{inside} that float32's error reaches it, with at most {result.used:.0%} of its bound"


def to_float_inputs(design: Design, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """What a float execution must be fed to mean the same: on the port's grid, where the port and not the model
    quantizes.
    """
    inputs = tuple(with_batch(x, h) for x, h in zip(inputs, design.inputs, strict=True))
    made, read = ([n.output.name for n in g.nodes] for g in (design.reference, design.model.graph))
    if made == read:
        return inputs
    return tuple(_on_grid(design, i, x) for i, x in enumerate(inputs))


def _only_scales(host: Any) -> bool:
    return not host.softmax and len(host.steps) == 1


def _step_size(host: Any) -> Any:
    """One step of the output, where the host only scales; 1 where it applies a real function."""
    if not _only_scales(host):
        return 1.0
    mul: Param = host.steps[0].mul
    return np.abs(mul.numpy())


def _on_grid(design: Design, position: int, x: np.ndarray) -> np.ndarray:
    """The numbers that the port's codes stand for: what the float execution must be fed."""
    host = design.inputs[position]
    if host.structural or host.affine != ops.Affine():
        return x
    units = np.asarray(
        design.simulator.quantize(
            *[x if i == position else np.zeros((1, *h.source_shape)) for i, h in enumerate(design.inputs)]
        )[position]
    )
    value = units.astype(np.float64)
    t = design.graph.in_ports[position].type
    return np.asarray((value - t.zero_point.numpy()) * t.unit().numpy(), dtype=np.float32)


def report_record(report: Report) -> dict[str, Any]:
    """The report for JSON."""
    agree = all(r.differing == 0 for r in report.rows if "=" in r.what)
    return {"agree": agree, "files": report.files, "comparisons": report.record(), "notes": report.notes}
