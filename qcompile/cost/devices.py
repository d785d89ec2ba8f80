"""The FPGAs and boards that can be named, read from hw/devices and hw/boards.

Every name that people use leads to a device: `xc7z020`, `7z020`, `xc7z020clg400-1`, `xc7z020-clg400-1`, `pynq-z2`, and
a beginning that fits one device only. What a design reaches is not in here: resources are counts, clocks are limits of
the data sheet.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from qcompile.assets import asset
from qcompile.cost.fabrics import FabricData, fabric_data
from qcompile.errors import QCompileError
from qcompile.records import dataclass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DspKind:
    """A hard multiplier: operand and accumulator widths of one multiplication in one block."""

    name: str
    a: int
    b: int
    accumulator: int
    signed_only: bool
    source: str

    def holds(self, a: int, b: int, signed: bool = True) -> bool:
        """Whether one block multiplies operands of these widths, either way round."""
        extra = 0 if signed or not self.signed_only else 1
        low, high = sorted((a + extra, b + extra))
        return low <= min(self.a, self.b) and high <= max(self.a, self.b)


@dataclass(frozen=True)
class RamKind:
    """A memory block: its shapes (width, depth); `simple_dual` ones need one read and one write port."""

    name: str
    bits: int
    shapes: tuple[tuple[int, int], ...]
    simple_dual: tuple[tuple[int, int], ...]
    source: str


@dataclass(frozen=True)
class Processor:
    """The processing system of a family: pins of its IP as a block design joins them. fastest_mhz: of its fabric clock,
    0 where the tool checks.
    """

    ip: str
    master: str
    memory: str
    clock: str
    reset: str
    clocked: tuple[str, ...]
    address_bits: int
    fastest_mhz: float


@dataclass(frozen=True)
class Device:
    """Resources of one device; packages and speed grades share them. `number` is the orderable part that the short name
    stands for, `fabric` a file of hw/fabrics, `nextpnr` the device for that tool ("": open tools make no bitstreams).
    """

    name: str
    aliases: tuple[str, ...]
    vendor: str
    family: str
    fabric: str
    lut: int
    lut_inputs: int
    ff: int
    dsp: int
    dsp_kind: DspKind
    bram: int
    bram_kind: RamKind
    uram: int
    uram_kind: RamKind | None
    number: str
    max_clock_mhz: tuple[tuple[str, float], ...]
    clock_source: str
    source: str
    processor: Processor | None = None
    nextpnr: str = ""

    @property
    def logic(self) -> FabricData:
        """What its fabric is."""
        return fabric_data(self.fabric)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Its name and aliases, with and without the vendor's prefix."""
        prefix, names = self.logic.prefix, (self.name, *self.aliases)
        return tuple(dict.fromkeys(s for n in names for s in (n, n.removeprefix(prefix))))

    @property
    def bram18(self) -> int:
        """Block RAM in units of 18 Kb, which reports of HLS tools count."""
        return self.bram * self.bram_kind.bits // 18432

    @property
    def bram36(self) -> float:
        """Block RAM in units of 36 Kb, which reports of Vivado count."""
        return round(self.bram * self.bram_kind.bits / 36864, 1)


@dataclass(frozen=True)
class Serial:
    """A serial line of a board, and its oscillator: pins of the FPGA; pll: the primitive that takes such a clock."""

    oscillator_mhz: float
    clock: str
    rx: str
    tx: str
    pll: str


@dataclass(frozen=True)
class Board:
    """A board: the orderable number of its FPGA, and the clock period that we propose for it.

    board_part: pattern of the vendor's board files (vendor:name:file:version); empty where we make no scripts for the
    board. serial: for those whose bitstreams open tools make.
    """

    name: str
    aliases: tuple[str, ...]
    part: str
    device: str
    clock_ns: float
    board_part: str = ""
    serial: Serial | None = None


@dataclass(frozen=True)
class Catalogue:
    """All devices and boards, in the order of the files."""

    devices: tuple[Device, ...]
    boards: tuple[Board, ...]

    def boards_of(self, found: Device) -> tuple[Board, ...]:
        return tuple(b for b in self.boards if b.device == found.name)


@cache
def catalogue() -> Catalogue:
    """Everything that hw/devices and hw/boards hold."""
    files = [(path, _read(path)) for path in sorted(asset("hw/devices").glob("*.toml"))]
    dsps = {n: _made(path, DspKind, name=n, **row) for path, table in files for n, row in table.get("dsp", {}).items()}
    rams = {n: _made(path, _ram, name=n, **row) for path, table in files for n, row in table.get("ram", {}).items()}
    devices: dict[str, Device] = {}
    for path, table in files:
        for name, row in _rows(table, "part", ("dsp", "ram")):
            if name in devices:
                raise QCompileError(f"the part {name} is defined twice", path.name)
            devices[name] = _made(path, _device, name=name, dsps=dsps, rams=rams, **row)
    names = _spelled(devices.values())
    boards = [
        _made(path, _board, name=name, names=names, **row)
        for path in sorted(asset("hw/boards").glob("*.toml"))
        for name, row in _rows(_read(path), "board")
    ]
    return Catalogue(tuple(devices.values()), tuple(boards))


def device(name: str) -> Device:
    """The device that a part number, a short name, a board or an unambiguous beginning of one of these names."""
    key = _key(name)
    found = _exact(key) or _prefix(name, key)
    if found is None:
        raise _unknown("part", name, key, {**_device_names(), **_board_devices()})
    return found


def search(pattern: str) -> tuple[Device, ...]:
    """Devices whose name, family, vendor or board has the pattern in it (* and ? as in a shell); else the device that
    it names.
    """
    wanted = f"*{_key(pattern)}*"
    found = tuple(d for d in catalogue().devices if any(fnmatch.fnmatchcase(n, wanted) for n in _searchable(d)))
    return found or (device(pattern),)


def _searchable(found: Device) -> tuple[str, ...]:
    boards = (n for b in catalogue().boards_of(found) for n in (b.name, *b.aliases))
    return (found.name, *found.aliases, _key(found.family), _key(found.vendor), *boards)


def board(name: str) -> Board:
    """A board by its name."""
    found = known_board(name)
    if found is None:
        raise _unknown("board", name, _key(name), _boards())
    return found


def known_board(name: str) -> Board | None:
    """The board of this name; None where it is that of a part, or of nothing."""
    return _boards().get(_key(name))


@cache
def _boards() -> dict[str, Board]:
    return {n: b for b in catalogue().boards for n in (b.name, *b.aliases)}


def full_name(name: str) -> str:
    """The name itself where it is all of a device's or an orderable number; of a board or a beginning, the device."""
    key, found = _key(name), device(name)
    return name.strip() if key in _device_names() or _ordered(key, found) else found.name


def part_number(name: str) -> str:
    """The orderable number for the vendor tool: as given, or that of the board or the device which is named."""
    key, found = _key(name), device(name)
    if key in _boards():
        return _boards()[key].part
    if _ordered(key, found):
        return name.strip()
    # A CG device has the logic of its EG sister, but the tool must hear the name that the user said.
    prefix = found.logic.prefix
    sister = key if key.startswith(prefix) else prefix + key
    return found.number.replace(found.name, sister) if prefix and sister in found.aliases else found.number


def max_clock_mhz(name: str) -> float | None:
    """The data sheet's limit for a clock in this part's speed grade; None where it is not in the catalogue."""
    found = device(name)
    match = _ordered(_key(part_number(name)), found)
    grade = (match.groupdict().get("grade") or "").upper() if match else ""
    return dict(found.max_clock_mhz).get(grade)


# --- names


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


@cache
def _device_names() -> dict[str, Device]:
    return _spelled(catalogue().devices)


def _spelled(devices: Iterable[Device]) -> dict[str, Device]:
    return {s: d for d in devices for s in d.spellings}


@cache
def _board_devices() -> dict[str, Device]:
    by_name = {d.name: d for d in catalogue().devices}
    return {n: by_name[b.device] for b in catalogue().boards for n in (b.name, *b.aliases)}


def _exact(key: str) -> Device | None:
    names = _device_names()
    if found := names.get(key) or _board_devices().get(key):
        return found
    return _of_number(key, names)


def _of_number(key: str, names: dict[str, Device]) -> Device | None:
    """The device of an orderable number. The longest name wins: xc7z007s is not an xc7z007 in a package s..."""
    fitting = [n for n, d in names.items() if key.startswith(n) and d.logic.order.fullmatch(key[len(n) :])]
    return names[max(fitting, key=len)] if fitting else None


def _ordered(key: str, found: Device) -> re.Match[str] | None:
    for name in found.spellings:
        if key.startswith(name) and (match := found.logic.order.fullmatch(key[len(name) :])):
            return match
    return None


def _prefix(name: str, key: str) -> Device | None:
    names = {**_device_names(), **_board_devices()}
    found = {d.name: d for n, d in names.items() if key and n.startswith(key)}
    if len(found) > 1:
        listed = ", ".join(list(found)[:8]) + (", ..." if len(found) > 8 else "")
        raise QCompileError(f"'{name}' may be any of {listed}", hint="write more of the name")
    return next(iter(found.values()), None)


def _unknown(kind: str, name: str, key: str, names: dict[str, Any]) -> QCompileError:
    import difflib  # only what is wrong needs it

    # The package of a part that we lack would drown the device, so the start of a long name is compared too.
    heads = {key, re.split(r"[a-z]{3,4}\d{3,4}-|-", key)[0]}
    likeness = {n: max(difflib.SequenceMatcher(None, head, n).ratio() for head in heads) for n in names}
    likely = [n for n in names if likeness[n] >= 0.6]
    near = sorted(likely, key=lambda n: (-likeness[n], -len(os.path.commonprefix([key, n]))))[:5]
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return QCompileError(
        f"the {kind} '{name}' is not in the catalogue{nearest}", hint="qcompile parts lists the catalogue"
    )


# --- reading


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise QCompileError(f"this is no TOML: {error}", path.name) from None


def _rows(table: dict[str, Any], kind: str, other: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Entries of a file; the keys on top of it hold for all of them."""
    common = {k: v for k, v in table.items() if k not in (kind, *other)}
    return [(name, {**common, **row}) for name, row in table.get(kind, {}).items()]


def _made(path: Path, maker: Any, **row: Any) -> Any:
    try:
        return maker(**row)
    except (TypeError, KeyError, ValueError) as error:
        raise QCompileError(f"the entry '{row['name']}' is wrong: {error}", path.name) from None


def _ram(
    name: str, shapes: list[list[int]], source: str, bits: int, simple_dual: list[list[int]] | None = None
) -> RamKind:
    return RamKind(name, bits, _pairs(shapes), _pairs(simple_dual or []), source)


def _pairs(rows: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((width, depth) for width, depth in rows)


def _device(
    name: str,
    dsps: dict[str, DspKind],
    rams: dict[str, RamKind],
    dsp_kind: str,
    bram_kind: str,
    fabric: str,
    uram_kind: str = "",
    uram: int = 0,
    aliases: tuple[str, ...] = (),
    max_clock_mhz: dict[str, float] | None = None,
    clock_source: str = "",
    processor: dict[str, Any] | None = None,
    **counts: Any,
) -> Device:
    return Device(
        name=name,
        fabric=fabric,
        lut_inputs=fabric_data(fabric).lut_inputs,
        dsp_kind=dsps[dsp_kind],
        bram_kind=rams[bram_kind],
        uram=uram,
        uram_kind=rams[uram_kind] if uram else None,
        aliases=tuple(aliases),
        max_clock_mhz=tuple((k, float(v)) for k, v in (max_clock_mhz or {}).items()),
        clock_source=clock_source,
        processor=Processor(**{**processor, "clocked": tuple(processor["clocked"])}) if processor else None,
        **counts,
    )


def _board(
    name: str,
    part: str,
    clock_ns: float,
    names: dict[str, Device],
    aliases: tuple[str, ...] = (),
    board_part: str = "",
    serial: dict[str, Any] | None = None,
) -> Board:
    found = _of_number(_key(part), names)
    if found is None:
        raise ValueError(f"its part {part} is of no device in the catalogue")
    if board_part and found.processor is None:
        raise ValueError(
            f"board_part makes scripts for boards with a processor, and the family {found.family} has none"
        )
    return Board(name, tuple(aliases), part, found.name, clock_ns, board_part, Serial(**serial) if serial else None)
