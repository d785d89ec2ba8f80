"""What every layer makes of its format on given inputs: range used, bits wasted, saturation, noise, proven bound
against range seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.ir import Node, ops
from qcompile.passes.layout import untransposed
from qcompile.passes.ranges import ranges, smallest_format
from qcompile.pipeline import Design
from qcompile.records import dataclass
from qcompile.sim.ratio import max_abs
from qcompile.sim.reference import evaluate

MEASURED: tuple[type, ...] = (ops.Requant, *ops.COMPUTED)


@dataclass(frozen=True)
class LayerReport:
    """One tensor of the integer graph; layer: the name of what makes it. Ranges are in units.

    wasted_bits: width of the format less the bits that the seen range needs. For quantizers only: saturated, the share
    of numbers that lay beyond the format's ends, and sqnr_db, 10 log10 (power of the unquantized numbers / power of the
    quantization error).
    """

    layer: str
    tensor: str
    origin: str
    op: str
    format: str
    bound: tuple[int, int]
    seen: tuple[int, int]
    wasted_bits: int
    saturated: float | None = None
    sqnr_db: float | None = None

    def record(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: sqnr_db is null without noise."""
        sqnr = None if self.sqnr_db == math.inf else self.sqnr_db
        return {**vars(self), "bound": list(self.bound), "seen": list(self.seen), "sqnr_db": sqnr}


@dataclass
class _Noise:
    signal: float = 0.0
    error: float = 0.0
    beyond: int = 0
    count: int = 0


def layers(design: Design, *x: np.ndarray, progress: Callable[[str], None] = lambda text: None) -> list[LayerReport]:
    """A row per layer, on the float inputs x (vector index first), in tiles of the batch. QCompileError without any
    vector.
    """
    if not len(x[0]):
        raise QCompileError(
            "statistics of layers need at least one vector", "--layers", "--samples 1000, or --input FILE"
        )
    nodes = [n for n in design.graph.nodes if isinstance(n.op, MEASURED)]
    known, seen, noise = ranges(design.graph), dict[str, tuple[int, int]](), dict[str, _Noise]()
    largest = max(n.output.type.size for n in design.reference.nodes)
    tile = max(1, 2**21 // largest)
    for start in range(0, len(x[0]), tile):
        progress(f"layer statistics, vector {start} of {len(x[0])}")
        part = [a[start : start + tile] for a in x]
        values = design.simulator.run(design.simulator.quantize(*part), keep=True)
        for node in nodes:
            lo, hi = int(values[node.output.name].min()), int(values[node.output.name].max())
            old = seen.get(node.output.name, (lo, hi))
            seen[node.output.name] = min(lo, old[0]), max(hi, old[1])
        _add_noise(design, part, noise)
    return [
        _layer(
            design.graph.layers[n.output.name],
            n,
            known[n.output.name].bounds,
            seen[n.output.name],
            noise.get(untransposed(n.output.name)),
        )
        for n in nodes
    ]


def _add_noise(design: Design, x: list[np.ndarray], noise: dict[str, _Noise]) -> None:
    """Every quantizer of the reference: its input against its output."""
    named = {untransposed(n.output.name) for n in design.graph.nodes if isinstance(n.op, ops.Requant)}
    shaped = {h.name: np.reshape(a, (len(a), *h.source_shape)) for h, a in zip(design.inputs, x, strict=True)}
    values = evaluate(design.reference, shaped)
    for node in design.reference.nodes:
        if isinstance(node.op, ops.Quantize) and node.output.name in named:
            before, after = (values[v.name].float64() for v in (node.inputs[0], node.output))
            q = node.op
            unit = q.scale.numpy() * 2.0**q.format.unit
            lo, hi = ((end - q.zero_point.numpy()) * unit for end in (q.format.min_units, q.format.max_units))
            own = noise.setdefault(node.output.name, _Noise())
            own.signal += float(np.square(before).sum())
            own.error += float(np.square(before - after).sum())
            own.beyond += int(((before < lo - unit / 2) | (before > hi + unit / 2)).sum())
            own.count += before.size


def _layer(name: str, node: Node, reach: tuple[int, int], seen: tuple[int, int], noise: _Noise | None) -> LayerReport:
    fmt = node.output.type.format
    assert fmt is not None
    needed = smallest_format(*seen).width if max_abs(np.array(seen, dtype=object)) else 1
    saturated = noise.beyond / noise.count if noise and noise.count else None
    sqnr = None
    if noise and noise.signal > 0:
        sqnr = math.inf if noise.error == 0 else 10 * math.log10(noise.signal / noise.error)
    kind = type(node.op).__name__
    return LayerReport(
        name,
        node.output.name,
        str(node.origin),
        kind,
        str(fmt),
        reach,
        seen,
        max(0, fmt.width - needed),
        saturated,
        sqnr,
    )
