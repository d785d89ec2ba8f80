"""Gradients of the loss, by torch: the network as a torch program, and Fisher traces. torch is an extra, imported here
only.

torch sums in an order that depends on threads and kernels. So it computes in float64, on one thread, and traces are
rounded to `DIGITS` digits: ten million times more than what the order can change.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.exact import significant
from qcompile.assignment.grids import Quantizer
from qcompile.assignment.losses import Loss
from qcompile.assignment.network import FloatNetwork, FloatStep, Numbers, Numpy, directed
from qcompile.errors import QCompileError
from qcompile.formats import Rounding
from qcompile.ir import ops
from qcompile.sim.functions import FUNCTIONS

CLASSES = 16  # outputs up to which expectations over them are exact; beyond, they are sampled
SAMPLES = 4
DIGITS = 6
TILE = 2**25  # numbers that vectors seen at once make: more do not lie in caches


def torch_module(
    what: str = "gradients need",
    without: str = "the metrics sqnr, roundoff, perturbation and kl_output do without",
) -> Any:
    """torch, or an error that says how to get it."""
    try:
        import torch
    except ImportError:
        raise QCompileError(
            f"{what} torch",
            hint=f"pip install 'qcompile[torch]'; {without}",
        ) from None
    return torch


def torch_is_there() -> bool:
    """Whether torch is installed; it is not loaded for that."""
    try:
        return importlib.util.find_spec("torch") is not None
    except ValueError:  # a module that was put in its place
        return False


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: its sums in one order. Parallelism is that of `jobs`."""
    torch = torch_module()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Torch(Numpy):
    """The rules of `network` on torch tensors. Quantizers let gradients pass as if they were not there
    (straight-through).
    """

    exact = False

    def __init__(self, device: str = "cpu") -> None:
        t = self.torch = torch_module()
        self.device = device
        self.where, self.matmul, self.exp, self.log = t.where, t.matmul, t.exp, t.log
        self.maximum, self.minimum = t.maximum, t.minimum

    def array(self, x: Any) -> Numbers:
        return self.torch.tensor(x, dtype=self.torch.float64, device=self.device) if isinstance(x, np.ndarray) else x

    def function(self, name: str, x: Numbers, alpha: float) -> Numbers:
        return FUNCTIONS[name].torch(self.torch, x, alpha)

    def whole(self, way: str, x: Numbers) -> Numbers:
        return getattr(self.torch, way)(x)

    def place(self, x: Any) -> Numbers:
        return self.torch.as_tensor(x, device=self.device).long()

    def quantize(self, q: Quantizer, x: Numbers, rounding: Rounding = Rounding.ROUND) -> Numbers:
        step = self.array(np.asarray(q.steps(x.ndim - 1)))
        y = x.detach() / step + q.zero_point
        units = self.array(q.format.nearest(directed(y.cpu().numpy(), rounding)))
        return x + ((units - q.zero_point) * step - x).detach()

    def transpose(self, x: Numbers, perm: tuple[int, ...]) -> Numbers:
        return x.permute(perm)

    def take(self, x: Numbers, indices: tuple[int, ...], axis: int) -> Numbers:
        return self.torch.index_select(x, axis, self.torch.tensor(indices, device=x.device))

    def concatenate(self, parts: Sequence[Numbers], axis: int) -> Numbers:
        batch = max(p.shape[0] for p in parts)
        return self.torch.cat([p.expand(batch, *p.shape[1:]) for p in parts], axis)

    def sum(self, x: Numbers, axes: tuple[int, ...]) -> Numbers:
        return x.sum(dim=axes, keepdim=True)

    def max(self, x: Numbers, axes: tuple[int, ...]) -> Numbers:
        return x.amax(dim=axes, keepdim=True)

    def pad(self, x: Numbers, op: ops.Pad) -> Numbers:
        fill = -1e30 if op.value is None else float(np.asarray(op.value).ravel()[0])
        if any(op.interior):
            sizes = [n + (n - 1) * more for n, more in zip(x.shape[1:], op.interior, strict=True)]
            apart = x.new_full((len(x), *sizes), fill)
            apart[(slice(None), *(slice(None, None, more + 1) for more in op.interior))] = x
            x = apart
        widths = [n for b, a in zip(op.before[::-1], op.after[::-1], strict=True) for n in (b, a)]
        return self.torch.nn.functional.pad(x, widths, value=fill)

    def conv(self, x: Numbers, w: Numbers, op: ops.Conv) -> Numbers:
        fn = {1: self.torch.nn.functional.conv1d, 2: self.torch.nn.functional.conv2d}[len(op.strides)]
        return fn(x, w, None, op.strides, 0, op.dilations, op.groups)

    def pool(self, x: Numbers, op: Any, largest: bool) -> Numbers:
        f, rank = self.torch.nn.functional, len(op.kernel)
        if largest:
            return {1: f.max_pool1d, 2: f.max_pool2d}[rank](x, op.kernel, op.strides, 0, op.dilations)
        ones = self.torch.ones((x.shape[1], 1, *op.kernel), dtype=x.dtype, device=x.device)
        return {1: f.conv1d, 2: f.conv2d}[rank](x, ones, None, op.strides, 0, op.dilations, x.shape[1])


def with_weights(network: FloatNetwork, weights: Mapping[str, Numbers]) -> dict[str, Any]:
    """Changes that put tensors of torch in the place of constants."""
    return {name: lambda _, w=w: w for name, w in weights.items()}


@one_thread()
def fisher_traces(
    network: FloatNetwork, data: Data, loss: Loss, weights: Sequence[str], activations: Sequence[str], seed: int = 0
) -> dict[str, float]:
    """tr F of every tensor, F = E_n E_{y ~ p(y | x_n)} [g g^T], g = gradient of log p(y | x_n): per sample, over the
    network's own distribution.

    Methods notes of FIT (arXiv 2210.08502) take the labels of the data for y (`empirical`), which vanishes on
    well-trained networks; the expectation over p is the Gauss-Newton curvature of the cross entropy (ours). For squared
    errors: of that loss. Exact over up to 16 outputs, sampled beyond.
    """
    torch, xp = torch_module(), Torch()
    base = {k: torch.from_numpy(np.array(v)) for k, v in network.weights().items() if k in set(weights)}
    layers = _layers(network, base)
    total = dict.fromkeys([*weights, *activations], 0.0)
    size = max(2 * sum(v.numel() for v in base.values()), sum(math.prod(s.shape) for s in network.steps)) + 1
    tile = max(1, min(len(data), TILE // size))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(data), tile):
        part = {k: torch.from_numpy(v) for k, v in network.start(data.take(slice(start, start + tile)).x).items()}
        made = _Differentiated(network, part, [*activations, *(s.output for s in layers.values())], xp)
        for scale, direction in _directions(made.output, loss, xp, generator):
            grads = made.gradients(direction)
            squares = {n: g.square().flatten(1).sum(dim=1) for n in activations if (g := grads.get(n)) is not None}
            for name, s in layers.items():
                if (g := grads.get(s.output)) is not None:
                    squares[name] = _of_weights(s, made.values[s.inputs[0]].detach(), base[name].shape[1:], g)
            rest = {k: v for k, v in base.items() if k not in layers}
            for name, square in (squares | _per_sample(network, part, rest, direction, xp)).items():
                total[name] += float((square * scale).sum())
    return {k: significant(v / len(data), DIGITS) for k, v in total.items()}


def _directions(y: Numbers, loss: Loss, xp: Torch, generator: Any) -> list[tuple[Numbers, Numbers]]:
    """(weight per sample, vector per sample on the outputs y (N, K)) with sum over the list of weight * v v^T =
    curvature of the loss at the outputs.
    """
    torch, (n, k) = xp.torch, y.shape
    eye = torch.eye(k, dtype=y.dtype)
    if loss.kind == "mse":
        if k <= CLASSES:
            return [(torch.full((n,), 2.0 / k / loss.spread**2, dtype=y.dtype), eye[c].expand(n, k)) for c in range(k)]
        return [
            (
                torch.full((n,), 2.0 / k / SAMPLES / loss.spread**2, dtype=y.dtype),
                torch.randint(0, 2, (n, k), generator=generator).double() * 2 - 1,
            )
            for _ in range(SAMPLES)
        ]
    p = torch.softmax(y, dim=1)
    if k <= CLASSES:
        return [(p[:, c], eye[c] - p) for c in range(k)]
    drawn = torch.multinomial(p, SAMPLES, replacement=True, generator=generator)
    return [(torch.full((n,), 1.0 / SAMPLES, dtype=y.dtype), eye[drawn[:, s]] - p) for s in range(SAMPLES)]


class _Differentiated:
    """One pass through a network, from which gradients in several directions of its outputs are taken. names: of the
    tensors with respect to which. Samples do not see each other, so one backward pass has the gradients of all.
    """

    def __init__(self, network: FloatNetwork, part: dict[str, Numbers], names: Sequence[str], xp: Torch) -> None:
        self.xp, self.leaves = xp, dict[str, Numbers]()
        self.values = network.run(dict(part), {name: partial(self._leaf, name) for name in names}, xp, keep=None)
        self._outputs = self.values[network.output].reshape(len(next(iter(part.values()))), -1)

    def _leaf(self, name: str, v: Numbers) -> Numbers:
        self.leaves[name] = v if v.requires_grad else v.detach().clone().requires_grad_(True)
        return self.leaves[name]

    @property
    def output(self) -> Numbers:
        """(N, K)"""
        return self._outputs.detach()

    def gradients(self, direction: Numbers) -> dict[str, Numbers]:
        """Of direction . outputs, by tensor; without those that the outputs do not depend on."""
        if not self.leaves:
            return {}
        total = (self._outputs * direction).sum()
        found = self.xp.torch.autograd.grad(total, list(self.leaves.values()), retain_graph=True, allow_unused=True)
        return {name: g for name, g in zip(self.leaves, found, strict=True) if g is not None}


def _layers(network: FloatNetwork, weights: Mapping[str, Numbers]) -> dict[str, FloatStep]:
    """By the weight: convolutions and products of data and a matrix, where nothing else reads it."""
    readers: dict[str, list[FloatStep]] = {}
    for s in network.steps:
        for name in s.inputs:
            readers.setdefault(name, []).append(s)
    constants = {s.output for s in network.steps if s.rule is ops.Constant}

    def plain(name: str, s: FloatStep) -> bool:
        fits = s.rule is ops.Conv or (s.rule is ops.MatMul and weights[name].ndim == 3)
        return fits and s.inputs[1] == name and s.inputs[0] not in constants

    return {n: own[0] for n in weights if len(own := readers.get(n, [])) == 1 and plain(n, own[0])}


def _of_weights(layer: FloatStep, x: Numbers, shape: Sequence[int], g: Numbers) -> Numbers:
    """Squared norm per sample of the gradient with respect to the weights of a layer of data x, from the gradient g
    with respect to its result: that of a^T g, a (places, inputs), g (places, outputs), summed over the places of a
    kernel (Goodfellow, arXiv 1510.01799, for layers with one place).
    """
    n = len(g)
    if layer.rule is ops.MatMul:
        return _norms([x.reshape(n, 1, -1, shape[0])], g.reshape(n, 1, -1, shape[1]))
    op, rank = layer.op, len(shape) - 2
    places = g.shape[-rank:]
    parts = []
    for at in np.ndindex(*shape[2:]):
        ends = zip(at, op.dilations, op.strides, places, strict=True)
        parts.append(x[(..., *(slice(a * d, a * d + (p - 1) * s + 1, s) for a, d, s, p in ends))])
    return _norms([_rows(part, op.groups, rank) for part in parts], _rows(g, op.groups, rank))


def _rows(x: Numbers, groups: int, rank: int) -> Numbers:
    """(N, B, C, *places) as (N, groups, B * places, C / groups)."""
    n, b, c = x.shape[: x.ndim - rank]
    return x.reshape(n, b, groups, c // groups, -1).permute(0, 2, 1, 4, 3).reshape(n, groups, -1, c // groups)


def _norms(parts: Sequence[Numbers], g: Numbers) -> Numbers:
    """Per sample the sum over parts of |a^T g|^2, a (N, groups, T, K) and g (N, groups, T, M), or of the same by the
    products of rows, sum of (a a^T) * (g g^T), where these are fewer.
    """
    t, k, m = g.shape[2], parts[0].shape[3], g.shape[3]
    if t * (k + m) < k * m:
        return (sum(a @ a.mT for a in parts) * (g @ g.mT)).sum(dim=(1, 2, 3))
    if k == m == 1:  # of every channel alone
        return sum((a * g).sum(dim=(2, 3)).square().sum(dim=1) for a in parts)
    return sum((a.mT @ g).square().sum(dim=(1, 2, 3)) for a in parts)


def _per_sample(
    network: FloatNetwork, part: dict[str, Numbers], base: dict[str, Numbers], direction: Numbers, xp: Torch
) -> dict[str, Numbers]:
    """Squared norms per sample of gradients of direction . outputs with respect to any constants."""
    torch = xp.torch

    def one(weights: dict[str, Numbers], sample: dict[str, Numbers], v: Numbers) -> Numbers:
        batch = {k: a.unsqueeze(0) for k, a in sample.items()}
        return (network.run(batch, with_weights(network, weights), xp)[network.output].reshape(-1) * v).sum()

    if not base:
        return {}
    found = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(base, part, direction)
    return {name: g.reshape(len(g), -1).square().sum(dim=1) for name, g in found.items()}


@one_thread()
def fisher_outputs(
    network: FloatNetwork, data: Data, loss: Loss, axes: Mapping[str, int], seed: int = 0
) -> dict[str, np.ndarray]:
    """Diagonal of F of every output channel: the mean over vectors of sum_places g^2, g as for `fisher_traces`. axes:
    of the channels, by tensor without the batch.
    """
    torch, xp = torch_module(), Torch()
    total = {name: np.zeros(1) for name in axes}
    largest = max(int(np.prod(s.shape)) for s in network.steps)
    tile = max(1, min(len(data), 2**24 // largest))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(data), tile):
        part = {k: torch.from_numpy(v) for k, v in network.start(data.take(slice(start, start + tile)).x).items()}
        made = _Differentiated(network, part, list(axes), xp)
        for scale, direction in _directions(made.output, loss, xp, generator):
            for name, g in made.gradients(direction).items():
                others = tuple(a for a in range(g.ndim) if a != axes[name] + 1)
                shaped = scale.reshape(-1, *(1,) * (g.ndim - 1))
                total[name] = total[name] + (g.square() * shaped).sum(dim=others).numpy()
    return {k: np.array([significant(float(n) / len(data), DIGITS) for n in v]) for k, v in total.items()}
