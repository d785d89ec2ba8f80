"""Parts of a file that the host runs: what was cut off in front of the hardware and behind it, by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.isolated import Failed, as_array, as_bytes, call
from qcompile.records import dataclass
from qcompile.sim.host_part import run_part

PATIENCE, PER_VECTOR = 120.0, 1.0  # seconds for the executor, and for each vector more
BEFORE, AFTER = "host_before.onnx", "host_after.onnx"  # in projects


@dataclass(frozen=True)
class HostPart:
    """An ONNX graph. what: its place, for messages; inputs, outputs: names, as users' arrays have them in order."""

    what: str
    source: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)} ({self.what}, by onnxruntime)"

    def record(self) -> dict[str, Any]:
        """For manifests."""
        return {"file": self.what, "inputs": list(self.inputs), "outputs": list(self.outputs)}

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Its outputs, vector index first like the arrays. QCompileError where onnxruntime cannot run it on them."""
        if len(arrays) != len(self.inputs):
            raise QCompileError(
                f"the model has {len(self.inputs)} input(s), {len(arrays)} were given",
                self.what,
                ", ".join(self.inputs),
            )
        given = [np.atleast_1d(np.asarray(a)) for a in arrays]
        try:
            patience = PATIENCE + PER_VECTOR * len(given[0])
            found = call(f"{__name__}:run", as_array(self.source), *given, timeout=patience, modules=("onnxruntime",))
        except Failed as failure:
            missing = "onnxruntime" in failure.reason and "ModuleNotFound" in failure.reason
            raise QCompileError(
                "onnxruntime is not installed" if missing else f"onnxruntime cannot run it: {failure.reason}",
                self.what,
                "pip install 'qcompile[float]'" if missing else "see whether the inputs are those of the file",
            ) from None
        return found


def run(source: np.ndarray, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of a file for arrays with the vector index first; in a process of its own."""
    return [a.astype(str) if a.dtype == object else a for a in run_part(as_bytes(source), inputs)]
