"""From a float model to a quantized one: tensors, plans, transforms, and that what is compiled is exactly the plan."""

import base64
import json
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, ROOT, or_absent, records

import qcompile as qc
from qcompile.assignment import network, ranges
from qcompile.assignment.apply import apply
from qcompile.assignment.candidates import Candidate
from qcompile.assignment.grids import neighbours
from qcompile.assignment.methods import GridMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Choice, Packed, Plan
from qcompile.assignment.tensors import tensors
from qcompile.assignment.transforms import transformed
from qcompile.formats import Bipolar, FixedPoint, Minifloat
from qcompile.ir import ops
from qcompile.sim.reference import evaluate

X = np.load(ROOT / "examples" / "digits_x.npy")
CALIBRATION = np.load(ROOT / "examples" / "digits_calibration.npz")["x"]
MODELS = {name: qc.load(ROOT / "examples" / f"digits_float_{name}.onnx") for name in ("mlp", "cnn")}


def plan_of(
    model: qc.Model,
    given: list[Candidate],
    steps: tuple[str, ...] = (),
    x: np.ndarray = CALIBRATION,
    channels: bool = True,
) -> Plan:
    """Candidates in turn for the tensors of a model."""
    graph = transformed(model.graph, steps)
    net = FloatNetwork.of(graph)
    seen, chosen = net.run(net.start([x]), keep=None), {}
    by_tie: dict[str, Choice] = {}
    for i, t in enumerate(tensors(graph)):
        c = given[i % len(given)]
        weight = t.kind == "weight"
        c = c if weight or not c.coded else Candidate("int", 4)
        numbers = net.weights()[t.value][0] if weight else seen[t.value]
        q = ranges.fit(numbers, c, "mse", t.axis if weight and channels else None, weight)
        chosen[t.name] = by_tie.setdefault(t.tie, Choice.of(q, len(t.shape))) if t.tie else Choice.of(q, len(t.shape))
    return Plan(chosen, model.sha256, model.name, steps)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("family", GridMethod.names())
def test_plans_compile_exactly(name: str, family: str) -> None:
    """The compiled network is what exact arithmetic makes of the plan, and what the search's fast evaluation saw."""
    method = GridMethod.find(family)
    model, bits = MODELS[name], min(max(method.least, 3), method.most)
    plan = plan_of(model, [Candidate(family, bits), Candidate("int", 4), Candidate("fixed", 6)], ("fold_bn",))
    design = qc.compile(model, plan)
    y = design.simulate(X).reshape(len(X), -1)
    quantized = apply(model.graph, plan)
    exact = evaluate(quantized, {quantized.inputs[0].name: X.reshape(-1, 1, 64)})[quantized.outputs[0].name]
    assert np.array_equal(y, exact.float64().reshape(len(X), -1).astype(y.dtype))
    net = FloatNetwork.of(transformed(model.graph, plan.transforms))
    changes = {
        t.value: partial(plan.tensors[t.name].quantizer(), lead=1)
        for t in tensors(transformed(model.graph, plan.transforms))
    }
    seen = net.run(net.start([X]), changes)[net.output].reshape(len(X), -1)
    assert np.abs(seen - y).max() < 1e-4 * np.abs(y).max()


def test_plans_of_older_versions_name_activations_by_their_tensors() -> None:
    model = MODELS["mlp"]
    plan = plan_of(model, [Candidate("int", 4), Candidate("fixed", 6)])
    values = {t.name: t.value for t in tensors(model.graph) if t.kind == "activation"}
    older = replace(plan, tensors={values.get(n, n): c for n, c in plan.tensors.items()})
    assert older.tensors.keys() != plan.tensors.keys()
    assert np.array_equal(qc.compile(model, older).simulate(X), qc.compile(model, plan).simulate(X))


def test_plan_round_trip_and_project(tmp_path: Path) -> None:
    model = MODELS["mlp"]
    plan = plan_of(model, [Candidate("int", 4), Candidate("minifloat", 5)])
    name = next(n for n in plan.tensors if n.endswith("weight"))
    units = np.zeros(dict((t.name, t.shape) for t in tensors(model.graph))[name], dtype=np.int64)
    plan = replace(
        plan,
        tensors=plan.tensors | {name: replace(plan.tensors[name], units=units)},
        bias={name.removesuffix(".weight"): (0.25,) * 32},
    )
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again == plan and again.digest == plan.digest
    design = qc.compile(model, tmp_path / "plan.json")
    design.write(tmp_path / "p")
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert manifest["plan"] == {"schema": 1, "sha256": plan.digest}
    opened = qc.open_project(tmp_path / "p")
    assert opened.files().digest() == design.files().digest()
    assert np.array_equal(opened.simulate(X), design.simulate(X))


def test_quantized_layers_keep_their_formats() -> None:
    model = qc.load(ROOT / "examples" / "digits_mlp.onnx")
    found = tensors(model.graph)
    given = [t for t in found if t.given is not None]
    assert len(given) == len(found) > 4
    plain = qc.compile(model)
    assert np.array_equal(qc.compile(model, Plan({}, model.sha256)).simulate(X), plain.simulate(X))
    weight = next(t for t in given if t.kind == "weight")
    finer = Plan({weight.name: Choice(FixedPoint(8, 6))}, model.sha256)
    with pytest.raises(qc.QCompileError, match="has quantized it to s4n itself"):
        qc.compile(model, finer)
    assert not np.array_equal(qc.compile(model, replace(finer, free=True)).simulate(X), plain.simulate(X))


FLOAT = [
    r
    for r in records("float")
    if r["id"].split("/")[-1] in ("conv2d_small_keras", "two_layer_pytorch", "mnist_conv_float", "alibaba_ic")
]


@pytest.mark.parametrize("record", or_absent(FLOAT), ids=lambda r: r["id"])
def test_float_models_of_others(record: dict) -> None:
    """The fast evaluation against the exact reference, and a uniform plan through the compiler."""
    model = qc.load(CORPUS / record["file"])
    graph = model.graph
    x = np.random.default_rng(0).random((4, *graph.inputs[0].type.shape)).astype(np.float32)
    net = FloatNetwork.of(graph)
    plan = plan_of(model, [Candidate("int", 6)], x=x)
    quantized = apply(graph, plan)
    values = evaluate(quantized, {graph.inputs[0].name: x[:1]})
    y = qc.compile(model, plan, softmax="logits").simulate(x[:1])
    assert np.allclose(y.ravel(), values[net.output].float64().ravel(), rtol=1e-6, atol=1e-6)
    ties: dict[str, set] = {}
    for t in tensors(graph):
        ties.setdefault(t.tie, set()).add((plan.tensors[t.name].format, plan.tensors[t.name].scale))
    assert all(len(v) == 1 for k, v in ties.items() if k)


def test_every_op_has_a_fast_rule() -> None:
    assert set(network.RULES) == set(ops.MODEL) - {ops.BatchNorm}  # which becomes an Affine


@pytest.mark.parametrize(
    "fmt",
    [FixedPoint(4), FixedPoint(3, 0, False), Minifloat(3, 2, -1), Minifloat(2, 1, 0, signed=False), Bipolar()],
    ids=str,
)
def test_fast_grids_are_the_formats(fmt) -> None:
    y = np.concatenate([np.linspace(-40, 40, 1601), np.random.default_rng(0).normal(size=500) * 8])
    num, den = zip(*(float(v).as_integer_ratio() for v in y), strict=True)
    exact = fmt.quantize_ratio(np.array(num, dtype=object), np.array(den, dtype=object)).astype(float)
    assert np.array_equal(fmt.nearest(y), exact)
    low, high = neighbours(y, fmt)
    grid = fmt.grid()
    assert np.isin(low, grid).all() and np.isin(high, grid).all()
    assert np.array_equal(
        np.where(np.abs(y - low) < np.abs(y - high), low, np.where(np.abs(y - low) > np.abs(y - high), high, exact)),
        exact,
    )


BAD_PLANS = {
    "no JSON": ("{", "is no JSON"),
    "no tensors": ("[]", "this is no plan"),
    "schema": ('{"schema": 9, "tensors": {}}', "schema is 9"),
    "unknown tensor": ('{"schema": 1, "tensors": {"imag": {"format": "u4"}}}', "did you mean image"),
    "impossible format": ('{"schema": 1, "tensors": {"image": {"format": "s99"}}}', "impossible format"),
    "nothing held": ('{"schema": 1, "tensors": {"image": {"format": "s1n"}}}', "holds nothing"),
    "specials": ('{"schema": 1, "tensors": {"image": {"format": "e4m3"}}}', "codes that are no numbers"),
    "scale": (
        '{"schema": 1, "tensors": {"image": {"format": "u4", "scale": -1}}}',
        "tensors.image.scale.0: it must be greater than 0, not -1",
    ),
    "no number": ('{"schema": 1, "tensors": {"image": {"format": "u4", "scale": NaN}}}', "NaN is no number"),
    "axis": (
        '{"schema": 1, "tensors": {"image": {"format": "u4", "scale": [1, 2], "axis": 1}}}',
        "do not fit the tensor",
    ),
    "zero point": ('{"schema": 1, "tensors": {"image": {"format": "u4", "zero_point": 77}}}', "is no code"),
    "units": (
        '{"schema": 1, "tensors": {"image": {"format": "u4", "units": {"shape": [2], "zlib_base85": "x"}}}}',
        "which only weights can have",
    ),
    "units of a bomb": (
        '{"schema": 1, "tensors": {"/0/MatMul.weight": {"format": "s4",'
        ' "units": {"shape": [99999999], "zlib_base85": "x"}}}}',
        r"units of shape \[99999999\] for a tensor",
    ),
    "units of no size": (
        '{"schema": 1, "tensors": {"image": {"format": "s4", "units": {"shape": [10e20], "zlib_base85": "x"}}}}',
        "units.shape.0: it must be a valid integer",
    ),
    "a huge scale": (
        '{"schema": 1, "tensors": {"image": {"format": "u4", "scale": 1' + "0" * 80 + "0" * 400 + "}}}",
        "481 digits",
    ),
    "a text": ('{"schema": 1, "tensors": {"image": {"format": "u4", "scale": "1"}}}', "must be a valid number"),
    "a field more": (
        '{"schema": 1, "tensors": {"image": {"format": "u4", "scael": 1}}}',
        "image.scael: there is no such field",
    ),
    "a name twice": ('{"schema": 1, "tensors": {"image": {"format": "u4"}, "image": {"format": "u4"}}}', "comes twice"),
    "no format": ('{"schema": 1, "tensors": {"image": {}}}', "image.format: the field is missing"),
    "format 3": ('{"schema": 1, "tensors": {"image": {"format": 3}}}', "a format is a text"),
    "a fractional zero point": ('{"schema": 1, "tensors": {"image": {"format": "u4", "zero_point": 0.5}}}', "integer"),
    "free": ('{"schema": 1, "free": 1, "tensors": {}}', "at free: it must be a valid boolean"),
    "schema true": ('{"schema": true, "tensors": {}}', "schema is True"),
    "other file": ('{"schema": 1, "model": {"sha256": "00"}, "tensors": {}}', "made for another file"),
    "left out": ('{"schema": 1, "tensors": {"image": {"format": "u4"}}}', "has no format for"),
    "transform": ('{"schema": 1, "transforms": ["foldbn"], "tensors": {}}', "did you mean fold_bn"),
    "folding": (
        '{"schema": 1, "folding": {"scores": {"pe": 0}}, "tensors": {}}',
        "folding.scores.pe: it must be greater than or equal to 1, not 0",
    ),
    "bias": ('{"schema": 1, "bias": 3, "tensors": {}}', "at bias: it must be an object, not 3"),
}


@pytest.mark.parametrize("case", BAD_PLANS)
def test_bad_plans(case: str, tmp_path: Path) -> None:
    text, message = BAD_PLANS[case]
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(qc.QCompileError, match=message):
        qc.compile(MODELS["mlp"], tmp_path / "plan.json")


@pytest.mark.parametrize("text", ["x", "ü", "", base64.b85encode(zlib.compress(bytes(24))).decode()])
def test_damaged_units(text: str) -> None:
    """No base 85, no zlib, too little; the last: eight bytes more than the shape has."""
    with pytest.raises(qc.QCompileError, match="units are damaged"):
        Packed((2,), text).unpacked("plan")
