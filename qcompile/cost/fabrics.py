"""The fabrics of hw/fabrics, a file each: what the forms of the cost model, the catalogue and hw/calibration must know
of a kind of logic. The families of hw/devices name theirs; DSP blocks and block RAMs are those of the device.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any

from qcompile.assets import asset
from qcompile.errors import QCompileError
from qcompile.records import dataclass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FACTS = {"source", "like", "own", "yosys", "part"}  # of a fabric itself: it has none of its relative


@dataclass(frozen=True)
class Cells:
    """What counts in a netlist of Yosys: LUTs (of a carry cell too), LUTs of a memory, and block RAMs by cell, in units
    of the table's name; flip-flops, DSP blocks, carry cells, and cells that cost nothing.
    """

    lut: Mapping[str, int] = field(default_factory=dict)
    lutram: Mapping[str, int] = field(default_factory=dict)
    bram18: Mapping[str, float] = field(default_factory=dict)
    ff: tuple[str, ...] = ()
    dsp: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()
    free: tuple[str, ...] = ()


_PLAIN = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


@dataclass(frozen=True)
class FabricData:
    """A file of hw/fabrics. What it leaves out is that of the fabric it is `like`.

    lut_inputs: of a LUT; carry_bits: adder bits in a carry cell; absorbs: logic in front of an operand fits into the
    adder's LUT; shift_registers: LUTs are such too; lutram: cells of a memory in LUTs (places, bits, LUTs);
    shortest_product: bits of both operands from which a tool takes a DSP block; lut_ns: a LUT with its net; carry_ns: a
    bit of carry; add_ns: an adder with its net, beside its carry (0: as a LUT); edge_ns: from a register into logic and
    from logic into one (0: not known, so that no frequency is stated); net_luts, net_power: times are those of networks
    of up to so many LUTs, and grow with this power of the LUTs beyond (0: not known), as nets become longer (Donath,
    Placement and average interconnection lengths of computer logic, 1979: by the power of Rent's rule less a half).

    prefix: what part numbers of the vendor begin with: people may leave it out, and numbers with it go to the tool as
    they are where the catalogue lacks them. order: pattern of what follows the device in an orderable number, in small
    letters, with a group `grade`, which is a key of the device's max_clock_mhz.

    like: the fabric whose coefficients stand in where there are none. Of a fabric that is measured: yosys, the commands
    that map to it; cells, what they leave; part, whose counts are compared; own, the primitives that are fitted
    although the others have the coefficients of `like` (without `like` all are).
    """

    name: str
    source: str
    lut_inputs: int
    carry_bits: int
    absorbs: bool
    shift_registers: bool
    lutram: tuple[tuple[int, int, int], ...]
    shortest_product: int
    lut_ns: float
    carry_ns: float
    add_ns: float = 0.0
    edge_ns: float = 0.0
    net_luts: int = 0
    net_power: float = 0.0
    prefix: str = ""
    order: re.Pattern[str] = re.compile("(?!)")
    like: str = ""
    yosys: str = ""
    cells: Cells = Cells()
    part: str = ""
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if type(value) not in _PLAIN.get(str(f.type), (type(value),)):
                raise TypeError(f"{f.name} is {value!r}, which is no {f.type}")


@cache
def fabrics() -> Mapping[str, FabricData]:
    """All fabrics by name, those of wide LUTs first. QCompileError names the file that is wrong."""
    tables = {}
    for path in asset("hw/fabrics").glob("*.toml"):
        try:
            tables[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise QCompileError(f"this is no TOML: {error}", path.name) from None
    found = [_made(name, _whole(name, tables)) for name in tables]
    return {f.name: f for f in sorted(found, key=lambda f: (-f.lut_inputs, f.name))}


def fabric_data(name: str) -> FabricData:
    """The fabric of this name; ValueError where there is none."""
    if name not in fabrics():
        raise ValueError(f"no fabric '{name}' among {', '.join(fabrics())}")
    return fabrics()[name]


def measured() -> Mapping[str, FabricData]:
    """Fabrics that hw/calibration synthesises for."""
    return {name: f for name, f in fabrics().items() if f.yosys}


def _whole(name: str, tables: Mapping[str, dict[str, Any]], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys of a fabric with those that it has of its relative."""
    own = tables[name]
    like = own.get("like", "")
    if not like:
        return own
    if like not in tables or like in (name, *above):
        raise QCompileError(f"like = '{like}' leads to no other fabric", f"{name}.toml")
    inherited = _whole(like, tables, (name, *above))
    return {**{k: v for k, v in inherited.items() if k not in _FACTS}, **own}


def _made(name: str, table: dict[str, Any]) -> FabricData:
    """A fabric of its keys. A schema's library takes longer to load than all that a compilation needs of these."""
    try:
        values = {key: _READ[key](v) if key in _READ else v for key, v in table.items()}
        return FabricData(**{**values, "name": name})
    except (TypeError, ValueError, re.error) as error:
        raise QCompileError(f"it is wrong: {error}", f"{name}.toml", "see qcompile/cost/fabrics.py") from None


def _triples(rows: list[list[int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((places, bits, luts) for places, bits, luts in rows)


def _cells(table: dict[str, Any]) -> Cells:
    values: dict[str, Any] = {kind: tuple(v) if isinstance(v, list) else v for kind, v in table.items()}
    return Cells(**values)


_READ: Mapping[str, Callable[[Any], Any]] = {"cells": _cells, "order": re.compile, "lutram": _triples, "own": tuple}
