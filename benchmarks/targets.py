"""Whether accuracy targets hold on images that no plan has seen.

Networks of `examples/train_float.py`, each trained from four seeds on its own split. The target is the float network's
accuracy on the 256 calibration images less 0.01; half of these images choose the plan, the other half accept it. A run
misses the target where the drop from the float network on 600 held-out images is larger than 0.01 by more than its
one-sided interval (95 %, Student's t of the paired differences).

    python benchmarks/targets.py [--networks mlp,cnn] [--seeds 4] [--roundings rtn,gptq] [--candidates fixed2-8]
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from assign import network

import qcompile as qc
from qcompile import planning
from qcompile.assignment.data import data
from qcompile.planning.designs import logits
from qcompile.planning.targets import largest_mean

GIVEN = 0.01


def one(kind: str, seed: int, rounding: str, candidates: str) -> tuple[str, bool]:
    """A line, and whether the run misses its target."""
    model, calibration, test, _ = network(kind, seed)
    every = planning.run(
        model,
        calibration[0],
        labels=calibration[1],
        part="xczu7ev",
        candidates=candidates,
        rounding=rounding,
        metric="kl_output",
        accuracy_target=_float_accuracy(model, calibration) - GIVEN,
        baselines=False,
    )
    held = data(test[0], model.graph, test[1])
    right = logits(qc.compile(model, every.plan, part="xczu7ev"), held).argmax(1) == test[1]
    float_right = _float(model, test[0]).argmax(1) == test[1]
    lost = float_right.astype(float) - right.astype(float)
    # The lower end of the interval of the drop lies above what is allowed.
    missed = -largest_mean(-lost) > GIVEN
    accepted = every.accepted
    assert accepted is not None
    line = (
        f"{kind:>9} {seed} {rounding:>8}  {every.chosen.cost.lut:8,.0f} LUT  drop: accepted {accepted.drop:+.4f}"
        f" (at most {accepted.most_drop:.4f}), held-out {lost.mean():+.4f} [{-largest_mean(-lost):+.4f}"
        f" {largest_mean(lost):+.4f}]"
    )
    return line + ("  MISSED" if missed else ""), missed


def _float(model: qc.Model, x: np.ndarray) -> np.ndarray:
    from qcompile.assignment.network import FloatNetwork

    net = FloatNetwork.of(model.graph)
    return np.asarray(net.run(net.start([x]))[net.output].reshape(len(x), -1))


def _float_accuracy(model: qc.Model, calibration: tuple) -> float:
    return float((_float(model, calibration[0]).argmax(1) == calibration[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="mlp,cnn")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--roundings", default="rtn,gptq")
    parser.add_argument("--candidates", default="fixed2-8")
    args = parser.parse_args()
    missed = []
    for seed, kind, rounding in itertools.product(
        range(args.seeds), args.networks.split(","), args.roundings.split(",")
    ):
        line, bad = one(kind, seed, rounding, args.candidates)
        missed.append(bad)
        print(line, flush=True)
    print(f"{sum(missed)} of {len(missed)} runs miss their target")


if __name__ == "__main__":
    main()
