"""Whether a plan meets a target on data that did not choose it, and how surely: one-sided intervals at 95 %.

Of a drop of accuracy some hundred vectors show too few flips of classes to say much: none in 128 leaves 0.023 open, one
is 0.008. So it is judged by all pairs of a vector and an error of outputs, of a vector of the same class, and a flip
takes by how much likelier the float network's class was to be the right one (`likely_drop`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.study import Evaluation
from qcompile.records import dataclass

CONFIDENCE = 0.95
HOTTEST = 5.0  # logarithm of the largest temperature, in deviations of outputs
PAIRS = 2**24  # numbers of vectors times errors times outputs that are looked at


def largest_mean(x: np.ndarray) -> float:
    """What the mean behind a sample (n,) is below, by Student's t."""
    from scipy.stats import t

    spread = float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else math.inf
    return significant(float(x.mean()) + (float(t.ppf(CONFIDENCE, len(x) - 1)) * spread if spread else 0.0))


def least_share(right: int, of: int) -> float:
    """What the share behind `right` hits of so many is above (Clopper and Pearson)."""
    from scipy.stats import beta

    return significant(float(beta.ppf(1 - CONFIDENCE, right, of - right + 1))) if right else 0.0


def chances(y: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) each: of every class to be the right one, by outputs (N, K): their softmax at the temperature that makes
    the labels likeliest (Guo et al. 2017, arXiv 1706.04599), and at the coldest that these do not rule out at
    `CONFIDENCE` (by the ratio of likelihoods).
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.special import log_softmax
    from scipy.stats import norm

    y, rows = y / (float(y.std()) or 1.0), np.arange(len(labels))

    def unlikely(heat: float) -> float:
        return -float(log_softmax(y * math.exp(-heat), axis=1)[rows, labels].sum())

    found = minimize_scalar(unlikely, bounds=(-HOTTEST, HOTTEST), method="bounded")
    best, much = float(found.x), float(found.fun) + float(norm.ppf(CONFIDENCE)) ** 2 / 2
    colder = -HOTTEST if unlikely(-HOTTEST) <= much else brentq(lambda heat: unlikely(heat) - much, -HOTTEST, best)
    warm, cold = (np.exp(log_softmax(y * math.exp(-significant(h, 4)), axis=1)) for h in (best, colder))
    return warm, cold


def _lost(float_y: np.ndarray, classes: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(N, M): of the chances (N, K) to be right, what other classes (N, M) than those of the outputs (N, K) take."""
    own = float_y.argmax(axis=1)[:, None]
    return np.asarray(np.take_along_axis(right, own, 1) - np.take_along_axis(right, classes, 1))


def likely_drop(
    y: np.ndarray, own: np.ndarray, float_y: np.ndarray, right: np.ndarray, surer: np.ndarray
) -> tuple[float, float]:
    """(drop of accuracy where the error of any vector (M) may meet any other that the float network puts into the same
    class (N; any at all, where there is none), what it is below). y, own: outputs (M, K) of the plan and of the float
    network; float_y: of the float network (N, K); right, surer: `chances` of its classes. No plan decides how near
    these are to each other, so these may be vectors that choose, too. As if errors, relative to the size of outputs,
    came independently of vectors of a class (ours; mean and variance of a U-statistic of two samples, Hoeffding 1948):
    on the class they depend where a plan leaves channels out. The error of the temperature comes beside that.
    """
    from scipy.stats import t

    count = min(len(y), max(2, PAIRS // float_y.size))
    some = np.linspace(0, len(y) - 1, count).astype(int)
    sizes, own_sizes = (np.maximum(v.std(axis=1), 1e-300) for v in (float_y, own[some]))
    relative = (y - own)[some] / own_sizes[:, None]
    classes = (float_y[:, None] + relative * sizes[:, None, None]).argmax(axis=2)
    meets = float_y.argmax(axis=1)[:, None] == own[some].argmax(axis=1)
    meets |= ~meets.any(axis=1, keepdims=True)
    share = meets / meets.sum(axis=1, keepdims=True)
    drops, more = (share * _lost(float_y, classes, chance) for chance in (right, surer))
    by_vector, by_error = drops.sum(axis=1), drops.sum(axis=0) * (count / len(drops))
    drop, colder = float(by_vector.mean()), float(more.sum(axis=1).mean())
    spread = math.sqrt(by_vector.var(ddof=1) / len(drops) + by_error.var(ddof=1) / count)
    most = drop + math.hypot(float(t.ppf(CONFIDENCE, min(drops.shape) - 1)) * spread, colder - drop)
    return significant(drop), significant(most)


def fewest(drop: float) -> int:
    """Vectors of which none is lost, from which on a drop above this one is ruled out (Clopper and Pearson)."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-drop))


def accuracy_of(y: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Where the labels are classes."""
    if labels is None or labels.dtype.kind not in "iu" or y.shape[1] < 2:
        return None
    return float((y.argmax(axis=1) == labels).mean())


@dataclass(frozen=True)
class Acceptance:
    """A plan on the vectors that accept it. met: the target is met by the mean of their losses and by `likely_drop`,
    and their own flips do not rule it out; accepted: by the ends of Student's interval of that mean and of the likely
    drop too; proven: by the reported intervals, which make no assumption about accuracies, and which some hundred
    vectors seldom bring under a hundredth.

    most_loss (Student), least_accuracy, most_drop (Clopper and Pearson), most_likely_drop: ends of one-sided intervals;
    drop: accuracy of the float network on the same vectors less that of the plan.
    """

    met: bool
    accepted: bool
    proven: bool
    vectors: int
    loss: float
    most_loss: float
    accuracy: float | None = None
    least_accuracy: float | None = None
    drop: float | None = None
    most_drop: float | None = None
    most_likely_drop: float | None = None

    @staticmethod
    def of(
        losses: np.ndarray,
        y: np.ndarray,
        float_y: np.ndarray,
        labels: np.ndarray | None,
        max_loss: float | None,
        allowed_drop: float | None,
        others: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Acceptance:
        """losses: of every vector; y, float_y: outputs (N, K) of plan and float network; labels: classes. None: no
        target. others: (outputs of the float network, labels) of vectors that do not accept.
        """
        loss, most = significant(float(losses.mean())), largest_mean(losses)
        met, proven = max_loss is None or loss <= max_loss, max_loss is None or most <= max_loss
        if labels is None or accuracy_of(y, labels) is None:
            return Acceptance(met, proven, proven, len(losses), loss, most)
        right, float_right = (v.argmax(axis=1) == labels for v in (y, float_y))
        n, worse, accepted = len(right), float_right.astype(int) - right.astype(int), proven
        every, known = (np.concatenate(both) for both in zip((float_y, labels), *[others] * bool(others), strict=True))
        drop, (likely, most_likely) = float(worse.mean()), likely_drop(y, float_y, every, *chances(every, known))
        most_drop = significant(1 - least_share(n - int((worse > 0).sum()), n) - int((worse < 0).sum()) / n)
        if allowed_drop is not None:
            allowed = allowed_drop + 1e-12
            met = met and likely <= allowed and least_share(max(0, int(worse.sum())), n) <= allowed
            accepted, proven = accepted and met and most_likely <= allowed, proven and most_drop <= allowed
        count = int(right.sum())
        least = least_share(count, n)
        return Acceptance(met, accepted, proven, n, loss, most, count / n, least, drop, most_drop, most_likely)

    @property
    def doubt(self) -> float:
        """By which plans are ordered that meet the target and are not proven to."""
        return self.most_loss if self.most_likely_drop is None else self.most_likely_drop

    def record(self) -> dict[str, Any]:
        return {**vars(self), "confidence": CONFIDENCE}

    def text(self) -> str:
        """For people."""
        parts = [f"{self.vectors} other vectors: loss {self.loss:.4g} (at most {self.most_loss:.4g})"]
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.4f} (at least {self.least_accuracy:.4f})")
            likely = f"at most {self.most_likely_drop:.4f} by how near outputs are to another class"
            parts.append(f"drop {self.drop:.4f} ({likely}, {self.most_drop:.4f} by these vectors alone)")
        return ", ".join(parts) + f", at {CONFIDENCE:.0%}" + ("" if self.proven else "; more vectors would prove it")


@dataclass(frozen=True, eq=False)
class QualityTarget:
    """What a plan must keep of the float network. evaluation: of it, on the half of the data that does not choose;
    allowed_drop: of accuracy below it; least_accuracy: what that means on the half that chooses; None: no target.
    others: (outputs of the float network, labels) of that half.
    """

    evaluation: Evaluation
    max_loss: float | None
    allowed_drop: float | None
    least_accuracy: float | None
    others: tuple[np.ndarray, np.ndarray] | None = None

    def met(self, loss: float, accuracy: float | None) -> bool:
        """On the half that chooses."""
        if self.least_accuracy is not None and (accuracy is None or accuracy < self.least_accuracy - 1e-12):
            return False
        return self.max_loss is None or loss <= self.max_loss

    def confirmed(self, y: np.ndarray) -> Acceptance:
        """Outputs (N, K) of a plan on the half that did not choose it."""
        e = self.evaluation
        judged = e.loss.rows(y), y, e.outputs({}), e.data.labels
        return Acceptance.of(*judged, self.max_loss, self.allowed_drop, self.others)
