"""A wheel built from the checkout, installed in an empty environment elsewhere, compiles and verifies."""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from conftest import ROOT
from packaging.requirements import Requirement


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def packages(site: Path) -> Path:
    """Where the packages of an environment lie."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(site), "platbase": str(site)}))


def needed(requirements: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """What is installed here of these and of all that they need in turn, and nothing else."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found[name] = importlib.metadata.distribution(name)
            assert found[name].version in wanted.specifier
            waiting += map(Requirement, found[name].requires or [])
    return found


def linked(wheel: Path, site: Path) -> None:
    """Lends an environment what the wheel says that it needs, from ours: downloads would take minutes."""
    (metadata,) = importlib.metadata.distributions(name="qcompile", path=[str(wheel)])
    for distribution in needed(metadata.requires or []).values():
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def test_wheel(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT), cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("qcompile-*.whl")
    venv.create(tmp_path / "env")
    pip = (sys.executable, "-m", "pip", "--python", str(tmp_path / "env"), "install", "-q", "--no-compile", "--no-deps")
    run(*pip, str(wheel), cwd=tmp_path)
    linked(wheel, packages(tmp_path / "env"))
    tool = str(tmp_path / "env" / "bin" / "qcompile")
    assert "0 differing" not in run(
        tool, "compile", str(ROOT / "examples" / "digits_mixed.onnx"), "-o", "mixed", cwd=tmp_path
    )
    assert '"agree": true' in run(tool, "verify", "mixed", "--samples", "50", "--json", cwd=tmp_path)
    assert "accuracy" in run(tool, "demo", "-o", "demo", cwd=tmp_path)
