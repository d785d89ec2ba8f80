"""Pairs of tensors."""

import pytest
from studies import MLP, designs

from qcompile.assignment.methods import MetricMethod


def test_pairs_measure_what_singles_miss() -> None:
    """Predicted losses of configurations with two quantized tensors are exact by construction; of all tensors nearer
    than without pairs.
    """
    p = designs(MLP, candidates="int3-5")
    s = MetricMethod.find("interaction")(p.study)
    names = [t.name for t in p.study.tensors]
    two = {names[0]: 0, names[3]: 1}
    assert s.of(two) == pytest.approx(p.study.evaluation(two) - p.study.base_loss, abs=1e-9)
