"""A plan: which format and scale every tensor gets, and why. Readable JSON that can be edited by hand and replayed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.assignment.grids import Quantizer
from qcompile.cost.site import Folding
from qcompile.errors import QCompileError
from qcompile.formats import Format, parse_format

SCHEMA = 1
_HINT = "qcompile assign MODEL writes plans; docs/assignment.md describes them"


@dataclass(frozen=True)
class Choice:
    """What one tensor becomes: value = (code - zero_point) * scale * unit of the format.

    scale: one number, or one per index of `axis`. units: decoded codes of a weight where they are not simply the
    nearest ones (learned rounding). why: for people only; replaying a plan does not look at it.
    """

    format: Format
    scale: tuple[float, ...] = (1.0,)
    zero_point: int = 0
    axis: int | None = None
    units: np.ndarray | None = field(default=None, compare=False)
    why: dict[str, Any] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(q: Quantizer, rank: int, **more: Any) -> Choice:
        op = q.op(rank)
        scale = tuple(float(v) for v in op.scale.values)
        return Choice(op.format, scale, q.zero_point, q.axis if len(scale) > 1 else None, **more)

    def quantizer(self) -> Quantizer:
        """For float evaluations."""
        from qcompile.assignment.grids import unit_step

        fmt, unit = unit_step(self.format)
        steps = np.array(self.scale) * float(unit)
        return Quantizer(fmt, steps if self.axis is not None else steps[0], self.zero_point, self.axis)

    def record(self) -> dict[str, Any]:
        out: dict[str, Any] = {"format": str(self.format)}
        if self.scale != (1.0,):
            out["scale"] = self.scale[0] if len(self.scale) == 1 else list(self.scale)
        if self.zero_point:
            out["zero_point"] = self.zero_point
        if self.axis is not None:
            out["axis"] = self.axis
        if self.units is not None:
            packed = zlib.compress(np.ascontiguousarray(self.units, dtype="<i8").tobytes(), 9)
            out["units"] = {"shape": list(self.units.shape), "zlib_base85": base64.b85encode(packed).decode()}
        return out


@dataclass(frozen=True)
class Plan:
    """tensors: choices by tensor name; transforms: graph transforms that come first, in order; bias: offsets added
    behind a layer (per output channel) to make up for the mean error; folding: of layers, by their results, where it
    was chosen with the formats; model: sha256 of the source file; settings, result: how it was found, for people only.
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

    def meaning(self) -> dict[str, Any]:
        """Everything that decides the design."""
        return {
            "schema": SCHEMA,
            "model": {"name": self.name, "sha256": self.model},
            "transforms": list(self.transforms),
            **({"free": True} if self.free else {}),
            **({"bias": {k: list(v) for k, v in self.bias.items()}} if self.bias else {}),
            "tensors": {name: c.record() for name, c in self.tensors.items()},
            **({"folding": {name: vars(f) for name, f in self.folding.items()}} if self.folding else {}),
        }

    @property
    def digest(self) -> str:
        """sha256 of what decides the design, whatever the reasons beside it say."""
        return hashlib.sha256(json.dumps(self.meaning(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        record = self.meaning()
        for name, choice in self.tensors.items():
            if choice.why:
                record["tensors"][name]["why"] = choice.why
        if self.settings:
            record["settings"] = self.settings
        if self.result:
            record["result"] = self.result
        return _readable(record)

    def write(self, path: str | Path) -> None:
        """QCompileError where the file cannot be written."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise QCompileError(f"the plan cannot be written: {error.strerror}", str(path)) from None

    @staticmethod
    def read(path: str | Path) -> Plan:
        """A plan file. QCompileError says what in it is wrong."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise QCompileError(
                f"the plan cannot be read: {getattr(error, 'strerror', None) or 'it is no text file'}", str(path), _HINT
            ) from None
        return Plan.parse(text, str(path))

    @staticmethod
    def parse(text: str, where: str = "plan") -> Plan:
        """Plan of its JSON text."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise QCompileError(f"the plan is no JSON: {error}", where, _HINT) from None
        if not isinstance(record, dict) or not isinstance(record.get("tensors"), dict):
            raise QCompileError('this is no plan: it has no object "tensors"', where, _HINT)
        if record.get("schema") != SCHEMA:
            raise QCompileError(
                f"the plan's schema is {record.get('schema')!r}; this version of qcompile reads {SCHEMA}",
                where,
                "run qcompile assign again",
            )
        model: dict[str, Any] = record["model"] if isinstance(record.get("model"), dict) else {}
        try:
            return Plan(
                {name: _choice(name, c, where) for name, c in record["tensors"].items()},
                str(model.get("sha256", "")),
                str(model.get("name", "")),
                tuple(str(t) for t in record.get("transforms", [])),
                {
                    str(k): tuple(_number(x, f"bias of '{k}'", where) for x in v)
                    for k, v in record.get("bias", {}).items()
                },
                bool(record.get("free", False)),
                {str(k): _folding(str(k), f, where) for k, f in record.get("folding", {}).items()},
                record.get("settings", {}),
                record.get("result", {}),
            )
        except (AttributeError, TypeError):
            raise QCompileError(
                "transforms must be a list of names, and bias an object of lists of numbers", where, _HINT
            ) from None


def _choice(name: str, record: Any, where: str) -> Choice:
    place = f"{where}: tensor '{name}'"
    if not isinstance(record, dict) or not isinstance(record.get("format"), str):
        raise QCompileError("it has no format", place, 'for example {"format": "s8f7"}')
    try:
        fmt = parse_format(record["format"])
    except ValueError as error:
        raise QCompileError(f"impossible format: {error}", place) from None
    raw = record.get("scale", 1.0)
    scale = tuple(_number(v, "scale", place) for v in (raw if isinstance(raw, list) else [raw]))
    if not scale or min(scale) <= 0:
        raise QCompileError("its scale must be positive", place)
    axis, zero = record.get("axis"), record.get("zero_point", 0)
    if not isinstance(zero, int) or isinstance(zero, bool):
        raise QCompileError(f"its zero point is {zero!r}; it must be an integer", place)
    if (axis is None) != (len(scale) == 1) or not (axis is None or isinstance(axis, int)):
        raise QCompileError(
            f"{len(scale)} scales and axis {axis!r} do not go together",
            place,
            "one scale and no axis, or one scale per index of an axis",
        )
    return Choice(fmt, scale, zero, axis, _units(record.get("units"), place), record.get("why", {}))


def _folding(name: str, record: Any, where: str) -> Folding:
    if (
        not isinstance(record, dict)
        or not set(record) <= {"pe", "simd"}
        or not all(type(n) is int and n > 0 for n in record.values())
    ):
        raise QCompileError(
            "its folding is no object of positive whole numbers",
            f"{where}: '{name}'",
            'for example {"pe": 2, "simd": 4}',
        )
    return Folding(**record)


def _units(record: Any, place: str) -> np.ndarray | None:
    if record is None:
        return None
    try:
        shape = [int(n) for n in record["shape"]]
        raw = zlib.decompressobj().decompress(base64.b85decode(record["zlib_base85"]), 8 * math.prod(shape) + 1)
        return np.frombuffer(raw, dtype="<i8").reshape(shape)
    except (KeyError, TypeError, ValueError, zlib.error):
        raise QCompileError("its units are damaged", place, "remove them: the nearest codes are taken then") from None


def _number(x: Any, what: str, place: str) -> float:
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x):
        raise QCompileError(f"its {what} is {x!r:.40}; it must be a number", place)
    return float(x)


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
