"""Bipolar: one bit that stands for -1 or +1."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.records import dataclass

from .base import Format
from .integers import as_integers, require
from .lane import SignLane
from .rounding import Overflow, Rounding, as_ratio


@dataclass(frozen=True)
class Bipolar(Format):
    """Code 0 is -1, code 1 is +1; the unit is 1.

    A class of its own, because each of the two other spellings hides something:

    - as a two-bit fixed point {-1, 0, +1} it would take two wires and waste the XNOR multiplier,
      and 0 would look like a number that it has. It has none: padding must be masked or widened,
      and code that asks ``0 in grid()`` finds that out;
    - as a one-bit fixed point with scale 2 and zero point 1/2 it would put a fraction into every
      accumulator, where all others hold integers.
    """

    width = 1
    signed = True
    unit = 0
    min_units = -1
    max_units = 1

    what = "weights and activations of {-1, +1}"
    paper = "FINN: A Framework for Fast, Scalable Binarized Neural Network Inference, arXiv 1612.07119"
    spelling = "bipolar"

    def __str__(self) -> str:
        return "bipolar"

    @classmethod
    def parse(cls, text: str) -> Bipolar | None:
        """``bipolar``."""
        return cls() if text == "bipolar" else None

    @property
    def lane(self) -> SignLane:
        """A sign."""
        return SignLane()

    def decode(self, codes: Any) -> np.ndarray:
        """-1 for code 0, +1 for code 1. ValueError names the first other code."""
        return 2 * self._checked(codes) - 1

    def encode(self, units: Any) -> np.ndarray:
        """0 for -1, 1 for +1. ValueError names the first other number."""
        array = as_integers(units, "units")
        require((array == 1) | (array == -1), array, "{} is no number of bipolar; allowed are -1 and 1")
        return np.asarray(array == 1).astype(np.int64)

    def nearest(self, y: np.ndarray) -> np.ndarray:
        """+1 for zero and above, else -1."""
        return np.where(y >= 0, y.dtype.type(1), y.dtype.type(-1))

    def quantize_ratio(
        self,
        num: Any,
        den: Any,
        rounding: Rounding = Rounding.ROUND,
        overflow: Overflow = Overflow.SATURATE,
    ) -> np.ndarray:
        """+1 for zero and above, else -1, in every rounding mode.

        Source: ``binary_quant`` in qonnx/custom_op/general/bipolar_quant.py. ValueError for WRAP.
        """
        if overflow is Overflow.WRAP:
            raise ValueError("bipolar cannot WRAP; allowed are SATURATE and SYMMETRIC")
        num, den = np.broadcast_arrays(*as_ratio(num, den))
        return np.where(num >= 0, 1, -1)
