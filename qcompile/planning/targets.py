"""Whether a plan meets a target on data that did not choose it, and how surely: one-sided intervals at 95 %.

Of a drop of accuracy some hundred vectors show too few flips of classes to say much: none in 128 leaves 0.023 open, one
is 0.008. So it is judged by all pairs of a vector and an error of the outputs (`likely_drop`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qcompile.assignment.exact import significant
from qcompile.assignment.study import Evaluation
from qcompile.records import dataclass

CONFIDENCE = 0.95
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


def likely_drop(y: np.ndarray, float_y: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(drop of accuracy where the error y - float_y of any vector may meet any other one, what it is below). Outputs
    (N, K). As if errors came independently of vectors (ours; mean and variance of a U-statistic of two samples,
    Hoeffding 1948).
    """
    from scipy.stats import t

    count = min(len(y), max(2, PAIRS // y.size))
    errors = (y - float_y)[np.linspace(0, len(y) - 1, count).astype(int)]
    right = float_y.argmax(axis=1) == labels
    made = (float_y[:, None] + errors).argmax(axis=2) == labels[:, None]
    lost = right[:, None].astype(float) - made
    spread = math.sqrt(lost.mean(axis=1).var(ddof=1) / len(lost) + lost.mean(axis=0).var(ddof=1) / count)
    drop = float(lost.mean())
    return significant(drop), significant(drop + float(t.ppf(CONFIDENCE, count - 1)) * spread)


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
    """A plan on the vectors that accept it. met: on them the target is met; accepted: by the ends of Student's interval
    of the losses' mean and of that of `likely_drop` too; proven: by the reported intervals, which make no assumption
    about accuracies, and which some hundred vectors seldom bring under a hundredth.

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
    ) -> Acceptance:
        """losses: of every vector; y, float_y: outputs (N, K) of plan and float network; labels: classes. None: no
        target.
        """
        loss, most = significant(float(losses.mean())), largest_mean(losses)
        met, proven = max_loss is None or loss <= max_loss, max_loss is None or most <= max_loss
        if labels is None or accuracy_of(y, labels) is None:
            return Acceptance(met, proven, proven, len(losses), loss, most)
        right, float_right = (v.argmax(axis=1) == labels for v in (y, float_y))
        n, worse, accepted = len(right), float_right.astype(int) - right.astype(int), proven
        drop, likely = float(worse.mean()), likely_drop(y, float_y, labels)[1]
        most_drop = significant(1 - least_share(n - int((worse > 0).sum()), n) - int((worse < 0).sum()) / n)
        if allowed_drop is not None:
            allowed = allowed_drop + 1e-12
            met, proven = met and drop <= allowed, proven and most_drop <= allowed
            accepted = accepted and met and likely <= allowed
        count = int(right.sum())
        least = least_share(count, n)
        return Acceptance(met, accepted, proven, n, loss, most, count / n, least, drop, most_drop, likely)

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
    """

    evaluation: Evaluation
    max_loss: float | None
    allowed_drop: float | None
    least_accuracy: float | None

    def met(self, loss: float, accuracy: float | None) -> bool:
        """On the half that chooses."""
        if self.least_accuracy is not None and (accuracy is None or accuracy < self.least_accuracy - 1e-12):
            return False
        return self.max_loss is None or loss <= self.max_loss

    def confirmed(self, y: np.ndarray) -> Acceptance:
        """Outputs (N, K) of a plan on the half that did not choose it."""
        e = self.evaluation
        return Acceptance.of(e.loss.rows(y), y, e.outputs({}), e.data.labels, self.max_loss, self.allowed_drop)
