"""Centred and narrowed channels."""

from methods.transform.checks import after, check, check_normalized, divergence, normalized
from qcompile.assignment.channels import points
from qcompile.assignment.data import data
from qcompile.assignment.methods.transform.shift_scale import fit
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.transforms import Statistics, TransformContext


def test_it_is_exact() -> None:
    check("fold_bn", "shift_scale")
    check_normalized("shift_scale")


def test_channels_that_stand_out_lose_less() -> None:
    """At 4 bits by more than a third, as at 8; and by more than factors alone."""
    assert all(divergence(bits, "shift_scale") < 0.65 * divergence(bits) for bits in (4, 6, 8))
    assert divergence(4, "shift_scale") < divergence(4, "smooth")


def test_channels_of_both_signs_are_centred() -> None:
    model, x = normalized()
    found = data(x, model.graph)
    network = FloatNetwork.of(model.graph)
    own = next(iter(fit(TransformContext(model.graph, Statistics(network, found), found)).values()))
    assert max(map(abs, own["shift"])) > 10 and min(own["scale"]) == 1 < max(own["scale"])
    graph = after(model, ("shift_scale",), found)
    point = next(p for p in points(graph) if len(p.layers) == 2)
    rows = point.rows(Statistics(FloatNetwork.of(graph), found))
    assert abs(rows.max(axis=0) + rows.min(axis=0)).max() < 1e-3
