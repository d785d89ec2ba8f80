"""Brevitas modules: exported to QONNX by Brevitas itself, on a copy (a failed export leaves a module in export mode)."""

from __future__ import annotations

import copy
import io
from typing import Any

from qcompile.errors import QCompileError


def export(module: Any, example: Any) -> bytes:
    """QONNX bytes of a module. example: one input tensor, or a tuple of them, batch axis first."""
    try:
        import torch
        from brevitas.export import export_qonnx
    except ImportError as error:
        raise QCompileError(f"loading a torch module needs {error.name}", hint="pip install 'qcompile[brevitas]'") from None
    buffer = io.BytesIO()
    arguments = example if isinstance(example, tuple) else (example,)
    with torch.no_grad():
        try:
            export_qonnx(copy.deepcopy(module).eval(), args=arguments, export_path=buffer, dynamo=False, opset_version=17)
        except Exception as error:  # noqa: BLE001 - torch raises anything
            raise QCompileError(f"Brevitas could not export the module: {error}", type(module).__name__) from None
    return buffer.getvalue()
