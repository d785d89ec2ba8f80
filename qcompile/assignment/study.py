"""What a search knows of a network: its tensors, their candidates as quantizers on calibrated ranges, and how to
measure a choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from qcompile.assignment.network import FloatNetwork, Requantize
from qcompile.assignment.tensors import WEIGHT, QuantTensor
from qcompile.errors import QCompileError

_NUMBERS = 2**20  # numbers of an activation that ranges are looked for on
_HELD = 2**28  # bytes of activations that are kept to start from

_ARITHMETIC = "exact sums in float64"  # in digests: results of another arithmetic are not taken from a cache

Configuration = Mapping[str, int]  # tensor -> index of its candidate; tensors left out stay float


@dataclass
class Evaluation:
    """Measures configurations: the part of a study that workers get."""

    network: FloatNetwork
    data: Data
    loss: Loss
    values: dict[str, str]  # tensor -> name in the graph
    quantizers: dict[str, tuple[Quantizer, ...]]
    # codes of weights, per candidate, where rounding is not to nearest
    weights: dict[str, list[np.ndarray | None]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_base", "base")}

    @cached_property
    def base(self) -> dict[str, np.ndarray] | None:
        """All tensors of the float network, if there is room for them."""
        size = 8 * len(self.data) * sum(int(np.prod(s.shape)) for s in self.network.steps)
        return self.network.run(self.network.start(self.data.x), keep=None) if size <= _HELD else None

    def changes(self, configuration: Configuration) -> dict[str, Any]:
        """What becomes of the graph's tensors under a configuration."""
        out = {}
        for name, index in configuration.items():
            own = self.weights.get(name, [None] * (index + 1))[index]
            out[self.values[name]] = Requantize(self.quantizers[name][index], own)
        return out

    def outputs(self, configuration: Configuration) -> np.ndarray:
        """Outputs (N, K) of the network under a configuration."""
        changes = self.changes(configuration)
        if self.base is not None:
            return self.network.again(self.base, changes).reshape(len(self.data), -1)
        largest = max(int(np.prod(s.shape)) for s in self.network.steps)
        tile = max(1, 2**24 // largest)
        parts = [self.data.take(slice(i, i + tile)).x for i in range(0, len(self.data), tile)]
        return np.concatenate(
            [
                self.network.run(self.network.start(x), changes)[self.network.output].reshape(len(x[0]), -1)
                for x in parts
            ]
        )

    def __call__(self, configuration: Configuration) -> float:
        """The loss of a configuration."""
        return self.loss(self.outputs(configuration))

    @property
    def digest(self) -> str:
        """Of everything that decides the results."""
        hasher = hashlib.sha256((_ARITHMETIC + self.network.digest + self.data.digest + self.loss.kind).encode())
        hasher.update(np.ascontiguousarray(self.loss.target).tobytes())
        for name, qs in sorted(self.quantizers.items()):
            for q in qs:
                hasher.update(repr((name, str(q.format), q.zero_point, q.axis)).encode() + q.step.tobytes())
            for w in self.weights.get(name, []):
                hasher.update(b"-" if w is None else w.tobytes())
        return hasher.hexdigest()[:40]


def measured_loss(evaluation: Evaluation, configuration: Configuration) -> float:
    """A job: the loss of one configuration."""
    return evaluation(configuration)


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
        if t.tie:
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
    largest = max(int(np.prod(s.shape)) for s in network.steps)
    tile = max(1, 2**24 // largest)
    rng = np.random.default_rng(seed)
    for start in range(0, len(data), tile):
        x = data.take(slice(start, start + tile)).x
        values = network.run(network.start(x), keep=[t.value for t in wanted])
        share = max(1, _NUMBERS * len(x[0]) // len(data))
        for t in wanted:
            flat = values[t.value].ravel()
            some = (
                flat
                if flat.size <= share
                else np.concatenate([flat[rng.integers(0, flat.size, share)], [flat.min(), flat.max()]])
            )
            parts[t.name].append(some.astype(np.float32))
    return out | {name: np.concatenate(p) for name, p in parts.items()}
