"""Windows of layers."""

import pytest
from studies import CNN, MLP, designs

import qcompile as qc
from methods.rounding.networks import branches
from methods.rounding.windows import check, error_of_one_layer
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.reconstruction import windows

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


@pytest.mark.parametrize(
    ("model", "candidates"),
    [(MLP, "int3"), (MLP, "fixed4"), (CNN, "float4"), (CNN, "minifloat3"), (MLP, "pow23"), (branches(), "int3")],
    ids=["int", "fixed", "float", "minifloat", "pow2", "branches"],
)
def test_it_beats_nearest_on_any_grid(model: qc.Model, candidates: str) -> None:
    check("cbq", model, candidates)


@pytest.mark.parametrize(("candidate", "most"), [("int3", 0.0185), ("int2", 0.0940)])
def test_error_of_one_layer(candidate: str, most: float) -> None:
    own, nearest = error_of_one_layer("cbq", candidate)
    assert own <= most < nearest


def test_windows_are_what_lies_between_layers() -> None:
    """Branches beside one another are no window; a window ends with the last layer."""
    chain, net = FloatNetwork.of(CNN.graph), FloatNetwork.of(branches().graph)
    one, two, three = (n.output.name for n in CNN.graph.nodes if n.op.products)
    assert windows(chain, [one, two, three], 2, 1) == [(one, two), (two, three)]
    assert windows(chain, [one, two, three], 3, 2) == [(one, two, three)]
    assert windows(chain, [one, two, three], 2, 2) == [(one, two), (three,)]
    assert windows(chain, [one], 2, 1) == [(one,)]
    assert windows(net, ["ya", "yb", "yc", "y"], 2, 1) == [("ya", "yb"), ("yb",), ("yc",), ("yc", "y")]


def test_low_rank_and_dropped_numbers_learn_too() -> None:
    """And same seed is same codes."""
    found = {}
    for option in ("rank=2", "drop=0.5", "drop=0.5 "):
        own = designs(MLP, rows=32, rounding="cbq", candidates="int3", rounding_options=("steps=60", option.strip()))
        found[option] = own.plan((0,) * len(own.study.variables)).digest
    assert found["drop=0.5"] == found["drop=0.5 "] != found["rank=2"]
