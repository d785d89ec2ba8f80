"""The operators that can be imported: every rule, by the name of the ONNX operator."""

from __future__ import annotations

from qcompile.frontend import fold, qcdq, rules, windows
from qcompile.frontend.importer import Call, Rule

RULES: dict[str, Rule] = {**rules.RULES, **windows.RULES, **qcdq.RULES}

# Operators that mean something else in a domain of their own.
CHANNELS_LAST: dict[str, Rule] = {
    "Conv": windows.in_channels_last(windows.conv, 2),
    "MaxPool": windows.in_channels_last(windows.max_pool),
    "BatchNormalization": windows.in_channels_last(rules.batch_normalization),
}


def rule_for(call: Call) -> Rule | None:
    """The import rule of a node, or None."""
    if fold.folds(call):
        return fold.folded
    own = CHANNELS_LAST.get(call.node.op_type) if "channels_last" in str(call.node.domain) else None
    return own or RULES.get(call.node.op_type)
