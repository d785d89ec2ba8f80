"""Weights of torch modules that have a scale per block: their own forward, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from conftest import NO_TORCH

import qcompile as qc

NO_TORCHAO = "needs torch and torchao: make test EXTRAS=dev,torchao"


@pytest.fixture(scope="module")
def torch() -> Any:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    torch.manual_seed(0)
    return torch


def brevitas_quantizer(kind: str) -> Any:
    """A weight quantizer of Brevitas: integers, floats, with a zero point, E2M1 with powers of two, E2M1 by 16 with any
    scales.
    """
    mx = pytest.importorskip("brevitas.quant.mx_quant_ocp", reason=NO_TORCH)
    if kind in ("MXInt8Weight", "MXFloat8e4m3Weight", "ShiftedMXUInt8Weight"):
        return getattr(mx, kind)
    from brevitas.inject.enum import RestrictValueType

    own = {"bit_width": 4, "exponent_bit_width": 2, "mantissa_bit_width": 1}
    own |= {} if kind == "MXFP4" else {"group_size": 16, "restrict_scaling_type": RestrictValueType.FP}
    return type(kind, (mx.MXFloat8e4m3Weight,), own)


@pytest.mark.parametrize("kind", ["MXInt8Weight", "MXFloat8e4m3Weight", "ShiftedMXUInt8Weight", "MXFP4", "FP4 by 16"])
def test_brevitas(torch: Any, kind: str) -> None:
    """A layer whose blocks do not divide its inputs, a convolution; exact where float32 is."""
    quantizer = brevitas_quantizer(kind)
    import brevitas.nn as qnn
    from brevitas.quant import Int8ActPerTensorFixedPoint as act

    more = {"act_quant": act, "return_quant_tensor": False}
    module = torch.nn.Sequential(
        qnn.QuantIdentity(**more),
        qnn.QuantConv2d(32, 20, 3, bias=True, weight_quant=quantizer),
        qnn.QuantReLU(**more),
        torch.nn.Flatten(),
        qnn.QuantLinear(80, 5, bias=False, weight_quant=quantizer),
    )
    x = torch.randn(40, 32, 4, 4)
    module.train()(x)
    with torch.no_grad():
        wanted = module.eval()(x).numpy()
    design = qc.compile(qc.load(module, x[:1]))
    y = np.asarray(design.simulate(x.numpy()[:, None])).reshape(wanted.shape)
    assert np.abs(y - wanted).max() <= (1e-6 if kind == "FP4 by 16" else 0) and np.abs(wanted).max() > 0.1
    assert module[1].weight_quant.is_quant_enabled  # the module stays as it was


def test_scales_of_the_data_are_refused(torch: Any) -> None:
    mx = pytest.importorskip("brevitas.quant.mx_quant_ocp", reason=NO_TORCH)
    import brevitas.nn as qnn

    module = torch.nn.Sequential(
        qnn.QuantIdentity(act_quant=mx.MXInt8Act, group_dim=1), qnn.QuantLinear(64, 4, weight_quant=mx.MXInt8Weight)
    )
    with pytest.raises(qc.QCompileError, match="activations have a scale per block") as error:
        qc.load(module.eval(), torch.zeros(1, 64))
    assert "a scale per tensor" in str(error.value.hint)


@pytest.mark.parametrize("kind", ["NVFP4", "MXFP4", "MXFP8", "MXFP8 of data"])
def test_torchao(torch: Any, kind: str) -> None:
    """NVFP4 has a forward of its own for weights alone; MX there is what its dequantized weights give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formats = pytest.importorskip("torchao.prototype.mx_formats", reason=NO_TORCHAO)
        from torchao.prototype.mx_formats.mx_tensor import MXTensor, QuantizeTensorToMXKwargs
        from torchao.quantization import quantize_
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16)).eval()
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16)).eval()
    plain.load_state_dict(module.state_dict())
    if kind == "NVFP4":
        quantize_(module, formats.NVFP4WeightOnlyConfig())
    for own, other in zip(module[::2], plain[::2], strict=True):
        if kind != "NVFP4":
            element = torch.float4_e2m1fn_x2 if kind == "MXFP4" else torch.float8_e4m3fn
            dynamic = QuantizeTensorToMXKwargs() if "data" in kind else None
            weight = MXTensor.to_mx(own.weight.detach(), element, 32, act_quant_kwargs=dynamic)
            own.weight = torch.nn.Parameter(weight, requires_grad=False)
        other.weight = torch.nn.Parameter(own.weight.dequantize(torch.float32))
    x = (torch.randint(-128, 128, (50, 64)) / 16).float()
    if "data" in kind:
        with pytest.raises(qc.QCompileError, match="activations have a scale per block"):
            qc.load(module, x[:1])
        return
    with torch.no_grad():
        wanted = (module if kind == "NVFP4" else plain)(x).numpy()
    design = qc.compile(qc.load(module, x[:1]), input_formats=["s8f4"])
    y = np.asarray(design.simulate(x.numpy()[:, None])).reshape(wanted.shape)
    assert np.abs(y - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_scales_of_tokens(torch: Any) -> None:
    """Torchao's integers with a scale per token: those whose export has the quotients are compiled, others refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao = pytest.importorskip("torchao.quantization", reason=NO_TORCHAO)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32)).eval()
    torchao.quantize_(plain, torchao.Int8DynamicActivationInt8WeightConfig())
    with pytest.raises(qc.QCompileError, match="activations have a scale per token") as error:
        qc.load(plain, torch.zeros(1, 64))
    assert "whose export has quotients" in str(error.value.hint)
    module = torch.nn.Sequential(torch.nn.Linear(64, 32)).eval()
    torchao.quantize_(module, torchao.Int8DynamicActivationIntxWeightConfig())
    x = (torch.randint(-128, 128, (50, 64)) / 16).float()
    design = qc.compile(qc.load(module, x[:1]), input_formats=["s8f4"])
    with torch.no_grad():
        wanted = module(x).numpy()
    off = np.abs(np.asarray(design.simulate(x.numpy()[:, None])).reshape(wanted.shape) - wanted)
    step = float(module[0].weight.dequantize().abs().max()) * 16 / 255  # of one code of the data, at most
    assert off.max() < step and np.mean(off > 1e-5) < 0.05
