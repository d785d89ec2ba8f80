"""Attention in one node means what onnx' own evaluator and onnxruntime make of it, and compiles with a format for its
softmax.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import qcompile as qc
from qcompile.assignment.network import FloatNetwork

RUNTIME = "com.microsoft"
RNG = np.random.default_rng(0)
FOUR = {"q": (1, 2, 3, 4), "k": (1, 2, 5, 4), "v": (1, 2, 5, 6)}
THREE = {"q": (1, 3, 8), "k": (1, 5, 8), "v": (1, 5, 12)}
SELF = {"q": (1, 5, 8), "k": (1, 5, 8), "v": (1, 5, 12)}
KEPT = np.array([[1, 0, 1, 1, 1], [1, 1, 0, 0, 1], [0, 1, 1, 1, 1]], bool)
SOME = np.where(np.eye(3, 5) > 0, -0.5, np.where(KEPT, 0, -np.inf)).astype(np.float32)
ANGLES = {"c": np.cos(RNG.normal(size=(9, 4))), "s": np.sin(RNG.normal(size=(9, 4)))}
HALF = {name: table[:, :2] for name, table in ANGLES.items()}
PLACES = np.array([[0, 2, 1, 5, 7]])


def model(
    op: str,
    inputs: str,
    data: dict[str, tuple[int, ...]],
    constants: dict[str, np.ndarray],
    *,
    outputs: str = "y",
    domain: str = "",
    codes: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """One node; a dot stands for an input or output that is left out. codes: data are 8-bit numbers of unit 1/16."""
    names, made = ([n.replace(".", "") for n in text.split()] for text in (inputs, outputs))
    nodes = [helper.make_node(op, names, made, "att", domain=domain, **attributes)]
    tensors = [numpy_helper.from_array(a.astype(np.float32) if a.dtype.kind == "f" else a, n)
               for n, a in constants.items()]  # fmt: skip
    ports = {n: n for n in data}
    if codes:
        ports = {n: f"{n}_in" for n in data}
        tensors += [numpy_helper.from_array(np.float32(1 / 16), "unit"), numpy_helper.from_array(np.int8(0), "zero")]
        for n, outer in ports.items():
            nodes[:0] = [helper.make_node("QuantizeLinear", [outer, "unit", "zero"], [f"{n}_q"]),
                         helper.make_node("DequantizeLinear", [f"{n}_q", "unit", "zero"], [n])]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(ports[n], TensorProto.FLOAT, shape) for n, shape in data.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in made if n],
        tensors,
    )
    sets = [helper.make_opsetid("", 17 if domain else onnx.defs.onnx_opset_version()), helper.make_opsetid(RUNTIME, 1)]
    return helper.make_model(graph, opset_imports=sets if domain else sets[:1], ir_version=10)


PAST = {"pk": (1, 2, 2, 4), "pv": (1, 2, 2, 6)}
Case = tuple[str, str, dict[str, tuple[int, ...]], dict[str, np.ndarray], dict[str, Any]]
ONNX: list[Case] = [
    ("Attention", "q k v", FOUR, {}, {}),
    ("Attention", "q k v", FOUR, {}, {"is_causal": 1, "scale": 0.3}),
    ("Attention", "q k v", {"q": (1, 3, 8), "k": (1, 5, 4), "v": (1, 5, 6)}, {}, {"q_num_heads": 4, "kv_num_heads": 2}),
    ("Attention", "q k v", {"q": (1, 3, 8), "k": (1, 5, 2), "v": (1, 5, 3)}, {}, {"q_num_heads": 4, "kv_num_heads": 1}),
    ("Attention", "q k v m", FOUR, {"m": KEPT}, {}),
    ("Attention", "q k v m", FOUR, {"m": SOME}, {"is_causal": 1}),
    ("Attention", "q k v m", FOUR, {"m": SOME[:, :4]}, {}),
    ("Attention", "q k v m", FOUR | {"m": (1, 1, 3, 5)}, {}, {"is_causal": 1}),
    ("Attention", "q k v", FOUR, {}, {"softcap": 2.0}),
    ("Attention", "q k v m", FOUR, {"m": SOME}, {"softcap": 2.0, "is_causal": 1}),
    ("Attention", "q k v . pk pv", FOUR | PAST, {}, {"is_causal": 1, "outputs": "y present_k present_v"}),
    *(("Attention", "q k v", FOUR, {}, {"qk_matmul_output_mode": m, "outputs": "y . . qk"}) for m in range(4)),
    ("Attention", "q k v . . . n", FOUR, {"n": np.array([3])}, {}),
    ("RotaryEmbedding", "x c s p", {"x": (1, 2, 5, 8)}, {**ANGLES, "p": PLACES}, {}),
    ("RotaryEmbedding", "x c s p", {"x": (1, 5, 16)}, {**HALF, "p": PLACES},
     {"rotary_embedding_dim": 4, "num_heads": 2}),
    ("RotaryEmbedding", "x c s", {"x": (1, 5, 16)}, {n: t[None, :5] for n, t in ANGLES.items()},
     {"num_heads": 2, "interleaved": 1}),
]  # fmt: skip
MULTI = "MultiHeadAttention"
GROUPED = "GroupQueryAttention"
SEQUENCE = {"n": np.array([3], np.int32), "t": np.array(4, np.int32)}
TURNS = {n: f(np.outer(np.arange(6), 0.5 ** np.arange(8))) for n, f in (("c", np.cos), ("s", np.sin))}
WEIGHTS = {"w": RNG.normal(size=(6, 28)), "b": RNG.normal(size=28)}
ONNXRUNTIME: list[Case] = [
    (MULTI, "q k v", THREE, {}, {"num_heads": 2}),
    (MULTI, "q k v b", THREE, {"b": RNG.normal(size=28)}, {"num_heads": 2, "scale": 0.7}),
    (MULTI, "q k v", SELF, {}, {"num_heads": 2, "unidirectional": 1}),
    (MULTI, "q k v . m", THREE, {"m": np.array([[1, 1, 1, 0, 1]], np.int32)}, {"num_heads": 2}),
    (MULTI, "q k v . m", THREE, {"m": np.array([3], np.int32)}, {"num_heads": 2}),
    (MULTI, "q k v . . a", THREE, {"a": RNG.normal(size=(1, 2, 3, 5))}, {"num_heads": 2}),
    (MULTI, "q k v . . a", THREE | {"a": (1, 1, 3, 5)}, {}, {"num_heads": 2}),
    (MULTI, "q k v", {"q": (1, 3, 8), "k": (1, 2, 5, 4), "v": (1, 2, 5, 4)}, {}, {"num_heads": 2}),
    (MULTI, "q k v . . . pk pv", {n: (1, 3, 8) for n in "qkv"} | {n: (1, 2, 2, 4) for n in PAST}, {},
     {"num_heads": 2, "outputs": "y present_k present_v"}),
    ("Attention", "x w b", {"x": (1, 5, 6)}, WEIGHTS, {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 12]}),
    ("Attention", "x w b m p", {"x": (1, 5, 6), "p": (2, 1, 2, 3, 4)},
     {"w": WEIGHTS["w"][:, :24], "b": WEIGHTS["b"][:24], "m": np.ones((1, 8), np.int32)},
     {"num_heads": 2, "unidirectional": 1, "outputs": "y present"}),
    *((GROUPED, "q k v . . n t" + more, {"q": (1, 4, 32), "k": (1, 4, 16), "v": (1, 4, 16)}, SEQUENCE | tables,
       {"num_heads": 2, "kv_num_heads": 1, "outputs": "y present_k present_v", **own})
      for more, tables, own in (("", {}, {"scale": 0.3}), (" c s", TURNS, {"do_rotary": 1}),
                                ("", {}, {"local_window_size": 2}), ("", {}, {"softcap": 2.0}))),
    (GROUPED, "q . . . . n t", {"q": (1, 4, 64)}, SEQUENCE,
     {"num_heads": 2, "kv_num_heads": 1, "outputs": "y present_k present_v"}),
    *(("RotaryEmbedding", "x p c s", {"x": (1, 5, 16)}, {**ANGLES, "p": p}, {"interleaved": i})
      for p, i in ((np.array([3]), 0), (PLACES, 1))),
]  # fmt: skip


def equal(built: onnx.ModelProto, run: Any) -> None:
    """The imported graph in float64 beside a judge's outputs."""
    rng = np.random.default_rng(1)
    x = {i.name: rng.normal(size=[d.dim_value for d in i.type.tensor_type.shape.dim]).astype(np.float32)
         for i in built.graph.input}  # fmt: skip
    graph = qc.load(built).graph
    network = FloatNetwork.of(graph)
    values = network.run(network.start([v[None] for v in x.values()]), keep=None)
    for value, wanted in zip(graph.outputs, run(None, x), strict=True):
        finite = np.isfinite(wanted)
        difference = (values[value.name].reshape(wanted.shape) - wanted)[finite]
        assert finite.any() and np.abs(difference).max() < 1e-5 * max(1, np.abs(wanted[finite]).max())


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 24, reason="needs onnx 1.19, which Python 3.10 has not")
@pytest.mark.parametrize("case", ONNX, ids=lambda c: " ".join([c[0], c[1], *map(str, c[4].items())]))
def test_operators_are_those_of_onnx(case: Case) -> None:
    op, inputs, data, constants, attributes = case
    built = model(op, inputs, data, constants, **attributes)
    equal(built, ReferenceEvaluator(built).run)


@pytest.mark.parametrize("case", ONNXRUNTIME, ids=lambda c: " ".join([c[0], c[1], *map(str, c[4].items())]))
def test_operators_are_those_of_onnxruntime(case: Case) -> None:
    ort = pytest.importorskip("onnxruntime")
    op, inputs, data, constants, attributes = case
    built = model(op, inputs, data, constants, domain=RUNTIME, **attributes)
    equal(built, ort.InferenceSession(built.SerializeToString()).run)


def test_attention_of_codes() -> None:
    """QAttention is Attention between dequantizers."""
    ort = pytest.importorskip("onnxruntime")
    numbers = {"w": RNG.integers(-128, 128, (6, 24)).astype(np.int8), "b": RNG.normal(size=24).astype(np.float32)}
    numbers |= {"u": np.float32(1 / 16), "z": np.uint8(120), "wu": np.float32(0.01), "wz": np.int8(3)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "u", "z"], ["c"]),
        helper.make_node(
            "QAttention", ["c", "w", "b", "u", "wu", "", "z", "wz"], ["y"], "att", domain=RUNTIME, num_heads=2
        ),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 5, 6]), ("y", None))]
    graph = helper.make_graph(
        nodes, "net", ports[:1], ports[1:], [numpy_helper.from_array(np.asarray(v), n) for n, v in numbers.items()]
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(RUNTIME, 1)]
    built = helper.make_model(graph, opset_imports=sets, ir_version=10)
    equal(built, ort.InferenceSession(built.SerializeToString()).run)


@pytest.mark.parametrize("places", ["5 3", "3"])
def test_heads_that_are_packed(places: str) -> None:
    """Which onnxruntime has on GPUs alone: the same tensors side by side."""
    whole = RNG.normal(size=(1, 5, 2, 3, 4)).astype(np.float32)
    q, k, v = (whole[:, :, :, i].reshape(1, 5, 8) for i in range(3))
    plain = model(MULTI, "q k v", dict.fromkeys("qkv", (1, 5, 8)), {}, domain=RUNTIME, num_heads=2)
    given: dict[str, Any] = {"q": whole} if places == "5 3" else {"q": q, "k": whole[:, :, :, 1:]}
    packed = model(MULTI, " ".join(given), {n: x.shape for n, x in given.items()}, {}, domain=RUNTIME, num_heads=2)
    found = []
    for built, x in ((plain, [q, k, v]), (packed, list(given.values()))):
        graph = qc.load(built).graph
        network = FloatNetwork.of(graph)
        found.append(network.run(network.start(x), keep=None)[graph.outputs[0].name])
    assert np.array_equal(*found)


FULL = np.full((3, 5), -np.inf, np.float32)
MASKS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Where": ([helper.make_node("Where", ["m", "d", "n"], ["masked"])], {"m": KEPT, "n": np.float32(-np.inf)}),
    "Trilu": (
        [
            helper.make_node("Trilu", ["o", "k"], ["upper"], upper=1),
            helper.make_node("Add", ["d", "upper"], ["masked"]),
        ],
        {"o": FULL, "k": np.int64(1)},
    ),
    "of data": (
        [
            helper.make_node("Greater", ["d", "low"], ["m"]),
            helper.make_node("Where", ["m", "d", "n"], ["masked"]),
        ],
        {"low": np.float32(-3), "n": np.float32(-np.inf)},
    ),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks(case: str) -> None:
    """Of scores in front of a softmax that hardware makes."""
    own, held = MASKS[case]
    held = held | {"u": np.float32(1 / 16), "z": np.int8(0), "t": np.float32(1 / 256), "o8": np.uint8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "u", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "u", "z"], ["d"]),
        *own,
        helper.make_node("Softmax", ["masked"], ["p"], axis=-1),
        helper.make_node("QuantizeLinear", ["p", "t", "o8"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "t", "o8"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 5]), ("y", None))]
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.random.default_rng(0).integers(-128, 128, (60, 3, 5)) / 16
    x[..., 0] = 7
    kept = {"Where": KEPT, "Trilu": np.tril(np.ones((3, 5))) > 0, "of data": x > -3}[case]
    e = np.where(kept, np.exp(x), 0)
    wanted = np.clip(np.round(e / e.sum(axis=-1, keepdims=True) * 256), 0, 255) / 256
    assert np.array_equal(qc.compile(built, softmax="integer").simulate(x).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_softmax_gets_a_format(arch: str, tmp_path: Path) -> None:
    """Causal attention with heads that share keys, of codes, in every execution."""
    data = {"q": (1, 3, 8), "k": (1, 3, 4), "v": (1, 3, 4)}
    if onnx.defs.onnx_opset_version() < 23:
        pytest.skip("needs onnx 1.18")
    heads = {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}
    built = model("Attention", "q k v", data, {}, codes=True, **heads)
    with pytest.raises(qc.UnsupportedError, match=r"'att/softmax'.*no quantizer behind it.*--state-format u8f8"):
        qc.compile(built, arch=arch)
    design = qc.compile(built, arch=arch, state_formats=("u8f8",))
    design.write(tmp_path / "p")
    report = qc.verify(tmp_path / "p", samples=20, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0]
    assert report.rows[0].note.startswith("softmax: 0 of ")


def test_softcap_needs_a_format() -> None:
    if onnx.defs.onnx_opset_version() < 23:
        pytest.skip("needs onnx 1.18")
    built = model("Attention", "q k v", FOUR, {}, codes=True, softcap=2.0)
    with pytest.raises(qc.UnsupportedError, match=r"node 'att'.*its softcap.*--state-format s8f7"):
        qc.compile(built)
    x = [RNG.normal(size=(50, *shape[1:])) for shape in FOUR.values()]
    y = qc.compile(built, state_formats=("s14f13",)).simulate(*x)
    codes = [np.clip(np.round(v * 16), -128, 127).astype(np.float32) / 16 for v in x]
    judge = ReferenceEvaluator(model("Attention", "q k v", FOUR, {}, softcap=2.0))
    wanted = np.concatenate([judge.run(None, dict(zip("qkv", (v[i : i + 1] for v in codes), strict=True)))[0]
                             for i in range(50)])  # fmt: skip
    assert np.abs(y.reshape(wanted.shape) - wanted).max() < 5 * 2.0**-12 * 4
