"""The corpus of models that others made: `QCOMPILE_CORPUS`, or `../shared/models` beside the checkout. The run says
when it is absent.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qcompile.assets import asset

# Hundreds of processes start: without caches of its modules each would compile them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
CORPUS = Path(os.environ.get("QCOMPILE_CORPUS", SHARED / "models"))
GROUND_TRUTH = Path(os.environ.get("QCOMPILE_GROUND_TRUTH", SHARED / "ground_truth"))
NO_MODELS = f"needs the models of others, which are not in {CORPUS}: QCOMPILE_CORPUS names their folder"
NO_RESULTS = f"needs the published results, which are not in {GROUND_TRUTH}: QCOMPILE_GROUND_TRUTH names their folder"
needs_models = pytest.mark.skipif(not (CORPUS / "index.json").is_file(), reason=NO_MODELS)
needs_results = pytest.mark.skipif(not GROUND_TRUTH.is_dir(), reason=NO_RESULTS)
NO_TORCH = "needs torch and Brevitas: make test EXTRAS=dev,brevitas"
# What a test does without, and the line that installs it: a run on a new machine says all that it left out.
PACKAGES = {"g++": "g++", "iverilog": "iverilog", "tkinter": "python3-tk", "verilator": "verilator"}
NO_PLACER = "needs nextpnr and Yosys: make test"


def records(*kinds: str) -> list[dict]:
    """Index entries of these kinds; empty where there is no corpus."""
    index = CORPUS / "index.json"
    return [r for r in json.loads(index.read_text()) if r["kind"] in kinds] if index.is_file() else []


def or_absent(found: Sequence[Any]) -> Sequence[Any]:
    """Parameters that come from the corpus; where it is absent, one that is skipped and says so."""
    return found or [pytest.param(None, marks=needs_models, id="absent")]


def needs(tool: str) -> None:
    """Skips the test that runs where a program, or a module of Python's, is not installed."""
    if shutil.which(tool) is None and importlib.util.find_spec(tool) is None:
        pytest.skip(f"needs {tool}: apt-get install {PACKAGES[tool]}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden texts of tests/golden anew")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["QCOMPILE_TRACEBACK"] = "1"  # faults are to be seen, not told in one line


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def run_cpp(folder: Path, optimize: str = "-O0", timeout: float = 600) -> None:
    """Compiles all.cpp of a folder, with our headers, and runs it there."""
    garbage = "--param=ggc-min-heapsize=2000000"  # kB until the compiler looks for garbage: a tenth of its time
    command = ["g++", "-std=c++17", optimize, garbage, "-w", "-I", str(asset("hw/include")), "all.cpp", "-o", "all"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(["./all"], cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:]


def pytest_report_header(config: pytest.Config) -> str:
    found = [f"corpus: {CORPUS}" if CORPUS.is_dir() else f"corpus: ABSENT; what {NO_MODELS[6:]}"]
    return "\n".join(found + ([] if GROUND_TRUTH.is_dir() else [f"ground truth: ABSENT; what {NO_RESULTS[6:]}"]))


@pytest.fixture(scope="session")
def digits() -> Path:
    return ROOT / "examples" / "digits_mlp.onnx"
