"""The Hessian of the mean loss, by torch: traces and largest eigenvalues, from products with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.exact import significant
from qcompile.assignment.gradients import DIGITS, Torch, one_thread, torch_module, with_weights
from qcompile.assignment.losses import Loss
from qcompile.assignment.network import FloatNetwork, Numbers


class _Hessian:
    """Gradients of the mean loss on some data, through which products with the Hessian are taken. names: of the tensors
    that the loss depends on.
    """

    def __init__(
        self, network: FloatNetwork, data: Data, loss: Loss, weights: Sequence[str], activations: Sequence[str]
    ) -> None:
        torch = self.torch = torch_module()
        xp, wanted = Torch(), set(weights)
        base = {
            k: torch.from_numpy(np.array(v)).requires_grad_(True) for k, v in network.weights().items() if k in wanted
        }
        part = {k: torch.from_numpy(v) for k, v in network.start(data.x).items()}
        leaves: dict[str, Numbers] = dict(base)

        def leaf(name: str, v: Numbers) -> Numbers:
            leaves[name] = v if v.requires_grad else v.detach().clone().requires_grad_(True)
            return leaves[name]

        changes = with_weights(network, base) | {name: lambda v, n=name: leaf(n, v) for name in activations}
        value = loss.torch(network.run(part, changes, xp)[network.output], torch)
        names = [n for n in (*weights, *activations) if n in leaves]
        found = torch.autograd.grad(value, [leaves[n] for n in names], create_graph=True, allow_unused=True)
        self.gradients = {n: g for n, g in zip(names, found, strict=True) if g is not None}
        self.leaves = {n: leaves[n] for n in self.gradients}

    def product(self, vectors: dict[str, Numbers]) -> dict[str, Numbers]:
        """H v, H the Hessian with respect to these tensors together."""
        products = self.torch.autograd.grad(
            [self.gradients[n] for n in vectors],
            [self.leaves[n] for n in vectors],
            list(vectors.values()),
            retain_graph=True,
            allow_unused=True,
        )
        return {n: p for n, p in zip(vectors, products, strict=True) if p is not None}


@one_thread()
def hessian_traces(
    network: FloatNetwork,
    data: Data,
    loss: Loss,
    weights: Sequence[str],
    activations: Sequence[str],
    probes: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """tr H of the mean loss by Hutchinson's estimate: mean of v^T H v over Rademacher vectors v (HAWQ-V2, arXiv
    1911.03852, section 3.1).

    Of an activation: the sum over samples of the trace with respect to that sample's values, over their number (ours).
    """
    torch, h = torch_module(), _Hessian(network, data, loss, weights, activations)
    generator, total = torch.Generator().manual_seed(seed), dict.fromkeys(h.gradients, 0.0)
    for _ in range(probes):
        # One tensor's probe must not reach another's on the same path.
        for group in (list(weights), *([a] for a in activations)):
            shapes = {n: h.gradients[n].shape for n in group if n in h.gradients}
            vs = {n: torch.randint(0, 2, s, generator=generator).double() * 2 - 1 for n, s in shapes.items()}
            for n, hv in (h.product(vs) if vs else {}).items():
                total[n] += float((vs[n] * hv).sum()) / probes
    return {k: significant(v, DIGITS) for k, v in total.items()}


@one_thread()
def hessian_eigenvalues(
    network: FloatNetwork,
    data: Data,
    loss: Loss,
    weights: Sequence[str],
    activations: Sequence[str],
    steps: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """The eigenvalue of largest size of the Hessian with respect to every tensor alone, with its sign, by the power
    iteration; of an activation the largest of any vector of the data, with respect to that vector's values.
    """
    torch, h = torch_module(), _Hessian(network, data, loss, weights, activations)
    generator, out = torch.Generator().manual_seed(seed), dict[str, float]()
    for name, g in h.gradients.items():
        count = 1 if name in weights else len(data)  # vectors do not see each other: an iteration for all at once
        v = _unit(torch.randn(g.shape, generator=generator, dtype=g.dtype), count)
        value = torch.zeros(count, dtype=g.dtype)
        for _ in range(steps):
            hv = h.product({name: v}).get(name, torch.zeros_like(v))
            value = (v * hv).reshape(count, -1).sum(dim=1) * count  # the loss is a mean over the vectors
            v = _unit(hv, count)
        out[name] = significant(float(value[value.abs().argmax()]), DIGITS)
    return out


def _unit(v: Any, count: int) -> Any:
    """With length 1, as many vectors as are said."""
    flat = v.reshape(count, -1)
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-30)).reshape(v.shape)
