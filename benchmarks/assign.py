"""Mixed formats against uniform ones, in loss at equal LUTs and in LUTs at equal loss, on held-out digits.

Networks of `examples/train_float.py`: an MLP, a CNN and a depthwise separable network, each trained from four seeds on
its own split. The plans see 256 calibration images that the networks were not trained on; losses are those of the
bit-accurate simulator on 600 others. Intervals are paired bootstraps over these images (2,000 draws). LUTs are the
estimates of whole designs.

With `--rounding digits` instead: LUTs of cost-aware rounding under six budgets, relative to what uniform plans need for
the same held-out divergence, by interpolation: those rounded to nearest, and those by the better of gptq and adaround
with corrected offsets.

With `--prices 5e-6,1.5e-5` no search: plans at these prices of a LUT, weights of 6 bits and activations of 3 and of 4;
of a rounding that trains, trained in the logic of the plan that `digits` has at the price.

With `--rounding qft --epochs 40` the same for trained plans: on the 256 calibration images, or with `--vectors all` on
these and the training images, none of them labelled. `--share`: of the LUTs of uniform plans, what budgets are.

With `--arch dataflow` (networks residual, depthwise): the resource of which uniform plans of 8 bits take the largest
share of the part, of plans of a rounding that knows prices relative to those, at a rate and at an accuracy no more than
0.01 below that of the float network on the calibration data.

With `--cache FOLDER` fronts of uniform plans and checkpoints of trainings are kept there, so that a run that was
interrupted goes on, and one of another method compares with the same fronts. (Of one version of the sources.)

    python benchmarks/assign.py [--arch dataflow] [--rounding digits] [--networks mlp,cnn,depthwise] [--seeds 4]
    [--candidates fixed2-8] [--metric fit] [--loss kl] [--refine N] [--epochs N] [--vectors calibration]
    [--share 0.6] [--prices 5e-6,1.5e-5] [--device cuda] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import torch  # noqa: E402
import train_float  # noqa: E402

import qcompile as qc  # noqa: E402
from qcompile import planning  # noqa: E402
from qcompile.assignment.data import data  # noqa: E402
from qcompile.assignment.jobs import Cache, Jobs  # noqa: E402
from qcompile.assignment.losses import loss_of  # noqa: E402
from qcompile.assignment.network import FloatNetwork  # noqa: E402
from qcompile.cost.budget import KINDS, available  # noqa: E402
from qcompile.cost.devices import device  # noqa: E402
from qcompile.errors import QCompileError  # noqa: E402
from qcompile.options import Settings  # noqa: E402
from qcompile.pipeline import Options  # noqa: E402
from qcompile.planning.designs import Designs, logits  # noqa: E402
from qcompile.planning.finetuning import trained  # noqa: E402
from qcompile.planning.planner import solve  # noqa: E402
from qcompile.planning.prepare import prepare  # noqa: E402
from qcompile.planning.programs import uniform_choices  # noqa: E402
from qcompile.planning.task import Task  # noqa: E402

PART, RATES = "xc7z020", {"residual": 100_000, "depthwise": 300_000}
TEST, CALIBRATION, DRAWS = 600, 256, 2000


@cache
def network(kind: str, seed: int, everything: bool = False) -> tuple[qc.Model, tuple, tuple, float]:
    """(model, calibration, test, accuracy of the float network). everything: calibration with the training images."""
    train_float.TEST_ROWS = TEST
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x, y, test_x, test_y = train_float.data(seed)
    module = getattr(train_float, kind)()
    train_float.train(module, x[CALIBRATION:], y[CALIBRATION:], seed=seed)
    model = qc.load(train_float.onnx_bytes(module))
    accuracy = train_float.accuracy(module, test_x, test_y)
    rows = len(x) if everything else CALIBRATION
    return model, (x[:rows].numpy(), y[:rows].numpy()), (test_x.numpy(), test_y.numpy()), accuracy


def interval(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean of a - b and its 95 % interval."""
    d = a - b
    means = d[rng.integers(0, len(d), (DRAWS, len(d)))].mean(axis=1)
    return float(d.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def compare(kind: str, seed: int, settings: dict) -> dict:
    model, calibration, test, accuracy = network(kind, seed)
    options = Options(part="xczu7ev")
    start = time.time()
    task = prepare(
        model,
        Settings(**settings),
        options,
        {"lut": 10**9},
        Jobs(),
        partial(data, calibration[0], model.graph, calibration[1]),
    )
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
            found = solve(
                prepare(
                    model,
                    aim,
                    options,
                    {"lut": int(np.ceil(lut))},
                    Jobs(),
                    partial(data, calibration[0], model.graph, calibration[1]),
                )
            )
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


def front(points: list[tuple[float, float]]) -> np.ndarray:
    """Logarithms of (LUTs, loss) that no cheaper point undercuts."""
    out: list[tuple[float, float]] = []
    for lut, loss in sorted(points):
        if loss > 0 and (not out or loss < out[-1][1]):
            out.append((lut, loss))
    return np.log(np.array(out))


def ratio(lut: float, loss: float, points: list[tuple[float, float]]) -> float:
    """LUTs in those that a front needs for the same loss; NaN beyond its ends."""
    own = front(points)[::-1]
    if not own[0, 1] <= np.log(loss) <= own[-1, 1]:
        return float("nan")
    return float(lut / np.exp(np.interp(np.log(loss), own[:, 1], own[:, 0])))


def prepared(
    model: qc.Model, calibration: tuple[np.ndarray, np.ndarray], settings: dict, jobs: Jobs, *more: str
) -> Task:
    """more: transforms beside those of the settings."""
    own = Settings(**{**settings, "transforms": (*settings["transforms"], *more)})
    read = partial(data, calibration[0], model.graph, calibration[1])
    return prepare(model, own, Options(part="xczu7ev"), {"lut": 10**9}, jobs, read)


def held_out(d: Designs, choice: tuple[int, ...], test: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """(LUTs, loss on the held-out images)."""
    held, design = data(test[0], d.graph, test[1]), d.design(d.plan(choice))
    loss = loss_of(d.study.evaluation.network, held, d.settings.loss)
    return design.estimate().total.lut, loss(logits(design, held))


def uniform_fronts(settings: dict, job: list) -> dict[str, list[tuple[float, float]]]:
    """(LUTs, held-out loss) of uniform plans, rounded to nearest and by gptq and adaround with corrected offsets. job:
    network and seed.
    """
    model, calibration, test, _ = network(*job)
    fronts: dict[str, list[tuple[float, float]]] = {"nearest": [], "learned": []}
    for family in ("fixed2-7", "int2-7"):
        for name, more in (("rtn", ()), ("gptq", ("bias_correct",)), ("adaround", ("bias_correct",))):
            own = {**settings, "candidates": family, "rounding": name}
            task = prepared(model, calibration, own, Jobs(), *more)
            found = [held_out(task.designs, c, test) for _, c in uniform_choices(task.designs, task.problem)]
            fronts["nearest" if name == "rtn" else "learned"] += found
    return fronts


def priced(
    kind: str, seed: int, settings: dict, method: dict, share: float, everything: bool, prices: list[float], jobs: Jobs
) -> list[dict]:
    """Plans of a rounding that knows prices, by budget: a share of the LUTs of uniform plans; or at prices, if there
    are any, without a search. method: its settings; everything: on the training images too.
    """
    common = {k: v for k, v in settings.items() if k != "candidates"}
    key = "fronts-" + hashlib.sha256(json.dumps(common).encode()).hexdigest()[:16]
    fronts = jobs.run(uniform_fronts, settings, key, [[kind, seed]], "uniform plans")[0]
    model, calibration, test, _ = network(kind, seed, everything)
    task = prepared(model, calibration, {**settings, **method}, jobs)
    rows, nearest = [], front(fronts["nearest"])

    def found() -> Iterator[tuple[Designs, tuple[int, ...]]]:
        if prices:
            all_fit = replace(task.designs, apart=False)  # nothing is chosen that others would have to judge
            for choice, p in itertools.product(plain(task), prices):
                own = all_fit.at(p)
                lut = own.cost(choice).lut
                yield trained(own, choice, {"lut": lut}, apart=False) if own.finetuning else own, choice
            return
        for loss in (0.2, 0.1, 0.05, 0.02, 0.01, 0.005):
            lut = np.exp(np.interp(np.log(loss), nearest[::-1, 1], nearest[::-1, 0]))
            best = solve(replace(task, limits={"lut": int(lut * share)}))
            yield best.task.designs, best.choice

    for d, choice in found():
        lut, kl = held_out(d, choice, test)
        row: dict[str, Any] = {"network": kind, "seed": seed, "lut": lut, "loss": kl, "price": d.price}
        row |= {name: ratio(lut, kl, points) for name, points in fronts.items()}
        rows.append(row)
        print(f"  {lut:9,.0f} LUT  divergence {kl:.4f}  {row['nearest']:.2f} {row['learned']:.2f}", flush=True)
    return rows


def plain(task: Task) -> list[tuple[int, ...]]:
    """Choices of weights of 6 bits in front of activations of 3 and of 4."""
    d = task.designs
    weights = {t.name for t in d.study.weights}
    lists = [([c.bits for c in d.study.candidates[g[0]]], g[0] in weights) for g in d.study.variables]
    return [tuple(own.index(6 if weight else bits) for own, weight in lists) for bits in (3, 4)]


def report_priced(kinds: list[str], seeds: int, settings: dict, rounding: dict, *how: Any) -> list[dict]:
    """how: as of `priced`."""
    found = []
    for kind in kinds:
        own: list[dict] = []
        for seed in range(seeds):
            start = time.process_time()
            own += priced(kind, seed, settings, rounding, *how)
            print(f"{kind} seed {seed}: {time.process_time() - start:.0f} CPU s", flush=True)
        for name in ("nearest", "learned"):
            values = [r[name] for r in own if np.isfinite(r[name])]
            if values:
                print(f"{kind}, of uniform {name}: {np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]")
        found += own
    return found


def folded(kind: str, seed: int, candidates: str, rounding: str) -> dict:
    """A plan at a rate beside the uniform one of 8 bits."""
    model, (x, y), (test_x, test_y), accuracy = network(kind, seed)
    wanted = float((float_logits(model, x).argmax(axis=1) == y).mean()) - 0.01
    given = {"labels": y, "test": test_x, "test_labels": test_y, "accuracy_target": wanted, "rounding": rounding}
    run = planning.run(model, x, fit=True, target_fps=RATES[kind], part=PART, candidates=candidates, **given)
    one, base = run.chosen, next(p for p in run.baselines if p.name == "fixed8")
    have = available(device(PART))
    binding = max((k for k in KINDS if have[k]), key=lambda k: getattr(base.cost, k) / have[k])
    held = {p.name: p.accuracy for p in run.tested}
    return {
        "network": kind,
        "seed": seed,
        "float accuracy": accuracy,
        "accuracy": held[one.name],
        "uniform accuracy": held["fixed8"],
        "binding": binding,
        "ratio": getattr(one.cost, binding) / getattr(base.cost, binding),
        "plan": one.record(),
        "uniform": base.record(),
    }


def float_logits(model: qc.Model, x: np.ndarray) -> np.ndarray:
    net = FloatNetwork.of(model.graph)
    return np.asarray(net.run(net.start(data(x, model.graph).x))[net.output]).reshape(len(x), -1)


def report_folded(kinds: list[str], seeds: int, candidates: str, rounding: str) -> list[dict]:
    found = []
    for kind in kinds:
        own = []
        for seed in range(seeds):
            start = time.process_time()
            r = folded(kind, seed, candidates, rounding)
            own.append(r)
            p, u = r["plan"], r["uniform"]
            print(
                f"{kind} seed {seed}: {r['ratio']:.2f} of {r['binding']}; LUT {p['lut']:,} of {u['lut']:,}, BRAM18"
                f" {p['bram18']} of {u['bram18']}, interval {p['interval_cycles']:,} of {u['interval_cycles']:,};"
                f" held-out accuracy {r['accuracy']:.3f}, uniform {r['uniform accuracy']:.3f}, float"
                f" {r['float accuracy']:.3f}; {time.process_time() - start:.0f} CPU s",
                flush=True,
            )
        ratios = [r["ratio"] for r in own]
        print(f"{kind}: {np.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
        found += own
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=("parallel", "dataflow"), default="parallel")
    parser.add_argument("--networks", default="")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", default="")
    for name, default in (("candidates", ""), ("metric", "fit"), ("transforms", "fold_bn"), ("loss", "kl")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--rounding", default="")
    parser.add_argument("--refine", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--prices", default="")
    parser.add_argument("--vectors", choices=("calibration", "all"), default="calibration")
    parser.add_argument("--cache", default="")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    settings = {
        "candidates": args.candidates or "fixed2-8",
        "metric": args.metric,
        "refine": args.refine,
        "loss": args.loss,
        "minimize": "loss",
        "transforms": tuple(args.transforms.split(",")),
    }
    found: list[dict] = []
    networks = (args.networks or "mlp,cnn,depthwise").split(",")
    if args.arch == "dataflow":
        kinds, candidates = args.networks or "residual,depthwise", args.candidates or "fixed3-8"
        found = report_folded(kinds.split(","), args.seeds, candidates, args.rounding or "digits")
    elif args.rounding:
        chosen = {"rounding": args.rounding, "device": args.device}
        if args.epochs:
            chosen["rounding_options"] = (f"epochs={args.epochs}",)
        prices = [float(p) for p in args.prices.split(",") if p]
        jobs = Jobs(cache=Cache(Path(args.cache) if args.cache else None))
        found = report_priced(networks, args.seeds, settings, chosen, args.share, args.vectors == "all", prices, jobs)
    for kind in () if args.rounding or args.arch == "dataflow" else networks:
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
