"""One immutable typed graph, two dialects: the model graph (real values) and the integer graph (codes)."""

from qcompile.ir import ops
from qcompile.ir.text import parse, print_graph
from qcompile.ir.types import (
    ONE,
    ZERO,
    Array,
    Graph,
    Node,
    Origin,
    Param,
    Shape,
    State,
    TensorType,
    Value,
    aligned,
    exact,
    gcd_of,
    integers,
    rearranged_table,
    table_rows,
)
from qcompile.ir.typing import output_shape, verify

__all__ = [
    "ONE",
    "ZERO",
    "Array",
    "Graph",
    "Node",
    "Origin",
    "Param",
    "Shape",
    "State",
    "TensorType",
    "Value",
    "aligned",
    "exact",
    "gcd_of",
    "integers",
    "ops",
    "output_shape",
    "parse",
    "print_graph",
    "rearranged_table",
    "table_rows",
    "verify",
]
