"""The operators that can be imported: a file per family, a rule per operator.

A rule makes the nodes of one ONNX node (`Call`) and looks at no other: what several nodes mean together is found by
`frontend.recognize`. It raises Unsupported, with the way out, for what it cannot do.
"""

from __future__ import annotations

from qcompile.frontend import fold
from qcompile.frontend.call import Call, Rule
from qcompile.frontend.onnx import (
    activation,
    arithmetic,
    borders,
    comparison,
    einsum,
    fused,
    indexing,
    integer,
    kernels,
    normalization,
    products,
    quantizers,
    reduction,
    structure,
    windows,
)

FAMILIES = (
    *(quantizers, structure, arithmetic, products, activation, comparison, reduction, normalization, borders, windows),
    integer,
    kernels,
    fused,
    einsum,
    indexing,
)
RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}
# Operators that mean something else in a domain of their own.
CHANNELS_LAST: dict[str, Rule] = {**windows.CHANNELS_LAST, **normalization.CHANNELS_LAST}


def rule_for(call: Call) -> Rule | None:
    """The import rule of a node, or None."""
    if fold.folds(call):
        return fold.folded
    own = CHANNELS_LAST.get(call.node.op_type) if "channels_last" in str(call.node.domain) else None
    return own or RULES.get(call.node.op_type)
