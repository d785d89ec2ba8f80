"""The files of a project: sources, simulator, vectors, certificate, manifest, README."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qcompile.assets import asset
from qcompile.assignment.plan import SCHEMA as PLAN_SCHEMA
from qcompile.backends import board, hls, pysim, rtl
from qcompile.backends.base import FileSet
from qcompile.backends.pysim.simulator import encode
from qcompile.cost.exchange import fabric_of
from qcompile.cost.primitives import Fabric
from qcompile.files import sealed
from qcompile.formats import Format
from qcompile.frontend.onnx.kernels import RULES as INTEGER_KERNELS
from qcompile.frontend.tflite import is_tflite
from qcompile.hardware.estimate import in_logic
from qcompile.hardware.products import multiplications
from qcompile.hardware.timing import schedule_record
from qcompile.host import HostPart
from qcompile.ir import Node, Origin, Param, State, ops, print_graph
from qcompile.ir.walk import weights_of
from qcompile.options import VERSION
from qcompile.passes import ivit
from qcompile.passes.implement import price_of
from qcompile.passes.ports import HostInput, element_limits, port_limits
from qcompile.passes.ranges import ranges, row_ranges
from qcompile.passes.segments import counts
from qcompile.probes import probes
from qcompile.sim import host_part
from qcompile.sim.band import paths, reach_of_softmax
from qcompile.sim.ratio import narrowest
from qcompile.templating import templates

if TYPE_CHECKING:
    from qcompile.pipeline import Design

SCHEMA = 2  # of the manifest: 2 lists the hash of every file
VECTORS, VECTOR_WORDS = 64, 2**19  # of the testbench: at most so many, and about so many 64-bit words in all
PRODUCTS = 2 * 10**9  # multiplications of the C++ on all vectors that are shipped: half a minute
RESETS = 1 / 4  # of the steps that would have one by chance
LAYER_WORDS = 2**16  # 64-bit words of the numbers that are shipped for the layers, and of what they make of them


def vector_count(design: Design) -> int:
    """Vectors that a project ships."""
    words = sum(hls.layout(v).size for v in (*design.graph.in_ports, *design.graph.out_ports))
    return max(4, min(VECTORS, VECTOR_WORDS // words, PRODUCTS // max(1, multiplications(design.graph))))


def project_files(design: Design) -> FileSet:
    """Everything that `write` puts on disk."""
    files = _rtl(design) if design.options.backend == "rtl" else _hls(design)
    files |= pysim.emit(design.simulator)
    if design.network is not None and design.options.weights == "rom":  # the driver loads none
        files |= board.emit(design.network, design.top, design.options.board, design.options.clock_ns)
    files[model_file(design)] = design.model.source
    files |= _host_files(design, "board/driver.py" in files)
    if design.plan is not None:
        files["plan.json"] = design.plan.to_json().encode()
    if design.network is not None and design.schedule is not None:
        names = design.hardware.layers, [h.name for h in design.outputs]
        files["schedule.json"] = _json(schedule_record(design.network, design.schedule, *names))
    files["graph.txt"] = print_graph(design.hardware, data=False).encode()
    proofs = certificate(design)
    files["certificate.json"] = _json(proofs)
    files["README.md"] = _readme(design, proofs)
    files["LICENSE"] = asset("hw/LICENSE").read_bytes()
    files["NOTICE"] = asset("hw/NOTICE").read_bytes()
    files["manifest.json"] = sealed(manifest(design, FileSet(files).hashes()))
    return FileSet(files)


def model_file(design: Design) -> str:
    """What the user's file is called in a project."""
    return "model.tflite" if is_tflite(design.model.source) else "model.onnx"


def _host_parts(design: Design) -> dict[str, HostPart]:
    """What was cut off and the host runs, by its place."""
    parts = {"before": design.model.before, "after": design.model.after}
    return {place: part for place, part in parts.items() if part is not None}


def _host_files(design: Design, driven: bool) -> dict[str, bytes]:
    """What the host runs, and what runs it for a driver."""
    parts = {part.what: part.source for part in _host_parts(design).values()}
    return parts | ({"board/host_part.py": Path(host_part.__file__).read_bytes()} if parts and driven else {})


def _hls(design: Design) -> dict[str, bytes]:
    o, logic = design.options, in_logic(design.parts(), fabric_of(design.options.part))
    built = design.network, design.schedule, logic, design.frames
    files = hls.emit(design.hardware, design.top, o.part, o.clock_ns, *built)
    return files | _vectors(design)


def _rtl(design: Design) -> dict[str, bytes]:
    graph, (ins, outs) = design.graph, _port_codes(design, port_vectors(design, vector_count(design), seed=0))
    made = design.rtl
    chip = rtl.chip(made, graph, design.options.board)
    return rtl.emit(made, chip) | rtl.vector_files(graph, ins, outs, design.network)


def _json(record: Any) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=True) + "\n").encode()


def _vectors(design: Design) -> dict[str, bytes]:
    """Random and extreme input codes with the simulator's output codes."""
    graph, units = design.graph, port_vectors(design, vector_count(design), seed=0)
    ins, outs = _port_codes(design, units)
    return _layer_vectors(design, units) | {
        "tb/vectors/input.bin": hls.vector_file(graph, ins, network=design.network),
        "tb/vectors/output.bin": hls.vector_file(graph, outs, outputs=True, network=design.network),
    }


def _port_codes(design: Design, units: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Bit patterns of the codes at the inputs, and of what the simulator makes of them at the outputs."""
    graph, tile = design.graph, design.simulator.plan.tile
    units = design.simulator.with_states(units)
    runs = [design.simulator.run([u[start : start + tile] for u in units]) for start in range(0, len(units[0]), tile)]
    results = {v.name: np.concatenate([run[v.name] for run in runs]) for v in graph.out_ports}
    ins = [v.type.codes.bits(encode(u, v.type.codes)) for u, v in zip(units, graph.in_ports, strict=False)]
    return ins, [v.type.codes.bits(encode(results[v.name], v.type.codes)) for v in graph.out_ports]


def _layer_vectors(design: Design, units: list[np.ndarray]) -> dict[str, bytes]:
    """Numbers for every layer by itself, and what it makes of them; nothing where a trace is too long."""
    given = layer_numbers(design, LAYER_WORDS, PRODUCTS)
    count = len(next(iter(given.values()), ()))
    if count < LEAST_LAYERS:
        return {}
    made = layer_results(design, [np.resize(u, (count, *u.shape[1:])) for u in units], given)
    return {
        "tb/vectors/layers_in.bin": hls.trace_file(design.hardware, given, design.network),
        "tb/vectors/layers_out.bin": hls.trace_file(design.hardware, made, design.network),
    }


LEAST_LAYERS = 4  # fewer do not hold the ends of an accumulator


def layer_numbers(design: Design, words: int, products: int) -> dict[str, np.ndarray]:
    """Units for every tensor that the C simulation traces (see `probes`): at most so many words, and multiplications of
    the C++.
    """
    if design.frames is not None:  # its layers run once a step
        return {}
    traced = hls.traced_values(design.hardware, design.network)
    by_memory = words // max(1, sum(hls.trace_words(traced)))
    most = min(by_memory, math.ceil(products / max(1, multiplications(design.graph))))
    return probes(design.hardware, [v for v, _ in traced], most) if most >= LEAST_LAYERS else {}


def layer_results(design: Design, units: list[np.ndarray], given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Units that every layer makes of the given ones, in tiles of the batch; units: of the input ports."""
    plan = design.simulator.plan if design.hardware is design.graph else pysim.plan(design.hardware)
    units = [*units, *(_before(s, given[s.output]) for s in design.hardware.states)]
    tile, parts = plan.tile, []
    for start in range(0, len(units[0]), tile):
        part = slice(start, start + tile)
        made = pysim.layers(plan, [u[part] for u in units], {n: x[part] for n, x in given.items()})
        batch = len(units[0][part])
        parts.append({n: np.broadcast_to(made[n], (batch, *made[n].shape[1:])) for n in given})
    return {n: np.concatenate([p[n] for p in parts]) for n in given}


def _before(state: State, made: np.ndarray) -> np.ndarray:
    """A state in every step, of what the steps made; of one that is kept, in every frame."""
    if state.kept:
        return np.concatenate([state.initial.data[None].astype(made.dtype), made[:-1]])
    first = np.broadcast_to(state.initial.data, (len(made), *state.initial.data.shape))
    return np.concatenate([first.astype(made.dtype), made[..., :-1]], axis=-1)


def port_vectors(design: Design, count: int, seed: int) -> list[np.ndarray]:
    """Units (count, *shape) of every input port: all at the lower end, all at the upper end, zero, random ends, then
    uniform. States start from zeros in the first.
    """
    rng = np.random.default_rng(seed)
    made = [_port_units(h, count, rng) for h in design.inputs]
    if design.steps is not None:
        made[-1] &= rng.random(made[-1].shape) < RESETS
        made[-1][:1] = 1
    return made


def _port_units(host: HostInput, count: int, rng: np.random.Generator) -> np.ndarray:
    if (limits := element_limits(host)) is not None:
        low, high = (narrowest(p.on(host.shape).ravel(), host.shape) for p in limits)
        return _limited_units(low, high, count, rng)
    lo, hi = (int(p.values[0]) if p.is_scalar else None for p in port_limits(host))
    fmt = host.quantize.format
    lo, hi = fmt.min_units if lo is None else lo, fmt.max_units if hi is None else hi
    grid = _grid(fmt, lo, hi)
    shape = (count, *host.shape)
    if grid is None:
        wide = hi >= 2**63
        out = rng.integers(lo, hi, size=shape, endpoint=True, dtype=np.uint64 if wide else np.int64)
        out = out.astype(object) if wide else out
        nearest_zero = min(max(0, lo), hi)
    else:
        out = grid[rng.integers(0, len(grid), size=shape)]
        lo, hi, nearest_zero = int(grid[0]), int(grid[-1]), int(grid[np.argmin(np.abs(grid))])
    specials = [np.full(host.shape, v, dtype=out.dtype) for v in (lo, hi, nearest_zero)]
    specials += [np.where(rng.random(host.shape) < 0.5, *specials[:2]) for _ in range(3)]
    for i, special in enumerate(specials[:count]):
        out[i] = special
    return out


def _limited_units(lo: np.ndarray, hi: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Of a port whose elements have limits of their own."""
    shares = rng.integers(0, 2**16, size=(count, *lo.shape), endpoint=True)
    out = np.asarray(lo + ((hi - lo).astype(object) * shares >> 16), dtype=lo.dtype)
    specials = [lo, hi, np.clip(0, lo, hi)]
    specials += [np.where(rng.random(lo.shape) < 0.5, lo, hi) for _ in range(3)]
    for i, special in enumerate(specials[:count]):
        out[i] = special
    return out


def _grid(fmt: Format, lo: int, hi: int) -> np.ndarray | None:
    """The sorted units of formats that are no integers."""
    if fmt.consecutive:
        return None
    grid = fmt.grid()
    return grid[(grid >= lo) & (grid <= hi)]


# --- manifest and certificate


def _param(p: Param) -> Any:
    """A rational parameter as text: one number, or a list in tensor order."""
    return str(p.values[0]) if p.is_scalar else {"shape": list(p.shape), "values": [str(v) for v in p.values]}


def _step(step: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"op": type(step).__name__}
    for name, value in vars(step).items():
        if isinstance(value, tuple):
            record[name] = [_step(s) for s in value]
        elif value is not None:
            record[name] = _param(value) if isinstance(value, Param) else str(getattr(value, "value", value))
    return record


def _softmax(op: ops.Softmax) -> dict[str, Any]:
    return {"op": "Softmax", "axis": op.axis, "log": op.log, **({"codes": list(op.codes)} if op.codes else {})}


def manifest(design: Design, hashes: dict[str, str]) -> dict[str, Any]:
    """What manifest.json says. hashes: name -> sha256 of every other file of the project."""
    inputs = [
        {
            "name": h.name,
            "shape": list(h.vector_shape),
            "port_shape": list(h.shape),
            "format": str(h.quantize.format),
            "scale": _param(h.quantize.scale),
            "zero_point": _param(h.quantize.zero_point),
            "rounding": h.quantize.rounding.value,
            "overflow": h.quantize.overflow.value,
            "structure": [repr(op) for op in h.structural],
            "affine": _step(h.affine),
            "clip": _step(h.clip),
            **({"thresholds": _step(h.count)["thresholds"]} if h.count else {}),
        }
        for h in design.inputs
    ]
    outputs = [
        {
            "name": h.name,
            "shape": list(h.vector_shape),
            "port_shape": list(v.type.shape),
            "format": str(v.type.format),
            "host": (
                [_step(s) for s in h.steps]
                + ([_softmax(h.softmax)] if h.softmax else [])
                + [_step(s) for s in h.behind]
            ),
        }
        for h, v in zip(design.outputs, design.graph.out_ports, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "tool": {"name": "qcompile", "version": VERSION},
        "model": {"name": design.model.name, "sha256": design.model.sha256, "file": model_file(design)},
        **({"host": {k: p.record() for k, p in _host_parts(design).items()}} if _host_parts(design) else {}),
        **({"ends": [list(names) for names in design.model.ends]} if any(design.model.ends) else {}),
        "options": design.options.record(),
        **({"plan": {"schema": PLAN_SCHEMA, "sha256": design.plan.digest}} if design.plan else {}),
        "top": design.top,
        "inputs": inputs,
        "outputs": outputs,
        "warnings": list(design.warnings),
        "files": hashes,
    }


def certificate(design: Design) -> dict[str, Any]:
    """Why every accumulator is wide enough, and how every activation chain is computed."""
    known, fabric = ranges(design.hardware), fabric_of(design.options.part)
    accumulators, maps = [], []
    for node in design.hardware.nodes:
        reach = [known[v.name] for v in node.inputs]
        if isinstance(node.op, ops.Requant):
            low, high = row_ranges(node, reach)
            name = design.hardware.layers[node.output.name]
            maps.append({"layer": name} | _map_record(node, int(low.min()), int(high.max()), fabric))
        elif isinstance(node.op, ops.COMPUTED):
            lo, hi = known[node.output.name].bounds
            accumulators.append(
                {
                    "layer": design.hardware.layers[node.output.name],
                    "tensor": node.output.name,
                    "op": type(node.op).__name__,
                    "from": str(node.origin),
                    "width": node.output.type.codes.width,
                    "signed": node.output.type.codes.signed,
                    "lowest": lo,
                    "highest": hi,
                    "proof": (
                        "sum over the reduction axis of each weight times the end of its input's range that its sign"
                        " picks"
                        if weights_of(design.hardware, node) is not None
                        else "interval arithmetic on the operands' ranges"
                    ),
                    "input_ranges": [list(r.bounds) for r in reach],
                }
            )
    return {"accumulators": accumulators, "activations": maps, "functions": functions(design)}


def functions(design: Design) -> list[dict[str, Any]]:
    """What is made of several numbers at once, with the grade of its codes: "exact" are those of the real function, or
    "within delta", where another code is possible that near a rounding boundary only; "defined" are those of integer
    arithmetic that has the function's name.
    """
    found: list[dict[str, Any]] = []
    defined, cut = set[Origin](), counts(design.hardware)
    for node in design.reference.nodes:
        record: dict[str, Any] = {"layer": design.reference.layers[node.output.name], "from": str(node.origin)}
        whose = "I-ViT" if node.origin.op in ivit.NAMES else f"the file's {node.origin.op}"
        if node.origin.op in ivit.NAMES or node.origin.op in INTEGER_KERNELS:
            if node.origin not in defined:
                defined.add(node.origin)
                proof = f"the integers of {whose}; how far they are from the real function is not claimed"
                record["layer"] = node.origin.node or node.origin.tensor
                found.append(record | {"op": node.origin.op, "grade": "defined", "quantizers": [], "proof": proof})
        elif isinstance(node.op, ops.Divide):
            proof = "quotient and remainder of integers, rounded to odd, then by the quantizer behind it"
            found.append(record | {"op": "Divide", "grade": "exact", "quantizers": [], "proof": proof})
        elif node.output.name in cut:
            made = {"op": "Segments", "grade": "exact", "quantizers": [], "segments": cut[node.output.name]}
            proof = "coefficients of every segment were tried on all its numbers"
            found.append(record | made | {"proof": proof})
        elif isinstance(node.op, (ops.Softmax, ops.Normalize)) and node.op.kernel is not None:
            behind = [{"tensor": end.output.name, "delta_steps": float(d)} for end, d in paths(design.reference, node)]
            exact = bool(behind) and not any(end["delta_steps"] for end in behind)
            grade = "exact" if exact else "within delta"
            record |= {"op": type(node.op).__name__, "grade": grade, "quantizers": [] if exact else behind}
            found.append(record | _made(node, exact))
    return found


def _made(node: Node, exact: bool) -> dict[str, Any]:
    """What a function of rows is made with."""
    kernel: ops.Exponential | ops.Root = node.op.kernel
    if isinstance(kernel, ops.Exponential):
        made = {"exponential_bits": kernel.bits, "tables": 1 + len(kernel.splits), "differences": kernel.cut}
        ends = "the sum's logarithm off by less than a unit more" if kernel.log else "exact quotient"
        proof = f"terms off by at most half a unit, those of several tables by a share of one more; {ends}"
        proof += "; differences rounded once" if kernel.drop else ""
        return made | {"absolute": float(reach_of_softmax(node)), "proof": proof}
    proof = "sums of squares exact, the reciprocal root off by at most one unit, and by what rounding epsilon takes"
    if exact:
        proof += "; less than what separates any number from a boundary between codes that it is not"
    return {"root_bits": kernel.bits, "relative": 2.0 ** (1 - kernel.bits), "proof": proof}


def _map_record(node: Node, low: int, high: int, fabric: Fabric) -> dict[str, Any]:
    op: ops.Requant = node.op
    bits = max(abs(low), abs(high)).bit_length() + 1
    record: dict[str, Any] = {
        "tensor": node.output.name,
        "from": str(node.origin),
        "to": str(op.quantize.format),
        "rounding": op.quantize.rounding.value,
        "chain": [type(s).__name__ for s in op.steps],
        "reachable": [low, high],
        "parameter_rows": int(op.coeffs.data.shape[1]),
        "implementation": op.impl.kind if op.impl else None,
    }
    if isinstance(op.impl, ops.MulAddShift):
        mul = op.impl.mul.data
        record |= {
            "multiplier_bits": int(max(abs(int(mul.min())), abs(int(mul.max())))).bit_length(),
            "segments": mul.shape[1],
            "shifts": sorted(set(op.impl.shift.data.ravel().tolist())),
        }
    elif isinstance(op.impl, ops.Thresholds):
        record |= {"thresholds": int(op.impl.cuts.data.shape[1])}
    elif isinstance(op.impl, ops.Table):
        record |= {"entries": int(op.impl.values.data.shape[1])}
    record["lut_per_element"] = round(price_of(fabric, op.impl, bits, op.quantize.format, op.coeffs.data.shape[1]), 1)
    record["proof"] = (
        "equal to rational arithmetic for every reachable accumulator value (thresholds of the exact chain reproduced)"
    )
    return record


def _readme(design: Design, proofs: dict[str, Any]) -> bytes:
    template = templates(remark=hls.remark).get_template("hls/README.md.j2")
    shown = {"manifest": manifest(design, {}), "proofs": proofs, "vectors": vector_count(design)}
    return template.render(shown, boards=board.supported()).encode()
