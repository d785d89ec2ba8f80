"""Codes of all layers together: descent on the loss of the whole network, so that a code makes up for what one of
another output or another layer loses.

Layer by layer, every output channel is weighed by itself and by its mean over the data. The loss sees less: hardly
anything of a vector whose class is plain, and nothing of errors that cancel further on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qcompile.assignment.exact import product, significant
from qcompile.assignment.gradients import CLASSES, one_thread
from qcompile.assignment.network import Numbers
from qcompile.assignment.plan import Plan
from qcompile.assignment.priced_layers import PricedLayer
from qcompile.assignment.rounding import NetworkProblem, columns, folded, unfolded
from qcompile.assignment.student import Student
from qcompile.assignment.tensors import QuantTensor
from qcompile.ir import Node, ops
from qcompile.records import dataclass

ROUNDS, SWEEPS = 3, 6  # times that the network is looked at anew, and sweeps over all codes each time
OUTPUTS = 0.03  # weight of the squared error of outputs beside their divergence, which says little of plain vectors
ALONE = 0.4  # share of what layers lose alone: some hundred vectors tell that better than how errors meet
DAMP = 1e-3  # of the mean curvature of offsets
NUMBERS, FEWEST = 2**24, 128  # of a Jacobian at most, and vectors that it is of at least
GRAIN = 2.0**-40  # of the largest number: noise of a factorization must not decide between codes


@dataclass(frozen=True)
class JointLayer:
    """gone: weights that stay 0, to be broadcast to (groups, outputs, terms)."""

    node: Node
    tensor: QuantTensor
    priced: PricedLayer
    gone: np.ndarray | None = None

    @property
    def offsets(self) -> str:
        """Its name among the offsets of a plan."""
        return self.node.origin.node or self.node.output.name


def together(problem: NetworkProblem, plan: Plan, layers: Sequence[JointLayer], price: float) -> Plan:
    """The plan with codes c and offsets b of these layers of least (1 - a) (g d + d C d / 2) + a * (what the layers
    lose alone, as `digits` has it) + price * LUT(c). d: what (s c, b) differ from those of the plan by; g, C: gradient
    and Gauss-Newton curvature, at the plan, of the divergence and `OUTPUTS` / 2 * the squared error of the outputs,
    past the rounding of activations. By coordinate descent, input after input, b being always the best one; then once
    more from what was found. Of all rounds the best (ours; curvature of the whole network for its codes: optimal brain
    surgeon, Hassibi and Stork, 1993).

    The same plan where the network is too large for a Jacobian of enough vectors.
    """
    numbers = sum(layer.priced.w.size for layer in layers) * min(CLASSES, problem.graph.outputs[0].type.size)
    count = min(len(problem.rows), NUMBERS // max(1, numbers))
    if not layers or count < min(FEWEST, len(problem.rows)):
        return plan
    some = np.sort(np.random.default_rng(problem.study.seed).choice(problem.rows, count, replace=False))
    with one_thread():
        best = now = _Look(problem, plan, layers, some, price)
        for _ in range(ROUNDS):
            now = _Look(problem, now.descended(), layers, some, price)
            best = min(best, now, key=lambda look: look.worth)
    return best.plan


def lost(problem: NetworkProblem, plan: Plan) -> float:
    """The loss of a plan on the vectors that codes are fitted to."""
    e, student = problem.study.evaluation, Student(replace(problem, plan=plan, room=None), "cpu")
    with one_thread(), student.torch.no_grad():
        y = student.outputs({k: student.xp.array(v) for k, v in e.network.start(e.data.take(problem.rows).x).items()})
    return significant(float(e.loss.take(problem.rows)(y.numpy())))


class _Codes:
    """Codes of a layer while they change. place: on its grid; off: (what they are - what outputs want) * h, as
    (groups, outputs, terms).
    """

    def __init__(self, layer: JointLayer, plan: Plan) -> None:
        self.layer, own = layer, layer.priced
        units = unfolded(np.asarray(plan.tensors[layer.tensor.name].units, dtype=np.float64), layer.node)
        self.first, self.place = units, np.searchsorted(own.grid, units)
        self.off = product(units * own.step - own.w, own.h)
        self.kinds = int(own.odd.max()) + 1

    @property
    def moved(self) -> np.ndarray:
        """What the weights have changed by."""
        return np.asarray((self.layer.priced.grid[self.place] - self.first) * self.layer.priced.step)

    def users(self, term: int) -> np.ndarray:
        """(groups, kinds): outputs that use a multiple of an input."""
        kind = self.layer.priced.odd[self.place[:, :, term]]
        own = np.arange(len(kind))[:, None] * self.kinds + kind
        return np.bincount(own.ravel(), minlength=len(kind) * self.kinds).reshape(-1, self.kinds)

    def prices(self, term: int) -> np.ndarray:
        """LUTs of every number of the grid, (groups, outputs, numbers), as the others are now."""
        own = self.layer.priced
        kind = own.odd[self.place[:, :, term]]
        others = self.users(term)[:, None, own.odd] - (kind[:, :, None] == own.odd)
        return np.asarray(own.sums + own.multiples / (others + 1))

    def luts(self) -> float:
        """All of them."""
        terms = range(self.place.shape[2])
        return float(sum(np.take_along_axis(self.prices(k), self.place[:, :, k, None], 2).sum() for k in terms))

    def swept(self, k: int, field: _Field, shift: np.ndarray, price: float) -> bool:
        """The codes of a term, output after output where one is to move. shift: what the outputs have moved by, of the
        directions of the curvature; follows.
        """
        own, grid = self.layer.priced, self.layer.priced.grid
        bend = 2 * ALONE * own.fisher[:, :, 0]
        curve = field.curve[k] + bend * own.h[:, k, k, None]
        stays = None if self.layer.gone is None else np.broadcast_to(self.layer.gone, own.w.shape)[:, :, k]

        def best(some: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
            """(place of the best number, whether that is another one) of outputs, (some of them)."""
            at = self.place[:, :, k][some][..., None]
            d = (grid - grid[at]) * np.broadcast_to(own.step, (*own.w.shape[:2], 1))[some]
            slope = field.slope[k][some] + np.einsum("...r,r->...", field.jacobian[k][some], shift)
            slope = slope + bend[some] * self.off[:, :, k][some]
            harm = d * (slope[..., None] + curve[some][..., None] / 2 * d) + price * self.prices(k)[some]
            if stays is not None:
                harm = np.where(stays[some][..., None] & (grid != 0), np.inf, harm)
            new = harm.argmin(axis=-1)
            least, now = (np.take_along_axis(harm, p, -1)[..., 0] for p in (new[..., None], at))
            return new, least < now - 1e-15

        moves = False
        for g, o in np.argwhere(best((slice(None), slice(None)))[1]).tolist():
            new, wanted = best((g, o))  # as the others are now
            if wanted:
                d = float((grid[new] - grid[self.place[g, o, k]]) * own.step[g, o, 0])
                self.place[g, o, k], moves = new, True
                shift += d * field.seen[k, g, o]
                self.off[g, o] += d * own.h[g, k]
        return moves


@dataclass(frozen=True)
class _Field:
    """Of a layer: jacobian of the outputs by weight, (terms, groups, outputs, rows), rows being directions of the
    curvature times vectors; seen: the same past what offsets make up for; slope: of the goal (terms, groups, outputs),
    likewise; curve: the second derivative by each weight; crossed: with the offsets, (terms * groups * outputs,
    offsets).
    """

    jacobian: np.ndarray
    seen: np.ndarray
    slope: np.ndarray
    curve: np.ndarray
    crossed: np.ndarray


class _Look:
    """The network at a plan, on some of the vectors. goal: what its outputs lose; worth: with the price of logic."""

    def __init__(
        self, problem: NetworkProblem, plan: Plan, layers: Sequence[JointLayer], rows: np.ndarray, price: float
    ) -> None:
        e, s = problem.study.evaluation, Student(replace(problem, plan=plan, room=None), "cpu")
        self.plan, self.price, self.student, self.count = plan, price, s, len(rows)
        start = {k: s.xp.array(v) for k, v in s.network.start(e.data.take(rows).x).items()}
        names = [layer.node.inputs[0].name for layer in layers]
        found = s.network.run(start, s.changes(), s.xp, keep=[s.network.output, *names])
        self.outputs, teacher = found[s.network.output].reshape(len(rows), -1), s.teacher(start)[0]
        self.goal, self.bends = e.loss.take(rows).torch(self.outputs, s.torch), self._bends(teacher)
        if e.loss.kind != "mse":
            off = self.outputs - teacher
            self.goal = self.goal + OUTPUTS / 2 * (off - off.mean(dim=1, keepdim=True)).square().mean()
        self.inputs = [columns(n.node, n.tensor, found[x].detach().numpy()) for n, x in zip(layers, names, strict=True)]
        self.codes = [_Codes(layer, plan) for layer in layers]
        self.worth = float(self.goal.detach()) + price * sum(codes.luts() for codes in self.codes)

    def _bends(self, teacher: Numbers) -> Numbers:
        """Curvature of the goal at the outputs, (vectors, outputs, outputs), between student and teacher."""
        torch, loss, count = self.student.torch, self.student.problem.study.evaluation.loss, teacher.shape[1]
        one = torch.eye(count, dtype=teacher.dtype)
        if loss.kind == "mse":
            return (one * (2 / count / loss.spread**2)).expand(len(teacher), -1, -1)
        p = (self.outputs.detach().softmax(dim=1) + teacher.softmax(dim=1)) / 2
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :] + OUTPUTS / count * (one - 1 / count)

    def _directions(self) -> list[Numbers]:
        """Vectors v (vectors, outputs) with sum v v^T = curvature; drawn ones of many outputs."""
        torch = self.student.torch
        values, vectors = torch.linalg.eigh(self.bends)
        factors = vectors * values.clamp(min=0).sqrt()[:, None, :]
        if factors.shape[2] > CLASSES:
            generator = torch.Generator().manual_seed(self.student.problem.study.seed)
            drawn = torch.randint(0, 2, (len(factors), factors.shape[2], CLASSES), generator=generator).double() * 2 - 1
            factors = factors @ drawn / CLASSES**0.5
        return list(factors.unbind(dim=2))

    def _gradients(self, of: Numbers) -> list[np.ndarray]:
        """Of a number by the weights of every layer, (terms + 1, groups, outputs, vectors), the last for the offset."""
        results = [self.student.results[codes.layer.node.output.name] for codes in self.codes]
        made = self.student.torch.autograd.grad(of, results, retain_graph=True)
        out = []
        for codes, x, g in zip(self.codes, self.inputs, made, strict=True):
            groups, outs, terms = codes.place.shape
            x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2).reshape(self.count, -1, groups, terms + 1)
            if isinstance(codes.layer.node.op, ops.MatMul):
                g = g.reshape(self.count, groups, -1, outs)
            else:
                g = g.reshape(self.count, groups, outs, -1).transpose(2, 3)
            if x.shape[1] == 1:  # of one place there is nothing to sum
                x, g = (np.ascontiguousarray(a[:, 0].transpose(2, 1, 0)) for a in (x, g.numpy().transpose(0, 2, 1, 3)))
                out.append(x[:, :, None] * g.swapaxes(0, 1))
            else:
                out.append(product(x.transpose(0, 2, 3, 1), g.numpy()).transpose(2, 1, 3, 0))
        return out

    def _fields(self) -> tuple[list[_Field], np.ndarray, np.ndarray]:
        """Of all layers; (inverse of the curvature by offsets, slope by them)."""
        directed = [
            self._gradients((self.outputs * v).sum() * ((1 - ALONE) / self.count) ** 0.5) for v in self._directions()
        ]
        jacobians = [np.concatenate(parts, axis=3) for parts in zip(*directed, strict=True)]
        slopes = [(1 - ALONE) * g.sum(axis=3) for g in self._gradients(self.goal)]
        rows = jacobians[0].shape[3]
        of_offsets = np.concatenate([j[-1].reshape(-1, rows) for j in jacobians])
        slope = np.concatenate([s[-1].ravel() for s in slopes])
        square = product(of_offsets, of_offsets.T)
        inverse = np.linalg.inv(square + np.eye(len(square)) * max(DAMP * float(np.trace(square)) / len(square), 1e-30))
        out = []
        for j, s in zip(jacobians, slopes, strict=True):
            j, s = j[:-1], s[:-1]
            crossed = product(j.reshape(-1, rows), of_offsets.T)
            taken = _grained(crossed @ inverse)
            seen = j - product(taken, of_offsets).reshape(j.shape)
            s = s - _grained(taken @ slope).reshape(s.shape)
            out.append(_Field(j, seen, s, np.einsum("tgor,tgor->tgo", j, seen), crossed))
        return out, inverse, slope

    def descended(self) -> Plan:
        """The plan of least loss and logic by gradient and curvature here."""
        fields, inverse, slope = self._fields()
        shift = np.zeros(fields[0].jacobian.shape[3])
        for _ in range(SWEEPS):
            moves = [
                codes.swept(k, field, shift, self.price)
                for codes, field in zip(self.codes, fields, strict=True)
                for k in range(codes.place.shape[2])
            ]
            if not any(moves):
                break
        for codes, field in zip(self.codes, fields, strict=True):
            slope = slope + product(codes.moved.transpose(2, 0, 1).reshape(1, -1), field.crossed)[0]
        added = -_grained(inverse @ slope)
        return self._plan(added)

    def _plan(self, added: np.ndarray) -> Plan:
        """With the codes as they are now. added: to the offsets, of all layers."""
        tensors, bias = dict(self.plan.tensors), dict(self.plan.bias)
        ends = np.cumsum([codes.place[:, :, 0].size for codes in self.codes])[:-1]
        for codes, b in zip(self.codes, np.split(added, ends), strict=True):
            layer = codes.layer
            units = folded(layer.priced.grid[codes.place], layer.node, layer.tensor).astype(np.int64)
            tensors[layer.tensor.name] = replace(tensors[layer.tensor.name], units=units)
            now = (np.asarray(bias[layer.offsets]) + b).astype(np.float32)
            bias[layer.offsets] = tuple(float(v) for v in now)
        return replace(self.plan, tensors=tensors, bias=bias)


def _grained(x: np.ndarray) -> np.ndarray:
    grain = GRAIN * max(float(np.abs(x).max(initial=0.0)), 1e-300)
    return np.asarray(np.rint(x / grain) * grain)
