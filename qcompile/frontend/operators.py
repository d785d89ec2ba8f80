"""The operators that can be imported: every rule, by the name of the ONNX operator."""

from __future__ import annotations

from qcompile.frontend import qcdq, rules, windows
from qcompile.frontend.importer import Rule

RULES: dict[str, Rule] = {**rules.RULES, **windows.RULES, **qcdq.RULES}

# Operators that mean something else in a domain of their own.
CHANNELS_LAST: dict[str, Rule] = {
    "Conv": windows.in_channels_last(windows.conv, 2),
    "MaxPool": windows.in_channels_last(windows.max_pool),
    "BatchNormalization": windows.in_channels_last(rules.batch_normalization),
}


def rule_for(domain: str, op_type: str) -> Rule | None:
    """The import rule of an operator, or None."""
    own = CHANNELS_LAST.get(op_type) if "channels_last" in str(domain) else None
    return own or RULES.get(op_type)
