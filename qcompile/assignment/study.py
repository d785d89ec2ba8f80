"""What a search knows of a network: its tensors, their candidates as quantizers on calibrated ranges, and how to
measure a choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from qcompile.assignment import ranges
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.data import Data
from qcompile.assignment.exact import significant
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import Loss
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import TILE, Change, FloatNetwork, FloatStep, Requantize
from qcompile.assignment.plan import Packed
from qcompile.assignment.rounding import Rounder
from qcompile.assignment.tensors import WEIGHT, QuantTensor
from qcompile.errors import QCompileError
from qcompile.ir import ops

_NUMBERS = 2**20  # numbers of an activation that ranges are looked for on
_HELD = 2**28  # bytes of activations that are kept to start from

_ARITHMETIC = "exact sums in float64"  # in digests: results of another arithmetic are not taken from a cache

Configuration = Mapping[str, int]  # tensor -> index of its candidate; tensors left out stay float


@dataclass
class Evaluation:
    """Measures configurations: the part of a study that workers get.

    rounder: where weights are not rounded to nearest; codes: of every weight and candidate alone, on the float
    network's inputs, then.
    """

    network: FloatNetwork
    data: Data
    loss: Loss
    values: dict[str, str]  # tensor -> name in the graph
    quantizers: dict[str, tuple[Quantizer, ...]]
    rounder: Rounder | None = None
    codes: dict[str, list[np.ndarray | None]] = field(default_factory=dict)
    _kept: dict[tuple[Any, ...], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("base", "_above")} | {"_kept": {}}

    @cached_property
    def base(self) -> dict[str, np.ndarray] | None:
        """All tensors of the float network, if there is room for them."""
        size = 8 * len(self.data) * sum(int(np.prod(s.shape)) for s in self.network.steps)
        return self.network.run(self.network.start(self.data.x), keep=None) if size <= _HELD else None

    def changes(self, configuration: Configuration) -> dict[str, Any]:
        """What becomes of the graph's tensors under a configuration."""
        units = self.units(configuration)
        return {
            self.values[name]: Requantize(self.quantizers[name][index], units.get(name))
            for name, index in configuration.items()
        }

    def units(self, configuration: Configuration) -> dict[str, np.ndarray]:
        """Codes of the weights that are rounded, layer after layer, each with the codes of those in front of it."""
        if self.rounder is None:
            return {}
        chosen = {name: self.quantizers[name][index] for name, index in configuration.items()}
        wanted = {
            layer: t.name
            for layer, (_, t) in self.rounder.layers.items()
            if (q := chosen.get(t.name)) is not None and not q.zero_point and q.coded is None
        }
        keys = {layer: self._key(layer, name, configuration) for layer, name in wanted.items()}
        out = {name: known for layer, name in wanted.items() if (known := self._known(keys[layer])) is not None}
        if len(out) < len(wanted):
            self._round(configuration, wanted, keys, out)
        return out | {name: out[one] for name, one in self.rounder.copies.items() if name in chosen and one in out}

    def _key(self, layer: str, name: str, configuration: Configuration) -> tuple[Any, ...]:
        """What decides the codes of a layer: its candidate, and those of the tensors that reach its data."""
        above = self._above[layer]
        return name, configuration[name], *((n, i) for n, i in configuration.items() if self.values[n] in above)

    def _known(self, key: tuple[Any, ...]) -> np.ndarray | None:
        name, index, *others = key
        return self._kept.get(key) if others or name not in self.codes else self.codes[name][index]

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        """By the result of a layer that is rounded: tensors that its data depend on, themselves among them."""
        reach = {name: frozenset([name]) for name, _ in self.network.inputs}
        for s in self.network.steps:
            reach[s.output] = frozenset([s.output]).union(*(reach[i] for i in s.inputs))
        layers = self.rounder.layers.items() if self.rounder else ()
        return {layer: reach[node.inputs[0].name] for layer, (node, _) in layers}

    def _round(
        self,
        configuration: Configuration,
        wanted: dict[str, str],
        keys: dict[str, tuple[Any, ...]],
        out: dict[str, np.ndarray],
    ) -> None:
        """Fills in the codes that are not known, in one pass through the network."""
        assert self.rounder is not None
        rounder, weights = self.rounder, self.network.weights()
        start = self.network.start(self.data.x)
        inputs = [node.inputs[0].name for node, _ in rounder.layers.values()]
        base = self.base if self.base is not None else self.network.run(start, keep=inputs)

        def before(s: FloatStep, values: Mapping[str, Any]) -> dict[str, Requantize]:
            name = wanted.get(s.output)
            if name is None:
                return {}
            x, q = rounder.layers[s.output][0].inputs[0].name, self.quantizers[name][configuration[name]]
            if name not in out:
                w = weights[self.values[name]][0]
                out[name] = self._kept[keys[s.output]] = rounder.codes(s.output, w, values[x], base[x], q)
            return {self.values[name]: Requantize(q, out[name])}

        if sum(u.nbytes for u in self._kept.values()) > _HELD:
            self._kept.clear()
        changes = {self.values[n]: Requantize(self.quantizers[n][i]) for n, i in configuration.items()}
        self.network.run(start, changes, before=before)

    def outputs(self, configuration: Configuration) -> np.ndarray:
        """Outputs (N, K) of the network under a configuration."""
        if configuration or self.base is not None:
            return self.changed(self.changes(configuration))
        if ("float",) not in self._kept:  # many ask for it
            self._kept["float",] = self.network.outputs(self.data.x)
        return self._kept["float",]

    def changed(self, changes: Mapping[str, Change]) -> np.ndarray:
        """Outputs (N, K) of the network with changes of tensors of the graph."""
        if self.base is None:
            return self.network.outputs(self.data.x, changes)
        return np.asarray(self.network.again(self.base, changes).reshape(len(self.data), -1))

    def __call__(self, configuration: Configuration) -> float:
        """The loss of a configuration."""
        return self.loss(self.outputs(configuration))

    @property
    def digest(self) -> str:
        """Of everything that decides the results."""
        hasher = hashlib.sha256((_ARITHMETIC + self.network.digest + self.data.digest + self.loss.kind).encode())
        hasher.update(np.ascontiguousarray(self.loss.target).tobytes())
        if self.rounder is not None:
            hasher.update(f"{self.rounder.method} {self.rounder.seed}".encode())
        for name, qs in sorted(self.quantizers.items()):
            for q in qs:
                hasher.update(repr((name, str(q.format), q.zero_point, q.axis, q.bits)).encode() + q.step.tobytes())
                hasher.update(b"" if q.coded is None else q.coded.tobytes())
            for w in self.codes.get(name, []):
                hasher.update(b"-" if w is None else w.tobytes())
        return hasher.hexdigest()[:40]


def measured_loss(evaluation: Evaluation, configuration: Configuration) -> float:
    """A job: the loss of one configuration."""
    return evaluation(configuration)


def packed_units(evaluation: Evaluation, configuration: Configuration) -> dict[str, str]:
    """A job: the codes of a configuration, packed."""
    return {name: Packed.of(u).text for name, u in evaluation.units(configuration).items()}


@dataclass
class Study:
    """tensors: those that take a format; candidates and quantizers: per tensor, in one order; errors: mean squared
    error of each.
    """

    evaluation: Evaluation
    tensors: tuple[QuantTensor, ...]
    candidates: dict[str, tuple[Candidate, ...]]
    numbers: dict[str, np.ndarray]
    jobs: Jobs
    seed: int = 0

    @property
    def weights(self) -> tuple[QuantTensor, ...]:
        return tuple(t for t in self.tensors if t.kind == WEIGHT)

    @property
    def activations(self) -> tuple[QuantTensor, ...]:
        return tuple(t for t in self.tensors if t.kind != WEIGHT)

    @cached_property
    def errors(self) -> dict[str, np.ndarray]:
        """Mean squared error per element of every tensor and candidate."""
        return {
            t.name: np.array([_error(self.numbers[t.name], q) for q in self.evaluation.quantizers[t.name]])
            for t in self.tensors
        }

    @cached_property
    def variables(self) -> tuple[tuple[str, ...], ...]:
        """Tensors that are decided together: joined ones, and every other one alone."""
        groups: dict[str, list[str]] = {}
        for t in self.tensors:
            groups.setdefault(t.tie or f"={t.name}", []).append(t.name)
        return tuple(tuple(g) for g in groups.values())

    def configuration(self, choice: Sequence[int]) -> dict[str, int]:
        """Candidate index per tensor, of a choice per variable."""
        return {name: int(c) for group, c in zip(self.variables, choice, strict=True) for name in group}

    def measure(self, configurations: Sequence[Configuration], what: str = "evaluations") -> list[float]:
        """Losses of configurations, in parallel, cached."""
        return self.jobs.run(
            measured_loss, self.evaluation, "loss-" + self.evaluation.digest, [dict(c) for c in configurations], what
        )

    def units(self, configurations: Sequence[Configuration], what: str) -> list[dict[str, np.ndarray]]:
        """Codes of the weights that are rounded, of configurations, in parallel, cached."""
        e, shapes = self.evaluation, {t.name: t.shape for t in self.weights}
        if e.rounder is None:
            return [{} for _ in configurations]
        key = f"codes-{e.digest}-{RoundingMethod.find(e.rounder.method).source}"
        found = self.jobs.run(packed_units, e, key, [dict(c) for c in configurations], what)
        return [{n: Packed(shapes[n], text).unpacked(n) for n, text in packed.items()} for packed in found]

    def with_rounder(self, rounder: Rounder) -> Study:
        """The study of weights that are rounded in another way than to nearest."""
        return replace(self, evaluation=replace(self.evaluation, rounder=rounder, _kept={}))

    def rounded(self, rounder: Rounder) -> Study:
        """The same, with the codes of every candidate alone."""
        open_ = self.with_rounder(rounder)
        singles = [(t.name, i) for _, t in rounder.layers.values() for i in range(len(self.candidates[t.name]))]
        codes: dict[str, list[np.ndarray | None]] = {name: [] for name, _ in singles}
        for (name, _), found in zip(
            singles, open_.units([{n: i} for n, i in singles], "rounding of candidates"), strict=True
        ):
            codes[name].append(found.get(name))
        return replace(open_, evaluation=replace(open_.evaluation, codes=codes, _kept={}))

    @cached_property
    def priced(self) -> dict[str, list[np.ndarray | None]]:
        """Codes of every weight and candidate among tensors that all have the candidate at its place: what they are
        priced by. None: the nearest.
        """
        sizes = {t.name: len(self.candidates[t.name]) for t in self.tensors}
        alike = [{n: min(place, size - 1) for n, size in sizes.items()} for place in range(max(sizes.values()))]
        found = self.units(alike, "rounding of uniform plans")
        return {t.name: [units.get(t.name) for units in found[: sizes[t.name]]] for t in self.weights}

    @cached_property
    def base_loss(self) -> float:
        found = self.evaluation({})
        return found if abs(found) > 1e-12 else 0.0  # a divergence of the network from itself


def _error(x: np.ndarray, q: Quantizer) -> float:
    x = x.astype(np.float64)
    return significant(float(np.square(q(x) - x).mean()))


def study(
    network: FloatNetwork,
    tensors: Sequence[QuantTensor],
    candidates: Mapping[str, tuple[Candidate, ...]],
    data: Data,
    loss: Loss,
    jobs: Jobs,
    method: str = "mse",
    channels: bool = True,
    asymmetric: bool = False,
    seed: int = 0,
) -> Study:
    """Calibrated candidates. channels: a scale per output channel of every weight; asymmetric: integer activations may
    have a zero point.
    """
    chosen = [t for t in tensors if t.name in candidates]
    if not chosen:
        raise QCompileError(
            "no tensor of the model takes a format: it is quantized already",
            hint="--free lets the formats of the model be replaced",
        )
    numbers = _numbers(network, chosen, data, seed)
    quantizers: dict[str, tuple[Quantizer, ...]] = {}
    for i, t in enumerate(chosen):
        first = next((o.name for o in chosen if t.tie and o.tie == t.tie), t.name)
        if first in quantizers:
            quantizers[t.name] = quantizers[first]
            continue
        x = numbers[t.name]
        if t.tie and t.kind != WEIGHT:  # tied weights are equal
            x = np.concatenate([numbers[o.name].ravel() for o in chosen if o.tie == t.tie])
        axis = t.axis if t.kind == WEIGHT and channels else None
        quantizers[t.name] = tuple(
            ranges.fit(x, c, method, axis, t.kind == WEIGHT, asymmetric and t.kind != WEIGHT)
            for c in candidates[t.name]
        )
        jobs.progress("ranges", i + 1, len(chosen))
    evaluation = Evaluation(network, data, loss, {t.name: t.value for t in chosen}, quantizers)
    return Study(evaluation, tuple(chosen), {t.name: tuple(candidates[t.name]) for t in chosen}, numbers, jobs, seed)


def _numbers(network: FloatNetwork, tensors: Sequence[QuantTensor], data: Data, seed: int) -> dict[str, np.ndarray]:
    """The numbers of every tensor: weights whole, of activations a part where they are many, the extremes always
    included.
    """
    constants = network.weights()
    out = {t.name: constants[t.value][0] for t in tensors if t.kind == WEIGHT}
    wanted = [t for t in tensors if t.kind != WEIGHT]
    if not wanted:
        return out
    parts: dict[str, list[np.ndarray]] = {t.name: [] for t in wanted}
    scores = {s.inputs[0]: s.op.axis + 1 for s in network.steps if s.rule is ops.Softmax}
    largest = max(int(np.prod(s.shape)) for s in network.steps)
    tile = max(1, TILE // largest)
    rng = np.random.default_rng(seed)
    for start in range(0, len(data), tile):
        x = data.take(slice(start, start + tile)).x
        values = network.run(network.start(x), keep=[t.value for t in wanted])
        share = max(1, _NUMBERS * len(x[0]) // len(data))
        for t in wanted:
            found = values[t.value]
            flat = (_unmasked(found, scores[t.value]) if t.value in scores else found).ravel()
            some = (
                flat
                if flat.size <= share
                else np.concatenate([flat[rng.integers(0, flat.size, share)], [flat.min(), flat.max()]])
            )
            parts[t.name].append(some.astype(np.float32))
    return out | {name: np.concatenate(p) for name, p in parts.items()}


_SHARE = 7.0  # of a softmax: what is so far below the largest score is less than 1/1,000 of it


def _unmasked(scores: np.ndarray, axis: int) -> np.ndarray:
    """Scores of a softmax, those of no account raised: masks are no part of a range."""
    floor = scores.max(axis=axis, keepdims=True) - (_SHARE + np.log(scores.shape[axis]))
    return np.asarray(np.maximum(scores, floor))
