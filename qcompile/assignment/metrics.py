"""What a sensitivity metric fills: one table S[tensor, candidate]."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from qcompile.assignment.study import Configuration
from qcompile.records import dataclass


@dataclass(frozen=True)
class Sensitivity:
    """table: tensor -> one number per candidate; pairs: for two tensors, what both add to the sum of each alone,
    [candidates, candidates]; judged: by which measure a tensor is, where these differ.
    """

    table: dict[str, np.ndarray]
    pairs: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    traces: dict[str, float] = field(default_factory=dict)
    judged: dict[str, str] = field(default_factory=dict)

    def of(self, configuration: Configuration) -> float:
        """What the table predicts for a configuration."""
        total = sum(float(self.table[t][c]) for t, c in configuration.items())
        return total + sum(
            float(m[configuration[a], configuration[b]])
            for (a, b), m in self.pairs.items()
            if a in configuration and b in configuration
        )
