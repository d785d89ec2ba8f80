"""A wheel built from the checkout, installed in an empty environment elsewhere, compiles and verifies."""

import subprocess
import sys
import venv
from pathlib import Path

from conftest import ROOT


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_wheel(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT), cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("qcompile-*.whl")
    venv.create(tmp_path / "env")
    pip = (sys.executable, "-m", "pip", "--python", str(tmp_path / "env"), "install", "-q", "--no-compile")
    run(*pip, "-c", str(ROOT / "constraints.txt"), str(wheel), cwd=tmp_path)
    tool = str(tmp_path / "env" / "bin" / "qcompile")
    assert "0 differing" not in run(
        tool, "compile", str(ROOT / "examples" / "digits_mixed.onnx"), "-o", "mixed", cwd=tmp_path
    )
    assert '"agree": true' in run(tool, "verify", "mixed", "--samples", "50", "--json", cwd=tmp_path)
    assert "accuracy" in run(tool, "demo", "-o", "demo", cwd=tmp_path)
