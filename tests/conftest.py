"""The corpus of models that others made: `QCOMPILE_CORPUS`, or `../shared/models` beside the checkout. The run says
when it is absent.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from qcompile.assets import ap_types, asset

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("QCOMPILE_CORPUS", ROOT.parent / "shared" / "models"))


def records(*kinds: str) -> list[dict]:
    """Index entries of these kinds; empty where there is no corpus."""
    index = CORPUS / "index.json"
    return [r for r in json.loads(index.read_text()) if r["kind"] in kinds] if index.is_file() else []


FLAGS = ["-std=c++17", "-O1"]  # as in the emitted Makefile, which takes CXXFLAGS


def pytest_configure(config: pytest.Config) -> None:
    """The headers of ap_types are parsed once, not by each of some 500 compilations: half of their time."""
    if hasattr(config, "workerinput") or "CXXFLAGS" in os.environ or shutil.which("g++") is None:
        return
    folder = config.precompiled = Path(tempfile.mkdtemp(prefix="qcompile-"))
    shutil.copy(ap_types() / "ap_int.h", folder)
    subprocess.run(
        ["g++", *FLAGS, "-w", "-isystem", str(ap_types()), "-x", "c++-header", "ap_int.h", "-o", "ap_int.h.gch"],
        cwd=folder,
        check=True,
    )
    os.environ["CXXFLAGS"] = " ".join([*FLAGS, "-I", str(folder), "-include", "ap_int.h"])


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(getattr(config, "precompiled", ""), ignore_errors=True)


def run_cpp(folder: Path, optimize: str = "-O0", timeout: float = 600) -> None:
    """Compiles all.cpp of a folder, with our headers, and runs it there."""
    subprocess.run(
        [
            "g++",
            FLAGS[0],
            optimize,
            "-w",
            "-I",
            str(asset("hw/include")),
            "-isystem",
            str(ap_types()),
            "all.cpp",
            "-o",
            "all",
        ],
        cwd=folder,
        check=True,
    )
    done = subprocess.run(["./all"], cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:]


def pytest_report_header(config: pytest.Config) -> str:
    return (
        f"corpus: {CORPUS}" if CORPUS.is_dir() else f"corpus: ABSENT ({CORPUS}); models made by others are not tested"
    )


@pytest.fixture(scope="session")
def digits() -> Path:
    return ROOT / "examples" / "digits_mlp.onnx"
