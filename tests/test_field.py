"""Graphs from public bug reports with their right values, in ../shared/field: what was wrong, silently, is right."""

import numpy as np
import onnx
import pytest
from conftest import SHARED
from onnx import numpy_helper

import qcompile as qc
from qcompile.backends.pysim.simulator import with_batch
from qcompile.errors import QCompileError
from qcompile.verification import Report, _check_reference

FIELD = SHARED / "field"
needs_field = pytest.mark.skipif(not FIELD.is_dir(), reason=f"needs the field cases, which are not in {FIELD}")
RIGHT = {
    "intdiv_clip": ("u8",),
    "nemo_pair": ("u8",),
    "const_intdiv": (),
    "int_reducemean": ("u8",),
    "cast_uint8_wrap": ("s10",),
    "uint8_sub": (),
    "bitshift": ("u8",),
    "mod": ("u8",),
    "weights_computed": ("s8f6",),
    "dorefa": ("s8f6",),
    "where_gt": ("s8f5",),
    "heaviside": ("s8f5",),
    "greater_cast": ("s8f5",),
    "bool_out": (),
    "sum_op": (),
    "maxout": (),
    "ensemble_mean": (),
    "mish_manual": (),
    "mish_op": (),
    "log_op": (),
    "quant_bits_per_channel": (),
    "qlinearavgpool": (),
    "local_function": (),
    "fused_conv": (),
    "quark_extended": (),
    "softmax_qdq_tail": (),
    "qlinearsoftmax": (),
    "dq_blocked": (),
    "zero_scale": (),
    "resize_bilinear": (),
    "rms": (),
    "layernorm": (),
    "l2norm": (),
    "lrn": (),
}
# Numbers of floats: the definition was run in float64, the sum of a layer rounds once.
ROUNDED = {"weights_computed", "ensemble_mean", "fused_conv", "resize_bilinear", "l2norm"}


def compiled(case: str, arch: str) -> tuple[qc.Design, list[np.ndarray], list[np.ndarray]]:
    """(design, inputs, right outputs)."""
    with np.load(FIELD / f"{case}.npz") as data:
        x, y = ([data[name] for name in data.files if name.startswith(letter)] for letter in "xy")
    return qc.compile(str(FIELD / f"{case}.onnx"), input_formats=RIGHT[case], arch=arch), x, y


@needs_field
@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("case", RIGHT)
def test_field_case_is_right(case: str, arch: str) -> None:
    design, x, wanted = compiled(case, arch)
    made = design.simulate(*x)
    for got, y in zip(made if isinstance(made, list) else [made], wanted, strict=True):
        assert np.abs(got.reshape(y.shape) - y.astype(np.float64)).max() <= (2e-5 * np.ptp(y) if case in ROUNDED else 0)
    few = tuple(with_batch(a[:20], h) for a, h in zip(x, design.inputs, strict=True))
    _check_reference(design, few, design.simulator.quantize(*few), Report())


@needs_field
@pytest.mark.parametrize(("case", "arch"), [("cast_uint8_wrap", "parallel"), ("uint8_sub", "dataflow")])
def test_wrapping_hardware_agrees(case: str, arch: str, tmp_path) -> None:
    compiled(case, arch)[0].write(tmp_path / "b")
    qc.verify(tmp_path / "b")


@needs_field
def test_slice_that_is_empty_is_refused() -> None:
    with pytest.raises(QCompileError, match="which is empty"):
        qc.load(str(FIELD / "robust" / "slice_end_int64min_step2.onnx"))


@needs_field
@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_transposed_convolution_wants_more_at_the_end(arch: str) -> None:
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(FIELD / "robust" / "convtranspose_output_shape_larger.onnx")
    design = qc.compile(model, arch=arch)
    x = np.random.default_rng(1).integers(-8, 8, size=(5, 1, 2, 4)).astype(np.float32) / 4  # the grid of its quantizer
    node = next(n for n in model.graph.node if n.op_type == "ConvTranspose")
    weights = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w")
    judge = ReferenceEvaluator(node)
    wanted = np.stack([judge.run(None, {node.input[0]: v, node.input[1]: weights})[0] for v in x])
    wanted = np.clip(np.rint(wanted * 4), -128, 127) / 4
    np.testing.assert_array_equal(design.simulate(x).reshape(wanted.shape), wanted)
