"""What the methods of `qcompile assign` are worth on digits: measured, each against its baseline in the same run.

    python benchmarks/assign_methods.py [fit] [interaction] [minifloat] [rounding] [windows] [finetuning]
    [equalize] [bn_distill]

Networks, splits and seeds as in `assign.py`; losses and accuracies on 600 held-out images by the bit-accurate
simulator, except where 250 random configurations are ranked (fast evaluation, same images). LUTs are estimates of whole
designs (UltraScale+, architecture parallel).
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from assign import network
from scipy.stats import spearmanr

from qcompile import planning
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs, silent
from qcompile.assignment.losses import loss_of
from qcompile.assignment.methods import MetricMethod, RoundingMethod, SourceMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.rounding import Room
from qcompile.assignment.transforms import transformed
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning.designs import Designs, graph_transforms

SEEDS, CONFIGURATIONS = 4, 250
OPTIONS = (("khot", {"digits": 1}), ("binary_point", {"scales": 1.0}), ("qft", {"shape": 0.1}))


def studied(kind: str, seed: int, source: str = "real", **settings: Any) -> tuple[Any, Any, Any, float]:
    """(study, the same on held-out data, designs, seconds of the data source)."""
    model, calibration, test, _ = network(kind, seed)
    own = Settings(**settings)
    graph = transformed(model.graph, graph_transforms(own))
    start = time.perf_counter()
    given = SourceMethod.find(source).run
    found = given(model.graph, lambda: data(calibration[0], graph, calibration[1]), seed, silent, (0.0, 1.0))
    seconds = time.perf_counter() - start
    net = FloatNetwork.of(graph)
    designs = Designs.of(model, own, Options(part="xcvu9p"), Jobs(), graph, net, found)
    held = data(test[0], graph, test[1])
    study = designs.study
    return study, replace(study.evaluation, data=held, loss=loss_of(net, held, own.loss)), designs, seconds


def ranked(names: list[str], low: int, loss: str) -> None:
    """Rank correlation of predictions with the loss of held-out images, and with that of the calibration images
    themselves.
    """
    for kind in ("mlp", "cnn"):
        for method in ("minmax", "mse"):
            rows: dict[str, list[float]] = {n: [] for n in (*names, "(measured)")}
            own: dict[str, list[float]] = {n: [] for n in rows}
            seconds: dict[str, float] = {}
            for seed in range(SEEDS):
                study, held, *_ = studied(kind, seed, range=method, channels=False, candidates=f"int{low}-8", loss=loss)
                rng = np.random.default_rng(seed)
                some = [
                    {t.name: int(rng.integers(len(study.candidates[t.name]))) for t in study.tensors}
                    for _ in range(CONFIGURATIONS)
                ]
                losses, seen = [held(c) for c in some], [study.evaluation(c) for c in some]
                for n in names:
                    start = time.perf_counter()
                    found = MetricMethod.find(n)(study)
                    seconds[n] = time.perf_counter() - start
                    predicted = [found.of(c) for c in some]
                    rows[n].append(float(spearmanr(predicted, losses)[0]))
                    own[n].append(float(spearmanr(predicted, seen)[0]))
                rows["(measured)"].append(float(spearmanr(seen, losses)[0]))
            for n, found in rows.items():
                v = " ".join(f"{x:.3f}" for x in found)
                more = (
                    f"with the calibration loss itself {np.median(own[n]):.3f}  {seconds[n]:.2f} s"
                    if own[n]
                    else "the calibration loss of each configuration: the ceiling"
                )
                print(
                    f"{kind:4} {low} to 8 bits, {loss}, ranges {method:6} {n:12} Spearman {v}  median"
                    f" {np.median(found):.3f}  {more}",
                    flush=True,
                )


def fit() -> None:
    """FIT and others: rank correlation with held-out loss."""
    for loss in ("cross_entropy", "kl"):
        ranked(["fit", "hawq_v2", "perturbation", "kl_output", "sqnr", "roundoff"], 2, loss)


def interaction() -> None:
    """Pair terms at 3 bits and more."""
    for loss in ("cross_entropy", "kl"):
        ranked(["perturbation", "interaction"], 3, loss)


def minifloat() -> None:
    """Weights and activations of one width: integers, fixed point, minifloats."""
    for kind in ("mlp", "cnn"):
        table: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(SEEDS):
            model, calibration, test, _ = network(kind, seed)
            for family in ("int", "float", "fixed", "minifloat"):
                for bits in range(3, 9):
                    r = planning.run(
                        model,
                        calibration[0],
                        labels=calibration[1],
                        test=test[0],
                        test_labels=test[1],
                        part="xcvu9p",
                        baselines=False,
                        metric="sqnr",
                        loss="cross_entropy",
                        candidates=f"{family}{bits}",
                    )
                    p = r.tested[0]
                    table.setdefault(f"{family}{bits}", []).append((p.loss, p.accuracy or 0.0, p.cost.lut))
        means = {k: np.mean(v, axis=0) for k, v in table.items()}
        front = {k for k, m in means.items() if not any(o[0] <= m[0] and o[2] < m[2] for o in means.values())}
        for k, (loss, accuracy, lut) in means.items():
            print(
                f"{kind:4} {k:11} loss {loss:.4f}  accuracy {accuracy:.4f}  {lut:9,.0f} LUT"
                f" {'  on the front' if k in front else ''}",
                flush=True,
            )


def rounding() -> None:
    """adaround and gptq against rounding to nearest, and with bias correction."""
    for kind in ("mlp", "cnn"):
        for candidate in ("int3", "int4", "float3", "float4"):
            out = []
            for name in ("rtn", "adaround", "gptq"):
                for steps in (("fold_bn",), ("fold_bn", "bias_correct")):
                    found = []
                    for seed in range(SEEDS):
                        model, calibration, test, _ = network(kind, seed)
                        r = planning.run(
                            model,
                            calibration[0],
                            labels=calibration[1],
                            test=test[0],
                            test_labels=test[1],
                            part="xcvu9p",
                            baselines=False,
                            metric="sqnr",
                            loss="cross_entropy",
                            candidates=candidate,
                            rounding=name,
                            transforms=steps,
                        )
                        found.append((r.tested[0].loss, r.tested[0].accuracy))
                    loss, accuracy = np.mean(found, axis=0)
                    out.append(f"{name}{'+bias' if len(steps) > 1 else ''} {loss:.3f}/{accuracy:.3f}")
            print(f"{kind:4} {candidate:7} loss/accuracy: {'  '.join(out)}", flush=True)


def windows() -> None:
    """Held-out divergence of uniform plans of 3 and 4 bits, activations of 8, by 256 and by 1,197 vectors."""
    more = (("cbq", "rank=5"), ("cbq", "window=3"))
    for seed, kind, everything in product(range(SEEDS), ("mlp", "cnn"), (False, True)):
        model, calibration, test, _ = network(kind, seed, everything)
        for candidate in ("int3", "int4"):
            out = []
            for name, option in (
                *((n, "") for n in ("rtn", "gptq", "adaround", "flexround", "gradient", "cbq")),
                *more,
            ):
                r = planning.run(
                    model,
                    calibration[0],
                    test=test[0],
                    part="xcvu9p",
                    baselines=False,
                    metric="sqnr",
                    candidates=candidate,
                    restrict=("kind=activation:int8",),
                    rounding=name,
                    rounding_options=(option,) if option else (),
                )
                out.append(f"{name}{option and ' ' + option} {r.tested[0].loss:.4f}")
            print(f"{kind:4} seed {seed} {candidate} {len(calibration[0]):5} vectors: {'  '.join(out)}", flush=True)


def finetuning() -> None:
    """MLP, 256 unlabelled vectors, 20 epochs: plans of `digits` at one price, trained within their LUTs."""
    settings = {"candidates": "fixed6", "restrict": ("kind=activation:fixed3",), "rounding": "digits"}
    for seed in range(SEEDS):
        _trained(seed, settings)


def _trained(seed: int, settings: dict[str, Any]) -> None:
    _, held, d, _ = studied("mlp", seed, **settings)
    d, choice = d.at(1e-5), (0,) * len(d.study.variables)
    before, e = d.plan(choice), d.study.evaluation
    room = Room({"lut": d.cost(choice).lut}, lambda plan: d.design(plan).estimate().total)
    names = [n for n in RoundingMethod.names() if RoundingMethod.find(n).finetunes]
    for name, more in (("", {}), *((n, {}) for n in names), *OPTIONS):
        start, plan = time.process_time(), before
        if name:
            options = {"epochs": 20, **more}
            problem = replace(d.problem(before, d.configuration(choice)), room=room, options=options)
            plan = RoundingMethod.find(name).run(problem)
        seconds = time.process_time() - start
        own, test = d.measured("", plan, e.data, e.loss), d.measured("", plan, held.data, held.loss)
        option = " ".join(f"{k}={v}" for k, v in more.items())
        print(
            f"seed {seed} {name or 'digits':12} {option:10} divergence {test.loss:.4f}, of the 256 {own.loss:.4f},"
            f" accuracy {test.accuracy:.3f}, {test.cost.lut:,.0f} LUT, {seconds:.0f} CPU s",
            flush=True,
        )


def equalize() -> None:
    """Cross-layer equalisation of a depthwise separable network, one scale per weight tensor."""
    for bits in (4, 5, 6, 8):
        out = []
        for steps in (("fold_bn",), ("fold_bn", "equalize")):
            found = []
            for seed in range(SEEDS):
                model, calibration, test, _ = network("depthwise", seed)
                r = planning.run(
                    model,
                    calibration[0],
                    labels=calibration[1],
                    test=test[0],
                    test_labels=test[1],
                    part="xcvu9p",
                    baselines=False,
                    metric="sqnr",
                    loss="cross_entropy",
                    candidates=f"int{bits}",
                    channels=False,
                    range="minmax",
                    transforms=steps,
                )
                found.append((r.tested[0].loss, r.tested[0].accuracy))
            loss, accuracy = np.mean(found, axis=0)
            out.append(f"{'equalized' if len(steps) > 1 else 'plain'} {loss:.3f}/{accuracy:.3f}")
        print(f"depthwise int{bits} per tensor, loss/accuracy: {'  '.join(out)}", flush=True)


def bn_distill() -> None:
    """Sensitivities on distilled data against those on real data."""
    for kind in ("mlp", "cnn", "depthwise"):
        for seed in range(SEEDS):
            tables, seconds = {}, 0.0
            for source in ("real", "bn_distill"):
                study, _, _, seconds = studied(kind, seed, source, loss="kl", candidates="fixed2-8")
                tables[source] = MetricMethod.find("fit")(study).table
            a, b = tables["real"], tables["bn_distill"]
            whole = spearmanr(np.concatenate(list(a.values())), np.concatenate(list(b.values())))[0]
            layers = spearmanr([v.mean() for v in a.values()], [v.mean() for v in b.values()])[0]
            print(
                f"{kind:9} seed {seed}: Spearman of tensors {layers:.2f}, of the whole table {whole:.3f};"
                f" {seconds:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    parts = {f.__name__: f for f in (fit, interaction, minifloat, rounding, windows, finetuning, equalize, bn_distill)}
    for name in sys.argv[1:] or parts:
        print(f"== {name}: {parts[name].__doc__}")
        parts[name]()
