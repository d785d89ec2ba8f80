"""Data that the network's batch norms remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.jobs import StepProgress
from qcompile.assignment.methods import SourceMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.errors import QCompileError
from qcompile.ir import Graph, ops

VECTORS, STEPS, RATE = 128, 300, 0.1


def bn_distill(
    graph: Graph, given: Callable[[], Data], seed: int, progress: StepProgress, span: tuple[float, float] | None = None
) -> Data:
    """Data whose batch statistics are those that the batch norms remember, and nothing else (ZeroQ, arXiv 2001.00281,
    equation 3).

    By Adam, on the float graph before batch norms are folded: ||mean - mu||^2 + ||std - sigma||^2 summed over the batch
    norms. span: the range that inputs have, which batch norms do not tell (ours; ZeroQ takes all inputs for normalized
    ones, as is done here without a span).
    """
    from qcompile.assignment.gradients import torch_module

    torch = torch_module()
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(FloatNetwork.of(graph).inputs)
    x = {
        name: torch.randn((VECTORS, *shape), generator=generator, dtype=torch.float64).requires_grad_(True)
        for name, shape in shapes.items()
    }
    low, high = span or (0.0, 0.0)
    made = {k: (lambda v: low + (high - low) * torch.sigmoid(v)) if span else (lambda v: v) for k in x}

    def inputs() -> dict[str, Any]:
        return {k: made[k](v) for k, v in x.items()}

    return distilled(graph, "bn_distill", inputs, list(x.values()), RATE, span is None, progress)


def distilled(
    graph: Graph,
    name: str,
    inputs: Callable[[], dict[str, Any]],
    parameters: list[Any],
    rate: float,
    normal: bool,
    progress: StepProgress,
) -> Data:
    """What `inputs` makes of parameters that are trained so that its statistics are those of the batch norms; normal:
    and mean and deviation of the inputs 0 and 1. QCompileError where there are no batch norms.
    """
    from qcompile.assignment.gradients import Torch, one_thread, torch_module

    norms = [n for n in graph.nodes if isinstance(n.op, ops.BatchNorm)]
    if not norms:
        raise QCompileError(
            f"{name} needs batch norms, and the network has none",
            graph.name,
            "export the model with batch norms, or give calibration data",
        )
    torch, xp = torch_module(), Torch()
    network = FloatNetwork.of(graph)
    wanted = {}
    for n in norms:
        mean, var = (p.numpy().ravel().astype(np.float64) for p in (n.op.mean, n.op.var))
        wanted[n.inputs[0].name] = torch.from_numpy(mean), torch.from_numpy(np.sqrt(var + float(n.op.epsilon)))
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    what = f"{name}: data from batch norms"
    with one_thread():
        for step in range(STEPS):
            optimizer.zero_grad()
            x = inputs()
            values = network.run(x, xp=xp, keep=wanted)
            total: Any = sum(v.mean().square() + (v.std() - 1).square() for v in x.values()) if normal else 0.0
            for value, (mean, std) in wanted.items():
                v = values[value]
                axes = [a for a in range(v.ndim) if v.shape[a] != len(mean) or a != _channel(v.shape, len(mean))]
                own_mean, own_var = v.mean(dim=axes), v.var(dim=axes, unbiased=False)
                total = total + ((own_mean - mean).square() + (torch.sqrt(own_var + 1e-8) - std).square()).mean()
            total.backward()
            optimizer.step()
            schedule.step()
            if step % 20 == 0:
                progress(what, step, STEPS)
        found = inputs()
    progress(what, STEPS, STEPS)
    return Data(tuple(_coarse(v.detach().numpy()) for v in found.values()))


def _coarse(x: np.ndarray) -> np.ndarray:
    """To 14 bits of the largest number: what 300 steps make of a difference in the last bit does not reach it."""
    _, exponent = np.frexp(np.abs(x).max(initial=0.0))
    return np.asarray(np.ldexp(np.rint(np.ldexp(x, 14 - exponent)), exponent - 14), dtype=np.float32)


def _channel(shape: tuple[int, ...], channels: int) -> int:
    """The axis of (N, 1, C, ...) that the channels lie along."""
    return next((a for a in range(2, len(shape)) if shape[a] == channels), len(shape) - 1)


METHOD = SourceMethod(
    name="bn_distill",
    what="calibration data from batch norm statistics",
    paper="ZeroQ: A Novel Zero Shot Quantization Framework, arXiv 2001.00281",
    needs=("torch",),
    run=bn_distill,
)
