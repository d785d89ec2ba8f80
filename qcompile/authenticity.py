"""Whether the files of a project are those that its model and options give, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qcompile.backends.base import FileSet
from qcompile.errors import QCompileError, VerificationError
from qcompile.host import AFTER, BEFORE
from qcompile.options import VERSION
from qcompile.pipeline import Design, open_project

MANIFEST = "manifest.json"
SOURCES = ("model.onnx", "model.tflite", "plan.json", BEFORE, AFTER)  # what everything else is made from
_CODE = {".bin", ".c", ".cfg", ".cpp", ".h", ".hpp", ".inc", ".py", ".sv", ".tcl", ".v"}
_FOLDERS = ("ap_types", "rtl", "sim", "src", "tb")  # code in them is the compiler's; all else may be the user's
_NAMES = ("board/block_design.tcl", "board/driver.py", "board/ports.py", "plan.json", "schedule.json", BEFORE, AFTER)
_SHOWN = 8


def checked(folder: Path) -> tuple[Design, FileSet, dict[str, str]]:
    """The design of a project, compiled again, its files, and name -> what is wrong with the one on disk.

    VerificationError where manifest, model or plan are not those that were written: then there is nothing to compare
    with.
    """
    written = _manifest(folder)
    for name in SOURCES:
        listed, found = written["files"].get(name), _hash(folder / name)
        if found != listed and listed is not None:
            problem = "is missing" if found is None else f"does not have the sha256 that {MANIFEST} lists"
            raise VerificationError(
                f"{name} {problem}: one of the two was changed", str(folder), "compile the model again"
            )
    try:
        design = open_project(folder)
        files = design.files()
    except QCompileError as error:
        raise VerificationError(f"{MANIFEST} was changed: {error}", str(folder), "compile the model again") from None
    wrong = _differing(folder, files)
    if MANIFEST in wrong and any(written["files"].get(n) == _hash(folder / n) for n in wrong if n in files.files):
        raise VerificationError(
            f"{MANIFEST} was changed: what it says does not give the files that it lists{_list(wrong)}",
            str(folder),
            "compile the model again",
        )
    return design, files, wrong


def described(wrong: dict[str, str]) -> str:
    """The files that are not as compiled, in one line; at most eight of them by name."""
    return f"{len(wrong)} file{'s' if len(wrong) > 1 else ''} not as compiled{_list(wrong)}"


def _list(wrong: dict[str, str]) -> str:
    named = [f"{name} {problem}" for name, problem in list(wrong.items())[:_SHOWN]]
    more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return f": {', '.join(named)}{more}" if named else ""


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        version, files = record["tool"]["version"], record.get("files")
    except OSError:
        raise QCompileError(
            f"this is not a project written by qcompile: it has no {MANIFEST}",
            str(folder),
            "qcompile compile MODEL -o DIR",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise VerificationError(
            f"{MANIFEST} was changed, or this is not a project written by qcompile",
            str(folder),
            "qcompile compile MODEL -o DIR",
        ) from None
    if version != VERSION or not isinstance(files, dict):
        raise VerificationError(
            f"{MANIFEST} says that qcompile {str(version)[:20]!r} made the project; this is {VERSION}, and other"
            " versions write other files",
            str(folder),
            "compile the model again, or verify with that version",
        )
    return dict(record)


def _hash(path: Path) -> str | None:
    """None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise QCompileError(f"cannot be read: {error.strerror}", str(path)) from None


def _differing(folder: Path, files: FileSet) -> dict[str, str]:
    """Name -> "differs", "is missing" or what else is wrong, the manifest first."""
    wanted, found = files.hashes(), dict[str, str]()
    for name in sorted(wanted, key=lambda n: (n != MANIFEST, n)):
        there = _hash(folder / name)
        if there != wanted[name]:
            found[name] = "is missing" if there is None else "differs"
    return found | {name: "does not belong here" for name in _strange(folder, files)}


def _strange(folder: Path, files: FileSet) -> Iterator[str]:
    """Files of the compiler's kind that this model and these options do not give."""
    for top in _FOLDERS:
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.suffix in _CODE and name not in files.files and path.is_file():
                yield name
    yield from (name for name in _NAMES if name not in files.files and (folder / name).is_file())
