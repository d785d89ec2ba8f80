"""Prices for the choices that lowering makes, in LUTs per output element: the measured costs of the part's fabric, see
`exchange`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qcompile.cost import parallel
from qcompile.cost import primitives as hw
from qcompile.cost.exchange import lut_equivalents
from qcompile.cost.primitives import Fabric
from qcompile.formats import Format

SAMPLED = 64  # parameter rows that stand for all of a Map


def of(fabric: Fabric, impl: Any, acc_bits: int, fmt: Format, rows: int) -> float:
    """An implementation whose constants are known, of `rows` parameter rows."""
    some = np.unique(np.linspace(0, rows - 1, min(rows, SAMPLED)).astype(np.int64))
    return lut_equivalents(fabric, parallel.price_of(fabric, impl, acc_bits, fmt, some)) / len(some)


def table(fabric: Fabric, entries: int, out_bits: int) -> float:
    """A table whose contents are not known yet."""
    return hw.table(fabric, max(1, (entries - 1).bit_length()), out_bits).lut


def search(fabric: Fabric, cuts: int, acc_bits: int, out_bits: int) -> float:
    """A binary search for the place of a number among thresholds that are not known yet."""
    return parallel.search(fabric, cuts, acc_bits, min(out_bits, cuts.bit_length())).lut


def thresholds(fabric: Fabric, cuts: int, acc_bits: int) -> float:
    """Comparators whose constants are not known yet: as if these were spread over the range of the accumulator."""
    spread = np.linspace(-(2.0 ** (acc_bits - 1)), 2.0 ** (acc_bits - 1), cuts + 2)[1:-1]
    return hw.thresholds(
        fabric, np.array([int(v) | 1 for v in spread.tolist()], dtype=object if acc_bits > 62 else np.int64), acc_bits
    ).lut
