"""A Brevitas module with an example input goes the whole way."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NO_TORCH

import qcompile as qc


@pytest.fixture(scope="module")
def module() -> Any:
    """Imported where it is used: that takes seconds."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    qnn = pytest.importorskip("brevitas.nn", reason=NO_TORCH)
    from brevitas.quant import Int8ActPerTensorFloat

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        qnn.QuantIdentity(bit_width=8, act_quant=Int8ActPerTensorFloat, return_quant_tensor=True),
        qnn.QuantLinear(16, 12, bias=True, weight_bit_width=4),
        torch.nn.BatchNorm1d(12),
        qnn.QuantReLU(bit_width=4),
        qnn.QuantLinear(12, 5, bias=True, weight_bit_width=6),
    )
    for _ in range(5):
        module(torch.randn(64, 16))
    return module.eval()


def test_module(module: Any, tmp_path: Path) -> None:
    import torch

    x = torch.randn(50, 16)
    wanted = module(x).detach().numpy()
    before = copy.deepcopy(module.state_dict())
    design = qc.compile(qc.load(module, torch.randn(1, 16)))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), module.state_dict().values(), strict=True))
    found = design.simulate(x.numpy()).reshape(50, 5)
    assert np.abs(found - wanted).max() <= 2.0**-20 * np.abs(wanted).max()
    design.write(tmp_path / "project")
    assert [r.differing for r in qc.verify(tmp_path / "project", x.numpy(), samples=100).rows] == [0, 0, 0, 0]


def test_module_without_example(module: Any) -> None:
    with pytest.raises(qc.QCompileError, match="a torch module needs an example input"):
        qc.load(module)
