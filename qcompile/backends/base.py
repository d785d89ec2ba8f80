"""What a backend returns: files by name, written all or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from qcompile.files import Folder, safe
from qcompile.records import dataclass


@dataclass(frozen=True)
class FileSet:
    """Relative posix path -> content."""

    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name in self.files:
            if not safe(name):
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

    def write(self, directory: str | Path, force: bool = False) -> None:
        """As a project on disk, in place of what was written there before; see `files.Folder`."""
        Folder(self.files, "manifest.json", "project").write(directory, force)
