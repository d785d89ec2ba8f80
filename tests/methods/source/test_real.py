"""The user's data."""

from studies import CALIBRATION, MLP

from qcompile.assignment.data import data
from qcompile.assignment.jobs import silent
from qcompile.assignment.methods import SourceMethod


def test_data_are_the_users() -> None:
    given = data(CALIBRATION["x"], MLP.graph)
    source = SourceMethod.find("real")
    assert source.run(MLP.graph, lambda: given, 0, silent, None) is given and not source.makes
