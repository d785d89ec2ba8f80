"""Mean errors into offsets."""

import numpy as np
import pytest
from studies import CNN, designs

from qcompile.assignment.grids import Quantizer
from qcompile.assignment.methods.transform.bias_correct import bias_correct
from qcompile.assignment.transforms import Statistics, TransformContext


def test_offsets_are_the_mean_errors_of_the_outputs() -> None:
    """Of the first layer, whose inputs nothing has corrected yet."""
    p = designs(CNN, candidates="int3")
    e = p.study.evaluation
    offsets = bias_correct(TransformContext(p.graph, Statistics(e.network, e.data), e.data), p.plan([0] * 6))
    node = next(n for n in p.graph.nodes if n.op.products)
    first: dict[str, Quantizer] = {t.name: e.quantizers[t.name][0] for t in p.study.tensors[:2]}
    changes = {e.values[name]: (lambda x, q=q: q(x, lead=1)) for name, q in first.items()}
    y, now = (
        e.network.run(e.network.start(e.data.x), c, keep=[node.output.name])[node.output.name] for c in ({}, changes)
    )
    error = (y - now).mean(axis=(0, 1, 3, 4))
    assert offsets[node.origin.node] == pytest.approx(error.tolist(), abs=1e-5) and np.abs(error).max() > 1e-3
