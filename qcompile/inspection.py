"""What a model is, what of it is missing, and whether it fits: all that `inspect` shows.

Passes stop at the first thing that they cannot do. Here the tensor that would have been made becomes an input, and the
rest is tried again, so that one look finds what every pass refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from qcompile.assignment.apply import apply
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.plan import Choice, Plan
from qcompile.assignment.ranges import fit
from qcompile.assignment.tensors import WEIGHT, QuantTensor, takers
from qcompile.errors import Finding, QCompileError, UnsupportedError
from qcompile.estimation import Outcome, outcome
from qcompile.formats import FixedPoint, Format
from qcompile.frontend import Model, load, with_real_scales
from qcompile.ir import Graph, Node, Param, Shape, Value, ops
from qcompile.ir.walk import live
from qcompile.options import Cutting, Options
from qcompile.passes import ports, states
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.pipeline import Design, compile, lowered, resolved
from qcompile.records import dataclass
from qcompile.sim.reference import constant

MOST = 12  # rounds of looking for more that is missing
BITS = 8  # of every tensor of a float network, where only an idea of its size is wanted
_STAND_IN = FixedPoint(BITS)  # of a tensor that something missing would have made


@dataclass(frozen=True)
class PortFacts:
    """An input or output. format: of its codes, "" where nothing says it; note: their numbers, or what is to be
    known.
    """

    name: str
    shape: Shape
    format: str
    note: str


@dataclass(frozen=True)
class LayerFacts:
    """A layer that computes. data, weights: formats of its operands ("" of real numbers); bits: of all its weights;
    parameters: numbers that training finds, those of the bias and batch norm behind it too.
    """

    name: str
    op: str
    shape: Shape
    data: str
    weights: str
    parameters: int
    bits: int
    macs: int


@dataclass(frozen=True)
class Inspection:
    """model: None where it cannot be imported; graph: of it, or of what can be; design: None where something is
    missing, and of a float model, for which `outcome` says what 8 bits everywhere would take.
    """

    model: Model | None
    graph: Graph | None
    in_float: bool
    findings: tuple[Finding, ...]
    inputs: tuple[PortFacts, ...]
    outputs: tuple[PortFacts, ...]
    layers: tuple[LayerFacts, ...]
    parameters: int
    design: Design | None
    outcome: Outcome | None

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.layers)

    @property
    def weight_bits(self) -> int:
        return sum(row.bits for row in self.layers)

    def problem(self, where: str) -> QCompileError | None:
        """What is missing, in one line. where: the file."""
        if not self.findings:
            return None
        first, count = self.findings[0], len(self.findings)
        if all(f.op for f in self.findings):
            what = f"{count} node{'s' if count > 1 else ''} cannot be compiled"
            return QCompileError(what, where, "mend these nodes in the model and export it again")
        if count == 1:
            return QCompileError(first.reason, f"{where}: {first.where}", first.hint)
        return QCompileError(f"{count} things are missing", where, "the list says what to do about each of them")


def inspect(source: Any, **options: Any) -> Inspection:
    """QCompileError for a file that is none, and for options that are none."""
    ends = {k: options.pop(k, ()) for k in Cutting.names()}
    chosen = resolved(options, False)
    model, imported, found = _loaded(source, **ends)
    if model is not None and imported is not None and chosen.real:
        model = with_real_scales(model, chosen.real)
        imported = replace(imported, graph=model.graph)
    graph = None if imported is None else imported.graph
    in_float = graph is not None and not chosen.input_formats and not any(map(_quantizes, graph.nodes))
    tried = graph
    if tried is not None:
        cut = [v for v in tried.inputs if v.name in imported.stand_ins]
        for value in cut:
            tried = ports.quantized(tried, value, _STAND_IN)
        if in_float:
            tried = in_bits(tried, kernels=chosen.kernels)
        known = {f.where for f in found}
        if not in_float:
            found += () if chosen.state_formats else states.unformatted(tried, imported.states)
            tried = states.with_state_formats(tried, imported.states, _state_formats(chosen, imported.states))
        found += (f for f in _refused(tried, chosen, imported.annotated, len(cut)) if f.where not in known)
    design = None
    if model is not None and tried is not None and not found:
        try:
            design = compile(replace(model, graph=tried, dynamic=(), states={}), **{**options, "real": ""})
        except QCompileError as error:
            found.append(Finding(error.where or model.name, "", error.what, error.hint))
    layers, parameters = _layers(graph, None if in_float else design)
    return Inspection(
        model,
        graph,
        in_float,
        tuple(dict.fromkeys(found)),
        *_ports_of(graph, None if in_float else design, () if imported is None else imported.stand_ins),
        layers,
        parameters,
        None if in_float else design,
        None if design is None else outcome(design),
    )


def _quantizes(node: Node) -> bool:
    """Whether a node gives numbers that real networks do not have: none of their tables and functions of one tensor."""
    real = isinstance(node.op, ops.Lookup) or (isinstance(node.op, ops.Combine) and node.op.real)
    return node.op.decides and not real


def _state_formats(chosen: Options, inside: Mapping[str, str]) -> tuple[Format, ...]:
    """Those of recurrent layers, or stand-ins."""
    kinds = set(inside.values()) - {"factor"}  # which has a format of its own
    return chosen.formats_of_states() or (_STAND_IN,) * (2 if "c" in kinds else 1 if kinds else 0)


def _loaded(source: Any, **ends: Any) -> tuple[Model | None, Any, list[Finding]]:
    """(the model, what was imported of it, what cannot be)."""
    try:
        model = load(source, **ends)
    except UnsupportedError as error:
        return None, error.rest, list(error.findings)
    return model, _Whole(model.graph, model.annotated, (), model.states), []


@dataclass(frozen=True)
class _Whole:
    graph: Graph
    annotated: dict[str, Format]
    stand_ins: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)


def in_bits(graph: Graph, bits: int = BITS, kernels: str = "exact") -> Graph:
    """A float graph with every tensor in so many bits: what hardware takes depends little on the numbers."""
    try:
        return apply(graph, Plan({t.name: _choice(graph, t, bits) for t in takers(graph, False, kernels)}))
    except (QCompileError, ArithmeticError, LookupError, ValueError):
        return graph


def _choice(graph: Graph, t: QuantTensor, bits: int) -> Choice:
    """Weights as they would be rounded; of activations the range is not known without data."""
    if t.kind != WEIGHT:
        return Choice(FixedPoint(bits, bits // 2))
    numbers = constant(graph.producers[t.value]).float64()[0]
    return Choice.of(fit(numbers, Candidate("fixed", bits), "minmax", weight=True), len(t.shape))


# --- what passes refuse


def _refused(graph: Graph, chosen: Options, annotated: dict[str, Format], more: int) -> list[Finding]:
    """What is missing behind the import. more: inputs of the graph that the file does not have, its last ones."""
    formats = chosen.formats()
    graph = ports.with_input_formats(graph, (*formats, *[_STAND_IN] * more) if formats else (), annotated)
    found: list[Finding] = []
    for value in ports.unformatted(graph):
        reason = "it has no quantizer, so it has no format"
        hint = "--input-format s16f10 for example (signed, 16 bits, 10 of them after the binary point): once per input"
        found.append(Finding(f"input '{value.name}'", "", reason, f"{hint}; or a quantizer in the model"))
        graph = ports.quantized(graph, value, _STAND_IN)
    for _ in range(MOST):
        refused = _next_refused(graph, chosen)
        found += refused
        rest = _without(graph, {f.where for f in refused})
        if rest is None:
            break
        graph = rest
    return found


def _next_refused(graph: Graph, chosen: Options) -> list[Finding]:
    """What the first pass that refuses a graph says."""
    try:
        lowered(graph, chosen)
    except UnsupportedError as error:
        return [replace(f, where=f.where.removesuffix(f" ({f.op})")) for f in error.findings]
    except QCompileError as error:
        node = next((n for n in graph.nodes if str(n.origin) == error.where), None)
        if node is None:
            return [Finding(error.where or graph.name, "", error.what, error.hint)]
        return [Finding(f"node '{node.origin.node}'", node.origin.op, error.what, error.hint)]
    return []


def _without(graph: Graph, places: set[str]) -> Graph | None:
    """The graph with inputs in place of what some nodes make; None where there is nothing to take out, or to keep."""
    gone = [n for n in graph.nodes if {str(n.origin), f"node '{n.origin.node}'"} & places]
    kept = [n for n in graph.nodes if n not in gone]
    made = {n.output.name for n in gone}
    read = {v.name: v for n in kept for v in n.inputs if v.name in made}
    read |= {v.name: v for v in graph.outputs if v.name in made}
    nodes = live(kept, graph.outputs)
    if not gone or not any(n.inputs for n in nodes):
        return None
    rest = replace(graph, inputs=(*graph.inputs, *read.values()), nodes=nodes)
    for value in read.values():
        rest = ports.quantized(rest, value, _STAND_IN)
    return rest


# --- what it is made of


def _is_layer(node: Node) -> bool:
    """Whether a node is one that people count: no constant, step, border or other place of the same numbers."""
    skipped = isinstance(node.op, (ops.Step, ops.Pad, ops.BatchNorm)) and not isinstance(node.op, ops.Lookup)
    return bool(node.inputs) and not node.op.moves and not skipped


def _layers(graph: Graph | None, design: Design | None) -> tuple[tuple[LayerFacts, ...], int]:
    """All layers of a graph, and its parameters."""
    if graph is None:
        return (), 0
    owner: dict[str, str] = {}  # the layer whose numbers a tensor is made of, "" in front of all
    count: dict[str, int] = {}
    for node in graph.nodes:
        above = next((owner[v.name] for v in node.inputs if owner.get(v.name)), "")
        own = owner[node.output.name] = node.output.name if _is_layer(node) else above
        count[own] = count.get(own, 0) + _parameters(graph, node)
    codes = {} if design is None else {design.graph.layers[n.output.name]: n for n in design.graph.computed}
    rows = tuple(
        _layer(graph, n, codes.get(graph.layers[n.output.name]), count[n.output.name])
        for n in graph.nodes
        if _is_layer(n)
    )
    return rows, sum(count.values())


def _layer(graph: Graph, node: Node, made: Node | None, parameters: int) -> LayerFacts:
    """made: the node of the integer graph."""
    shown = made or node
    constants = [v for v in shown.inputs if shown.op.products and v.type.format is not None]
    weights = shown.weights if constants and shown.op.products else None
    data = shown.inputs[0].type.format
    held = node.weights.type if node.op.products and node.weights.name in graph.constants else None
    width = (
        0 if weights is None or weights.type.format is None or held is None else held.size * weights.type.format.width
    )
    return LayerFacts(
        graph.layers[node.output.name],
        type(node.op).__name__,
        node.output.type.shape,
        "" if data is None else str(data),
        "" if weights is None or weights.type.format is None else str(weights.type.format),
        parameters,
        width,
        node.output.type.size * node.terms if node.op.products else 0,
    )


def _parameters(graph: Graph, node: Node) -> int:
    """Numbers that a node holds itself, and of its constant operands."""
    held = sum(v.type.size for v in node.inputs if v.name in graph.constants)
    own = (
        p for p in vars(node.op).values() if isinstance(p, Param) and isinstance(node.op, (ops.Affine, ops.BatchNorm))
    )
    return held + sum(len(p.values) for p in own if not p.is_scalar)


# --- ports


BothEnds = tuple[tuple[PortFacts, ...], tuple[PortFacts, ...]]


def _ports_of(graph: Graph | None, design: Design | None, cut: Iterable[str]) -> BothEnds:
    """(inputs, outputs); cut: those that the file does not have."""
    if design is not None:
        outs = zip(design.outputs, design.graph.out_ports, strict=True)
        return tuple(map(_input, design.inputs)), tuple(_output(h, v) for h, v in outs)
    if graph is None:
        return (), ()
    known = {v.name: ports.host_input(graph, v) for v in graph.inputs}
    ins = [_plain(v) if (host := known[v.name]) is None else _input(host) for v in graph.inputs if v.name not in cut]
    return tuple(ins), tuple(_plain(v) for v in graph.outputs if v.name not in cut)


def _plain(value: Value) -> PortFacts:
    shown = value.type.shape[1:] if ports.has_batch(value.type.shape) else value.type.shape
    return PortFacts(value.name, shown, str(value.type.format or ""), "")


def _input(host: HostInput) -> PortFacts:
    q = host.quantize
    note = _numbers(q.format, q.scale, q.zero_point) if host.count is None else "by thresholds of the file"
    return PortFacts(host.name, host.vector_shape, str(q.format), note)


def _output(host: HostOutput, value: Value) -> PortFacts:
    fmt = value.type.codes
    note = _numbers(fmt, value.type.scale, value.type.zero_point)
    return PortFacts(host.name, host.vector_shape, str(fmt), f"{note}; softmax on the host" if host.softmax else note)


def _numbers(fmt: Format, scale: Param, zero: Param) -> str:
    """Which real numbers codes stand for."""
    if not scale.is_scalar or not zero.is_scalar:
        return "of several scales"
    unit = float(scale.scalar) * 2.0**fmt.unit
    low, high = ((float(end) - float(zero.scalar)) * unit for end in (fmt.min_units, fmt.max_units))
    step = f" in steps of {unit:.4g}" if fmt.consecutive else ""
    return f"{low:.4g} to {high:.4g}{step}" if np.isfinite([low, high]).all() else ""
