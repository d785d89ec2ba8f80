"""The ratio of two measures, scanned."""

from dataclasses import replace

import numpy as np
import pytest

import qcompile as qc
from methods.search.problems import instance
from qcompile.assignment.methods.search.decoupled import decoupled
from qcompile.assignment.methods.search.ilp import ilp
from qcompile.assignment.problem import CostTable, Request


def test_it_finds_what_one_measure_is_worth_in_the_other() -> None:
    """The true loss counts one measure 30 times; a program that adds both as they are loses more."""
    problem = replace(instance(np.random.default_rng(3), 6, False, 4), judged=("a", "b") * 3)
    worth = (1, 30) * 3
    true = CostTable(tuple(u * w for u, w in zip(problem.loss.unary, worth, strict=True)))
    limits = {"lut": sum(float(u.mean()) for u in problem.costs["lut"].unary)}
    found = decoupled(problem, Request(limits, evaluate=true.of))
    joint, best = ilp(problem, Request(limits)), ilp(replace(problem, loss=true), Request(limits))
    assert problem.fits(found, limits)
    assert true.of(best) <= true.of(found) < true.of(joint) and true.of(found) < 1.1 * true.of(best)
    with pytest.raises(qc.QCompileError, match="several measures"):
        decoupled(replace(problem, judged=()), Request(limits, evaluate=true.of))
