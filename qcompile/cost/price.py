"""Prices for the choices that lowering makes, per output element. Until measured: formulas in bits that a LUT would have to hold or add."""

from __future__ import annotations

import numpy as np

from qcompile.ir import ops


def signed_digits(value: int) -> int:
    """Non-zero digits of the canonical signed-digit form: adders of a multiplication by a constant."""
    return bin((3 * value) ^ value).count("1") if value >= 0 else signed_digits(-value)


def thresholds(cuts: int, acc_bits: int) -> float:
    return float(cuts * acc_bits)


def multiply_add_shift(impl: ops.MulAddShift, acc_bits: int) -> float:
    digits = np.array([signed_digits(int(m)) for m in impl.mul.data.ravel()]).reshape(impl.mul.data.shape)
    # The addend, and per extra segment a comparison, cost one adder more; so does the correction of ties.
    extra = impl.breaks.data.shape[1] + int(np.any(impl.tie.data > 0))
    return float((digits.sum(axis=1).mean() + 1 + extra) * acc_bits)


def float_round(impl: ops.FloatRound, acc_bits: int) -> float:
    digits = np.array([signed_digits(int(m)) for m in impl.mul.data.ravel()])
    # The leading one, a shifter of a stage per bit of the exponent, the rounding: about an adder each.
    stages = int(bound_bits(impl)).bit_length()
    return float((digits.mean() + 2 + stages) * acc_bits)


def bound_bits(impl: ops.FloatRound) -> int:
    """Bits of the largest result."""
    return max(abs(int(impl.lo.data.min())), abs(int(impl.hi.data.max())), 1).bit_length()


def table(entries: int, out_bits: int) -> float:
    return float(2 ** (entries - 1).bit_length() * out_bits / 64)
