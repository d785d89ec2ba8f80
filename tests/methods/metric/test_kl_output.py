"""The measured divergence of one tensor at a time."""

import numpy as np
import pytest
from scipy.special import log_softmax
from studies import CNN, designs

from methods.metric.checks import check


def test_it_is_the_divergence_from_the_float_outputs() -> None:
    found, study = check("kl_output"), designs(CNN, candidates="int2-6").study
    name = study.tensors[2].name
    p, q = (log_softmax(study.evaluation.outputs(c), axis=1) for c in ({}, {name: 0}))
    assert found.table[name][0] == pytest.approx((np.exp(p) * (p - q)).sum(axis=1).mean(), rel=1e-6)
