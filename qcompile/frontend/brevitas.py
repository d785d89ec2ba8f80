"""torch modules: those with Brevitas layers exported to QONNX by Brevitas itself, float ones to ONNX with their batch
norms.

On a copy: a failed export leaves a module in export mode.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.frontend.blocks import spelled_out


def _tensor(torch: Any, example: Any) -> Any:
    """A tensor as it is; numbers of numpy or of lists as torch has them by default: floats in float32."""
    if isinstance(example, torch.Tensor):
        return example
    try:
        array = np.asarray(example)
        return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array.copy())
    except (TypeError, ValueError):
        raise QCompileError(
            f"the example input is a {type(example).__name__}", hint="a torch tensor or a numpy array, batch axis first"
        ) from None


def _traced(torch: Any, module: Any, arguments: tuple[Any, ...], buffer: Any) -> None:
    """By torch's older exporter, which names nodes by modules, and by the newer one what that lacks."""
    try:  # in evaluation mode torch would fold batch norms, which calibration without data reads
        torch.onnx.export(
            module,
            arguments,
            buffer,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    except Exception as error:  # noqa: BLE001 - torch raises anything
        if importlib.util.find_spec("onnxscript") is None:
            raise
        try:
            made = torch.onnx.export(module, arguments, dynamo=True, opset_version=18, verbose=False)
        except Exception:  # noqa: BLE001
            raise error from None
        buffer.seek(0)
        buffer.truncate()
        buffer.write(made.model_proto.SerializeToString())


@contextmanager
def plainly(torch: Any) -> Iterator[None]:
    """Layers of attention as their products: torch has them as one operator of its own in evaluation mode. Where its
    older exporter fails it does not print the whole graph, which it does whatever is asked of it.
    """
    fast, log = torch.backends.mha.get_fastpath_enabled(), torch._C._jit_onnx_log
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._jit_onnx_log = lambda *shown: None
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._jit_onnx_log = log


def export(module: Any, example: Any) -> bytes:
    """ONNX bytes of a module. example: one input (tensor or array), or a tuple of them, batch axis first."""
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
    given = example if isinstance(example, (tuple, list)) else (example,)
    arguments = tuple(_tensor(torch, one) for one in given)
    with torch.no_grad(), warnings.catch_warnings(), plainly(torch):
        warnings.simplefilter("ignore")  # torch announces its next exporter
        try:
            copied = copy.deepcopy(module).eval()
            # what weights with blocks are a product of would be rounded to float32
            folding = {"do_constant_folding": False} if spelled_out(torch, copied) else {}
            if quantized:
                export_qonnx(copied, args=arguments, export_path=buffer, dynamo=False, opset_version=17, **folding)
            else:
                _traced(torch, copied, arguments, buffer)
        except QCompileError:
            raise
        except Exception as error:  # noqa: BLE001 - torch raises anything
            by = "Brevitas" if quantized else "torch"
            raise QCompileError(f"{by} could not export the module: {error}", type(module).__name__) from None
    return buffer.getvalue()
