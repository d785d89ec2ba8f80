"""Data from batch norms."""

import numpy as np
import pytest
from conftest import NO_TORCH
from studies import MLP, designs

import qcompile as qc
from qcompile.assignment.jobs import Jobs, silent
from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.methods.source.bn_distill import bn_distill
from qcompile.pipeline import Options
from qcompile.planning.designs import Designs


def test_distilled_data_rank_like_real_ones() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    from scipy.stats import spearmanr

    p = designs(MLP, candidates="fixed2-6", loss="kl")
    found = bn_distill(MLP.graph, lambda: None, 0, silent, (0.0, 1.0))
    other = Designs.of(MLP, p.settings, Options(), Jobs(), p.graph, p.study.evaluation.network, found)
    tables = [MetricMethod.find("fit")(d.study).table for d in (p, other)]
    assert spearmanr(*(np.concatenate(list(t.values())) for t in tables))[0] > 0.85
    with pytest.raises(qc.QCompileError, match="needs batch norms, and the network has none"):
        bn_distill(p.graph, lambda: None, 0, silent)
