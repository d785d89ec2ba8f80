"""Time and height of a detector's pulses by a small 1-D network: float against integers, over signal to noise.

    python benchmarks/pulse.py [SEEDS]

After PulseDL-II (arXiv 2209.00884), whose data are not public: pulses A * s(t - t0) of a CR-RC^4 shaper, 32 samples,
white noise; signal to noise is 20 log10(A / sigma). Beside the networks: the bound of Cramer and Rao, which no unbiased
estimate beats, and what the formats take on a processor (`qcompile allocate --processor`), by its cost model.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import qcompile as qc
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.cost.roofline import Roofline
from qcompile.options import Settings
from qcompile.planning.allocating import model_tables

SAMPLES, TAU, ORDER = 32, 2.0, 4
RATIOS = (20, 30, 40, 50)  # dB
VECTORS, STEPS = 4096, 1500
PROCESSOR = Roofline(16, 4)


def shape(t: np.ndarray) -> np.ndarray:
    """Of the shaper, its maximum 1."""
    x = np.maximum(t, 0) / (ORDER * TAU)
    return x**ORDER * np.exp(ORDER * (1 - x))


def pulses(rng: np.random.Generator, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(samples (N, 1, 32), time and height (N, 2)), both near 0, of ratios (N,) in dB."""
    time, height = rng.uniform(-1, 1, len(ratio)), rng.uniform(0.5, 1, len(ratio))
    t = np.arange(SAMPLES)[None, :] - (6 + time[:, None])
    noise = height[:, None] * 10 ** (-ratio[:, None] / 20) * rng.standard_normal((len(ratio), SAMPLES))
    return (height[:, None] * shape(t) + noise)[:, None].astype(np.float32), np.stack([time, height], 1).astype(
        np.float32
    )


def bound(ratio: float) -> float:
    """Of the time's deviation: sigma / (A sqrt(sum s'^2)), where time and height do not mix."""
    t = np.arange(SAMPLES) - 6.0
    slope = (shape(t + 1e-4) - shape(t - 1e-4)) / 2e-4
    s = shape(t)
    fisher = np.array([[slope @ slope, -(slope @ s)], [-(slope @ s), s @ s]]) * 10 ** (ratio / 10)
    return float(np.sqrt(np.linalg.inv(fisher)[0, 0]))


def trained(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    n = torch.nn
    layers = (n.Conv1d(1, 8, 5, 2), n.ReLU(), n.Conv1d(8, 8, 5, 2), n.ReLU(), n.Flatten(), n.Linear(40, 32), n.ReLU())
    net = n.Sequential(*layers, n.Linear(32, 2))
    rng = np.random.default_rng(seed)
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for _ in range(STEPS):
        x, y = map(torch.from_numpy, pulses(rng, rng.uniform(20, 55, 256)))
        adam.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()
        adam.step()
        schedule.step()
    return net.eval()


def measure(seed: int) -> dict[str, list[tuple[float, float]]]:
    """Deviation of time (samples) and relative height, by execution, over the ratios."""
    net, rng = trained(seed), np.random.default_rng(1000 + seed)
    calibration = pulses(rng, rng.uniform(20, 55, 512))[0]
    model = qc.load(net, torch.from_numpy(calibration[:1]))
    out: dict[str, list[tuple[float, float]]] = {}
    runs = {"float": None}
    for bits in (8, 6, 4):
        settings = Settings(metric="sqnr", candidates=f"int{bits}", loss="mse")
        tables = model_tables(model, settings, lambda: data(calibration, model.graph), Jobs(), PROCESSOR)
        found = tables.tables.allocate()
        print(f"seed {seed}: int{bits} takes {found.cost['cycles']:,.0f} cycles, {found.cost['bits'] / 8:,.0f} bytes")
        runs[f"int{bits}"] = qc.compile(model, tables.plan(found))
    for name, design in runs.items():
        for ratio in RATIOS:
            x, y = pulses(np.random.default_rng(ratio), np.full(VECTORS, float(ratio)))
            if design is None:
                with torch.no_grad():
                    z = net(torch.from_numpy(x)).numpy()
            else:
                z = np.asarray(design.simulate(x)).reshape(VECTORS, 2)
            off = z - y
            out.setdefault(name, []).append((float(off[:, 0].std()), float((off[:, 1] / y[:, 1]).std())))
    return out


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    found = [measure(seed) for seed in range(seeds)]
    print(f"deviation of time in samples / of height, mean of {seeds} seeds")
    print("          " + "".join(f"{r:>8} dB       " for r in RATIOS))
    print("bound     " + "".join(f"{bound(r):.4f}           " for r in RATIOS))
    for name in found[0]:
        numbers = np.mean([f[name] for f in found], axis=0)
        print(f"{name:9} " + "".join(f"{t:.4f} / {h:.4f}  " for t, h in numbers))


if __name__ == "__main__":
    main()
