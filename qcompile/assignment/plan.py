"""A plan: which format and scale every tensor gets, and why. Readable JSON that can be edited by hand and replayed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qcompile.assignment.grids import Quantizer
from qcompile.errors import QCompileError
from qcompile.files import write_file
from qcompile.formats import Format
from qcompile.hardware.site import Folding
from qcompile.records import dataclass

if TYPE_CHECKING:
    from qcompile.documents import ChoiceRecord
from qcompile.tables import card, html

SCHEMA = 1
_HINT = "qcompile assign MODEL writes plans; docs/assignment.md describes them"


@dataclass(frozen=True)
class Packed:
    """Units as a plan's file holds them (int64, zlib, base 85). Nobody unpacks them who does not know their shape."""

    shape: tuple[int, ...]
    text: str

    @staticmethod
    def of(units: np.ndarray) -> Packed:
        packed = zlib.compress(np.ascontiguousarray(units, dtype="<i8").tobytes(), 9)
        return Packed(units.shape, base64.b85encode(packed).decode())

    def unpacked(self, place: str) -> np.ndarray:
        """The units, in no more memory than their shape says. QCompileError where they are damaged."""
        size = 8 * math.prod(self.shape)
        try:
            raw = zlib.decompressobj().decompress(base64.b85decode(self.text), size + 1)
            return np.frombuffer(raw, dtype="<i8").reshape(self.shape)
        except (ValueError, zlib.error):
            raise QCompileError(
                "its units are damaged", place, "remove them: the nearest codes are taken then"
            ) from None


@dataclass(frozen=True)
class Choice:
    """What one tensor becomes: value = (code - zero_point) * scale * unit of the format.

    scale: one number, or one per index of `axis`. bits: of an activation per index of `axis`, the most of them the
    format's; 0: the number 0. units: decoded codes of a weight where they are not simply the
    nearest ones (learned rounding). why: for people only; replaying a plan does not look at it.
    """

    format: Format
    scale: tuple[float, ...] = (1.0,)
    zero_point: int = 0
    axis: int | None = None
    bits: tuple[int, ...] | None = None
    units: np.ndarray | Packed | None = field(default=None, compare=False)
    why: dict[str, Any] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(q: Quantizer, rank: int, **more: Any) -> Choice:
        op = q.op(rank)
        scale = tuple(float(v) for v in op.scale.values)
        axis = q.axis if len(scale) > 1 or q.bits is not None else None
        units = more.pop("units", None)
        return Choice(op.format, scale, q.zero_point, axis, q.bits, q.coded if units is None else units, **more)

    def quantizer(self) -> Quantizer:
        """For float evaluations."""
        from qcompile.assignment.grids import unit_step

        fmt, unit = unit_step(self.format)
        steps = np.array(self.scale) * float(unit)
        steps = steps if len(steps) > 1 else steps[0]
        own = self.units if isinstance(self.units, np.ndarray) else None
        return Quantizer(fmt, steps, self.zero_point, self.axis, self.bits, own)

    def record(self) -> dict[str, Any]:
        """As the plan's file has it."""
        out: dict[str, Any] = {"format": str(self.format)}
        if self.scale != (1.0,):
            out["scale"] = self.scale[0] if len(self.scale) == 1 else list(self.scale)
        if self.zero_point:
            out["zero_point"] = self.zero_point
        if self.axis is not None:
            out["axis"] = self.axis
        if self.bits is not None:
            out["bits"] = list(self.bits)
        if self.units is not None:
            packed = self.units if isinstance(self.units, Packed) else Packed.of(self.units)
            out["units"] = {"shape": list(packed.shape), "zlib_base85": packed.text}
        return out


@dataclass(frozen=True, repr=False)
class Plan:
    """tensors: choices by tensor name; transforms: graph transforms that come first, in order; options: what those of
    them that look at data found there; bias: offsets added behind a layer (per output channel) to make up for the mean
    error; folding: of layers, by their names, where it was chosen with the formats; model: sha256 of the source file;
    settings, result: how it was found, for people only.
    """

    tensors: dict[str, Choice]
    model: str = ""
    name: str = ""
    transforms: tuple[str, ...] = ()
    bias: dict[str, tuple[float, ...]] = field(default_factory=dict)
    free: bool = False
    folding: dict[str, Folding] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def facts(self) -> list[tuple[str, str]]:
        """What people want to know first; `to_json` has everything."""
        count = Counter(str(c.format) for c in self.tensors.values())
        shown = [("tensors", f"{len(self.tensors)} ({', '.join(f'{n} {fmt}' for fmt, n in count.most_common())})")]
        if self.transforms:
            shown.append(("transforms", ", ".join(self.transforms)))
        shown += [("folding", f"{name} {f}") for name, f in self.folding.items()]
        chosen = self.result.get("chosen", {})
        found = [f"{k} {chosen[k]:.6g}" for k in ("loss", "accuracy", "lut") if isinstance(chosen.get(k), (int, float))]
        return [*shown, *([("result", ", ".join(found))] if found else [])]

    def __repr__(self) -> str:
        return card(f"Plan for {self.name or 'any model'}", self.facts())

    def _repr_html_(self) -> str:
        rows = [(name, c.format, len(c.scale)) for name, c in self.tensors.items()]
        return html(f"Plan for {self.name or 'any model'}", self.facts(), ("tensor", "format", "scales"), rows)

    def meaning(self) -> dict[str, Any]:
        """Everything that decides the design."""
        return {
            "schema": SCHEMA,
            "model": {"name": self.name, "sha256": self.model},
            "transforms": list(self.transforms),
            **({"options": self.options} if self.options else {}),
            **({"free": True} if self.free else {}),
            **({"bias": {k: list(v) for k, v in self.bias.items()}} if self.bias else {}),
            "tensors": {name: c.record() for name, c in self.tensors.items()},
            **({"folding": {name: f.record() for name, f in self.folding.items()}} if self.folding else {}),
        }

    @property
    def digest(self) -> str:
        """sha256 of what decides the design, whatever the reasons beside it say."""
        return hashlib.sha256(json.dumps(self.meaning(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Text of the plan's file."""
        record = self.meaning()
        for name, choice in self.tensors.items():
            if choice.why:
                record["tensors"][name]["why"] = choice.why
        if self.settings:
            record["settings"] = self.settings
        if self.result:
            record["result"] = self.result
        return _readable(record)

    def write(self, path: str | Path, force: bool = False) -> None:
        """QCompileError where the file cannot be written, or would replace something else than a plan of `assign`
        (force: one that was edited since too).
        """
        if not force:
            Plan.refuse_edited(path)
        write_file(path, self.to_json().encode(), "the plan", ".json")

    @staticmethod
    def refuse_edited(path: str | Path) -> None:
        """QCompileError where a file is no plan, or one that decides something else than when `assign` wrote it."""
        if not Path(path).is_file() or not Path(path).stat().st_size:
            return
        found = Plan.read(path)
        if found.result.get("sha256", found.digest) != found.digest:
            raise QCompileError(
                "the plan was edited since qcompile wrote it, and would be lost",
                str(path),
                "copy what you need and give --force (force=True), or choose another name",
            )

    @staticmethod
    def read(path: str | Path) -> Plan:
        """A plan file. QCompileError says what in it is wrong."""
        from qcompile import documents  # not every compilation reads a plan

        return Plan.parse(documents.read_text(path, "the plan", _HINT), str(path))

    @staticmethod
    def parse(text: str, where: str = "plan") -> Plan:
        """Plan of its JSON text."""
        from qcompile import documents

        record = documents.plan_record(text, SCHEMA, where, _HINT)
        return Plan(
            {name: _choice(c, f"{where}: tensor '{name}'") for name, c in record.tensors.items()},
            record.model.sha256,
            record.model.name,
            tuple(record.transforms),
            {name: tuple(values) for name, values in record.bias.items()},
            record.free,
            {name: Folding(**dict(f)) for name, f in record.folding.items()},
            record.settings,
            record.result,
            record.options,
        )


def _choice(record: ChoiceRecord, place: str) -> Choice:
    if (record.axis is None) != (len(record.scale) == 1 and record.bits is None):
        shown = "" if record.bits is None else f", {len(record.bits)} bits"
        raise QCompileError(
            f"{len(record.scale)} scales{shown} and axis {record.axis} do not go together",
            place,
            "one scale and no axis, or one scale per index of an axis; bits are per index of an axis",
        )
    units = None if record.units is None else Packed(tuple(record.units.shape), record.units.zlib_base85)
    bits = None if record.bits is None else tuple(record.bits)
    return Choice(record.format, tuple(record.scale), record.zero_point, record.axis, bits, units, record.why)


def _readable(record: Any, indent: int = 0) -> str:
    """JSON with one line per tensor choice and short lists in one line."""
    flat = json.dumps(record, ensure_ascii=True)
    if len(flat) + indent <= 120 or not isinstance(record, (dict, list)) or not record:
        return flat + ("\n" if indent == 0 else "")
    pad = " " * (indent + 1)
    if isinstance(record, dict):
        rows = [f"{pad}{json.dumps(k)}: {_readable(v, indent + 1)}" for k, v in record.items()]
        text = "{\n" + ",\n".join(rows) + f"\n{' ' * indent}}}"
    elif any(isinstance(v, (dict, list)) for v in record):
        text = "[\n" + ",\n".join(pad + _readable(v, indent + 1) for v in record) + f"\n{' ' * indent}]"
    else:
        text = flat
    return text + ("\n" if indent == 0 else "")
