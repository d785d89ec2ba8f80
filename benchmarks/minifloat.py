"""Minifloat against fixed point of the same width on real weights: error of the weights, and bits that exact
accumulation takes.

For every layer of the float networks of the corpus the largest weight (of each output channel, or of the whole tensor)
is put on the largest number of the format. SQNR: 10 log10 (power of the weights / power of their error), median over
layers; small weights: the same for the quarter of the weights that is smallest. Accumulator: `1 + bits(max|a| * max
over outputs of sum|w|)` from the actual codes, activations in the same format; closed form: `1 + bits(n * U_a * U_b)`.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import peers
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table

from qcompile.formats import FixedPoint, Format, Minifloat
from qcompile.formats.minifloat import E2M1, E2M3, E3M2, E4M3, E4M3FNUZ, E5M2

FORMATS: dict[str, Format] = {
    "fixed 4": FixedPoint(4, 0, True, True),
    "E2M1": E2M1,
    "E3M0": Minifloat(3, 0, 3),
    "fixed 5": FixedPoint(5, 0, True, True),
    "E2M2": Minifloat(2, 2, 1),
    "E3M1": Minifloat(3, 1, 3),
    "fixed 6": FixedPoint(6, 0, True, True),
    "E2M3": E2M3,
    "E3M2": E3M2,
    "fixed 7": FixedPoint(7, 0, True, True),
    "E2M4": Minifloat(2, 4, 1),
    "E3M3": Minifloat(3, 3, 3),
    "E4M2": Minifloat(4, 2, 7),
    "fixed 8": FixedPoint(8, 0, True, True),
    "E2M5": Minifloat(2, 5, 1),
    "E3M4": Minifloat(3, 4, 3),
    "E4M3": E4M3,
    "E4M3FNUZ": E4M3FNUZ,
    "E5M2": E5M2,
}


def layers() -> list[np.ndarray]:
    """(outputs, terms) weights of every convolution and product of the corpus' float networks."""
    root, found = peers.corpus(), []
    for record in json.loads((root / "index.json").read_text()):
        if record["kind"] != "float":
            continue
        graph = onnx.load(root / record["file"]).graph
        known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            weights = known.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
            if weights is not None and weights.ndim > 1 and weights.size >= 64:
                by_row = node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)
                found.append(
                    (weights if by_row else weights.T).reshape(weights.shape[0] if by_row else weights.shape[-1], -1)
                )
    return found


def measure(fmt: Format, weights: list[np.ndarray], per_channel: bool) -> tuple[float, float, int, int]:
    """(median SQNR in dB, that of small weights, widest accumulator from the codes, widest by the closed form)."""
    ratios, small, exact, closed = [], [], 1, 1
    largest = int(fmt.max_units)
    for w in weights:
        w = w.astype(np.float64)
        top = np.abs(w).max(axis=1, keepdims=True) if per_channel else np.abs(w).max()
        scale = np.maximum(top, 1e-30) / (largest * 2.0**fmt.unit)
        units = fmt.decode(fmt.quantize(w / scale)).astype(object)
        error = w - units.astype(np.float64) * 2.0**fmt.unit * scale
        ratios.append(_decibels(w, error))
        few = (np.abs(w) <= np.quantile(np.abs(w), 0.25)) & (w != 0)
        small.append(_decibels(w[few], error[few]))
        exact = max(exact, 1 + int(largest * int(np.abs(units).sum(axis=1).max())).bit_length())
        closed = max(closed, 1 + int(w.shape[1] * largest * largest).bit_length())
    return float(np.median(ratios)), float(np.median(small)), exact, closed


def _decibels(signal: np.ndarray, error: np.ndarray) -> float:
    return float(10 * np.log10(max(np.square(signal).sum(), 1e-300) / max(np.square(error).sum(), 1e-300)))


def main() -> None:
    weights = layers()
    table = Table(title=f"{len(weights)} layers, {sum(w.size for w in weights):,} weights", title_justify="left")
    for column in (
        "format",
        "bits",
        "SQNR, scale per channel",
        "SQNR, per tensor",
        "small weights, per tensor",
        "accumulator",
        "closed form",
    ):
        table.add_column(column, justify="right")
    for name, fmt in FORMATS.items():
        ratio, _, exact, closed = measure(fmt, weights, per_channel=True)
        whole, small, *_ = measure(fmt, weights, per_channel=False)
        numbers = (f"{ratio:.1f}", f"{whole:.1f}", f"{small:.1f}", str(exact), str(closed))
        table.add_row(name, str(fmt.width), *numbers, end_section=name in ("E3M0", "E3M1", "E3M2", "E4M2"))
    Console().print(table)


if __name__ == "__main__":
    main()
