"""Adder graphs of constant matrices: adders, adder bits, levels and seconds beside the fixed order of pairs, which
searches count with.

Random matrices of common kinds, and those of the shipped digits classifier.
"""

import pathlib
import time
from collections.abc import Iterator

import numpy as np

from qcompile.cost import adder_bits, pairing
from qcompile.frontend import load
from qcompile.hardware import adders
from qcompile.ir import ops
from qcompile.parts import value_range
from qcompile.passes.lower import lower
from qcompile.passes.ports import split

EXAMPLE = pathlib.Path(__file__).resolve().parents[1] / "examples" / "digits_mlp.onnx"
Matrix = tuple[str, np.ndarray, int, int]


def random() -> Iterator[Matrix]:
    """Weights and the interval of the inputs."""
    draw = np.random.default_rng(0)
    yield "4-bit normal, s8", np.clip(np.round(draw.normal(0, 2.5, (64, 64))), -7, 7).astype(np.int64), -128, 127
    yield "8-bit uniform, s8", draw.integers(-128, 128, (64, 64)), -128, 127
    yield "ternary, s2", draw.integers(-1, 2, (64, 64)), -2, 1
    yield "binary, binary", draw.integers(0, 2, (64, 64)) * 2 - 1, 0, 1
    sparse = draw.integers(-1, 2, (64, 784)) * (draw.random((64, 784)) < 0.5)
    yield "sparse ternary, s2", sparse, -2, 1


def digits() -> Iterator[Matrix]:
    reference = load(EXAMPLE).graph
    graph = lower(reference, split(reference, "host"), 0)[0]
    for node in graph.nodes:
        if isinstance(node.op, ops.MatMul):
            data, weights = node.inputs
            units = graph.producers[weights.name].op.units.data.reshape(weights.type.shape).T
            yield f"digits, {data.type.format}", units.astype(np.int64), *value_range(data.type.format)


def main() -> None:
    print(f"{'matrix':28}{'pairs: adders, bits, levels':>30}{'graph':>24}{'any depth':>24}{'bits':>7}{'CPU s':>7}")
    for name, w, low, high in (*random(), *digits()):
        before = pairing.graph(w, low, high)
        start = time.process_time()
        graph = adders.solved(w, low, high)
        seconds = time.process_time() - start
        free = adders.solved(w, low, high, spare=None)
        shown = (f"{g.adders:,} {adder_bits.total(g):,} {g.levels}" for g in (before, graph, free))
        first, *others = shown
        ratio = adder_bits.total(graph) / adder_bits.total(before)
        shape = " x ".join(map(str, w.shape))
        print(f"{shape + ' ' + name:28}{first:>30}{others[0]:>24}{others[1]:>24}{ratio:7.2f}{seconds:7.1f}", flush=True)


if __name__ == "__main__":
    main()
