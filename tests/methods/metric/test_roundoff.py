"""Round-off error."""

import numpy as np
import pytest
from studies import CNN, designs

from methods.metric.checks import check


def test_it_is_the_mean_square_of_what_is_rounded_off() -> None:
    found, study = check("roundoff"), designs(CNN, candidates="int2-6").study
    t = study.weights[0]
    w, q = study.numbers[t.name].astype(float), study.evaluation.quantizers[t.name][1]
    assert found.table[t.name][1] == pytest.approx(np.square(q(w) - w).mean(), rel=1e-6)
