"""One layer on correlated inputs."""

import numpy as np

from qcompile.assignment.candidates import Candidate, parse
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.ranges import fit
from qcompile.assignment.rounding import RoundingProblem, outputs

CANDIDATES = ["int3", "int4", "float4", "minifloat3", "pow23"]


def layer(candidate: str) -> RoundingProblem:
    """32 inputs, 24 outputs, 512 rows."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(512, 32)) @ rng.normal(size=(32, 32)) / 6 + 0.3, 0)
    w = rng.standard_t(5, size=(24, 32)) * 0.1
    q = fit(w, parse(candidate)[0] if candidate != "pow23" else Candidate("pow2", 3), "mse", 0, True)
    return RoundingProblem(x[:, None], x[:, None], w[None], (w / q.steps(2))[None], q.steps(2)[None], q, 0)


def relu_layer(candidate: str, seed: int) -> RoundingProblem:
    """64 correlated inputs behind a ReLU, 48 outputs, 1,024 rows: the kind of layer that figures are published of."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(1024, 64)) @ rng.normal(size=(64, 64)) / 8, 0)
    w = rng.normal(size=(48, 64)) / 8
    q = fit(w, parse(candidate)[0], "mse", 0, True)
    return RoundingProblem(x[:, None], x[:, None], w[None], (w / q.steps(2))[None], q.steps(2)[None], q, 0)


def share(problem: RoundingProblem, units: np.ndarray) -> float:
    """Of the outputs' power that is error."""
    return problem.error(units) / float(np.square(outputs(problem.target, problem.w)).mean())


def check(method: str, candidate: str) -> None:
    """Layer error well below that of rounding to nearest, and all numbers have codes."""
    problem = layer(candidate)
    units, nearest = (RoundingMethod.find(m).run(problem) for m in (method, "rtn"))
    problem.quantizer.format.encode(units.astype(np.int64))
    assert problem.error(units) < 0.8 * problem.error(nearest)
