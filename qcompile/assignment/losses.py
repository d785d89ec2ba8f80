"""What a quantized network is measured by, as a function of its outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qcompile.assignment.data import Data
from qcompile.assignment.exact import significant
from qcompile.assignment.network import FloatNetwork
from qcompile.errors import QCompileError, unknown
from qcompile.records import dataclass

KINDS = ("cross_entropy", "kl", "mse")


@dataclass(frozen=True)
class Loss:
    """Mean over the vectors. target: class indices (N,); probabilities of the float network (N, K); or outputs (N, K),
    in units of their spread.
    """

    kind: str
    target: np.ndarray
    spread: float = 1.0

    def __call__(self, y: np.ndarray) -> float:
        """Loss of outputs (N, ...), to nine digits."""
        return significant(float(self.rows(y).mean()))

    def rows(self, y: np.ndarray) -> np.ndarray:
        """Loss of every vector."""
        y = y.reshape(len(y), -1).astype(np.float64)
        if self.kind == "mse":
            return np.square((y - self.target) / self.spread).mean(axis=1)
        logp = log_softmax(y)
        if self.kind == "cross_entropy":
            return -logp[np.arange(len(y)), self.target]
        p = np.maximum(self.target, 1e-30)
        return np.maximum((p * (np.log(p) - logp)).sum(axis=1), 0.0)

    def torch(self, y: Any, torch: Any) -> Any:
        """The same mean on torch tensors."""
        y = y.reshape(len(y), -1)
        if self.kind == "mse":
            return ((y - torch.from_numpy(self.target.astype(np.float64))) / self.spread).square().mean()
        logp = torch.log_softmax(y, dim=1)
        if self.kind == "cross_entropy":
            return -logp[torch.arange(len(y)), torch.from_numpy(self.target)].mean()
        return (
            -(torch.from_numpy(self.target.astype(np.float64)) * logp).sum(dim=1).mean()
        )  # without the entropy of the target

    def noise(self, y: np.ndarray) -> float:
        """How far the mean moves by the choice of the vectors: one standard error of the float network's own loss, y
        its outputs (N, K). Within it the cheaper of two networks is taken (the 1-SE rule: Breiman, Friedman, Olshen,
        Stone, Classification and Regression Trees, 1984, 3.4.3).

        Of a divergence, which is 0 for the float network, that of the log loss on labels drawn from its own outputs; of
        a distance from its outputs, the squared standard error of their mean.
        """
        n, rows = len(y), self.rows(y)
        if self.kind == "kl":
            logp = log_softmax(y.reshape(n, -1).astype(np.float64))
            p = np.exp(logp)
            mean, square = -(p * logp).sum(axis=1), (p * np.square(logp)).sum(axis=1)
            return significant(math.sqrt(max(float(square.mean() - mean.mean() ** 2), 0.0) / n))
        if self.kind == "mse" and not rows.any():
            return 1 / n
        return significant(float(rows.std(ddof=1)) / math.sqrt(n)) if n > 1 else 0.0

    def take(self, rows: Any) -> Loss:
        return Loss(self.kind, self.target[rows], self.spread)


def log_softmax(y: np.ndarray) -> np.ndarray:
    shifted = y - y.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def loss_of(network: FloatNetwork, data: Data, kind: str = "") -> Loss:
    """The loss for some data: how far a network is from the float one, unless another is asked for.

    By default the divergence of the softmax (`kl`) of networks with several outputs, class labels or not: formats that
    are chosen by the cross entropy of a few hundred labelled vectors fit these vectors, not the network. Mean square
    error (`mse`) with targets that are no classes, or with one output.
    """
    y = network.outputs(data.x).astype(np.float64)
    labels = data.labels
    if not kind:
        kind = "kl" if y.shape[1] > 1 and (labels is None or labels.dtype.kind in "iu") else "mse"
    if kind not in KINDS:
        raise unknown("loss", kind, KINDS)
    if kind != "mse" and y.shape[1] < 2:
        raise QCompileError(f"the {kind} of a single output is always 0", hint="--loss mse")
    if kind == "cross_entropy" and (labels is None or labels.dtype.kind not in "iu"):
        raise QCompileError("cross_entropy needs the classes of the data", hint="--labels y.npy, or --loss kl")
    if kind == "cross_entropy":
        return Loss(kind, np.asarray(labels, dtype=np.int64))
    if kind == "kl":
        return Loss(kind, np.exp(log_softmax(y)))
    target = y if labels is None or labels.dtype.kind in "iu" else labels.reshape(len(data), -1).astype(np.float64)
    return Loss(kind, target, max(float(target.std()), 1e-12))
