"""torch modules: those with Brevitas layers exported to QONNX by Brevitas itself, float ones to ONNX with their batch
norms.

On a copy: a failed export leaves a module in export mode.
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

from qcompile.errors import QCompileError


def export(module: Any, example: Any) -> bytes:
    """ONNX bytes of a module. example: one input tensor, or a tuple of them, batch axis first."""
    quantized = any(type(m).__module__.startswith("brevitas") for m in module.modules())
    try:
        import torch

        if quantized:
            from brevitas.export import export_qonnx
    except ImportError as error:
        raise QCompileError(
            f"loading a torch module needs {error.name}", hint="pip install 'qcompile[brevitas]'"
        ) from None
    buffer: Any = io.BytesIO()  # torch's signature knows only paths
    arguments = example if isinstance(example, tuple) else (example,)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces its next exporter
        try:
            copied = copy.deepcopy(module).eval()
            if quantized:
                export_qonnx(copied, args=arguments, export_path=buffer, dynamo=False, opset_version=17)
            else:  # in evaluation mode torch would fold batch norms, which calibration without data reads
                torch.onnx.export(
                    copied,
                    arguments,
                    buffer,
                    dynamo=False,
                    opset_version=17,
                    do_constant_folding=False,
                    training=torch.onnx.TrainingMode.PRESERVE,
                )
        except Exception as error:  # noqa: BLE001 - torch raises anything
            by = "Brevitas" if quantized else "torch"
            raise QCompileError(f"{by} could not export the module: {error}", type(module).__name__) from None
    return buffer.getvalue()
