"""Vectors that codes are not fitted to judge plans."""

from functools import partial

import pytest
from studies import CALIBRATION, MLP

from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.plan import Plan
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning.prepare import prepare
from qcompile.planning.task import Task

pytest.importorskip("torch")

SOME = {"metric": "sqnr", "candidates": "fixed6", "rounding": "digits"}


def task(rows: int, **more: object) -> Task:
    found = partial(data, CALIBRATION["x"][:rows], MLP.graph, CALIBRATION["labels"][:rows])
    settings = Settings(**{**SOME, **more})  # type: ignore[arg-type]
    return prepare(MLP, settings, Options(part="xczu7ev"), {"lut": 10**9}, Jobs(), found)


def test_one_of_four_judges_codes_that_are_fitted_to_the_others() -> None:
    """What the search sees of a plan is the loss of others; what the float network loses is of the same."""
    own = task(128)
    d, choice = own.designs, (0,) * len(own.designs.study.variables)
    point, (on, loss) = d.at(1e-5).exact(choice), d.judges
    fitted = d.problem(point.plan, d.configuration(choice)).rows
    assert (len(fitted), len(on)) == (96, 32) and any("32 vectors" in note for note in own.notes)
    x = d.study.evaluation.data.x[0]
    assert not {a.tobytes() for a in x[fitted]} & {a.tobytes() for a in on.x[0]}
    assert point.loss == d.measured("", point.plan, on, loss).loss
    e = d.study.evaluation
    assert point.loss > 1.5 * d.measured("", point.plan, e.data.take(fitted), e.loss.take(fitted)).loss
    assert d.float_loss == 0.0 and len(d.float_outputs) == 32


@pytest.mark.parametrize("rows, more", [(48, {}), (128, {"max_loss": 0.1}), (128, {"rounding": "rtn"})])
def test_all_judge_where_they_are_few_or_others_accept_or_nothing_is_fitted(rows: int, more: dict[str, object]) -> None:
    own = task(rows, **more).designs
    assert len(own.judges[0]) == len(own.study.evaluation.data) == len(own.problem(Plan({}), {}).rows)
