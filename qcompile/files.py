"""Files on the user's disk: written whole or not at all, and nothing is lost that qcompile did not write itself.

A folder that qcompile writes (a project, a run of assign, a dump) holds a record, a JSON file that lists the hash of
every other file written with it. Writing it again replaces those, removes what is no longer made, leaves everything
else, and is refused where a file of the record was edited. The new folder is made beside the old one, takes the user's
files along as links, and is exchanged with it in one step.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from qcompile.errors import QCompileError
from qcompile.records import dataclass

_MARK = ".qcompile-"  # of the folders that are made beside, or inside, a folder while it is written
_STAGE = _MARK + "stage"
_NAMED = 5  # files that a message lists
MAGIC = {
    ".npy": (b"\x93NUMPY",),
    ".npz": (b"PK",),
    ".png": (b"\x89PNG",),
    ".pdf": (b"%PDF",),
    ".svg": (b"<?xml", b"<svg"),
    ".json": (b"{",),
}  # what files of a kind begin with


def safe(name: str) -> bool:
    """Whether this is a relative path, with / between its parts, that stays inside its folder."""
    path = PurePosixPath(name)
    return not (
        path.is_absolute() or ".." in path.parts or not path.parts or str(path) != name or "\\" in name or "\0" in name
    )


def sealed(record: Mapping[str, Any]) -> bytes:
    """A record as JSON, with its own hash as last entry."""
    text = json.dumps(record, indent=1, ensure_ascii=True)
    whole = {**record, "sha256_of_this": hashlib.sha256(text.encode()).hexdigest()}
    return (json.dumps(whole, indent=1, ensure_ascii=True) + "\n").encode()


def write_file(path: str | Path, content: bytes, what: str, kind: str) -> None:
    """One file that the user named, in one step; what: "the plan", for messages; kind: one of `MAGIC`. An older one is
    replaced if it is of the same kind. QCompileError where it is not, or cannot be written.
    """
    place = Path(os.path.realpath(path))  # a link stays one
    try:
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if place.exists() and not place.is_file():  # a device, or a pipe to another program
            place.write_bytes(content)
            return
        if place.exists() and not _is_kind(place, kind):
            raise QCompileError(
                f"what is there is no {kind} file, so it is not overwritten",
                str(path),
                "choose another name, or remove it",
            )
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name[:100]}{_MARK}", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, place.stat().st_mode & 0o7777 if place.exists() else 0o666 & ~_umask())
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise QCompileError(
            f"{what} cannot be written: {reason}", str(path), "a file in a folder that exists and is yours"
        ) from None
    _remove_stale_files(place)


def _is_kind(place: Path, kind: str) -> bool:
    with open(place, "rb") as file:
        head = file.read(64).lstrip()
    return not head or head.startswith(MAGIC[kind])


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _remove_stale_files(place: Path) -> None:
    """What killed runs left of the same file; a younger one may be another run's."""
    pattern = re.compile(re.escape(f".{place.name[:100]}{_MARK}") + r"[a-z0-9_]{8}")
    with contextlib.suppress(OSError):
        now = place.stat().st_mtime
        for entry in os.scandir(place.parent):
            if pattern.fullmatch(entry.name) and now - entry.stat(follow_symlinks=False).st_mtime > 60:
                os.unlink(entry.path)


@dataclass(frozen=True)
class Folder:
    """A folder that qcompile writes. record: the name of the file in it that lists what was written, made by `sealed`
    with "tool" and "files"; what: "project", for messages; alone: whether it may hold nothing else at first.
    """

    files: Mapping[str, bytes]
    record: str
    what: str
    alone: bool = True

    @staticmethod
    def recorded(files: Mapping[str, bytes], record: str, what: str, **more: Any) -> Folder:
        """A folder that may hold other things too, with a record that says `more` as well."""
        hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
        entries = {"tool": {"name": "qcompile"}, **more, "files": hashes}
        return Folder({**files, record: sealed(entries)}, record, what, alone=False)

    def write(self, directory: str | Path, force: bool = False) -> None:
        """On disk as a whole. QCompileError, and nothing changed, where something of the user's would be lost (force:
        only files of our own that were edited are) or where it cannot be written.
        """
        made: list[Path] = []
        try:
            target = Path(os.path.abspath(directory))
            made = [p for p in target.parents if not os.path.lexists(p)]
            target.parent.mkdir(parents=True, exist_ok=True)
            with _locked(target.parent):
                _recover(target)
                gone = self._replaceable(target, force)
                if self._must_stay(target):
                    self._write_inside(target, gone)
                else:
                    self._write_beside(target, gone)
        except (OSError, ValueError) as error:
            raise self._unwritable(getattr(error, "strerror", None) or error, directory) from None
        finally:
            for parent in made:  # those that hold something stay
                with contextlib.suppress(OSError):
                    parent.rmdir()

    def check(self, directory: str | Path, force: bool = False) -> None:
        """QCompileError where `write` would refuse, whatever the contents."""
        target = Path(os.path.abspath(directory))
        self._replaceable(target, force)
        there = next(p for p in (target, *target.parents) if p.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise self._unwritable(os.strerror(errno.EACCES), directory)

    def _unwritable(self, reason: object, directory: str | Path) -> QCompileError:
        return QCompileError(f"the {self.what} cannot be written: {reason}", str(directory), "choose another folder")

    # --- what may be replaced

    def _replaceable(self, target: Path, force: bool) -> set[str]:
        """Names of the files that are replaced or removed. QCompileError where that would lose something."""
        if not os.path.lexists(target):
            return set()
        if not target.is_dir() or target.is_symlink():
            raise QCompileError("the output path is no folder", str(target), "choose another one")
        if not any(target.iterdir()):
            return set()
        record, intact = _read_record(target / self.record)
        if record is None and self.alone:
            raise QCompileError(
                f"the folder holds files that are not a qcompile {self.what}",
                str(target),
                "choose another folder, or empty this one",
            )
        known = {} if record is None else _known(target, record)
        edited = [self.record] if record is not None and not intact else []
        edited += [n for n, digest in known.items() if _state(target, n) not in ("", digest)]
        new = [n for n in self.files if n not in known and (record is None or n != self.record)]
        foreign = [n for n in new if _state(target, n) not in ("", hashlib.sha256(self.files[n]).hexdigest())]
        for name in self.files:
            if os.path.isdir(target / name) and not os.path.islink(target / name):
                raise QCompileError(f"a folder is where '{name}' goes", str(target), "move it away")
        if not force:
            self._refuse(target, edited, "edited since qcompile wrote the folder")
            self._refuse(target, foreign, "not written by qcompile, or by a version that kept no list of its files")
        return {*known, *self.files} | ({self.record} if record is not None else set())

    def _refuse(self, target: Path, names: list[str], why: str) -> None:
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            listed = ", ".join(sorted(names)[:_NAMED]) + more
            raise QCompileError(
                f"{listed}: {'was' if len(names) == 1 else 'were'} {why}, and would be lost",
                str(target),
                "copy what you need and give --force (force=True), or choose another folder",
            )

    # --- writing

    def _must_stay(self, target: Path) -> bool:
        """Folders that keep their place: mounted ones, those that somebody works in or that the user keeps for more,
        and those in a folder that cannot be written.
        """
        if not target.is_dir():
            return False
        here = Path.cwd()
        inside = target.resolve() in (here, *here.parents)
        shared = any(target.iterdir()) and not (target / self.record).exists()
        return inside or shared or os.path.ismount(target) or not os.access(target.parent, os.W_OK)

    def _write_beside(self, target: Path, gone: set[str]) -> None:
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}{_MARK}", dir=target.parent))
        try:
            new = scratch / "new"
            _fill(new, self.files)
            if target.is_dir():
                _adopt(target, new, gone)
                shutil.copymode(target, new)
                _exchange(new, target, scratch / "old")
                _adopt(new if new.is_dir() else scratch / "old", target, gone)  # what came up meanwhile
            else:
                os.replace(new, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _write_inside(self, target: Path, gone: set[str]) -> None:
        """File by file, of a folder that cannot be exchanged; a run that is killed is finished by the next one."""
        stage = target / _STAGE
        try:
            _fill(stage / "new", self.files)
            remove = [n for n in gone if n not in self.files]
            write_file(stage / "done.json", json.dumps({"remove": remove, "last": self.record}).encode(), "it", ".json")
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        _finish(target)


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _read_record(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """(the record, whether it is as it was written), or None where this is no record of ours."""
    from qcompile.documents import parse, read_text  # mostly there is none

    try:
        text = read_text(path, "the record")
        record = parse(text, "the record")
        if record["tool"]["name"] != "qcompile":
            return None, False
    except (QCompileError, KeyError, TypeError):
        return None, False
    plain = {k: v for k, v in record.items() if k != "sha256_of_this"}
    return record, plain == record or text.encode() == sealed(plain)  # former versions did not seal it


def _known(target: Path, record: dict[str, Any]) -> dict[str, str]:
    """Name -> sha256 of the files that a record lists; of a former version's, which has only a digest over all files,
    where that digest still is the folder's.
    """
    listed = record.get("files")
    if isinstance(listed, dict):
        return {n: d for n, d in listed.items() if isinstance(d, str) and safe(n)}
    found = {n: target / n for n in map(str, _former(target))}
    total = hashlib.sha256()
    for name in sorted(found):
        content = found[name].read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    if total.hexdigest() != record.get("sha256_of_files"):
        return {}
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in found.items()}


def _former(target: Path) -> Iterator[PurePosixPath]:
    """Files of a project where former versions put theirs."""
    folders = ("src", "tb", "sim", "board", "ap_types")
    names = ("README.md", "LICENSE", "NOTICE", "Makefile", "build.tcl", "hls_config.cfg", "graph.txt", "model.onnx")
    records = ("certificate.json", "schedule.json", "plan.json")
    for name in (*folders, *names, *records):
        for path in (target / name).rglob("*") if name in folders else [target / name]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield PurePosixPath(path.relative_to(target).as_posix())


def _state(target: Path, name: str) -> str:
    """sha256 of a file of the folder, "" where there is none; "-" where a link or something else stands in its way."""
    for parent in reversed(PurePosixPath(name).parents[:-1]):
        if os.path.islink(target / parent) or (os.path.exists(target / parent) and not os.path.isdir(target / parent)):
            return "-"
    path = target / name
    if not os.path.lexists(path):
        return ""
    if path.is_symlink() or not path.is_file():
        return "-"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "-"


def _adopt(source: Path, new: Path, gone: set[str], under: str = "") -> None:
    """All of `source` but the files `gone`, in `new` too: files as hard links (copies where the file system has none);
    what is there already stays.
    """
    ours = {str(parent) for name in gone for parent in PurePosixPath(name).parents}
    for entry in sorted(os.scandir(source / under), key=lambda e: e.name):
        name = f"{under}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            before = os.path.lexists(new / name)
            if name not in ours and not before:
                (new / name).mkdir(parents=True)
            _adopt(source, new, gone, f"{name}/")
            if not before and (new / name).is_dir():
                shutil.copystat(entry.path, new / name)
        elif name not in gone and not os.path.lexists(new / name):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            _link(entry.path, new / name)


def _link(source: str, place: Path) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, place, follow_symlinks=False)


def _exchange(new: Path, target: Path, old: Path) -> None:
    """`new` in place of `target` in one step where the system can; else by two, and `_recover` knows the state between
    them.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        if libc.renameat2(here, os.fsencode(new), here, os.fsencode(target), both) == 0:
            return
    os.replace(target, old)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(old, target)
        raise


def _recover(target: Path) -> None:
    """What a killed run left: nothing is lost of it but what it was about to write."""
    pattern = re.compile(re.escape(f".{target.name}{_MARK}") + r"[a-z0-9_]{8}")
    for entry in list(os.scandir(target.parent)):
        if pattern.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            old = Path(entry.path) / "old"
            if old.is_dir() and not os.path.lexists(target):
                os.replace(old, target)
            shutil.rmtree(entry.path, ignore_errors=True)
    if not target.is_symlink() and (target / _STAGE).is_dir():
        if (target / _STAGE / "done.json").is_file():
            _finish(target)
        else:
            shutil.rmtree(target / _STAGE)


def _finish(target: Path) -> None:
    """Put a stage that is complete in its place; again, where that was interrupted."""
    stage = target / _STAGE
    todo = json.loads((stage / "done.json").read_bytes())
    staged = sorted(p.relative_to(stage / "new").as_posix() for p in (stage / "new").rglob("*") if p.is_file())
    for name in sorted(staged, key=lambda n: n == todo["last"]):
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if os.path.islink(target / parent) or os.path.isfile(target / parent):
                os.unlink(target / parent)  # only where force allows it
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / "new" / name, target / name)
    for name in filter(safe, todo["remove"]):
        if _state(target, name) not in ("", "-"):
            os.unlink(target / name)
            for parent in list(PurePosixPath(name).parents)[:-1]:
                with contextlib.suppress(OSError):  # not empty
                    (target / parent).rmdir()
    shutil.rmtree(stage)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One run at a time writes into a folder; a run that ends in any way gives it free."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):  # systems and file systems without locks
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
