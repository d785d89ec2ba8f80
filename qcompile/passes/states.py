"""Formats for what float recurrent layers keep and compute inside: their states, and the gates in front of products;
for softmaxes behind which nothing rounds, and for the factors of response normalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from qcompile.errors import Finding, QCompileError
from qcompile.formats import FixedPoint, Format
from qcompile.ir import Graph, Node, TensorType, Value, ops
from qcompile.passes.rows import STATE_FORMAT, unrounded
from qcompile.passes.summed import terms

OPTION = STATE_FORMAT
FACTOR = FixedPoint(16, 16, False)
_WAY = f"{OPTION} s8f7 (of h), and of an LSTM {OPTION} s16f12 behind it (of c); or qcompile assign with data"


def unformatted(graph: Graph, states: Mapping[str, str]) -> tuple[Finding, ...]:
    """The layers whose states and gates have no format. states: tensor -> what it is, see `with_state_formats`."""
    names = [n.origin.node for n in graph.nodes if n.output.name in states]
    layers = dict.fromkeys(n.split("/t0/")[0].removesuffix("/forward") for n in names if "/t0/" in n)
    capped = dict.fromkeys(n.split("/softcap/")[0] for n in names if "/softcap/" in n)
    reason = "its states and gates are real numbers without formats"
    found = [Finding(f"node '{name}'", "recurrent", reason, _WAY) for name in layers]
    reason = "what its softcap makes are real numbers without format"
    way = f"{OPTION} s8f7; or qcompile assign with data"
    return (*found, *(Finding(f"node '{name}'", "Attention", reason, way) for name in capped))


def with_state_formats(graph: Graph, states: Mapping[str, str], formats: tuple[Format, ...]) -> Graph:
    """The model graph with a quantizer behind every state and gate: "h" and "gate" (a tanh for instance) in the first
    format, "unit" (between 0 and 1) in as many bits of fraction, "c" in the second; softmaxes that nothing rounds are
    "unit". "factor" (a unit) takes FACTOR where no format is given.
    """
    if not formats:
        states, formats = {name: kind for name, kind in states.items() if kind == "factor"}, (FACTOR,)
        if not states:
            return graph
    else:
        states = {**states, **dict.fromkeys(unrounded(graph), "unit")}
    kinds = set(states.values())
    if not kinds and terms(graph):
        return graph  # formats of what is summed, see `passes.summed`
    if not kinds:
        raise QCompileError(
            "the model has no float recurrent layer, no softmax, quotient or function in a sum that needs formats",
            OPTION,
            "leave it away",
        )
    if len(formats) != (2 if "c" in kinds else 1):
        raise QCompileError(f"{len(formats)} state formats are given", OPTION, _WAY)
    first, last = formats[0], formats[-1]
    unit = FixedPoint(first.width, first.width, False) if first.consecutive else first
    chosen = {"h": first, "gate": first, "unit": unit, "factor": unit, "c": last}
    now: dict[str, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(now.get(v.name, v) for v in node.inputs))
        name, type_ = node.output.name, node.output.type
        if name not in states:
            nodes.append(node)
            continue
        fmt = chosen[states[name]]
        real, now[name] = Value(f"{name}.real", type_), Value(name, TensorType(type_.shape, fmt))
        nodes += [replace(node, outputs=(real,)), Node(ops.Quantize(fmt), (real,), (now[name],), node.origin)]
    return replace(graph, nodes=tuple(nodes), outputs=tuple(now.get(v.name, v) for v in graph.outputs))
