"""Which folding every layer gets: as the user says, or the least and the most that is possible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import numpy as np

from qcompile.errors import QCompileError, nearest
from qcompile.hardware.network import Network, fullest, joining, network
from qcompile.hardware.site import Folding, divisors
from qcompile.hardware.units import (
    ArgMaxUnit,
    BufferedUnit,
    ConcatUnit,
    DynamicMatVecUnit,
    GatheredUnit,
    GlobalPoolUnit,
    QuotientUnit,
    RepeatUnit,
    Unit,
    WindowUnit,
    unit_of,
)
from qcompile.ir import Graph, Node
from qcompile.options import FOLDS


def foldings(graph: Graph, text: str) -> dict[str, Folding]:
    """`min` (one product a cycle), `full` (everything that can be unrolled), or JSON {layer: {"pe": P, "simd": S}}; by
    the layer's result.
    """
    if text == "min":
        return {}
    units = {n.output.name: (n, unit_of(n, graph)) for n in graph.computed}
    if text == "full":
        joined = {after.output.name for n in graph.computed if (after := joining(graph, n)) is not None}
        return {
            name: fullest(graph, n)
            for name, (n, unit) in units.items()
            if not isinstance(unit, BufferedUnit) and len(n.output.type.shape) > 1 and name not in joined
        }
    return _given(text, graph, units)


def folded(graph: Graph, text: str) -> Network:
    """The network with the foldings of `foldings`. QCompileError for one of a layer that another process makes."""
    wanted = foldings(graph, text)
    made = network(graph, wanted)
    if text not in FOLDS:
        _check_read(graph, wanted, made)
    return made


def _check_read(graph: Graph, wanted: Mapping[str, Folding], made: Network) -> None:
    """QCompileError for a layer that another process makes. One that needs no process is taken: plans of other formats,
    in which it needs one, name it too.
    """
    makers = {s.map.output.name: s.node for s in made.stages if s.map is not None and s.node is not None}
    for name in wanted:
        if name in makers:
            layer, maker = graph.layers[name], graph.layers[makers[name].output.name]
            raise QCompileError(
                f"the folding names '{layer}', which '{maker}' makes with as many lanes",
                "--fold",
                f"a pe for '{maker}' alone, or a lower one for '{layer}', which is a process of its own then",
            )


NOT_DRAWN = (WindowUnit, GatheredUnit, ConcatUnit, RepeatUnit, ArgMaxUnit)  # which divisors of their limits do not fold


def drawn(network: Network, layers: Mapping[str, str], seed: int, most: int | None = None) -> str:
    """A legal folding of every layer, at random, of a network that is folded `full`; of at most so many lanes and
    columns. layers: of the graph. What tests and measurements take where no folding is special.
    """
    rng, found = np.random.default_rng(seed), {}
    for stage in network.stages:
        if stage.node is not None and stage.inputs and not isinstance(stage.unit, NOT_DRAWN):
            sizes = ("pe", stage.folding.pe), ("simd", stage.folding.simd)
            one = {k: int(rng.choice([d for d in divisors(n) if d <= (most or n)])) for k, n in sizes}
            if isinstance(stage.unit, DynamicMatVecUnit):
                one["pe"] = int(rng.choice([d for d in stage.unit.product.shares if d <= (most or d)]))
            if isinstance(stage.unit, (GlobalPoolUnit, DynamicMatVecUnit)):  # only with all channels, which may be more
                one["simd"] = 1
            if isinstance(stage.unit, QuotientUnit):  # one digit or all
                one["simd"] = int(rng.choice([1, stage.folding.simd]))
            found[layers[stage.node.output.name]] = one
    return json.dumps(found)


def _given(text: str, graph: Graph, units: dict[str, tuple[Node, Unit]]) -> dict[str, Folding]:
    from qcompile import documents  # most foldings are no JSON

    hint = 'a JSON object: {"layer": {"pe": 2, "simd": 4, "places": 1, "dsp": true, "memory": "bram"}, ...}'
    wanted = documents.checked(
        documents.FoldingFile, documents.parse(text, "the folding", hint=hint), "the folding", hint=hint
    )
    made = {name: Folding(**dict(f)) for name, f in wanted.root.items()}
    ports = {graph.layers[v.name]: v.name for v in graph.inputs}
    found = {name: ports[name] if name in ports else _layer(name, graph, units) for name in made}
    count = Counter(found.values())
    twice = [name for name, own in found.items() if count[own] > 1]
    if twice:
        raise QCompileError(f"the folding names one layer twice: '{twice[0]}' and '{twice[1]}'", "--fold")
    return {found[name]: f for name, f in made.items()}


def _layer(name: str, graph: Graph, units: dict[str, tuple[Node, Unit]]) -> str:
    """The result of the layer of this name; the names of its tensors and of its node, as foldings of older versions
    have them, are taken too.
    """
    named = {graph.layers[value]: value for value in units}
    if name in named or name in units:
        return named.get(name, name)
    stem = name.partition("#")[0]
    nodes = [
        v
        for v, (n, _) in units.items()
        if name == n.origin.node or n.origin.tensor in (name, stem) or v.partition("#")[0] == stem
    ]
    nodes += [v.name for v in graph.inputs if name == v.name.removesuffix(".quantized")]
    if nodes:
        return nodes[0]
    foldable = [one for one, value in named.items() if units[value][1].folded]
    near = nearest(name, foldable)
    most = {one: fullest(graph, units[named[one]][0]) for one in near or foldable[:6]}
    listed = ", ".join(f"{one} (pe up to {f.pe}, simd up to {f.simd})" for one, f in most.items())
    rest = f" and {len(foldable) - len(most)} more" if not near and len(foldable) > len(most) else ""
    raise QCompileError(
        f"the folding names '{name}', which is no layer of this network",
        "--fold",
        f"did you mean {listed}" if near else f"layers: {listed}{rest}; schedule.json of a project has all of them",
    )
