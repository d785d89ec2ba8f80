"""JSON files that a user gives or may have edited: read within bounds, and checked against a schema before anything is
made of them. Everything in the package that reads JSON reads it here.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    ValidationError,
    create_model,
)

from qcompile.errors import QCompileError
from qcompile.formats import Format, parse_format
from qcompile.options import Options

MOST_BYTES = 2**27  # of a file: plans hold the learned codes of weights
_CHUNK = 2**16
DEEPEST = 32  # levels of lists and objects
LONGEST_NUMBER = 100  # digits

# --- reading


def read_text(path: str | Path, what: str, hint: str = "") -> str:
    """The text of a file. QCompileError where it is missing, no UTF-8, or larger than MOST_BYTES."""
    try:
        with open(path, "rb") as file:
            data, chunk = b"", file.read(_CHUNK)
            while chunk and len(data) <= MOST_BYTES:  # not all at once: that would take the memory whatever is there
                data, chunk = data + chunk, file.read(2 * len(data) + _CHUNK)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise QCompileError(f"{what} cannot be read: {reason}", str(path), hint) from None
    if len(data) > MOST_BYTES:
        raise QCompileError(f"{what} cannot be read: it is larger than {MOST_BYTES >> 20} MiB", str(path), hint)
    return text


def parse(text: str, what: str, where: str = "", hint: str = "") -> Any:
    """The value of a JSON text. QCompileError for what JSON does not allow, or leaves open: names that come twice, NaN,
    numbers beyond float64 or of more than LONGEST_NUMBER digits, half surrogates, more than DEEPEST levels.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refused, parse_int=_integer, parse_float=_real
        )
        _check_depth(value)
    except RecursionError:
        raise QCompileError(f"{what} is nested more than {DEEPEST} levels deep", where, hint) from None
    except UnicodeEncodeError:
        raise QCompileError(f"{what} has half a surrogate pair in a text", where, hint) from None
    except ValueError as error:
        raise QCompileError(f"{what} is no JSON: {error}", where, hint) from None
    return value


def read(path: str | Path, what: str, hint: str = "") -> Any:
    """The value of a JSON file; QCompileError as `read_text` and `parse`."""
    return parse(read_text(path, what, hint), what, str(path), hint)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} comes twice in one object")
    return found


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _check_depth(value: Any) -> None:
    """RecursionError below DEEPEST levels; UnicodeEncodeError for a text that no UTF-8 can hold."""
    level = [value]
    for _ in range(DEEPEST):
        for item in level:
            for text in item if isinstance(item, dict) else (item,):
                if isinstance(text, str):
                    text.encode()
        level = [c for v in level if isinstance(v, (dict, list)) for c in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return
    raise RecursionError


# --- schemas


class Record(BaseModel):
    """A JSON object: exactly these fields, of exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


_PLAIN = {  # what pydantic says in words of Python
    "extra_forbidden": "there is no such field",
    "missing": "the field is missing",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
}


def checked(schema: type[M], value: Any, what: str, where: str = "", hint: str = "") -> M:
    """The value as a record of the schema. QCompileError names the first field that is wrong."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    at = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    message = _PLAIN.get(first["type"], said)
    found = first["input"]
    shown = (
        f", not {found!r:.40}" if isinstance(found, (str, int, float)) and first["type"] != "extra_forbidden" else ""
    )
    raise QCompileError(f"{what} is wrong{f' at {at}' if at else ''}: {message}{shown}", where, hint)


def _format(text: Any) -> Format:
    """ValueError where the text is no format."""
    if not isinstance(text, str):
        raise ValueError("a format is a text, for example s8f7")
    try:
        return parse_format(text)
    except ValueError as error:
        raise ValueError(f"impossible format: {error}") from None


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=1, le=2**31)]


class UnitsRecord(Record):
    """Decoded codes of a weight: int64, little endian, by zlib and base 85."""

    shape: Annotated[list[Natural], Field(max_length=8)]
    zlib_base85: str


class ChoiceRecord(Record):
    """One tensor of a plan; see `assignment.plan.Choice`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    format: Annotated[Any, AfterValidator(_format)]
    scale: Annotated[list[Positive], Field(min_length=1), BeforeValidator(_listed)] = [1.0]
    zero_point: Annotated[int, Field(ge=-(2**63), le=2**63)] = 0
    axis: Annotated[int, Field(ge=0, le=8)] | None = None
    bits: Annotated[list[Annotated[int, Field(ge=0, le=64)]], Field(min_length=1)] | None = None
    units: UnitsRecord | None = None
    why: dict[str, JsonValue] = {}


class FoldingRecord(Record):
    """Of one layer: outputs and inputs that are worked on in one cycle, and whether in DSP blocks."""

    pe: Natural = 1
    simd: Natural = 1
    dsp: bool = False
    places: int = Field(default=1, ge=1)
    memory: Literal["", "lutram", "bram", "uram"] = ""


class SourceRecord(Record):
    """The model that a plan or a project was made from."""

    name: str = ""
    sha256: str = ""


class PlanRecord(Record):
    """plan.json; see `assignment.plan.Plan`."""

    schema_: Annotated[int, Field(alias="schema")]
    model: SourceRecord = SourceRecord()
    transforms: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    free: bool = False
    bias: dict[str, list[float]] = {}
    tensors: dict[str, ChoiceRecord]
    folding: dict[str, FoldingRecord] = {}
    settings: dict[str, JsonValue] = {}
    result: dict[str, JsonValue] = {}


OnePerCandidate = Annotated[list[float], Field(min_length=1)]
Matrix = Annotated[list[OnePerCandidate], Field(min_length=1)]
SomeNames = Annotated[list[str], Field(min_length=1)]


class WorkRecord(Record):
    """What a processor does for a variable: one number, or one per candidate."""

    macs: Annotated[OnePerCandidate, BeforeValidator(_listed)]
    bytes: Annotated[OnePerCandidate, BeforeValidator(_listed)]


class VariableRecord(Record):
    """One decision of tables of the user's own; a number per candidate in every list."""

    candidates: SomeNames
    loss: OnePerCandidate
    cost: dict[str, OnePerCandidate] = {}
    work: WorkRecord | None = None


class PairRecord(Record):
    """What two variables lose and cost together: a row per candidate of the first, a column per one of the second."""

    of: Annotated[list[str], Field(min_length=2, max_length=2)]
    loss: Matrix | None = None
    cost: dict[str, Matrix] = {}


class ConstantRecord(Record):
    """What is lost and costs whatever is chosen."""

    loss: float = 0.0
    cost: dict[str, float] = {}


class ProcessorRecord(Record):
    """See `cost.roofline.Roofline`."""

    macs_per_cycle: Positive
    bytes_per_cycle: Positive


class TablesRecord(Record):
    """What `qcompile allocate` reads; see docs/allocation.md."""

    schema_: Annotated[int, Field(alias="schema")]
    variables: Annotated[dict[str, VariableRecord], Field(min_length=1)]
    pairs: list[PairRecord] = []
    joined: list[Annotated[list[str], Field(min_length=2)]] = []
    constant: ConstantRecord = ConstantRecord()
    processor: ProcessorRecord | None = None
    budget: dict[str, float] = {}


class FoldingFile(RootModel[dict[str, FoldingRecord]]):
    """What --fold reads: a folding by the name of the layer."""


def _schema_of(record: type) -> type[Record]:
    """A JSON object with the fields of a record, all of them stated."""
    stated: dict[str, Any] = {}
    for f in fields(record):
        kind = list[str] if get_origin(hint := get_type_hints(record)[f.name]) is tuple else hint
        lo, hi = f.metadata.get("limits", (None, None))
        stated[f.name] = (Annotated[kind, Field(ge=lo, le=hi)] if hi else kind, ...)
    made: type[Record] = create_model(f"{record.__name__}Record", __base__=Record, **stated)
    return made


if TYPE_CHECKING:
    OptionsRecord = Record
else:  # what the values mean is checked there
    OptionsRecord = _schema_of(Options)


class HostRecord(Record):
    """A part of the model that the host runs, see `host.HostPart`."""

    file: Literal["host_before.onnx", "host_after.onnx"]
    inputs: list[str]
    outputs: list[str]


class CompiledRecord(SourceRecord):
    """The model in a project."""

    file: Literal["model.onnx", "model.tflite"] = "model.onnx"


class ManifestRecord(Record):
    """manifest.json of a project: what opening it needs. The other fields are derived, and `verify` compares them."""

    model_config = ConfigDict(extra="ignore")
    model: CompiledRecord
    options: OptionsRecord
    plan: dict[str, JsonValue] | None = None
    host: dict[Literal["before", "after"], HostRecord] | None = None
    ends: Annotated[list[list[str]], Field(min_length=2, max_length=2)] | None = None


_PROJECT = "this is not a project written by qcompile"


def manifest(folder: Path, schema: int) -> ManifestRecord:
    """Of a written project. QCompileError where the folder is none, or one of another version."""
    hint = "qcompile compile MODEL -o DIR"
    path = folder / "manifest.json"
    if not path.is_file():
        raise QCompileError(f"{_PROJECT}: it has no manifest.json", str(folder), hint)
    found = read(path, "the project's manifest", hint)
    if not isinstance(found, dict):
        raise QCompileError(f"{_PROJECT}: manifest.json holds no object", str(folder), hint)
    _check_schema(found, schema, "the project's", str(path), "compile the model again with this version")
    return checked(ManifestRecord, found, "the project's manifest", str(path), hint)


def plan_record(text: str, schema: int, where: str, hint: str) -> PlanRecord:
    """Of the text of a plan. QCompileError says what in it is wrong."""
    found = parse(text, "the plan", where, hint)
    if not isinstance(found, dict) or "tensors" not in found:
        raise QCompileError('this is no plan: it has no object "tensors"', where, hint)
    _check_schema(found, schema, "the plan's", where, "run qcompile assign again")
    return checked(PlanRecord, found, "the plan", where, hint)


def tables(path: str | Path, schema: int) -> TablesRecord:
    """Of a file of tables. QCompileError says what in it is wrong."""
    hint = "docs/allocation.md has what such a file holds"
    found = read(path, "the tables", hint)
    if not isinstance(found, dict) or "variables" not in found:
        raise QCompileError('this is no file of tables: it has no object "variables"', str(path), hint)
    _check_schema(found, schema, "the tables'", str(path), hint)
    return checked(TablesRecord, found, "the file of tables", str(path), hint)


def _check_schema(found: dict[str, Any], known: int, whose: str, where: str, hint: str) -> None:
    schema = found.get("schema")
    if type(schema) is not int or schema != known:
        raise QCompileError(f"{whose} schema is {schema!r:.40}; this version of qcompile reads {known}", where, hint)
