"""Every network that others made: compiles, verifies with 0 differing codes, equals its stored reference; or is refused
with a full list.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, or_absent, records

import qcompile as qc
from qcompile import verification
from qcompile.backends.pysim.simulator import with_batch
from qcompile.errors import QCompileError
from qcompile.hardware.products import multiplications
from qcompile.ir import ops
from qcompile.project import LEAST_LAYERS
from qcompile.verification import Report, _check_reference

FLOAT32 = 2.0**-20  # of the largest output: what float32 sums of a few hundred terms may lose

# Stored outputs come from float32 executors. In these models a float32 sum that should lie on a rounding boundary lies
# beside it, so a
# code inside the network differs: (share of vectors or numbers that may differ, by how much of the largest output).
ROUNDED = {"brevitas_radioml_21/VGG10_w8a8_20": (1 / 16, 1e-3), "qonnx/espcn_nnresize_quant": (1e-4, 5e-3)}

KINDS = {
    "minifloat": 100,
    "mlp": 200,
    "layer": 100,
    "cnn": 100,
    "residual": 100,
    "unet": 100,
    "qcdq": 100,
    "integer": 100,
}
# Multiplications that the C++ of one test may take on random vectors, and on the numbers of single layers; larger
# networks get fewer vectors (verify itself runs more), and layers the four that hold the ends of accumulators.
PRODUCTS = 10**7

INVALID = {
    "brevitas/fp8_e4m3_ocp_pt__qcdq",
    "brevitas/fp8_e4m3_unscaled__qcdq",
    "brevitas/fp8_e5m2_ocp_b__qcdq",
}  # float8 before opset 19

NO_FORMAT = {"dory_examples/nemo_mnistnet": "u8"}  # integer inputs, and a file that does not say so


def stored(record: dict) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs of a record's reference; a record of Deeploy also stores weights among the inputs."""
    if not record["reference"]:
        return [], []
    with np.load(CORPUS / record["reference"]["file"]) as file:
        inputs = [file[k] for k in file.files if k[0] == "x"][: len(record["inputs"])]
        return inputs, [file[k] for k in file.files if k[0] == "y" and k != "y_torch"]


MODELS = [r for r in records(*KINDS) if r["id"] not in INVALID]


@pytest.mark.parametrize("record", or_absent(MODELS), ids=lambda r: r["id"])
def test_model(record: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats = tuple(f for f in record.get("input_format") or () if f)[: len(record["inputs"])]
    if record["id"] in NO_FORMAT:
        with pytest.raises(QCompileError, match="--input-format"):
            qc.compile(CORPUS / record["file"])
        formats = (NO_FORMAT[record["id"]],)
    design = qc.compile(CORPUS / record["file"], input_formats=formats)
    design.write(tmp_path / "project")
    inputs, outputs = stored(record)
    constants = {n.output.name for n in design.graph.nodes if isinstance(n.op, ops.Constant)}
    for value, found, wanted in zip(
        design.graph.outputs, design.simulator(*inputs) if inputs else (), outputs, strict=False
    ):
        if value.name in constants:
            continue  # executors leave an output that is an initializer at zero, and some references lack it
        difference = np.abs(found.reshape(wanted.shape) - wanted) / max(np.abs(wanted).max(), 1e-30)
        share, size = ROUNDED.get(record["id"], (0.0, 0.0))
        beyond = difference > FLOAT32
        assert min(beyond.mean(), beyond.reshape(len(wanted), -1).any(axis=1).mean()) <= share
        assert difference.max() <= max(size, FLOAT32)
    samples = max(1, min(KINDS[record["kind"]], PRODUCTS // max(1, multiplications(design.graph))))
    few = samples < 100
    alone = max(PRODUCTS, LEAST_LAYERS * multiplications(design.graph))
    monkeypatch.setattr(verification, "LAYER_PRODUCTS", min(verification.LAYER_PRODUCTS, alone))
    report = qc.verify(tmp_path / "project", *(() if few else inputs), samples=samples, float32=not few)
    assert [r.differing for r in report.rows[:3]] == [0, 0, 0]
    assert report.rows[0].vectors >= samples


# Of kinds that are refused otherwise: recurrent networks, single operators. Their values, without the C++.
TAKEN = {
    *("frontier/gru_words_w6a8_unrolled__qonnx_ts", "frontier/rnn_digits_w8a8_po2_unrolled__qcdq_ts"),
    *("frontier/resize_bilinear__qonnx_ts", "frontier/einsum_dense__qonnx_ts", "frontier/where_mask__qonnx_ts"),
    *("frontier/topk3__qonnx_ts", "frontier/lif_compare_cast__qonnx_ts"),
    *("frontier/lstm_scan_w8a8__qcdq", "frontier/quant_lstm_digits__qonnx_ts", "brevitas/quant_lstm__qonnx_ts"),
    *("brevitas/quant_mha_packed__qonnx_ts", "finn_vs_vitisai/finn_t_int2_v1"),
    *("frontier/jet_transformer_w6a6_po2__qonnx_ts", "frontier/vit_cls_w4a6_pre__qonnx_ts"),
    *("frontier/bert_tokens_w8a8__qonnx_ts", "frontier/llama_block_w8a8__qonnx_ts"),
    *("frontier/kws_transformer_w8a8__qcdq_ts", "frontier/ort_vit_static_qdq"),
    *("deeploy/kernel_Integer_Softmax_Regular", "frontier/deeploy_iSoftmax_Large", "deeploy/kernel_Integer_iNoNorm"),
    *("deeploy/CCT_Int_ICCT", "frontier/ibert_attention_plain_ops"),
}
SLOW = {  # right too, but they take long, or are the same networks in another dialect
    *("frontier/lstm_digits_w8a8_unrolled__qonnx_ts", "frontier/deeploy_WaveFormer"),
    *("frontier/vit_digits_w8a8__qonnx_ts", "frontier/vit_digits_w8a8__qcdq_ts", "frontier/ort_vit_static_qoperator"),
    *(f"brevitas/tiny_vit_int8__{kind}" for kind in ("qcdq", "qcdq_ts", "qonnx", "qonnx_ts")),
}


VALUES = [r for r in records("rnn", "other", "transformer") if r["id"] in TAKEN]


@pytest.mark.parametrize("record", or_absent(VALUES), ids=lambda r: r["id"])
def test_values(record: dict) -> None:
    inputs, outputs = stored(record)
    design = qc.compile(CORPUS / record["file"], input_formats=tuple(record.get("input_format") or ()))
    if not inputs:
        inputs = [np.random.default_rng(0).normal(size=(6, *v.type.shape)) for v in design.model.graph.inputs]
        outputs = list(design.simulator(*inputs))
    for found, wanted in zip(design.simulator(*inputs), outputs, strict=True):
        assert np.abs(found.reshape(wanted.shape) - wanted).max() <= FLOAT32 * np.abs(wanted).max()
    few = tuple(with_batch(x[:6], h) for x, h in zip(inputs, design.inputs, strict=True))
    report = Report()
    _check_reference(design, few, design.simulator.quantize(*few), report)
    assert not report.rows[0].note or ": 0 of " in report.rows[0].note  # codes beside the real functions


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_attention_in_every_execution(arch: str, tmp_path: Path) -> None:
    (record,) = (r for r in records("transformer") if "quant_mha_packed__qonnx_ts" in r["id"])
    design = qc.compile(CORPUS / record["file"], arch=arch)
    design.write(tmp_path / "project")
    report = qc.verify(tmp_path / "project", samples=2, float32=arch == "parallel")
    assert [r.differing for r in report.rows[:3]] == [0, 0, 0]


# What a refusal has to name: every one of these operators, all at once.
REFUSED = [r for r in records("reject", "transformer", "rnn") if r["id"] not in TAKEN | SLOW] + [
    r for r in records("minifloat") if r["id"] in INVALID
]


@pytest.mark.parametrize("record", or_absent(REFUSED), ids=lambda r: r["id"])
def test_refusal(record: dict, tmp_path) -> None:
    with pytest.raises(QCompileError) as caught:
        qc.compile(CORPUS / record["file"]).write(tmp_path / "project")
    assert len(str(caught.value)) > 20
    assert not (tmp_path / "project").exists()
