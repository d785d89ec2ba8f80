"""Which widths of formats lie on the front of accuracy against bit operations, over widths of a network.

    python benchmarks/widths.py [SEEDS]

After Pareto-Optimal Quantized ResNet Is Mostly 4-bit (arXiv 2105.03536), at the scale of digits: perceptrons of
64-w-w-10 that were trained in float, weights and activations of one width rounded to nearest, accuracy on held-out
images. Costs: `bops` (products * bits * bits) and `linear` (products * the wider of both, as 4, 8, 16), as `qcompile
allocate` has them.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import torch
from sklearn.datasets import load_digits

import qcompile as qc
from qcompile.assignment.abstract import abstract_costs
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.options import Settings
from qcompile.planning.allocating import model_tables

WIDTHS, BITS = (8, 16, 32, 64, 128), (2, 3, 4, 6, 8)
STEPS, HELD = 1500, 600


def trained(width: int, x: torch.Tensor, y: torch.Tensor, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    n = torch.nn
    net = n.Sequential(n.Linear(64, width), n.ReLU(), n.Linear(width, width), n.ReLU(), n.Linear(width, 10))
    adam = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (128,))
        adam.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        adam.step()
    return net.eval()


def points(seed: int) -> list[tuple[int, int, float, float, float]]:
    """(width, bits, accuracy, bops, linear) of every network."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order]
    out = []
    for width in WIDTHS:
        net = trained(width, torch.from_numpy(x[HELD:]), torch.from_numpy(y[HELD:]), seed)
        model = qc.load(net, torch.from_numpy(x[:1]))
        for bits in BITS:
            settings = Settings(metric="sqnr", candidates=f"int{bits}")
            found = model_tables(model, settings, lambda m=model: data(x[HELD : HELD + 256], m.graph), Jobs())
            d, held = found.designs, data(x[:HELD], model.graph)
            changes = d.study.evaluation.changes(dict.fromkeys((t.name for t in d.study.tensors), 0))
            z = d.study.evaluation.network.outputs(held.x, changes)
            costs, choice = abstract_costs(d.study, d.graph), [0] * len(d.study.tensors)
            right = float((z.argmax(axis=1) == y[:HELD]).mean())
            out.append((width, bits, right, costs["bops"].of(choice), costs["linear"].of(choice)))
    return out


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    found = np.mean([points(seed) for seed in range(seeds)], axis=0)
    for place, cost in ((3, "bops"), (4, "linear")):
        front, best = [], 0.0
        for row in sorted(found.tolist(), key=lambda r: (r[place], -r[2])):
            if row[2] > best:
                best = row[2]
                front.append(row)
        counts = Counter(int(r[1]) for r in front)
        print(f"front of accuracy against {cost}, mean of {seeds} seeds; most often {counts.most_common(1)[0][0]} bits")
        for width, bits, right, *costs in front:
            print(f"  width {int(width):4}  {int(bits)} bits  accuracy {right:.4f}  {costs[place - 3]:12,.0f}")


if __name__ == "__main__":
    main()
