"""Data of a generator that batch norms train."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qcompile.assignment.data import Data
from qcompile.assignment.jobs import StepProgress
from qcompile.assignment.methods import SourceMethod
from qcompile.assignment.methods.source.bn_distill import VECTORS, distilled
from qcompile.assignment.network import FloatNetwork
from qcompile.ir import Graph

LATENT, HIDDEN, RATE = 64, 256, 0.01


def bn_generator(
    graph: Graph, given: Callable[[], Data], seed: int, progress: StepProgress, span: tuple[float, float] | None = None
) -> Data:
    """As `bn_distill`, but what is trained is a small network and its inputs, whose results are the data: 128 vectors
    share it, so that they have more in common than their statistics (Genie, arXiv 2212.04780, whose generator is a
    convolutional one of images; a perceptron for inputs of any shape is ours, and strides are left as they are).
    """
    from qcompile.assignment.gradients import torch_module

    torch = torch_module()
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Any:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    parts = {}
    for name, shape in FloatNetwork.of(graph).inputs:
        size = math.prod(shape)
        parts[name] = shape, [drawn(VECTORS, LATENT), drawn(LATENT, HIDDEN) / 8, drawn(HIDDEN, size) / 16]
    trained = [p.requires_grad_(True) for _, own in parts.values() for p in own]

    def inputs() -> dict[str, Any]:
        out = {}
        for name, (shape, (z, first, second)) in parts.items():
            hidden = torch.nn.functional.leaky_relu(z @ first, 0.2)
            hidden = (hidden - hidden.mean(dim=0)) / (hidden.std(dim=0) + 1e-6)
            x = (hidden @ second).reshape(VECTORS, *shape)
            out[name] = span[0] + (span[1] - span[0]) * torch.sigmoid(x) if span else x
        return out

    return distilled(graph, "bn_generator", inputs, trained, RATE, span is None, progress)


METHOD = SourceMethod(
    name="bn_generator",
    what="calibration data of a generator that batch norm statistics train",
    paper="Genie: Show Me the Data for Quantization, arXiv 2212.04780",
    needs=("torch",),
    run=bn_generator,
)
