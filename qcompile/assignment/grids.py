"""Formats on float arrays: fast, vectorised, for searches only. What is compiled is quantized exactly (see `apply`)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qcompile.formats import Format, limits_of
from qcompile.ir import ONE, ZERO, Param, ops
from qcompile.records import dataclass


def neighbours(y: np.ndarray, fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    """The grid's numbers just below and above y (units), both in the range of the format; equal where y is beyond its
    ends.
    """
    if fmt.consecutive:
        low = np.floor(y)
        return np.clip(low, fmt.min_units, fmt.max_units), np.clip(low + 1, fmt.min_units, fmt.max_units)
    grid = fmt.grid().astype(np.float64)
    above = np.clip(np.searchsorted(grid, y, side="right"), 1, len(grid) - 1)
    low, high = grid[above - 1], grid[above]
    return np.where(y > high, high, low), np.where(y < low, low, high)


@dataclass(frozen=True)
class Quantizer:
    """A format (unit 1) on numbers: value = (units - zero_point) * step. step: float64, () or along `axis`; every step
    is a float32 times a whole number. bits: of integers along `axis`, where they differ; the format has the most of
    them. coded: the units of the one weight that it is for, where they are more than the nearest numbers (see
    `coding`).
    """

    format: Format
    step: np.ndarray
    zero_point: int = 0
    axis: int | None = None
    bits: tuple[int, ...] | None = None
    coded: np.ndarray | None = None

    def steps(self, rank: int) -> np.ndarray:
        """The steps so that they broadcast against a tensor of `rank`."""
        return self.step if self.step.ndim == 0 else self._along(self.step, rank)

    def _along(self, numbers: np.ndarray, rank: int) -> np.ndarray:
        return numbers.reshape([-1 if i == self.axis else 1 for i in range(rank)])

    def limits(self, rank: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Least and greatest units, to be broadcast against a tensor of `rank`, where bits differ."""
        if self.bits is None:
            return None
        ends = np.array([limits_of(b, self.format.signed) for b in self.bits], dtype=np.float64)
        return self._along(ends[:, 0], rank), self._along(ends[:, 1], rank)

    def units(self, x: np.ndarray, lead: int = 0) -> np.ndarray:
        """Units of x, whose first `lead` axes are not the tensor's."""
        if self.coded is not None:
            return np.broadcast_to(self.coded.astype(x.dtype), x.shape)
        step = self.steps(x.ndim - lead).astype(x.dtype)
        units = self.format.nearest(x / step + self.zero_point if self.zero_point else x / step)
        ends = self.limits(x.ndim - lead)
        return units if ends is None else np.clip(units, *(end.astype(x.dtype) for end in ends))

    def __call__(self, x: np.ndarray, lead: int = 0) -> np.ndarray:
        """x quantized."""
        units = self.units(x, lead)
        return (units - self.zero_point if self.zero_point else units) * self.steps(x.ndim - lead).astype(x.dtype)

    def op(self, rank: int) -> ops.Quantize:
        """The quantizer of the graph: a power-of-two step for the whole tensor lives in the format, every other one in
        the scale.
        """
        zero = Param.of(self.zero_point) if self.zero_point else ZERO
        exponent = power_of_two(float(self.step)) if self.step.ndim == 0 else None
        moved = None if exponent is None else self.format.with_unit(exponent)
        if moved is not None:
            return ops.Quantize(moved, ONE, zero)
        return ops.Quantize(self.format, Param.of(self.steps(rank)), zero)


def power_of_two(x: float) -> int | None:
    """The exponent, if x is a power of two."""
    mantissa, exponent = np.frexp(x)
    return int(exponent) - 1 if mantissa == 0.5 else None


def unit_step(fmt: Format) -> tuple[Format, Fraction]:
    """The format with unit 1, and what its unit was: the inverse of what `op` does to powers of two."""
    return fmt.with_unit(0) or fmt, Fraction(2) ** fmt.unit
