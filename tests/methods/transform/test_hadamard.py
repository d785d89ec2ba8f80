"""Rotations by additions."""

import numpy as np
import pytest
from studies import CNN

import qcompile as qc
from methods.transform.checks import after, check, check_compiled, check_normalized
from qcompile.assignment.methods.transform.hadamard import block, matrix


def test_it_is_exact() -> None:
    check("fold_bn", "hadamard", models=("MLP",))
    check_normalized("hadamard")
    with pytest.raises(qc.QCompileError, match="can be rotated"):
        after(CNN, ("hadamard",))


def test_it_is_compiled() -> None:
    """The rotation keeps its ones and minus ones."""
    check_compiled("hadamard", share=0.01)


@pytest.mark.parametrize("count", [4, 12, 32])
def test_the_matrix_is_orthogonal(count: int) -> None:
    h = matrix(count)
    assert np.array_equal(h.T @ h, block(count) * np.eye(count)) and set(np.unique(h)) <= {-1, 0, 1}
