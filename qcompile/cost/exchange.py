"""What resources are worth in each other: DSP blocks and block RAMs at the number of LUTs that the parts of a fabric
have beside each of them.
"""

from __future__ import annotations

import statistics
from functools import cache

from qcompile.cost import primitives as hw
from qcompile.cost.devices import Device, catalogue, device
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Resources
from qcompile.errors import QCompileError

DEFAULT = "xczu7ev"


def fabric_of(part: str) -> Fabric:
    """The fabric of a part; of one that the catalogue lacks, that of UltraScale+."""
    try:
        return hw.fabric(device(part))
    except QCompileError:
        return hw.fabric(device(DEFAULT))


def lut_equivalents(fabric: Fabric, cost: Resources) -> float:
    """One number for a choice between LUTs, DSP blocks and block RAMs."""
    dsp, ram = _exchange(fabric.name)
    return cost.lut + dsp * cost.dsp + ram * cost.bram18


@cache
def _exchange(name: str) -> tuple[float, float]:
    """LUTs per DSP block and per 18 Kb of block RAM: the median over the devices of a fabric."""
    alike = [d for d in catalogue().devices if _has_fabric(d, name)]
    return (
        statistics.median(d.lut / d.dsp for d in alike if d.dsp),
        statistics.median(d.lut / d.bram18 for d in alike if d.bram18),
    )


def _has_fabric(found: Device, name: str) -> bool:
    try:
        return hw.fabric(found).name == name
    except QCompileError:
        return False


@cache
def in_dsp(fabric: Fabric, a: int, b: int, signed: bool = True) -> bool:
    """Whether a product of two variables of these widths is cheaper in DSP blocks."""
    blocks = hw.multiplier(fabric, a, b, signed, dsp=True)
    return blocks.dsp > 0 and lut_equivalents(fabric, blocks) < hw.multiplier(fabric, a, b, signed).lut
