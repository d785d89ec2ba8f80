"""Codes that are cheap as constants."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from studies import CALIBRATION, CNN, MLP, designs

import qcompile as qc
from qcompile import planning
from qcompile.assignment import together
from qcompile.assignment.data import data
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.methods.rounding.digits import _eliminated, _refitted
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import outputs_read, prices
from qcompile.assignment.pruning import halved
from qcompile.assignment.rounding import Rounder
from qcompile.cost.exchange import fabric_of
from qcompile.errors import QCompileError
from qcompile.formats import FixedPoint
from qcompile.options import Settings
from qcompile.pipeline import Options
from qcompile.planning import priced
from qcompile.planning.designs import Designs, logits
from qcompile.planning.prepare import prepare


def points(name: str, price: float, bits: tuple[int, int]) -> tuple[Designs, float, float, np.ndarray]:
    """LUTs, loss on the data and codes of the first layer, of weights and activations of so many bits."""
    more = {"transforms": ("fold_bn", "bias_correct")} if name != "rtn" else {}
    d = designs(MLP, candidates="fixed3-6", rows=128, rounding=name, **more)
    d = replace(d, options=replace(d.options, part="xczu7ev"), price=price)
    weights = {t.name for t in d.study.weights}
    plan = d.plan(tuple(bits[group[0] not in weights] - 3 for group in d.study.variables))
    design, e = d.design(plan), d.study.evaluation
    units = next((c.units for c in plan.tensors.values() if isinstance(c.units, np.ndarray)), np.zeros(1))
    return d, design.estimate().total.lut, e.loss(logits(design, e.data)), units


def test_a_price_buys_logic_for_loss() -> None:
    """Against plans that are rounded to nearest: less of both. Codes go to zero as the price rises."""
    _, lut, loss, _ = points("rtn", 0, (4, 4))
    found = [points("digits", price, (6, 4)) for price in (1e-7, 3e-6, 1e-5)]
    assert found[1][1] < 0.86 * lut and found[1][2] < 0.8 * loss
    assert found[0][1] > found[1][1] > found[2][1]
    zeros = [float((units == 0).mean()) for *_, units in found]
    assert zeros[0] < zeros[1] < zeros[2] and zeros[2] > 0.4


@pytest.mark.parametrize("model, block", [(MLP, 1), (CNN, 4)])
def test_rows_that_nobody_reads_are_found(model: qc.Model, block: int) -> None:
    """Past activations and pools; behind a flattened image a channel is a block of inputs."""
    layers = list(Rounder.of("digits", model.graph, designs(model, rows=8).study.weights, 0).layers.values())
    found = {node.output.name: np.ones(t.shape) for node, t in layers}
    (before, _), (last, _) = layers[-2:]
    found[last.output.name][block : 3 * block] = 0
    found[last.output.name][2 * block, 0] = 1
    read = outputs_read(model.graph, before, found)
    assert read is not None and np.flatnonzero(~read).tolist() == [1]
    assert outputs_read(model.graph, last, found) is None
    for node, _ in layers[:-2]:
        read = outputs_read(model.graph, node, found)
        assert read is not None and read.all()


def test_without_torch_the_loss_of_noise_stands_for_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("priced_layers", "methods.rounding.digits"):
        monkeypatch.setattr(f"qcompile.assignment.{module}.torch_is_there", lambda: False)
    _, lut, loss, _ = points("rtn", 0, (4, 4))
    _, own, lost, _ = points("digits", 3e-6, (6, 4))
    assert own < 0.86 * lut and lost < loss


def test_prices_of_codes_are_those_of_the_fabric() -> None:
    """Nothing for 0, one for all powers of two, more with every digit, and the same for both signs."""
    grid = FixedPoint(6).grid().astype(float)
    sums, multiples, odd = prices(fabric_of("xczu7ev"), grid, FixedPoint(4, signed=False))
    cost = dict(zip(grid.astype(int).tolist(), (sums + multiples).tolist(), strict=True))
    assert cost[0] == 0 < cost[1] == cost[2] == cost[16] == cost[-32]
    assert cost[1] < cost[3] == cost[-3] == cost[12] < cost[11] == cost[22] and cost[1] < cost[7] == cost[28]
    assert len(set(odd.tolist())) == 17


OPTIONS = {
    "part": "xczu7ev",
    "metric": "sqnr",
    "candidates": "fixed6",
    "restrict": ("kind=activation:fixed4",),
    "rounding": "digits",
    "baselines": False,
}


def test_one_price_keeps_the_budget_and_replays() -> None:
    run = planning.run(MLP, CALIBRATION["x"][:64], budget="lut=9000", minimize="loss", **OPTIONS)
    assert 0.9 * 9000 < run.chosen.cost.lut <= 9000
    design = qc.compile(MLP, Plan.parse(run.plan.to_json()), part="xczu7ev")
    assert design.estimate().total.lut == run.chosen.cost.lut
    on, loss = run.task.designs.judges
    assert len(on) == 16 and loss(logits(design, on)) == run.chosen.loss


def test_a_target_is_met_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to nearest, 4 bits of both take 16,500 LUTs for a loss of 0.02."""
    monkeypatch.setattr(priced, "HALVINGS", 5)
    monkeypatch.setattr(priced, "MOVES", 4)
    monkeypatch.setattr(priced, "LADDER", 3)
    monkeypatch.setattr(together, "ROUNDS", 1)
    run = planning.run(MLP, CALIBRATION["x"][:96], max_loss=0.05, **OPTIONS)
    assert run.accepted is not None and run.accepted.met and run.chosen.loss <= 0.05
    assert run.chosen.cost.lut < 12000


@pytest.mark.parametrize(
    "model, rounding, arch, expected",
    [(CNN, "digits", "parallel", True), (CNN, "gptq", "parallel", False), (CNN, "digits", "dataflow", False)]
    + [(MLP, "digits", "parallel", False)],
)
def test_layers_of_convolutions_get_equal_ranges(model: qc.Model, rounding: str, arch: str, expected: bool) -> None:
    """Unasked, where codes are logic; the plan says so and the float network stays what it is."""
    settings = Settings(rounding=rounding, metric="sqnr", candidates="fixed4")
    found = partial(data, CALIBRATION["x"][:32], model.graph)
    task = prepare(model, settings, Options(arch=arch), {"lut": 10**9}, Jobs(), found)
    assert ("equalize" in task.designs.settings.transforms) == expected
    assert any("equal ranges" in note for note in task.notes) == expected
    x = task.designs.study.evaluation.data.x
    before = FloatNetwork.of(model.graph)
    want = before.run(before.start(x))[before.output]
    assert np.allclose(task.designs.study.evaluation.outputs({}), want.reshape(32, -1), atol=1e-4)


def test_channels_go_in_the_order_of_their_harm() -> None:
    """What channels add to the loss, one after the other, is what the best fit of the others loses; the first is the
    one that harms least.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12))
    w, fisher = rng.standard_normal((1, 5, 12)), rng.uniform(1, 2, (1, 5, 1))
    h = (x.T @ x / len(x))[None]
    layer = SimpleNamespace(w=w, h=h, fisher=fisher, step=np.ones((1, 5, 1)))
    order, harm = _eliminated([layer], 4)  # of 3 terms each

    def lost(gone: list[int]) -> float:
        dead = np.repeat(np.isin(np.arange(4), gone), 3)
        off = _refitted(layer, dead) - w
        assert not _refitted(layer, dead)[:, :, dead].any()
        return float(np.einsum("ok,kl,ol,o->", off[0], h[0], off[0], fisher[0, :, 0]))

    assert order[0] == min(range(4), key=lambda c: lost([c]))
    for k in range(1, 4):
        assert np.isclose(harm[:k].sum(), lost(order[:k].tolist()), rtol=1e-4)


def test_folded_layers_lose_channels() -> None:
    """At a rate: fewer channels and bits for less than 0.7 of what uniform 8 bits take, and the plan replays."""
    options = {**OPTIONS, "candidates": "fixed5,fixed8", "restrict": (), "part": "xc7z020", "transforms": ("fold_bn",)}
    options |= {"fit": True, "target_fps": 1e6, "max_loss": 0.05, "minimize": "lut", "baselines": True}
    run = planning.run(CNN, CALIBRATION["x"][:96], **options)
    assert run.chosen.loss <= 0.05 and run.chosen.cost.interval <= 200
    assert run.chosen.cost.lut < 0.7 * run.baselines[-1].cost.lut
    design = qc.compile(CNN, Plan.parse(run.plan.to_json()), part="xc7z020")
    assert design.estimate().total == run.chosen.cost
    assert "its formats, to nearest" in [one.name for one in run.steps]  # folded anew: it has all channels
    channels = [n.output.type.shape[1] for n in design.graph.nodes if n.op.products]
    assert sum(channels) < 6 + 12 + 10


@pytest.mark.parametrize("more", [{"fit": True, "max_loss": 0.1}, {"search": "greedy"}])
def test_what_has_no_price_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(QCompileError, match="price"):
        planning.run(MLP, CALIBRATION["x"], part="xczu7ev", rounding="digits", **more)


def test_two_of_four_go_that_harm_least() -> None:
    """Less is lost than where the smallest weights go and the others are fitted anew; the fit is the best."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 24)) @ rng.standard_normal((24, 24))
    w, h = rng.standard_normal((6, 24)), x.T @ x / len(x)
    blocks = np.arange(24).reshape(2, 4, 3).swapaxes(1, 2).reshape(-1, 4)  # 8 channels at 3 places

    def fitted(gone: np.ndarray) -> np.ndarray:
        found = np.zeros_like(w)
        for row, left in enumerate(~gone):
            found[row, left] = np.linalg.solve(h[np.ix_(left, left)], h[left] @ w[row])
        return found

    def lost(found: np.ndarray) -> float:
        return float(np.einsum("ok,kl,ol->", found - w, h, found - w))

    found, gone = halved(w, h, blocks)
    smallest = np.zeros_like(gone)
    for block in blocks:
        np.put_along_axis(smallest, block[np.argsort(np.abs(w[:, block]), axis=1)[:, :2]], True, axis=1)
    assert (gone[:, blocks].sum(axis=2) == 2).all() and not found[gone].any()
    assert lost(found) < 0.8 * lost(fitted(smallest))
    assert lost(found) < 1.05 * lost(fitted(gone))
