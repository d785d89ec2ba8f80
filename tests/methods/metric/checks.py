"""What every metric keeps to."""

from studies import CNN, designs

from qcompile.assignment.methods import MetricMethod
from qcompile.assignment.metrics import Sensitivity


def check(name: str) -> Sensitivity:
    """Coarse formats harm more than fine ones."""
    p = designs(CNN, candidates="int2-6")
    found = MetricMethod.find(name)(p.study)
    assert all(found.table[t.name][0] > found.table[t.name][-1] for t in p.study.tensors)
    return found
