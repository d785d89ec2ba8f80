"""What a backend returns: files by name, written all or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qcompile.errors import QCompileError


@dataclass(frozen=True)
class FileSet:
    """Relative posix path -> content."""

    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or str(path) != name or "\\" in name:
                raise ValueError(f"'{name}' is not a relative path inside the project")

    def digest(self) -> str:
        """sha256 over names and contents, in the order of the names."""
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{name}\0{len(self.files[name])}\0".encode())
            total.update(self.files[name])
        return total.hexdigest()

    def hashes(self) -> dict[str, str]:
        """Name -> sha256 of the content, in the order of the names."""
        return {name: hashlib.sha256(self.files[name]).hexdigest() for name in sorted(self.files)}

    def write(self, directory: Path) -> None:
        """Write into a new folder beside `directory` and move it there. QCompileError if that place holds something
        else.
        """
        target = Path(directory).absolute()
        scratch: Path | None = None
        made = [p for p in target.parents if not os.path.exists(p)]
        try:
            _require_free(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            self._fill(scratch / "new")
            _swap(scratch / "new", target, scratch / "old")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error  # ValueError: a NUL in the path
            raise QCompileError(
                f"the project cannot be written: {reason}", str(directory), "choose another folder"
            ) from None
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            for parent in made:  # those that hold something stay
                with contextlib.suppress(OSError, ValueError):
                    parent.rmdir()

    def _fill(self, folder: Path) -> None:
        folder.mkdir()
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _swap(new: Path, target: Path, old: Path) -> None:
    """`new` in place of `target`, by renaming: whatever fails, either the old or the new folder is there and whole."""
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise


def _require_free(target: Path) -> None:
    """Only nothing, an empty folder or an earlier project may be replaced."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise QCompileError("the output path is no folder", str(target), "choose another one")
    if not any(target.iterdir()):
        return
    from qcompile.documents import is_project  # mostly the place is free

    if not is_project(target):
        raise QCompileError(
            "the folder holds files that are not a qcompile project",
            str(target),
            "choose another folder, or empty this one",
        )
