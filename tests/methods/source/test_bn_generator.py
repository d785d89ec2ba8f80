"""Data of a generator."""

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import MLP, designs

import qcompile as qc
from qcompile.assignment.jobs import Jobs, silent
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.source.bn_generator import bn_generator
from qcompile.pipeline import Options
from qcompile.planning.designs import Designs


def test_generated_data_rank_like_real_ones() -> None:
    """Within the range that is given."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from scipy.stats import spearmanr

    p = designs(MLP, candidates="fixed2-6", loss="kl")
    found = bn_generator(MLP.graph, lambda: None, 0, silent, (0.0, 1.0))
    assert all(0 <= x.min() and x.max() <= 1 and len(x) == 128 for x in found.x)
    other = Designs.of(MLP, p.settings, Options(), Jobs(), p.graph, p.study.evaluation.network, found)
    tables = [MetricMethod.find("fit")(d.study).table for d in (p, other)]
    assert spearmanr(*(np.concatenate(list(t.values())) for t in tables))[0] > 0.8
    with pytest.raises(qc.QCompileError, match="bn_generator needs batch norms"):
        bn_generator(p.graph, lambda: None, 0, silent)
