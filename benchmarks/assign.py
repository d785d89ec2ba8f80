"""Mixed formats against uniform ones, in loss at equal LUTs and in LUTs at equal loss, on held-out digits.

Networks of `examples/train_float.py`: an MLP, a CNN and a depthwise separable network, each trained from four seeds on
its own split. The plans see 256 calibration images that the networks were not trained on; losses are those of the
bit-accurate simulator on 600 others. Intervals are paired bootstraps over these images (2,000 draws). LUTs are the
estimates of whole designs.

    python benchmarks/assign.py [--networks mlp,cnn,depthwise] [--seeds 4] [--candidates fixed2-8] [--metric fit]
    [--loss kl] [--refine N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import torch  # noqa: E402
import train_float  # noqa: E402

import qcompile as qc  # noqa: E402
from qcompile.assignment.data import data  # noqa: E402
from qcompile.assignment.jobs import Jobs  # noqa: E402
from qcompile.assignment.losses import loss_of  # noqa: E402
from qcompile.errors import QCompileError  # noqa: E402
from qcompile.options import Settings  # noqa: E402
from qcompile.pipeline import Options  # noqa: E402
from qcompile.planning.designs import logits  # noqa: E402
from qcompile.planning.planner import solve  # noqa: E402
from qcompile.planning.prepare import prepare  # noqa: E402
from qcompile.planning.programs import uniform_choices  # noqa: E402

TEST, CALIBRATION, DRAWS = 600, 256, 2000


def network(kind: str, seed: int) -> tuple[qc.Model, tuple, tuple, float]:
    """(model, calibration, test, accuracy of the float network)."""
    train_float.TEST_ROWS = TEST
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x, y, test_x, test_y = train_float.data(seed)
    module = getattr(train_float, kind)()
    train_float.train(module, x[CALIBRATION:], y[CALIBRATION:], seed=seed)
    model = qc.load(train_float.onnx_bytes(module))
    accuracy = train_float.accuracy(module, test_x, test_y)
    return model, (x[:CALIBRATION].numpy(), y[:CALIBRATION].numpy()), (test_x.numpy(), test_y.numpy()), accuracy


def interval(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean of a - b and its 95 % interval."""
    d = a - b
    means = d[rng.integers(0, len(d), (DRAWS, len(d)))].mean(axis=1)
    return float(d.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def compare(kind: str, seed: int, settings: dict) -> dict:
    model, calibration, test, accuracy = network(kind, seed)
    options = Options(part="xczu7ev")
    start = time.time()
    task = prepare(model, Settings(**settings), options, {"lut": 10**9}, Jobs(), *calibration)
    own = task.designs
    held = data(test[0], own.graph, test[1])
    loss = loss_of(own.study.evaluation.network, held, "cross_entropy")

    def point(choice: tuple[int, ...]) -> tuple[float, np.ndarray, float]:
        design = own.design(own.plan(choice))
        y = logits(design, held)
        return design.estimate().total.lut, loss.rows(y), float((y.argmax(axis=1) == test[1]).mean())

    uniform = [(str(c), choice, *point(choice)) for c, choice in uniform_choices(own, task.problem)]
    rng, rows = np.random.default_rng(0), []
    for name, _, lut, losses, acc in uniform[1:-1]:
        try:
            mixed_lut, mixed, mixed_acc = point(solve(replace(task, limits={"lut": int(np.ceil(lut))})).choice)
        except QCompileError:
            continue
        rows.append(
            {
                "at": name,
                "lut": lut,
                "uniform": float(losses.mean()),
                "mixed": float(mixed.mean()),
                "difference": interval(mixed, losses, rng),
                "uniform accuracy": acc,
                "mixed accuracy": mixed_acc,
                "mixed lut": mixed_lut,
            }
        )
    # Least LUTs at the loss that a uniform plan has on the calibration data; what that means on held-out data is shown
    # beside it.
    equal = []
    for name, choice, lut, losses, acc in uniform[1:-1]:
        aim = Settings(**{**settings, "max_loss": own.exact(choice).loss * (1 + 1e-4), "minimize": "lut"})
        try:
            found = solve(prepare(model, aim, options, {"lut": int(np.ceil(lut))}, Jobs(), *calibration))
        except QCompileError:
            continue
        mixed_lut, mixed, mixed_acc = point(found.choice)
        equal.append(
            {
                "at": name,
                "ratio": mixed_lut / lut,
                "difference": interval(mixed, losses, rng),
                "uniform accuracy": acc,
                "mixed accuracy": mixed_acc,
            }
        )
    return {
        "network": kind,
        "seed": seed,
        "float accuracy": accuracy,
        "seconds": time.time() - start,
        "rows": rows,
        "equal": equal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="mlp,cnn,depthwise")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", default="")
    for name, default in (("candidates", "fixed2-8"), ("metric", "fit"), ("transforms", "fold_bn"), ("loss", "kl")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--refine", type=int, default=None)
    args = parser.parse_args()
    settings = {
        "candidates": args.candidates,
        "metric": args.metric,
        "refine": args.refine,
        "loss": args.loss,
        "transforms": tuple(args.transforms.split(",")),
    }
    found = []
    for kind in args.networks.split(","):
        for seed in range(args.seeds):
            r = compare(kind, seed, settings)
            found.append(r)
            print(f"{kind} seed {seed}: float accuracy {r['float accuracy']:.3f}, {r['seconds']:.0f} s")
            for row in r["rows"]:
                d, lo, hi = row["difference"]
                print(
                    f"  {row['at']:>8} {row['lut']:9,.0f} LUT  uniform {row['uniform']:.4f}"
                    f" ({row['uniform accuracy']:.3f})  mixed {row['mixed']:.4f} ({row['mixed accuracy']:.3f})  mixed -"
                    f" uniform {d:+.4f} [{lo:+.4f}, {hi:+.4f}]"
                )
            for row in r["equal"]:
                d, lo, hi = row["difference"]
                print(
                    f"  loss of {row['at']}: {row['ratio']:.2f} of its LUTs; held-out mixed - uniform {d:+.4f}"
                    f" [{lo:+.4f}, {hi:+.4f}]",
                    flush=True,
                )
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
