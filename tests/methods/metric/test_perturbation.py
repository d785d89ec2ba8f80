"""The measured loss of one tensor at a time."""

import pytest
from studies import CNN, designs

from methods.metric.checks import check


def test_it_is_the_loss_less_that_of_the_float_network() -> None:
    found, study = check("perturbation"), designs(CNN, candidates="int2-6").study
    a, b = study.tensors[1].name, study.tensors[3].name
    assert found.table[a][0] == pytest.approx(study.evaluation({a: 0}) - study.base_loss)
    assert found.of({a: 0, b: 1}) == pytest.approx(found.table[a][0] + found.table[b][1])
