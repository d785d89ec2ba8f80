"""Weights of torch modules that have a scale per block: Brevitas' MX quantizers, torchao's MX and NVFP4 tensors.

Their exports do not have them; as a product of codes and scales, in ONNX' own operators, they are exact here.
"""

from __future__ import annotations

from typing import Any

from qcompile.errors import QCompileError

CodesAndScales = list[Any]  # tensors that broadcast: codes, the scales of their blocks, perhaps a scale of these


def spelled_out(torch: Any, module: Any) -> bool:
    """Whether the module has such weights; on it, they are then computed from their factors. QCompileError where
    activations have a scale per block, which depends on the data.
    """
    found = False
    for name, layer in module.named_modules():
        own = _of_brevitas(name, layer) or _of_torchao(torch, name, layer)
        if own:
            codes, *scales = own
            layer.weight = torch.nn.Parameter(codes.detach().clone(), requires_grad=False)
            torch.nn.utils.parametrize.register_parametrization(layer, "weight", _product(torch, scales))
            found = True
    return found


def _product(torch: Any, scales: CodesAndScales) -> Any:
    class Multiplied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, s in enumerate(scales):
                self.register_buffer(f"scale_{i}", s.detach().clone())

        def forward(self, codes: Any) -> Any:
            for s in self.buffers():
                codes = codes * s
            return codes

    return Multiplied()


def _of_brevitas(name: str, layer: Any) -> CodesAndScales | None:
    """Codes and scales of a layer's weight; its quantizer is switched off."""
    for kind in ("input_quant", "act_quant", "output_quant"):
        if getattr(getattr(layer, kind, None), "is_groupwise", False):
            raise _at_run_time(name)
    quantizer: Any = getattr(layer, "weight_quant", None)
    if not getattr(quantizer, "is_groupwise", False):
        return None
    weight = layer.quant_weight()
    quantizer.disable_quant = True
    codes = weight.minifloat() if hasattr(weight, "minifloat") else weight.int().to(weight.scale.dtype)
    return [codes - weight.zero_point, weight.scale]


def _of_torchao(torch: Any, name: str, layer: Any) -> CodesAndScales | None:
    """Codes times their scales, whose product float32 holds, and the scale of the tensor."""
    weight: Any = getattr(layer, "weight", None)
    kind = type(weight).__name__
    if not type(weight).__module__.startswith("torchao."):
        return None
    blocks = kind in ("MXTensor", "NVFP4Tensor")
    if getattr(weight, "act_quant_kwargs", None) is not None:
        raise _at_run_time(name, "block" if blocks else "token")
    if not blocks:
        return None
    whole = getattr(weight, "per_tensor_scale", None)
    if whole is None:
        return [weight.dequantize(torch.float32)]
    bare = type(weight)(
        weight.qdata, weight.scale, weight.block_size, torch.float32, is_swizzled_scales=weight.is_swizzled_scales
    )
    return [bare.dequantize(torch.float32), whole]


def _at_run_time(name: str, what: str = "block") -> QCompileError:
    ways = "weights may have their blocks" if what == "block" else "or torchao's IntxWeight, whose export has quotients"
    return QCompileError(
        f"activations have a scale per {what} of their own numbers, which only is known while it runs",
        f"layer '{name}'",
        f"give activations a scale per tensor; {ways}",
    )
