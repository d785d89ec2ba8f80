"""Emitted projects: the lint, port layouts, wide numbers, big weights."""

from pathlib import Path

import numpy as np
import pytest
from conftest import CORPUS, records
from hls_lint import lint_project
from hypothesis import given, settings
from hypothesis import strategies as st

import qcompile as qc
from qcompile.backends.hls import PortLayout, identifier


@pytest.mark.parametrize("record", records("mlp")[::3], ids=lambda r: r["id"])
def test_corpus_projects_pass_the_lint(record: dict, tmp_path: Path) -> None:
    qc.compile(CORPUS / record["file"], input_formats=tuple(f for f in record.get("input_format") or () if f)).write(tmp_path / "p")
    assert lint_project(tmp_path / "p") == []


def test_lint_can_fail(tmp_path: Path, digits: Path) -> None:
    qc.compile(digits).write(tmp_path / "p")
    assert lint_project(tmp_path / "p") == []
    header = tmp_path / "p" / "src" / "qc" / "dense.hpp"
    header.write_text(header.read_text().replace("#ifdef __BAMBU__\n", "", 1) + '#include "hls_math.h"\n')
    assert len(lint_project(tmp_path / "p")) >= 2


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100), st.integers(1, 300), st.integers(0, 2**32))
def test_ports_pack_and_unpack(width: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = PortLayout(width, count)
    words = rng.integers(0, 2**63, size=(3, count, 2), dtype=np.int64).astype(object)
    bits = ((words[..., 0] << 40) ^ words[..., 1]) & (2**width - 1)
    packed = layout.pack(bits)
    assert packed.shape == (3, layout.size)
    assert (layout.unpack(packed).astype(object) == bits).all()
    assert layout.word_width <= 128


@pytest.mark.parametrize("text", ["", "int", 'x"); system("id', "../../etc", "3d", "ap_int", "a b", "ü", "main", "_x", "std", "stream", "a" * 99])
def test_identifiers(text: str) -> None:
    name = identifier(text)
    assert name.isidentifier() and name.isascii() and len(name) <= 44 and not name.startswith("str")
