"""The corpus of models that others made: `QCOMPILE_CORPUS`, or `../shared/models` beside the checkout. The run says when it is absent."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("QCOMPILE_CORPUS", ROOT.parent / "shared" / "models"))


def records(*kinds: str) -> list[dict]:
    """Index entries of these kinds; empty where there is no corpus."""
    index = CORPUS / "index.json"
    return [r for r in json.loads(index.read_text()) if r["kind"] in kinds] if index.is_file() else []


def pytest_report_header(config: pytest.Config) -> str:
    return f"corpus: {CORPUS}" if CORPUS.is_dir() else f"corpus: ABSENT ({CORPUS}); models made by others are not tested"


@pytest.fixture(scope="session")
def digits() -> Path:
    return ROOT / "examples" / "digits_mlp.onnx"
