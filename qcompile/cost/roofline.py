"""A processor that takes its weights and data from a memory: layer after layer, what binds it."""

from __future__ import annotations

import numpy as np

from qcompile.errors import QCompileError
from qcompile.records import dataclass


@dataclass(frozen=True)
class Roofline:
    """macs_per_cycle: products that it adds; bytes_per_cycle: that its memory gives."""

    macs_per_cycle: float
    bytes_per_cycle: float

    @staticmethod
    def parse(text: str) -> Roofline:
        """`64,8`: 64 products and 8 bytes a cycle. QCompileError for what is none."""
        try:
            macs, bytes_ = (float(t) for t in text.split(","))
        except ValueError:
            macs = bytes_ = 0.0
        if not (0 < macs < 1e12 and 0 < bytes_ < 1e12):
            raise QCompileError(f"'{text}' is no processor", "--processor", "64,8: 64 products and 8 bytes a cycle")
        return Roofline(macs, bytes_)

    def cycles(self, macs: np.ndarray | float, bytes_: np.ndarray | float) -> np.ndarray:
        """max(macs / macs_per_cycle, bytes / bytes_per_cycle) of a layer: products and transfers overlap, layers do not
        (a roofline; after PulseDL-II, arXiv 2209.00884, whose processing elements share one memory; our formula).
        """
        return np.maximum(np.asarray(macs) / self.macs_per_cycle, np.asarray(bytes_) / self.bytes_per_cycle)
