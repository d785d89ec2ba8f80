"""Finetuning: codes, steps, binary points, offsets and equalisation vectors of all layers together, trained against the
float network in the arithmetic of the compiled one. Methods of `methods/rounding` say what of it they use.

On the CPU it computes in float64 on one thread, so that sums come in one order: same seed, same bytes, on any number of
threads, and also where a run was interrupted and goes on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.assignment.gradients import one_thread, torch_module
from qcompile.assignment.jobs import keep
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.rounding import NetworkProblem
from qcompile.assignment.student import LEAST, Moment, Student
from qcompile.errors import QCompileError
from qcompile.records import dataclass

RAMP = 0.7  # of the epochs, until which the price moves; half of them until the logic is what is allowed
SEEN = (0.2, 0.35, 0.45, 0.55, 0.65)  # of the epochs: where the whole design is asked what it takes
GAIN = 0.01  # of the price, per step and logarithm of too much logic
NEAR = 0.98  # of what the design may take
SPAN, LOOKS = 2.0, 7  # of the price at the end, and plans that bisection looks at, until the design fits
STEPS, FEWEST = 15, 8  # of an epoch, and vectors of a step


@dataclass(frozen=True)
class Recipe:
    """What a method trains and how. epochs: over the data; batch: vectors of a step at most, fewer where an epoch has
    less than `STEPS` of them; rate: of Adam, in standard deviations of a layer's weights, falling to 0 as a cosine;
    labels: weight of the cross entropy beside the divergence, where they are given; mixed: share of the vectors of a
    step that are mixed with others (the teacher sees them too; Beyer et al., arXiv 2106.05237); temperature: outputs
    are divided by it before they are compared (Hinton et al., arXiv 1503.02531), so that vectors of which the float
    network is sure say something too; hidden: weight of what all layers' outputs lose, as `digits` has it;
    scales: rate of steps (binary points) and equalisation vectors, in that of the weights: they take all codes of a
    layer along, which a short training does not make up for; shape: weight of what the weights of layers are off an
    even distribution (EQ-Net), which does not pay on digits.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 0.01
    labels: float = 0.0
    mixed: float = 0.5
    temperature: float = 2.0
    hidden: float = 1.0
    scales: float = 0.0
    shape: float = 0.0

    @property
    def options(self) -> dict[str, float]:
        """Numbers that the user may set."""
        return asdict(self)

    def student(self, problem: NetworkProblem) -> Student:
        """What is trained: methods that train it in another way have one of their own."""
        return Student(problem, problem.device)


def finetune(problem: NetworkProblem, recipe: Recipe) -> Plan:
    """The plan of a problem, trained. QCompileError where there is no torch, or not the device that is asked for."""
    check_device(problem.device)
    recipe = replace(recipe, **problem.options)  # type: ignore[arg-type]
    with one_thread():
        return _Training(problem, recipe).run()


def check_device(device: str) -> None:
    """QCompileError where it is not there."""
    torch = torch_module("finetuning needs", "--rounding digits or adaround do without")
    if device != "cpu" and not torch.cuda.is_available():
        raise QCompileError("torch finds no GPU here", f"--device {device}", "leave --device out: the CPU")


class _Training:
    def __init__(self, problem: NetworkProblem, recipe: Recipe) -> None:
        self.problem, self.recipe, self.room = problem, recipe, problem.room
        s = self.student = recipe.student(problem)
        self.torch, self.data = s.torch, problem.study.evaluation.data
        self.rows = problem.rows
        self.inputs = {k: s.xp.array(v) for k, v in s.network.start(self.data.x).items()}
        self.goal = _goal(s, recipe)
        rates = {n: recipe.rate * s.speed(n, recipe.scales) for n in s.parameters}
        groups = [{"params": [p], "base": rates[n]} for n, p in s.parameters.items()]
        self.adam = self.torch.optim.Adam(groups, lr=recipe.rate, foreach=False)
        self.batch = min(recipe.batch, max(len(self.rows) // STEPS, FEWEST))
        self.steps = recipe.epochs * math.ceil(len(self.rows) / self.batch)
        self.epoch = self.step = 0
        self.first = self.allowed = 0.0  # LUTs by the prices of codes: of the nearest ones, and in the end
        self.checkpoint = _Checkpoint.of(problem, recipe)

    def run(self) -> Plan:
        self._restore(self.checkpoint.read(self.torch))
        seen = {round(share * self.recipe.epochs) for share in SEEN}
        while self.epoch < self.recipe.epochs:
            if self.room is not None and self.epoch in seen:
                self._look(self.student.plan())
            self._train()
            self.epoch += 1
            self.checkpoint.write(self.torch, self._state())
            self.problem.study.jobs.progress("finetuning", self.epoch, self.recipe.epochs)
        return self._fitting()

    def _train(self) -> None:
        """An epoch."""
        rng = np.random.default_rng((self.problem.study.seed, self.epoch))
        order = rng.permutation(self.rows)
        for i in range(0, len(order), self.batch):
            part = self.step / self.steps
            for g in self.adam.param_groups:
                g["lr"] = g["base"] * 0.5 * (1 + math.cos(math.pi * part))
            rows = np.sort(order[i : i + self.batch])
            inputs = self._mixed(rows, rng)
            self.adam.zero_grad()
            self.student.moment = Moment(part, rng)
            self._loss(inputs, rows).backward()
            self.student.moment = None
            self.adam.step()
            self._reprice(part)
            self.step += 1

    def _loss(self, inputs: dict[str, Numbers], rows: np.ndarray) -> Numbers:
        s, recipe = self.student, self.recipe
        y, hidden = s.teacher(inputs)
        loss = self.goal(s.outputs(inputs), rows, y)
        loss = loss + recipe.hidden * s.distance(hidden) if recipe.hidden else loss
        return loss + recipe.shape * s.unevenness() if recipe.shape else loss

    def _mixed(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Numbers]:
        """Inputs of a step: some of them with a part of another vector each."""
        others, parts = rng.choice(self.rows, len(rows)), rng.random(len(rows))
        parts = np.where(rng.random(len(rows)) < self.recipe.mixed, parts, 0.0)
        xp = self.student.xp
        some, other = (self.torch.from_numpy(r).to(xp.device) for r in (rows, others))
        part = xp.array(parts)
        return {
            k: v[some] + (v[other] - v[some]) * part.reshape(-1, *(1,) * (v.ndim - 1)) for k, v in self.inputs.items()
        }

    def _reprice(self, part: float) -> None:
        """The price follows the logic, which is to come to what is allowed; then it stays, and codes settle."""
        if self.room is not None and part < RAMP:
            s = self.student
            allowed = self.first * (self.allowed / self.first) ** min(1.0, 2 * part / RAMP)
            s.price = max(LEAST, s.price * (s.taken() / allowed) ** GAIN)
        elif self.room is not None:
            self.student.taken()

    def _look(self, plan: Plan) -> float:
        """LUTs of a plan by the prices of codes; with how many its design would take what it may."""
        assert self.room is not None
        s, total = self.student, 0.0
        for one in s.weights.values():
            if one.priced is not None:
                units = plan.tensors[one.tensor.name].units
                assert isinstance(units, np.ndarray)
                places = s.torch.searchsorted(one.grid, s.xp.array(units.astype(np.float64)).contiguous())
                total += s.luts(one, places)
        self.allowed = max(total * self.room(plan) * NEAR, LEAST)
        return max(total, LEAST)

    def _fitting(self) -> Plan:
        """The plan, at the least price of codes near the present one at which its design fits."""
        s, plan = self.student, self.student.plan()
        if self.room is None:
            return plan
        present, best = s.price, plan if self.room(plan) >= 1 else None
        low, high = (0.0, 1.0) if best is None else (-1.0, 0.0)  # exponents of what the price is multiplied by
        for _ in range(LOOKS):
            middle = (low + high) / 2
            s.price = present * SPAN**middle
            found = s.plan()
            if self.room(found) >= 1:
                best, high = found, middle
            else:
                low = middle
        return best or plan

    def _state(self) -> dict[str, Any]:
        s = self.student
        return {
            "epoch": self.epoch,
            "step": self.step,
            "numbers": [self.first, self.allowed, s.price],
            "parameters": {n: p.detach().cpu() for n, p in s.parameters.items()},
            "tables": {n: one.priced.table.cpu() for n, one in s.weights.items() if one.priced is not None},
            "adam": self.adam.state_dict(),
        }

    def _restore(self, state: dict[str, Any] | None) -> None:
        s = self.student
        if state is None:
            if self.room is not None:
                self.first = self._look(self.problem.plan)
                s.price = max(self.problem.price, LEAST)
            return
        self.epoch, self.step = state["epoch"], state["step"]
        self.first, self.allowed, s.price = state["numbers"]
        with self.torch.no_grad():
            for name, p in s.parameters.items():
                p.copy_(state["parameters"][name])
        for name, table in state["tables"].items():
            own = s.weights[name].priced
            assert own is not None
            own.table = table.to(s.xp.device)
        self.adam.load_state_dict(state["adam"])


def _goal(student: Student, recipe: Recipe) -> Callable[[Numbers, np.ndarray, Numbers], Numbers]:
    """Divergence of outputs (rows, K) from the float network's, with cross entropy where there are labels; of
    regressions the squared error.
    """
    e, torch, labels = student.problem.study.evaluation, student.torch, student.problem.study.evaluation.data.labels
    if e.loss.kind == "mse":
        return lambda y, rows, teacher: ((y - teacher) / e.loss.spread).square().mean()
    heat = recipe.temperature
    share = recipe.labels if labels is not None and labels.dtype.kind in "iu" else 0.0
    share = 1.0 if e.loss.kind == "cross_entropy" else share

    def goal(y: Numbers, rows: np.ndarray, teacher: Numbers) -> Numbers:
        own, target = torch.log_softmax(y / heat, dim=1), torch.log_softmax(teacher / heat, dim=1)
        loss = (target.exp() * (target - own)).sum(dim=1).mean() * heat**2
        if share:
            assert labels is not None
            right = torch.log_softmax(y, dim=1)[np.arange(len(rows)), labels[rows].astype(np.int64)]
            loss = loss - share * right.mean()
        return loss

    return goal


@dataclass(frozen=True)
class _Checkpoint:
    """The state after an epoch, in the folder of the cache. path: None without one."""

    path: Path | None

    @staticmethod
    def of(problem: NetworkProblem, recipe: Recipe) -> _Checkpoint:
        """By everything that decides the training."""
        folder = problem.study.jobs.cache.folder
        if folder is None:
            return _Checkpoint(None)
        sources = [Path(__file__), Path(__file__).with_name("student.py"), Path(inspect.getfile(type(recipe)))]
        decisive = [problem.study.evaluation.digest, problem.plan.digest, problem.price, problem.rows.tolist()]
        decisive += [problem.study.seed, recipe, problem.device, sorted(problem.configuration.items())]
        decisive += [torch_module().__version__, problem.room and sorted(problem.room.limits.items())]
        hasher = hashlib.sha256(repr(decisive).encode() + b"".join(p.read_bytes() for p in sources))
        return _Checkpoint(folder / f"finetune-{hasher.hexdigest()[:40]}.pt")

    def read(self, torch: Any) -> dict[str, Any] | None:
        """None where there is none, or a damaged one."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            return dict(torch.load(self.path, weights_only=True))
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            return None

    def write(self, torch: Any, state: dict[str, Any]) -> None:
        """Written whole: a run that is interrupted leaves the old one."""
        if self.path is None:
            return
        held = io.BytesIO()
        torch.save(state, held)
        keep(self.path.parent, self.path.name, held.getvalue())
