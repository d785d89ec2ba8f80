"""Keras 3 models on the torch backend: HGQ2 and QKeras layers code for code, float ones by a plan, files of all of
them.
"""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import qcompile as qc
from qcompile.cli import main
from qcompile.sim import reference

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="needs Keras and HGQ2: make test EXTRAS=dev,keras")
QKERAS = "needs QKeras for Keras 3: make test EXTRAS=dev,keras"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:400] / 16).astype(np.float32).reshape(-1, 8, 8, 1), y[:400]


def trained(model: Any, x: np.ndarray, y: np.ndarray, epochs: int = 1) -> Any:
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def hgq(digits: tuple[np.ndarray, np.ndarray]) -> Any:
    """Bits of every element by training: quantizers that wrap and that saturate, a fused batch norm, a table."""
    layers = pytest.importorskip("hgq.layers", reason="needs Keras and HGQ2: make test EXTRAS=dev,keras")
    from hgq.config import LayerConfigScope, QuantizerConfigScope
    from hgq.utils import trace_minmax

    keras.utils.set_random_seed(1)
    scopes = (
        QuantizerConfigScope(default_q_type="kbi", place="weight", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(default_q_type="kif", place="datalane", overflow_mode="WRAP"),
        LayerConfigScope(enable_ebops=True, beta0=1e-5),
    )
    with scopes[0], scopes[1], scopes[2]:
        image = keras.Input((8, 8, 1))
        a = layers.QConv2D(3, 3, activation="relu", strides=2, padding="same", name="first")(image)
        b = layers.QBatchNormalization()(a)
        h = layers.QMaxPool2D(2)(layers.QAdd()([a, b]))
        h = layers.QBatchNormDense(8, activation="relu", name="hidden")(keras.layers.Flatten()(h))
        h = layers.QUnaryFunctionLUT("tanh")(h)
        model = keras.Model(image, layers.QDense(10, name="last")(h), name="hgq")
    trained(model, *digits, epochs=2)
    trace_minmax(model, digits[0], verbose=False)
    return model


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_hgq2_equals_its_own_layers(hgq: Any, arch: str, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    x = np.concatenate([digits[0][:300], digits[0][:100] * 40 - 7])  # beyond what it was traced with, it wraps
    design = qc.compile(qc.load(hgq), arch=arch)
    assert {"first", "hidden", "last"} <= set(design.graph.layers.values())
    assert [h.name for h in design.outputs] == ["last"]
    np.testing.assert_array_equal(design.simulate(x), np.asarray(hgq.predict(x, verbose=0)))
    if arch == "dataflow":
        design.write(tmp_path / "b")
        assert all(row.differing == 0 for row in qc.verify(tmp_path / "b", x[-60:], samples=20).rows)


def test_a_file_of_hgq2_is_given_to_a_command(hgq: Any, tmp_path: Path) -> None:
    hgq.save(tmp_path / "net.keras")
    done = CliRunner().invoke(main, ["inspect", str(tmp_path / "net.keras")])
    assert done.exit_code == 0 and " last " in done.output


def test_weights_are_trained_on_behind_it(hgq: Any) -> None:
    held = [v.value for v in hgq.trainable_variables]
    assert held and all(v.requires_grad for v in held)


@pytest.fixture
def qkeras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From a folder of its own: HGQ2 brings another package of that name."""
    monkeypatch.syspath_prepend(str(Path(sys.prefix) / "qkeras"))
    found = pytest.importorskip("qkeras", reason=QKERAS)
    return found if hasattr(found, "QConv2D") else pytest.skip(QKERAS)


@pytest.mark.parametrize(
    ("kernel", "activation"),
    [
        ("quantized_bits(4,0,alpha='auto_po2')", "quantized_relu(4,2)"),
        ("ternary(alpha=1)", "binary(alpha=1)"),
        ("quantized_po2(4)", "quantized_relu_po2(4,4)"),
        ("binary(alpha='auto_po2')", "quantized_tanh(4)"),
        ("quantized_bits(4,0,alpha=1)", "quantized_hswish(6,2)"),
    ],
)
def test_qkeras_equals_its_own_layers(
    qkeras: Any, kernel: str, activation: str, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    h = qkeras.QActivation("quantized_bits(6,0,alpha=1)", name="codes")(image)
    h = qkeras.QConv2D(4, 3, strides=2, kernel_quantizer=kernel, bias_quantizer="quantized_bits(6,2,alpha=1)")(h)
    h = qkeras.QActivation(activation)(keras.layers.BatchNormalization()(h))
    h = qkeras.QDense(10, kernel_quantizer=kernel, bias_quantizer="quantized_bits(6,2,alpha=1)")(
        keras.layers.Flatten()(h)
    )
    model = trained(keras.Model(image, h), *digits)
    design = qc.compile(qc.load(model))
    assert [str(h.quantize.format) for h in design.inputs] == ["s6"]  # its own quantizer, no --input-format
    x = digits[0][:300]
    np.testing.assert_array_equal(design.simulate(x), np.asarray(model.predict(x, verbose=0)))


def test_a_float_model_gets_its_formats_by_a_plan(digits: tuple[np.ndarray, np.ndarray]) -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, strides=2, activation="relu"), keras.layers.Flatten()]
    )
    model.add(keras.layers.BatchNormalization())
    model.add(keras.layers.Dense(10))
    trained(model, *digits)
    loaded = qc.load(model)
    plan = qc.assign(loaded, calibration=digits[0][:64], part="xc7a35t", metric="sqnr")
    x = digits[0][:50]
    assert qc.compile(loaded, plan).simulate(x).shape == (50, 10)
    exact = reference.evaluate(loaded.graph, {loaded.graph.inputs[0].name: x[:, None]})[loaded.graph.outputs[0].name]
    np.testing.assert_allclose(exact.float64()[:, 0], np.asarray(model.predict(x, verbose=0)), atol=1e-5)


def test_files_with_code_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "code.keras")
    with pytest.raises(qc.QCompileError, match="holds code of Python, which is not run"):
        qc.load(tmp_path / "code.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_that_hold_no_model_are_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"something")
    with pytest.raises(qc.QCompileError, match="it holds no Keras model"):
        qc.load(tmp_path / f"x{suffix}")


def test_layers_of_other_packages_are_refused(tmp_path: Path) -> None:
    config = {"class_name": "Functional", "config": {"layers": [{"class_name": "popen", "module": "os", "config": {}}]}}
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as file:
        file.writestr("config.json", json.dumps(config))
    with pytest.raises(qc.QCompileError, match=r"a layer of another package, os\.popen"):
        qc.load(tmp_path / "x.keras")
