"""The float digits networks, their data, and what a search knows of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from conftest import ROOT

import qcompile as qc
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.methods import RoundingMethod
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.rounding import Rounder
from qcompile.assignment.transforms import transformed
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning.designs import Designs, graph_transforms

FOLDER = ROOT / "examples"
CALIBRATION = np.load(FOLDER / "digits_calibration.npz")
X, Y = np.load(FOLDER / "digits_x.npy"), np.load(FOLDER / "digits_y.npy")
MLP, CNN = (qc.load(FOLDER / f"digits_float_{n}.onnx") for n in ("mlp", "cnn"))


def designs(model: qc.Model, jobs: Jobs | None = None, rows: int = 256, **settings: object) -> Designs:
    """On so many images; no sensitivities and no tables yet."""
    own = Settings(**settings)  # type: ignore[arg-type]
    graph = transformed(model.graph, graph_transforms(own))
    found = data(CALIBRATION["x"][:rows], graph, CALIBRATION["labels"][:rows])
    made = Designs.of(model, own, Options(), jobs or Jobs(), graph, FloatNetwork.of(graph), found)
    if own.rounding == "rtn" or RoundingMethod.find(own.rounding).scope != "layer":
        return made
    rounder = Rounder.of(own.rounding, graph, made.study.weights, own.seed)
    return replace(made, study=made.study.rounded(rounder))
