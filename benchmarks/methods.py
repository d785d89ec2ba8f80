"""What every method's claim is worth at small scale, on four seeds: one table, and what `qcompile methods` shows.

    python benchmarks/methods.py [--save] [NAME ...]

A claim holds where it does with every seed. Grids: relative squared error of weights drawn anew. Metrics, searches: the
digits MLP (networks, splits and seeds as in `assign.py`). Transforms: mean square error of the outputs over that of the
float outputs, weights and activations of 4 bits, of a layer normalization with channels that stand out and two layers
behind it. Losses of trainings and windows are those that `assign_methods.py` found, which takes longer.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from assign_methods import studied
from claims import OTHERS, Claim, Found
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import qcompile as qc
from qcompile.assignment import ranges
from qcompile.assignment.candidates import parse
from qcompile.assignment.channels import rounded
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import loss_of
from qcompile.assignment.methods import MetricMethod, SearchMethod
from qcompile.assignment.methods.transform import dynamic_token, lorc, split_layers
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.problem import CostTable, Problem, Request
from qcompile.assignment.study import study
from qcompile.assignment.tensors import tensors
from qcompile.assignment.transforms import options_of, transformed
from qcompile.systems import SYSTEMS

SEEDS, FEW = 4, 64
EXAMPLES = Path(__file__).parents[1] / "examples"
OUT = Path(qc.__file__).with_name("measured.json")
REACHED = "evaluations to 1 %"


# --- grids


def weights(seed: int, tails: str = "t4", terms: int = 128) -> np.ndarray:
    """Of a distribution; "+": 0.5 % are 20 times as large; "blocks": blocks of 128 inputs are 1 to 4 times as large."""
    rng = np.random.default_rng(seed)
    if tails == "blocks":
        return rng.standard_t(4, (128, terms)) * 2.0 ** rng.uniform(0, 2, terms // 128).repeat(128)
    w = {"t4": lambda s: rng.standard_t(4, s), "normal": rng.standard_normal}[tails.removesuffix("+")]((128, terms))
    return np.where(rng.random(w.shape) < 0.005, 20 * w, w) if tails.endswith("+") else w


@cache
def error(candidate: str, seed: int, tails: str, terms: int) -> float:
    w = weights(seed, tails, terms)
    q = ranges.fit(w, parse(candidate)[0], "mse", 0, True)
    return float(np.square(q(w) - w).mean() / np.square(w).mean())


def grid(home: str, claim: str, order: str, tails: str = "t4", terms: int = 128, factor: float = 1.0) -> Claim:
    """order: candidates, each of which loses less than `factor` times the next."""
    names = order.split(" < ")

    def held(found: Found) -> bool:
        return all(found[a] < factor * found[b] for a, b in itertools.pairwise(names))

    return Claim(home, claim, lambda seed: {n: error(n, seed, tails, terms) for n in names}, held)


GRIDS = (
    grid("bitmod", "4 bits, blocks of 128: below minifloat, below int", "bitmod4 < float4 < int4"),
    grid("tritplane", "two planes lie between int of 3 and 4 bits, blocks of 128", "int4 < tritplane3 < int3"),
    grid("mx", "4 bits, rows of 512: below int with a scale per row", "mx4 < int4", terms=512),
    grid("nvfp", "4 bits, rows of 512: below mx, below int", "nvfp4 < mx4 < int4", terms=512),
    grid(
        "dual_grain",
        "scales in two levels lose at most 5 % more than free ones of 128",
        "dual_grain4 < group4",
        factor=1.05,
    ),
    grid("ovp", "0.5 % of weights 20 times as large: a quarter of int's error", "ovp4 < int4", "normal+", factor=0.25),
    grid("twin_log", "4 bits, heavy tails: below int", "twin_log4 < int4"),
    grid("pow_sqrt2", "4 bits, normal weights: below powers of two", "pow_sqrt24 < pow24", "normal"),
    grid("po2_group", "4 bits, rows of 512: below one scale", "po2_group4 < int4", terms=512),
    grid("grid.group", "4 bits, rows of 512: below one scale", "group4 < int4", terms=512),
    grid("group_bits", "3 bits, blocks 1 to 4 times as large: below one width", "group_bits3 < group3", "blocks", 1024),
    grid("binary_scaled", "below signs with a scale per row", "binary_scaled1 < int1", terms=512),
    grid("nested", "4 bits out of 8 lose at most 10 % more than 4 bits alone", "nested4 < int4", "normal", factor=1.1),
    grid("grid.float", "4 bits, heavy tails: below int", "float4 < int4"),
    grid("minifloat", "4 bits, heavy tails, power-of-two scales: below fixed point", "minifloat4 < fixed4"),
    grid("codebook", "4 bits, normal weights: below int", "codebook4 < int4", "normal"),
    grid("salient", "4 bits, heavy tails: below int, below quantiles", "salient4 < codebook4 < int4", terms=512),
    grid("plane_pack", "6 bits, rows of 512, heavy tails: below int of 6, below 4", "float6 < int6 < int4", terms=512),
)


def attention_error(seed: int) -> Found:
    """Of softmax of 64 normal numbers, standard deviation 2, as unsigned numbers of 4 bits, one scale."""
    z = 2 * np.random.default_rng(seed).normal(size=(256, 64))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    quantizers = {n: ranges.fit(p, parse(n)[0], "mse", None, False) for n in ("log_sqrt24", "pow24", "int4")}
    return {n: float(np.square(q(p) - p).mean() / np.square(p).mean()) for n, q in quantizers.items()}


LOGARITHMIC = Claim(
    "log_sqrt2",
    "4 bits of attention behind a softmax: below powers of two, below int",
    attention_error,
    lambda f: f["log_sqrt24"] < f["pow24"] and f["log_sqrt24"] < f["int4"],
)


# --- metrics


@cache
def ranking(seed: int) -> tuple[Any, list[dict[str, int]], list[float]]:
    """(study, 150 configurations of 2 to 8 bits, their losses on held-out images) of the MLP."""
    own, held, *_ = studied("mlp", seed, range="minmax", channels=False, candidates="int2-8", loss="kl")
    rng = np.random.default_rng(seed)
    some = [{t.name: int(rng.integers(7)) for t in own.tensors} for _ in range(150)]
    return own, some, [held(c) for c in some]


@cache
def rank(metric: str, seed: int) -> float:
    own, some, losses = ranking(seed)
    found = MetricMethod.find(metric)(own)
    return float(spearmanr([found.of(c) for c in some], losses)[0])


def ranks(home: str, claim: str, order: str, slack: float = 0.0) -> Claim:
    """order: metrics, each of which ranks better than the next but for `slack`."""
    names = [n.split(".")[-1] for n in order.split(" > ")]

    def held(found: Found) -> bool:
        return all(found[a] > found[b] - slack for a, b in itertools.pairwise(names))

    return Claim(home, claim, lambda seed: {n: rank(n, seed) for n in names}, held)


METRICS = (
    ranks("fit", "Spearman with the held-out loss: above round-off error", "fit > roundoff"),
    ranks("hawq_v2", "above round-off error", "hawq_v2 > roundoff"),
    ranks("hessian_eig", "above round-off error", "hessian_eig > roundoff"),
    ranks("metric.noise", "as good as the measured loss of one rounding, within 0.02", "noise > perturbation", 0.02),
    ranks("salience", "above noise over signal", "salience > sqnr"),
    ranks("kl_output", "above round-off error", "kl_output > roundoff"),
    ranks("kl_hist", "above round-off error", "kl_hist > roundoff"),
    ranks("rd_gauss", "as good as with the tensor's own errors, within 0.02", "rd_gauss > fit", 0.02),
    ranks("roundoff", "some order, without data: above 0.3", "roundoff"),
)


# --- searches


@cache
def plans(seed: int) -> tuple[Problem, np.ndarray, np.ndarray]:
    """15,625 plans of the MLP (int2 to int6): the tables by `fit`, losses on 64 images, bits of weights and data."""
    own, *_ = studied("mlp", seed, range="minmax", candidates="int2-6")
    few = own.evaluation.data.take(slice(0, FEW))
    e = replace(own.evaluation, data=few, loss=loss_of(own.evaluation.network, few, ""))
    every = np.array(list(itertools.product(range(5), repeat=len(own.tensors))))
    names = [t.name for t in own.tensors]
    losses = np.array([e(dict(zip(names, map(int, c), strict=True))) for c in every])
    size = [np.prod(t.shape) * np.arange(2.0, 7.0) for t in own.tensors]
    table = MetricMethod.find("fit")(own).table
    labels = (("2", "3", "4", "5", "6"),) * len(names)
    problem = Problem(tuple(names), labels, CostTable(tuple(table[n] for n in names)), {"bits": CostTable(tuple(size))})
    costs = sum(s[c] for s, c in zip(size, every.T, strict=True))
    return problem, losses, costs


def searched(name: str) -> Callable[[int], Found]:
    def measure(seed: int) -> Found:
        problem, losses, costs = plans(seed)
        limit = float(np.quantile(costs, 0.4))
        fits = costs <= limit
        best = float(losses[fits].min())
        good = int((losses[fits] <= 1.01 * best).sum())
        seen: list[float] = []

        def evaluate(choice: tuple[int, ...]) -> float:
            place = int(np.ravel_multi_index(choice, (5,) * len(choice)))
            seen.append(float(losses[place]) if fits[place] else np.inf)
            return float(losses[place])

        choice = SearchMethod.find(name)(problem, Request({"bits": limit}, evaluate=evaluate))
        own = float(losses[int(np.ravel_multi_index(choice, (5,) * len(choice)))])
        first = next((i + 1 for i, x in enumerate(seen) if x <= 1.01 * best), 0)
        found = {"loss over the optimum": own / best}
        return found | ({REACHED: first, "by chance": (fits.sum() + 1) / (good + 1)} if seen else {})

    return measure


def quick(found: Found) -> bool:
    return 0 < found[REACHED] < found["by chance"]


def tables(seed: int, metric: str) -> tuple[Any, Problem]:
    """The study of `plans` and its problem by another metric."""
    own, *_ = studied("mlp", seed, range="minmax", candidates="int2-6")
    found = MetricMethod.find(metric)(own)
    problem = plans(seed)[0]
    judged = tuple(found.judged.get(n, "") for n in problem.names)
    return own, replace(problem, loss=CostTable(tuple(found.table[n] for n in problem.names)), judged=judged)


def place(choice: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(choice, (5,) * len(choice)))


def scanned(seed: int) -> Found:
    """Losses over the best of 15,625 plans within 40 % of their bits."""
    _, losses, costs = plans(seed)
    limit = float(np.quantile(costs, 0.4))
    best = float(losses[costs <= limit].min())
    problem = tables(seed, "decoupled")[1]
    request = Request({"bits": limit}, evaluate=lambda c: float(losses[place(c)]))
    own, equal = (SearchMethod.find(n)(problem, request) for n in ("decoupled", "ilp"))
    joint = SearchMethod.find("ilp")(plans(seed)[0], request)
    found = {"scanned": own, "ratio 1": equal, "one measure (fit)": joint}
    return {n: float(losses[place(c)]) / best for n, c in found.items()}


def by_ratio(seed: int) -> Found:
    """Losses of plans by round-off error over that of 4 bits everywhere, at as many bits."""
    _, losses, costs = plans(seed)
    uniform = place((2,) * len(plans(seed)[0].names))
    problem = tables(seed, "roundoff")[1]
    choice = SearchMethod.find("error_ratio")(problem, Request({"bits": float(costs[uniform])}))
    return {"over uniform": float(losses[place(choice)]) / float(losses[uniform])}


def bisected(seed: int) -> Found:
    """Bits over those of the least plan of one width everywhere whose loss is twice that of 6 bits at most."""
    problem, losses, costs = plans(seed)
    goal, asked = 2 * float(losses[-1]), list[tuple[int, ...]]()

    def accepts(choice: tuple[int, ...]) -> bool:
        asked.append(choice)
        return float(losses[place(choice)]) <= goal

    own = place(SearchMethod.find("bisect")(problem, Request({}, accepts=accepts)))
    uniform = [place((k,) * len(problem.names)) for k in range(5)]
    least = min(float(costs[u]) for u in uniform if losses[u] <= goal)
    best = float(costs[losses <= goal].min())
    return {"bits over uniform": costs[own] / least, "over the fewest": costs[own] / best, "measurements": len(asked)}


def fronts(seed: int) -> Found:
    """Points of the tables' front that are none of the front of all 15,625 plans, and those that are missing."""
    problem, _, costs = plans(seed)
    every = list(itertools.product(range(5), repeat=len(problem.names)))
    loss = np.array([problem.loss.of(c) for c in every])
    order = np.lexsort((loss, costs))
    low = np.minimum.accumulate(np.concatenate([[np.inf], loss[order][:-1]]))
    wanted = {(round(float(costs[i]), 6), round(float(loss[i]), 12)) for i in order[loss[order] < low]}
    front = SearchMethod.find("pareto").front
    assert front is not None
    own = {(round(problem.costs["bits"].of(c), 6), round(problem.loss.of(c), 12)) for c in front(problem, "bits", 400)}
    return {"points": len(own), "wrong or missing": len(own ^ wanted)}


SEARCHES = (
    Claim(
        "search.decoupled",
        "weights and data by two measures: what one is worth in the other, scanned, loses no more than one to one",
        scanned,
        lambda f: f["scanned"] <= f["ratio 1"],
    ),
    Claim(
        "error_ratio",
        "by round-off error alone, as many bits as 4 everywhere: no more loss",
        by_ratio,
        lambda f: f["over uniform"] <= 1,
    ),
    Claim(
        "bisect",
        "twice the loss of 6 bits allowed: fewer bits than the least width that is the same everywhere",
        bisected,
        lambda f: f["bits over uniform"] < 1,
    ),
    Claim("pareto", "the front of the tables is that of all plans", fronts, lambda f: f["wrong or missing"] == 0),
    Claim(
        "ilp",
        "the tables' optimum loses at most 1.5 times the best of 15,625 plans",
        searched("ilp"),
        lambda f: f["loss over the optimum"] < 1.5,
    ),
    Claim("ga", "within 1 % of the best of 15,625 plans in fewer measurements than by chance", searched("ga"), quick),
    Claim(
        "surrogate",
        "within 1 % of the best of 15,625 plans in fewer measurements than by chance",
        searched("surrogate"),
        quick,
    ),
    Claim("rl", "within 1 % of the best of 15,625 plans in fewer measurements than by chance", searched("rl"), quick),
)


def lossless(seed: int) -> Found:
    own, held, *_ = studied("mlp", seed, channels=False, candidates="fixed2-8")
    table = MetricMethod.find("kl_hist")(own).table
    names = [t.name for t in own.tensors]
    labels = tuple(tuple(str(c.bits) for c in own.candidates[n]) for n in names)
    problem = Problem(tuple(names), labels, CostTable(tuple(table[n] for n in names)), {})
    choice = SearchMethod.find("lossless_min")(problem, Request({}))
    sizes = np.array([np.prod(t.shape) for t in own.tensors])
    bits = float((sizes * (np.array(choice) + 2)).sum() / sizes.sum())
    y = held.outputs(dict(zip(names, choice, strict=True)))
    right = [float((out.argmax(axis=1) == held.data.labels).mean()) for out in (held.outputs({}), y)]
    return {"mean bits": bits, "accuracy lost": right[0] - right[1]}


LOSSLESS = (
    Claim(
        "lossless_min",
        "fewer than 8 bits at 0.005 of accuracy or less",
        lossless,
        lambda f: f["mean bits"] < 8 and f["accuracy lost"] <= 0.005,
    ),
)


# --- transforms


@cache
def planted(seed: int, channels: int = 32) -> tuple[qc.Model, np.ndarray]:
    """A layer normalization with a wide scale or offset in three channels each, two layers that read it, a sum, a
    layer.
    """
    rng = np.random.default_rng(seed)
    gamma, beta = np.ones(channels), rng.normal(size=channels) * 0.1
    gamma[rng.choice(channels, 3, replace=False)] = 20
    beta[rng.choice(channels, 3, replace=False)] = 12
    w = [rng.normal(size=s) / 6 for s in ((channels, 24), (channels, 24), (24, 8))]
    numbers = {"g": gamma, "b": beta, "w1": w[0], "b1": rng.normal(size=24) / 4, "w2": w[1], "w3": w[2]}
    steps = [
        ("LayerNormalization", ["x", "g", "b"], "n"),
        ("MatMul", ["n", "w1"], "p"),
        ("Add", ["p", "b1"], "q"),
        ("Relu", ["q"], "r"),
        ("MatMul", ["n", "w2"], "s"),
        ("Relu", ["s"], "t"),
        ("Add", ["r", "t"], "u"),
        ("MatMul", ["u", "w3"], "y"),
    ]
    nodes = [helper.make_node(op, inputs, [out]) for op, inputs, out in steps]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", channels), ("y", 8))]
    constants = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in numbers.items()]
    graph = helper.make_graph(nodes, "planted", ends[:1], ends[1:], constants)
    model = qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    return model, rng.normal(size=(256, channels)).astype(np.float32)


@cache
def off(names: tuple[str, ...], seed: int, weight: str = "int4") -> float:
    model, x = planted(seed)
    found = data(x, model.graph)
    graph = transformed(model.graph, names, options_of(model.graph, names, found))
    takers = [t for t in tensors(graph) if t.given is None]
    wide = {n.inputs[0].name for n in graph.nodes if n.output.name.endswith("#r")}  # in front of a rotation
    wide |= {t.value for t in takers if t.layer == "input"}
    formats = {t.name: "int8" if t.value in wide else weight if t.kind == "weight" else "int4" for t in takers}
    network = FloatNetwork.of(graph)
    loss = loss_of(network, found, "mse")
    own = {n: parse(f) for n, f in formats.items()}
    e = study(network, takers, own, found, loss, Jobs(), "minmax").evaluation
    y, now = FloatNetwork.of(model.graph).outputs(found.x), e.outputs(dict.fromkeys(own, 0))
    return float(np.square(now - y).mean() / np.square(y).mean())


def transform(home: str, claim: str, names: str, factor: float = 1.0, beside: str = "", weight: str = "int4") -> Claim:
    """names, beside: transforms, one after the other; the first lose less than `factor` times what the others do."""
    own, others = (tuple(filter(None, n.split("+"))) for n in (names, beside))
    labels = names, beside or "without"
    return Claim(
        home,
        claim,
        lambda seed: dict(zip(labels, (off(own, seed, weight), off(others, seed, weight)), strict=True)),
        lambda f: f[labels[0]] < factor * f[labels[1]],
    )


def moved(name: str, example: str = "") -> Callable[[int], Found]:
    """example: a network of that name instead of the planted one, on other calibration images with every seed."""

    def measure(seed: int) -> Found:
        model, x = planted(seed)
        if example:
            model = qc.load(EXAMPLES / example)
            x = np.load(EXAMPLES / "digits_calibration.npz")["x"][64 * seed : 64 * (seed + 1)]
        found = data(x, model.graph)
        names = ("fold_bn", name) if example else (name,)
        graph = transformed(model.graph, names, options_of(model.graph, names, found))
        a, b = (FloatNetwork.of(g).outputs(found.x) for g in (model.graph, graph))
        return {"outputs move by": float(np.abs(a - b).max() / np.abs(a).max())}

    return measure


def still(found: Found) -> bool:
    return found["outputs move by"] < 1e-5


def split_error(seed: int) -> Found:
    """Of heavy tails on asymmetric codes of 2 bits, with one scale against one for each of three parts."""
    w = weights(seed).ravel()
    which = split_layers.clusters(w)

    def coded(x: np.ndarray) -> np.ndarray:
        low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
        step = (high - low) / 3
        return np.asarray(np.rint((x - low) / step) * step + low)

    parts = sum(np.where(which == k, np.square(coded(np.where(which == k, w, 0)) - w), 0) for k in range(3))
    return {"whole over split": float(np.square(coded(w) - w).sum() / parts.sum())}


def low_rank(seed: int) -> Found:
    w = np.random.default_rng(seed).normal(size=(64, 64))
    b, a = lorc.factors(w)
    e = w - rounded(w, 1, lorc.BITS)
    return {"share of the error": 1 - float(np.square(e - b @ a).sum() / np.square(e).sum())}


def separated(seed: int) -> Found:
    """Of values (256 tokens, 128 channels), six channels twelve times as large, on 4 bits of one scale."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(256, 128))
    x[:, rng.choice(128, 6, replace=False)] *= 12
    factors = {"as they are": np.ones(128), "separated": np.sqrt(np.abs(x).max(axis=0))}
    found = {}
    for name, c in factors.items():
        q = ranges.fit(x / c, parse("int4")[0], "mse", None, False)
        found[name] = float(np.square(q(x / c) * c - x).mean() / np.square(x).mean())
    return found


def by_token(seed: int) -> Found:
    """Of values (256 tokens, 128 channels), tokens 1 to 64 times as large, on 4 bits: a token's mean relative error."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(256, 128)) * 2 ** rng.uniform(0, 6, (256, 1))
    most = np.abs(x).max(axis=1, keepdims=True)
    scale = ranges.fit(most, parse("fixed8")[0], "mse", None, False)(most) + most.max() * dynamic_token.LEAST
    found = {}
    for name, c in {"one scale": np.ones((256, 1)), "by token": scale}.items():
        q = ranges.fit(x / c, parse("int4")[0], "mse", None, False)
        off = np.square(q(x / c) * c - x).mean(axis=1) / np.square(x).mean(axis=1)
        found[name] = float(off.mean())
    return found


TRANSFORMS = (
    Claim(
        "dynamic_token",
        "4 bits, tokens 1 to 64 times as large, scales of 8 bits: a tenth of the error or less",
        by_token,
        lambda f: f["by token"] <= 0.1 * f["one scale"],
    ),
    Claim(
        "channel_separable",
        "4 bits, six of 128 channels twelve times as large: half the error or less",
        separated,
        lambda f: f["separated"] <= 0.5 * f["as they are"],
    ),
    transform("shift_scale", "outliers planted, W4A4: two thirds of the error or less", "shift_scale", 0.67),
    transform("scale_reparam", "outliers planted, W4A4: less error", "scale_reparam"),
    transform(
        "dual_clip",
        "outliers planted, W4A4: less error than scale_reparam alone",
        "dual_clip+scale_reparam",
        1.0,
        "scale_reparam",
    ),
    transform("smooth", "outliers planted, W4A4: less error", "smooth"),
    transform("rotate", "outliers planted, W4A4, 8 bits in front of a rotation: less error", "rotate"),
    transform("clip_outliers", "W3A4: less error", "clip_outliers", 1.0, "", "int3"),
    Claim("hadamard", "rotation moves no output", moved("hadamard"), still),
    Claim("permute_channels", "permutation moves no output", moved("permute_channels", "digits_float_mlp.onnx"), still),
    Claim(
        "split_layers",
        "INT2, heavy tails: error at least 1.5 times lower",
        split_error,
        lambda f: f["whole over split"] >= 1.5,
    ),
    Claim(
        "lorc",
        "rank 4 of 64 x 64: the share that a white error gives, about a quarter",
        low_rank,
        lambda f: 0.15 < f["share of the error"] < 0.35,
    ),
)

# --- what takes longer: of `assign_methods.py`, see docs/measured.md

BEFORE, BY_GPTQ = 0.0395, 0.0061
TRAINED = f"held-out divergence of the MLP, mean of four seeds: below that of the plan it begins with ({BEFORE})"
WINDOWS = f"3-bit weights of the MLP, mean of three seeds: held-out divergence below that of gptq ({BY_GPTQ})"
EARLIER = {
    "asq": (TRAINED, 0.0349),
    "intervention": (TRAINED, 0.0355),
    "qft": (TRAINED, 0.0367),
    "selective": (TRAINED, 0.0384),
    "qdrop": (TRAINED, 0.0386),
    "qalora": (TRAINED, 0.0405),
    "rounding.noise": (TRAINED, 0.0407),
    "binary_point": (TRAINED, 0.0524),
    "khot": (TRAINED, 0.0555),
    "adaround": (WINDOWS, 0.0044),
    "cbq": (WINDOWS, 0.0048),
    "flexround": (WINDOWS, 0.0049),
    "gradient": (WINDOWS, 0.0057),
}

PULSES = "deviation of pulses' time in samples at 20, 30, 40, 50 dB, mean of four seeds: int8 within 10 % of float"
PAIRS = "Spearman with the held-out divergence at 3 bits and more (MLP): above singles'"
DISTILLED = "the table of fit agrees with that on real data, three networks: Spearman of 0.9 or more"
MOSTLY = "fronts of accuracy against bops and linear over five widths of perceptrons: most often 4 bits"
BY_HAND = {
    "bops": (MOSTLY, "4 bits in 6 of 12 plans on the front of bops, in 5 of 10 on that of linear", True, "widths.py"),
    "processor": (PULSES, "float 0.201, 0.068, 0.027, 0.019; int8 0.201, 0.068, 0.028, 0.021", True, "pulse.py"),
    "interaction": (PAIRS, "pairs 0.959, singles 0.981", False, "assign_methods.py"),
    "bn_distill": (DISTILLED, "0.94 to 0.98", True, "assign_methods.py"),
}

CLAIMS = (*GRIDS, LOGARITHMIC, *METRICS, *SEARCHES, *LOSSLESS, *TRANSFORMS, *OTHERS)


def shown(found: list[Found]) -> str:
    """Means over the seeds; of what was not reached (0 evaluations) over the others."""
    parts = list[str]()
    for k in found[0]:
        values = [f[k] for f in found if f[k] or k != REACHED]
        missed = f" ({len(found) - len(values)} seeds never)" if len(values) < len(found) else ""
        parts.append((f"{k} {np.mean(values):.3g}" if values else k) + missed)
    return ", ".join(parts)


def row(claim: str, value: str, held: int, by: str, of: int = SEEDS) -> dict[str, Any]:
    """As `qcompile/measured.json` has it. held: with so many seeds."""
    verdict = "held" if held == of else f"held with {held} of {of} seeds" if held else "not held"
    return {"claim": claim, "value": f"{value} ({verdict})", "held": bool(held == of), "by": by}


def elsewhere() -> dict[str, dict[str, Any]]:
    """What other scripts measured, which take longer."""
    out = {}
    for home, (claim, value) in EARLIER.items():
        limit = BEFORE if claim == TRAINED else BY_GPTQ
        out[home] = row(claim, f"{value:.4f}", int(value < limit), "assign_methods.py", 1)
    for home, (claim, text, kept, by) in BY_HAND.items():
        out[home] = row(claim, text, int(kept), by, 1)
    return out


def measured(names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for c in CLAIMS:
        if names and c.home not in names:
            continue
        start = time.perf_counter()
        found = [c.measure(seed) for seed in range(SEEDS)]
        own = row(c.claim, shown(found), sum(map(c.held, found)), "methods.py")
        print(f"{c.home:18} {own['value']}  {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        yield c.home, own


def main(names: list[str]) -> None:
    wanted = [n for n in names if n != "--save"]
    known = json.loads(OUT.read_text()) if OUT.is_file() else {}
    for home, own in ({} if wanted else elsewhere()).items():
        known[home] = own
    for home, own in measured(wanted):
        known[home] = own
        if "--save" in names:  # after every one: what was measured stays, also where the run is ended
            OUT.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    table = Table("method", "claim", "measured", "by")
    for home in sorted(known):
        if not wanted or home in wanted:
            table.add_row(home, *(str(known[home][k]) for k in ("claim", "value", "by")))
    Console(width=200).print(table)
    missing = [s.name for s in SYSTEMS if not s.took and not any(h in known for h in s.homes)]
    print("systems without a value: " + (", ".join(missing) or "none"))


if __name__ == "__main__":
    main(sys.argv[1:])
