"""The recipe of the study of gradient-based rounding."""

import pytest
from studies import CNN, MLP

import qcompile as qc
from methods.rounding.windows import check, error_of_one_layer

torch = pytest.importorskip("torch", reason="needs torch: pip install 'qcompile[torch]'")


@pytest.mark.parametrize(("model", "candidates"), [(MLP, "int3"), (CNN, "minifloat3")], ids=["mlp", "cnn"])
def test_it_beats_nearest(model: qc.Model, candidates: str) -> None:
    check("gradient", model, candidates)


def test_error_of_one_layer() -> None:
    own, nearest = error_of_one_layer("gradient", "int3")
    assert own <= 0.0185 < nearest
