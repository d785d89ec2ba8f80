"""The generator of convolutional networks: valid ONNX, executable, and as varied as it says."""

import collections
import functools
import hashlib
import json
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from generate import Seeded, input_format, inputs_for
from generate_cnn import cnn_model, cnns, seeded_cnn, style
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper
from test_generate import ROWS, execute, for_qonnx, summarise

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("qonnx")

SEEDS = 300
RUNS = 160
CUSTOM = {"Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "Trunc"}
QCDQ = {"QuantizeLinear", "DequantizeLinear", "Clip"}
LAYERS = {"Conv", "ConvTranspose", "MatMul", "Gemm", "BatchNormalization"}
POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum"}
SUMS = {"Add", "Sub", "Mul", "Div", "Concat", "Split"}
MOVES = {
    "Slice",
    "Pad",
    "Gather",
    "Transpose",
    "DepthToSpace",
    "SpaceToDepth",
    "Resize",
    "Upsample",
    "Flatten",
    "Reshape",
}
CURVES = {"Relu", "LeakyRelu", "PRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Erf"}
STEPS = {"Abs", "Neg", "Sign", "Round", "Floor", "Ceil"}
TAILS = {"ArgMax", "TopK", "Softmax", "LogSoftmax"}


@functools.cache
def models() -> tuple[onnx.ModelProto, ...]:
    """The first models; making them takes a few seconds."""
    return tuple(seeded_cnn(seed) for seed in range(SEEDS))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def nodes(op: str) -> list[tuple[onnx.NodeProto, dict[str, Any]]]:
    """Every node of a kind in all models."""
    return [(n, attributes(n)) for m in models() for n in m.graph.node if n.op_type == op]


def structure(model: onnx.ModelProto) -> str:
    """A digest of operators, attributes, edges and shapes; names and the numbers in constants do not matter."""
    numbers: dict[str, int] = {"": 0}
    lines: list[object] = []
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            shapes[node.output[0]] = list(node.attribute[0].t.dims)
            continue
        edges = [shapes[i] if i in shapes else numbers.setdefault(i, len(numbers)) for i in node.input]
        outputs = [numbers.setdefault(o, len(numbers)) for o in node.output]
        lines.append([node.op_type, edges, outputs, sorted((k, str(v)) for k, v in attributes(node).items())])
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def session(model: onnx.ModelProto) -> Any:
    """onnxruntime without the rewriting that turns DequantizeLinear and Conv into integer kernels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Step:
    """One node of standard ONNX, ready to run."""

    def __init__(
        self, node: onnx.NodeProto, values: dict[str, np.ndarray], versions: list[onnx.OperatorSetIdProto]
    ) -> None:
        self.outputs = list(node.output)
        self.names = [n for n in dict.fromkeys(node.input) if n]
        types = {n: helper.np_dtype_to_tensor_dtype(values[n].dtype) for n in self.names}
        inputs = [helper.make_tensor_value_info(n, types[n], values[n].shape) for n in self.names]
        graph = helper.make_graph([node], "step", inputs, [onnx.ValueInfoProto(name=n) for n in node.output])
        self.session = session(helper.make_model(graph, opset_imports=versions, ir_version=8))

    def __call__(self, values: dict[str, np.ndarray]) -> None:
        found = self.session.run(None, {n: values[n] for n in self.names})
        values.update(zip(self.outputs, found, strict=True))


def run_qonnx(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What `execute` gives, in a tenth of its time: node by node, quantizers by qonnx's classes, the others by
    onnxruntime.
    """
    from qonnx.custom_op.registry import getCustomOp

    rows = len(arrays[0])
    plain = for_qonnx(model, rows)
    versions = {o.domain: o.version for o in plain.opset_import}
    standard = [o for o in plain.opset_import if not o.domain]
    steps: dict[int, Step] = {}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in plain.graph.initializer}
    inputs = [i for i in plain.graph.input if i.name not in constants]
    batch = inputs[0].type.tensor_type.shape.dim[0].dim_value
    parts = []
    for start in range(0, rows, batch):
        values = constants | {i.name: a[start : start + batch] for i, a in zip(inputs, arrays, strict=True)}
        for i, node in enumerate(plain.graph.node):
            if node.domain:
                getCustomOp(node, onnx_opset_version=versions[node.domain]).execute_node(values, plain.graph)
                values[node.output[0]] = np.asarray(values[node.output[0]], dtype=np.float32)
                continue
            if i not in steps:
                steps[i] = Step(node, values, standard)
            steps[i](values)
        parts.append([values[o.name] for o in plain.graph.output])
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def run_standard(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """onnxruntime's outputs, batch by batch."""
    runner = session(model)
    inputs = runner.get_inputs()
    batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else len(arrays[0])
    parts = []
    for start in range(0, len(arrays[0]), batch):
        parts.append(runner.run(None, {i.name: a[start : start + batch] for i, a in zip(inputs, arrays, strict=True)}))
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def tally(results: collections.Counter[str], model: onnx.ModelProto) -> None:
    """Run one model and count how it went."""
    arrays = inputs_for(model, ROWS, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = (run_standard if style(model) == "qcdq" else run_qonnx)(model, arrays)
        except Exception as error:  # what cannot run is counted, not hidden
            results[f"refused ({type(error).__name__}: {str(error)[:200]})"] += 1
            return
    for value, output in zip(model.graph.output, outputs, strict=True):
        assert np.isfinite(output).all()
        assert output.shape == (ROWS, *(d.dim_value for d in value.type.tensor_type.shape.dim[1:]))
    varies = any((o != o[:1]).any() for o in outputs)
    results["varying" if varies else "constant"] += 1


def test_seeded_models_run() -> None:
    results: collections.Counter[str] = collections.Counter()
    for model in models()[:RUNS]:
        tally(results, model)
    print(summarise(results))
    ran = results["varying"] + results["constant"]
    assert ran == RUNS, summarise(results)
    assert results["varying"] >= 0.85 * ran, summarise(results)


def test_qonnx_runs_the_same() -> None:
    """qonnx's own executor, on a few models: it is slow."""
    for model in [m for m in models() if style(m) != "qcdq"][:16]:
        arrays = inputs_for(model, 5, seed=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for a, b in zip(execute(model, arrays), run_qonnx(model, arrays), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5)  # two float32 executors; codes are compared elsewhere


def test_hypothesis_models_run() -> None:
    results: collections.Counter[str] = collections.Counter()

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cnns())
    def run(model: onnx.ModelProto) -> None:
        tally(results, model)

    run()
    print(summarise(results))
    assert results["varying"] + results["constant"] == results.total(), summarise(results)


def test_models_pass_the_checker_and_shape_inference() -> None:
    for model in models()[:200]:
        standard = style(model) == "qcdq"
        plain = model if standard else for_qonnx(model, ROWS)  # the checker knows no Quant in ONNX's own domain
        onnx.checker.check_model(plain, full_check=standard)
        onnx.shape_inference.infer_shapes(plain, check_type=True, strict_mode=True, data_prop=True)


def test_seeds_give_distinct_models_and_the_same_bytes() -> None:
    assert len({structure(m) for m in models()[:200]}) >= 150
    assert len({m.SerializeToString() for m in models()}) == SEEDS
    assert models()[7].SerializeToString() == cnn_model(Seeded(7)).SerializeToString()


def test_all_operators_occur() -> None:
    ops = {n.op_type for m in models() for n in m.graph.node}
    wanted = CUSTOM | QCDQ | LAYERS | POOLS | SUMS | MOVES | CURVES | STEPS | TAILS
    assert ops >= wanted, wanted - ops
    assert {style(m) for m in models()} == {"qonnx", "finn", "qcdq"}
    assert {o.version for m in models() for o in m.opset_import if o.domain == ""} >= {
        9,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        18,
        21,
    }
    domains = {n.domain for m in models() for n in m.graph.node if n.op_type in CUSTOM}
    assert domains == {"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "finn", ""}
    assert any(input_format(m) for m in models())
    assert any(len(inputs_for(m, 1, 0)) == 2 for m in models())
    assert any(len(m.graph.output) >= 2 for m in models())
    assert {len(m.graph.input[0].type.tensor_type.shape.dim) for m in models() if m.graph.input[0].name == "x"} == {
        3,
        4,
    }


def test_all_kinds_of_windows_occur() -> None:
    def pads(a: dict[str, Any]) -> list[int]:
        return list(a.get("pads", []))

    for op in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
        found = [a for _, a in nodes(op)]
        assert any(len(set(pads(a))) > 1 for a in found), op
        assert any(max(a.get("strides", [1])) > 1 for a in found), op
        assert {len(a["kernel_shape"]) for a in found if "kernel_shape" in a} == {1, 2}, op
        if op != "AveragePool":
            assert any(max(a.get("dilations", [1])) > 1 for a in found), op
        if op != "ConvTranspose":
            assert {a["auto_pad"] for a in found if "auto_pad" in a} == {b"SAME_UPPER", b"SAME_LOWER", b"VALID"}, op
        if op.startswith("Conv"):
            assert any(a.get("group", 1) > 1 for a in found), op
            assert {len(n.input) for n, _ in nodes(op)} == {2, 3}
        if op.endswith("Pool"):
            assert any(a.get("ceil_mode") for a in found), op
    assert {a.get("count_include_pad", 0) for _, a in nodes("AveragePool") if any(pads(a))} == {0, 1}
    assert any(max(a.get("output_padding", [0])) > 0 for _, a in nodes("ConvTranspose"))
    assert {a.get("mode", b"DCR") for _, a in nodes("DepthToSpace")} == {b"DCR", b"CRD"}


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    found = {t.name: t for t in model.graph.initializer}
    return found | {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}


def test_zeros_are_padded_to_tensors_with_a_zero_point() -> None:
    """Also where zero is no code; and depthwise convolutions and weights of one bit occur."""
    found: collections.Counter[str] = collections.Counter()
    for model in models():
        values = {n: onnx.numpy_helper.to_array(t).astype(float) for n, t in constants(model).items()}
        makers = {o: n for n in model.graph.node for o in n.output}
        for node in model.graph.node:
            maker, given = makers.get(node.input[0]) if node.input else None, attributes(node)
            padded = any(given.get("pads", ())) or b"SAME" in given.get("auto_pad", b"")
            if node.op_type == "Conv" and maker is not None and padded:
                if maker.op_type in ("Quant", "IntQuant", "DequantizeLinear") and len(maker.input) > 2:
                    zero = values[maker.input[2]]
                    found["zero point"] += bool(zero.any())
                    found["off the grid"] += bool((zero % 1).any())
                if maker.op_type == "MultiThreshold":
                    by = attributes(maker)
                    found["off the grid"] += by.get("out_bias", 0.0) % by.get("out_scale", 1.0) != 0
            if node.op_type in ("Conv", "ConvTranspose"):
                weight = makers.get(node.input[1])
                found["bipolar"] += weight is not None and weight.op_type == "BipolarQuant"
                found["float bias"] += len(node.input) > 2 and node.input[2] in values
            if node.op_type == "Conv" and given.get("group", 1) > 1:
                name = node.input[1] if node.input[1] in values else makers[node.input[1]].input[0]
                found["depthwise"] += name in values and values[name].shape[1] == 1
    assert all(found[k] for k in ("zero point", "off the grid", "bipolar", "float bias", "depthwise")), found


def test_all_kinds_of_integers_occur() -> None:
    kinds: collections.Counter[object] = collections.Counter()
    for model in models():
        if style(model) == "qcdq":
            known = constants(model)
            for node in model.graph.node:
                if node.op_type == "DequantizeLinear" and node.input[0] in known:
                    kinds[known[node.input[0]].data_type] += 1
                    kinds["axis"] += bool(known[node.input[1]].dims)
                if node.op_type == "QuantizeLinear" and len(node.input) > 2:
                    kinds["zero"] += bool(np.any(onnx.numpy_helper.to_array(known[node.input[2]]).astype(int)))
    names = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT4, TensorProto.UINT4}
    assert set(kinds) >= names | {"axis", "zero"}, kinds
    assert kinds["axis"] and kinds["zero"]


def test_inputs_stay_on_the_grid() -> None:
    for seed, model in enumerate(models()[:100]):
        text = input_format(model)
        for array in inputs_for(model, 16, seed):
            assert array.dtype == np.float32 and len(array) == 16
            assert np.isfinite(array).all()
            if text is not None:
                bits, frac = (int(t) for t in text[1:].split("f"))
                codes = array.astype(np.float64) * 2**frac
                assert (codes == np.round(codes)).all()
                assert (np.abs(codes) <= 2**bits).all()
