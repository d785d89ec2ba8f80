"""LUTs at equal accuracy beside HGQ2 (Sun et al., arXiv 2405.00645), which trains bits per weight and per activation.

The jet tagger's network (16-64-32-32-5) on data made by scikit-learn with as many inputs and classes. HGQ2 trains for
the given time, its price of bits rising; its networks come in as QONNX with the bits of every element, codes exactly
those of HGQ2. Ours is trained in floating point for half of the time, then `assign` chooses, under several budgets:
after training from 1,000 labelled vectors, with training (`qft`) from 8,000 of those that both are trained on. Seconds
are those of the processor, over all threads: of HGQ2 for all of its points, of ours with the float network and by plan.
Both are priced by the same estimate of architecture parallel; accuracies are those of the bit-accurate simulator on
held-out data. Where ours is better than the best of HGQ2, the ratio is to the LUTs of that.

    pip install HGQ2 'jax[cpu]'
    python benchmarks/jets.py [--seconds 300] [--seeds 1] [--rounding digits,qft]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import planning
from qcompile.assignment.methods import RoundingMethod
from qcompile.errors import QCompileError

SIZES, CLASSES, PART = (16, 64, 32, 32, 5), 5, "xcvu13p"
ROWS, CALIBRATION, TEST = 100_000, 1_000, 10_000
BETAS = 1e-6, 3e-4  # of HGQ2's price, first and last
SNAPSHOTS = 12
BUDGETS = (0.4, 0.25, 0.15, 0.1, 0.06)  # of the LUTs of uniform 8 bits
LABELLED = 8_000  # vectors of the training
RECIPE = ("epochs=30", "batch=128", "labels=1", "hidden=0", "mixed=0", "temperature=1")
REFINE = 12  # designs that a search in front of a training exchanges formats of

Arrays = dict[str, np.ndarray]


def jets(seed: int) -> Arrays:
    """x, y to train with; cx, cy to choose by; tx, ty held out."""
    from sklearn.datasets import make_classification

    kind = {"n_informative": 12, "n_redundant": 2, "n_clusters_per_class": 3, "class_sep": 1.3, "flip_y": 0.05}
    n = ROWS + CALIBRATION + TEST
    x, y = make_classification(n, SIZES[0], n_classes=CLASSES, random_state=seed, **kind)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    places = {"": slice(0, ROWS), "c": slice(ROWS, ROWS + CALIBRATION), "t": slice(ROWS + CALIBRATION, n)}
    return {f"{p}{name}": a[rows] for p, rows in places.items() for name, a in (("x", x), ("y", y))}


# --- theirs


def theirs(data: Arrays, seconds: float, seed: int) -> Iterator[list[Arrays]]:
    """Networks by HGQ2 on the way, the layers of each."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from hgq.config import LayerConfigScope, QuantizerConfigScope
    from hgq.layers import QDense
    from hgq.utils import trace_minmax

    keras.utils.set_random_seed(seed)
    weights = QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM")
    lanes = QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", f0=4, i_decay_speed=0.01)
    with weights, lanes, LayerConfigScope(enable_ebops=True, beta0=BETAS[0]):
        layers = [QDense(n, activation="relu" if n != SIZES[-1] else None) for n in SIZES[1:]]
        model = keras.Sequential([keras.layers.Input((SIZES[0],)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(data["x"], data["y"], epochs=1, batch_size=1024, verbose=0)  # compiles, which is not counted
    begin, next_one = time.process_time(), 0
    while (passed := (time.process_time() - begin) / seconds) < 1:
        for layer in layers:
            layer._beta.assign(BETAS[0] * (BETAS[1] / BETAS[0]) ** passed)
        model.optimizer.learning_rate = 1e-4 + 3e-3 * (0.5 + 0.5 * np.cos(np.pi * (passed * SNAPSHOTS % 1)))
        model.fit(data["x"], data["y"], epochs=1, batch_size=1024, verbose=0)
        if passed * SNAPSHOTS >= next_one + 0.95:  # where the learning rate is lowest
            paused = time.process_time()
            held = model.get_weights()
            trace_minmax(model, data["x"])
            yield [_layer(layer) for layer in layers]
            model.set_weights(held)
            next_one, begin = next_one + 1, begin + time.process_time() - paused


def _layer(layer: object) -> Arrays:
    """Weights and biases as quantized, and sign, integer and fraction bits of every input."""
    from keras import ops

    quantizer = layer.iq.quantizer
    shape = (1, layer.kernel.shape[0])
    bits = [quantizer.bw_mapper.bw_to_x(b, shape) for b in quantizer.kif]
    k, i, f = (np.broadcast_to(ops.convert_to_numpy(b), shape)[0].round() for b in bits)
    return {"w": ops.convert_to_numpy(layer.qkernel), "b": ops.convert_to_numpy(layer.qbias), "k": k, "i": i, "f": f}


def qonnx(layers: list[Arrays]) -> qc.Model:
    """The network with the quantizers of HGQ2. Overflow does not happen on the data that it saw."""
    nodes, constants, at = [], {}, "x"

    def constant(name: str, value: np.ndarray) -> str:
        constants[name] = numpy_helper.from_array(np.asarray(value, np.float32), name)
        return name

    def quant(name: str, of: str, scale: np.ndarray, bits: np.ndarray, mode: str) -> str:
        given = [of, constant(f"{name}.s", scale), constant(f"{name}.z", 0.0), constant(f"{name}.bits", bits)]
        attributes = {"signed": 1, "narrow": 0, "rounding_mode": mode, "domain": "qonnx.custom_op.general"}
        nodes.append(helper.make_node("Quant", given, [f"{name}.q"], **attributes))
        return f"{name}.q"

    def fixed(name: str, values: np.ndarray) -> str:
        """A constant with a quantizer that does not change it."""
        fraction = next(f for f in range(60) if np.array_equal(values * 2.0**f, np.rint(values * 2.0**f)))
        bits = max(2, int(np.abs(values * 2.0**fraction).max()).bit_length() + 1)
        return quant(name, constant(name, values), np.array(2.0**-fraction), np.array(bits), "ROUND")

    for n, layer in enumerate(layers):
        bits = layer["k"] + layer["i"] + layer["f"]
        some = bits > 0
        w = np.where(some[:, None], layer["w"], 0)
        wide = np.where(some, bits + (1 - layer["k"]), 2)  # all signed: what has no sign is not negative
        data = quant(f"a{n}", at, np.where(some, 2.0 ** -layer["f"], 1)[None], wide[None], "HALF_UP")
        nodes.append(helper.make_node("MatMul", [data, fixed(f"w{n}", w)], [f"m{n}"]))
        nodes.append(helper.make_node("Add", [f"m{n}", fixed(f"b{n}", layer["b"])], [f"s{n}"]))
        at = f"s{n}"
        if n < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [at], [f"r{n}"]))
            at = f"r{n}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", SIZES[0]), (at, SIZES[-1]))]
    graph = helper.make_graph(nodes, "hgq", ends[:1], ends[1:], list(constants.values()))
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return qc.load(helper.make_model(graph, opset_imports=imports))


# --- ours


def trained(data: Arrays, seconds: float, seed: int) -> qc.Model:
    """The float network."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    pairs = list(zip(SIZES, SIZES[1:], strict=False))
    model = nn.Sequential(*(m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())))[:-1]
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)
    begin = time.process_time()
    while (passed := (time.process_time() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-5 + 3e-3 * (0.5 + 0.5 * np.cos(np.pi * passed))
        for rows in torch.randperm(len(x)).split(1024):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    nodes, constants, at = [], [], "x"
    for n, layer in enumerate(m for m in model if isinstance(m, nn.Linear)):
        for name, value in ((f"w{n}", layer.weight.T), (f"b{n}", layer.bias)):
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value.detach().numpy()), name))
        nodes.append(helper.make_node("Gemm", [at, f"w{n}", f"b{n}"], [f"s{n}"]))
        at = f"s{n}"
        if n < len(SIZES) - 2:
            nodes.append(helper.make_node("Relu", [at], [f"r{n}"]))
            at = f"r{n}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", SIZES[0]), (at, SIZES[-1]))]
    graph = helper.make_graph(nodes, "jets", ends[:1], ends[1:], constants)
    return qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))


def point(design: qc.Design, data: Arrays) -> tuple[float, float]:
    """(LUTs, accuracy)."""
    y = np.asarray(design.simulate(data["tx"])).reshape(TEST, -1)
    return float(design.estimate().total.lut), float((y.argmax(axis=1) == data["ty"]).mean())


def ours(data: Arrays, model: qc.Model, rounding: str) -> list[tuple[float, float]]:
    """Plans under several budgets: of a rounding after training, or one that trains."""
    uniform = qc.assign(model, data["cx"], part=PART, candidates="fixed8", baselines=False, minimize="loss", refine=0)
    whole, out = point(qc.compile(model, uniform, part=PART), data)[0], []
    x, y, more = data["cx"], data["cy"], {}
    if RoundingMethod.find(rounding).finetunes:
        x, y, more = data["x"][:LABELLED], data["y"][:LABELLED], {"rounding_options": RECIPE, "refine": REFINE}
    for share in BUDGETS:
        given = {"labels": y, "rounding": rounding, "candidates": "fixed3-7", "budget": f"lut={int(whole * share)}"}
        begin = time.process_time()
        try:
            plan = planning.assign(model, x, part=PART, minimize="loss", baselines=False, **given, **more)
        except QCompileError as error:
            print(f"  {share:.0%} of uniform 8 bits: {error}", flush=True)
            continue
        print(f"  {share:.0%} of uniform 8 bits: {time.process_time() - begin:.0f} s", flush=True)
        out.append(point(qc.compile(model, plan, part=PART), data))
    return out


def luts_at(accuracy: float, points: list[tuple[float, float]]) -> float:
    """LUTs that those points need for an accuracy, by interpolation of their front; those of its best beyond that, and
    NaN below its least.
    """
    front: list[tuple[float, float]] = []
    for lut, found in sorted(points):
        if not front or found > front[-1][1]:
            front.append((lut, found))
    lut, found = np.array(front).T
    return float(np.exp(np.interp(accuracy, found, np.log(lut)))) if found[0] <= accuracy else float("nan")


def shown(name: str, seed: int, seconds: float, points: list[tuple[float, float]]) -> None:
    print(f"seed {seed}, {name}, {seconds:.0f} s")
    for lut, accuracy in points:
        print(f"  {lut:9,.0f} LUT  accuracy {accuracy:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounding", default="digits,qft", help="after training, or with it")
    parser.add_argument("--json")
    args = parser.parse_args()
    if find_spec("hgq") is None:
        print("skipped: needs HGQ2: pip install HGQ2 'jax[cpu]'")
        sys.exit(0)
    rows = []
    for seed in range(args.seeds):
        data = jets(seed)
        other = [point(qc.compile(qonnx(layers), part=PART), data) for layers in theirs(data, args.seconds, seed)]
        shown("HGQ2", seed, args.seconds, other)
        begin = time.process_time()
        model = trained(data, args.seconds / 2, seed)
        spent = time.process_time() - begin
        for rounding in args.rounding.split(","):
            begin = time.process_time()
            own = ours(data, model, rounding)
            shown(rounding, seed, spent + time.process_time() - begin, own)
            rows += [
                {"seed": seed, "rounding": rounding, "lut": n, "accuracy": a, "ratio": n / luts_at(a, other)}
                for n, a in own
            ]
    for rounding in args.rounding.split(","):
        ratios = [r["ratio"] for r in rows if r["rounding"] == rounding and np.isfinite(r["ratio"])]
        if ratios:
            spread = f"{np.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            print(f"{rounding}, of HGQ2's LUTs at equal accuracy: {spread}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
