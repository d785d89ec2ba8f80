"""The model generator: its models run in qonnx's executor, give finite outputs and react to their inputs."""

import collections
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from generate import Seeded, input_format, inputs_for, mlp_model, mlps, seeded_mlp
from hypothesis import HealthCheck, given, settings

pytest.importorskip("qonnx")

CUSTOM = "qonnx.custom_op.general"
CUSTOM_OPS = {"Quant", "IntQuant", "BipolarQuant", "MultiThreshold", "Trunc"}
ROWS = 20  # a multiple of every batch size that the generator writes


def for_qonnx(model: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    """A copy that qonnx 1.0 can run: its own domain, DOWN instead of ROUND_TO_ZERO, a dynamic batch set to `rows`.

    The version of the domain decides which Trunc qonnx runs: the six-input one is version 2.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    version = 1
    for node in copy.graph.node:
        if node.op_type in CUSTOM_OPS:
            node.domain = CUSTOM
        if node.op_type == "Trunc" and len(node.input) == 6:
            version = 2
        for attribute in node.attribute:
            if attribute.name == "rounding_mode" and attribute.s.upper() == b"ROUND_TO_ZERO":
                attribute.s = b"DOWN"
    kept = [o for o in copy.opset_import if o.domain == ""]
    del copy.opset_import[:]
    copy.opset_import.extend([*kept, onnx.helper.make_opsetid(CUSTOM, version)])
    for value in [*copy.graph.input, *copy.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = rows
    return copy


def execute(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """qonnx's outputs for `arrays` ((rows, ...) each), batch by batch."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.fold_constants import FoldConstants
    from qonnx.transformation.general import RemoveStaticGraphInputs
    from qonnx.transformation.infer_shapes import InferShapes

    rows = len(arrays[0])
    dim = model.graph.input[-1 if model.graph.input[-1].name.startswith("x") else 0].type.tensor_type.shape.dim[0]
    batch = rows if dim.dim_param else dim.dim_value
    wrapper = ModelWrapper(for_qonnx(model, rows)).transform(RemoveStaticGraphInputs())
    for step in (InferShapes(), FoldConstants(exclude_op_types=list(CUSTOM_OPS)), InferShapes()):
        wrapper = wrapper.transform(step)
    names = [i.name for i in wrapper.graph.input]
    parts = []
    for start in range(0, rows, batch):
        feed = {name: a[start : start + batch] for name, a in zip(names, arrays, strict=True)}
        parts.append(execute_onnx(wrapper, feed))
    return [np.concatenate([p[o.name] for p in parts]) for o in wrapper.graph.output]


def summarise(results: collections.Counter[str]) -> str:
    """The counts as one line."""
    return ", ".join(f"{kind}: {count}" for kind, count in results.most_common())


def tally(results: collections.Counter[str], model: onnx.ModelProto) -> None:
    """Run one model and count how it went."""
    arrays = inputs_for(model, ROWS, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = execute(model, arrays)
        except Exception as error:  # what qonnx cannot run is counted, not hidden
            results[f"refused ({type(error).__name__}: {str(error)[:200]})"] += 1
            return
    assert all(np.isfinite(o).all() for o in outputs)
    assert all(len(o) == ROWS for o in outputs)
    varies = any((o != o[:1]).any() for o in outputs)
    results["varying" if varies else "constant"] += 1


def check(results: collections.Counter[str]) -> None:
    """Nearly everything runs, and most of it reacts to its input."""
    ran = results["varying"] + results["constant"]
    assert ran >= 0.95 * results.total(), summarise(results)
    assert results["varying"] >= 0.6 * ran, summarise(results)


def test_hypothesis_models_run_in_qonnx(record_property: Callable[[str, object], None]) -> None:
    results: collections.Counter[str] = collections.Counter()

    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mlps())
    def run(model: onnx.ModelProto) -> None:
        tally(results, model)

    run()
    record_property("models", summarise(results))
    print(summarise(results))
    # hypothesis likes extreme choices, such as one neuron everywhere: do not ask for varying outputs here
    assert results["varying"] + results["constant"] >= 0.95 * results.total(), summarise(results)


def test_seeded_models_run_in_qonnx(record_property: Callable[[str, object], None]) -> None:
    results: collections.Counter[str] = collections.Counter()
    for seed in range(10):
        tally(results, seeded_mlp(seed))
    record_property("models", summarise(results))
    print(summarise(results))
    check(results)


def test_seeds_give_distinct_models_and_the_same_bytes() -> None:
    models = [seeded_mlp(seed).SerializeToString() for seed in range(100)]
    assert len(set(models)) == 100
    assert models[7] == mlp_model(Seeded(7)).SerializeToString()


def test_all_features_occur() -> None:
    models = [seeded_mlp(seed) for seed in range(300)]
    ops = {n.op_type for m in models for n in m.graph.node}
    assert ops >= CUSTOM_OPS | {
        "MatMul",
        "Gemm",
        "BatchNormalization",
        "ArgMax",
        "TopK",
        "Softmax",
        "Abs",
        "Clip",
        "Shape",
    }
    assert {o.version for m in models for o in m.opset_import if o.domain == ""} == set(range(9, 21))
    domains = {n.domain for m in models for n in m.graph.node if n.op_type in CUSTOM_OPS}
    assert domains == {CUSTOM, "onnx.brevitas", "finn.custom_op.general", "finn", ""}
    assert any(input_format(m) for m in models)
    assert any(len(inputs_for(m, 1, 0)) == 2 for m in models)


def test_inputs_have_the_shape_of_the_graph_and_stay_on_the_grid() -> None:
    for seed in range(100):
        model = seeded_mlp(seed)
        text = input_format(model)
        for array in inputs_for(model, 16, seed):
            assert array.dtype == np.float32 and len(array) == 16
            assert np.isfinite(array).all()
            if text is not None:
                bits, frac = (int(t) for t in text[1:].split("f"))
                codes = array.astype(np.float64) * 2**frac
                assert (codes == np.round(codes)).all()
                assert (np.abs(codes) <= 2**bits).all()
