"""The text form of a graph, in Python expression syntax, and its parser. `parse(print_graph(g)) == g`."""

from __future__ import annotations

import ast
import base64
import dataclasses
import enum
import io
import zlib
from fractions import Fraction
from typing import Any

import numpy as np

from qcompile.errors import QCompileError
from qcompile.formats import Format, Overflow, Rounding, parse_format
from qcompile.ir import ops
from qcompile.ir.types import Array, Graph, Node, Origin, Param, State, TensorType, Value

_INLINE = 16  # arrays up to this size are printed as numbers


def print_graph(graph: Graph, data: bool = True) -> str:
    """data=False: big arrays as digests only, for people (does not parse back)."""
    show = _Printer(data)
    lines = [f"graph({graph.name!r}, {graph.dialect!r})"]
    lines += [f"input({show.value(v)})" for v in graph.inputs]
    lines += [f"named({name!r}, {user!r})" for name, user in graph.named]
    lines += [show.node(n) for n in graph.nodes]
    lines += [f"output({v.name!r})" for v in graph.outputs]
    lines += [
        f"state({s.input!r}, {s.output!r}, {show.literal(s.initial)}{', True' if s.kept else ''})" for s in graph.states
    ]
    return "\n".join(lines) + "\n"


class _Printer:
    def __init__(self, data: bool) -> None:
        self.data = data

    def value(self, v: Value) -> str:
        return f"{v.name!r}, {self.literal(v.type)}"

    def node(self, n: Node) -> str:
        outputs = ", ".join(f"value({self.value(v)})" for v in n.outputs)
        inputs = [v.name for v in n.inputs]
        origin = self.literal(n.origin)
        return f"node({self.literal(n.op)}, {inputs!r}, [{outputs}], {origin})"

    def literal(self, x: Any) -> str:
        if isinstance(x, Array):
            return self._array(x)
        if isinstance(x, Param):
            return self._param(x)
        if isinstance(x, Fraction):
            return str(x.numerator) if x.denominator == 1 else f"ratio({x.numerator}, {x.denominator})"
        if isinstance(x, Format):
            return f"fmt({str(x)!r})"
        if isinstance(x, enum.Enum):
            return f"{type(x).__name__}.{x.name}"
        if isinstance(x, tuple):
            return "(" + "".join(self.literal(i) + ", " for i in x) + ")"
        if dataclasses.is_dataclass(x):
            fields = [(f, getattr(x, f.name)) for f in dataclasses.fields(x)]
            shown = [f"{f.name}={self.literal(v)}" for f, v in fields if not _is_default(f, v)]
            return f"{type(x).__name__}({', '.join(shown)})"
        return repr(x)

    def _array(self, x: Array) -> str:
        if x.data.size <= _INLINE:
            return f"array({x.data.tolist()!r}, {list(x.data.shape)!r})"
        if not self.data:
            return f"array(..., {list(x.data.shape)!r}, {x.digest[:12]!r})"
        if x.data.dtype == object:
            raw = ",".join(map(str, x.data.ravel().tolist())).encode()
            return f"bigs({list(x.data.shape)!r}, {base64.b85encode(zlib.compress(raw)).decode()!r})"
        buffer = io.BytesIO()
        np.save(buffer, x.data.astype("<i8"))
        return f"packed({base64.b85encode(zlib.compress(buffer.getvalue())).decode()!r})"

    def _param(self, x: Param) -> str:
        values = self.literal(x.values) if self.data or len(x.values) <= _INLINE else f"(..., {len(x.values)})"
        return f"param({list(x.shape)!r}, {values})"


def _is_default(f: dataclasses.Field[Any], value: Any) -> bool:
    default = f.default if f.default is not dataclasses.MISSING else None
    if f.default_factory is not dataclasses.MISSING:
        default = f.default_factory()
    return f.default is not dataclasses.MISSING and value == default


def _bigs(shape: list[int], text: str) -> Array:
    numbers = zlib.decompress(base64.b85decode(text)).decode().split(",")
    return Array(np.array([int(n) for n in numbers], dtype=object).reshape(shape))


def _small(values: Any, shape: list[int]) -> Array:
    return Array(np.array(values, dtype=object if _has_big(values) else np.int64).reshape(shape))


def _has_big(values: Any) -> bool:
    return any(map(_has_big, values)) if isinstance(values, list) else abs(values) >= 2**62


_CLASSES: dict[str, Any] = {c.__name__: c for c in {*ops.MODEL, *ops.INTEGER}}
_PARTS = (ops.Thresholds, ops.MulAddShift, ops.FloatRound, ops.Table, ops.Exponential, ops.Root, TensorType, Origin)
_CLASSES |= {c.__name__: c for c in _PARTS}
_CLASSES |= {
    "array": _small,
    "bigs": _bigs,
    "packed": lambda text: Array(np.load(io.BytesIO(zlib.decompress(base64.b85decode(text))))),
    "param": lambda shape, values: Param(tuple(shape), tuple(Fraction(v) for v in values)),
    "ratio": Fraction,
    "fmt": parse_format,
    "value": Value,
}
_ENUMS = {"Rounding": Rounding, "Overflow": Overflow}


def parse(text: str) -> Graph:
    """Graph of a text made by `print_graph`. QCompileError names the line that does not parse."""
    name = dialect = ""
    inputs: list[Value] = []
    outputs: list[Value] = []
    nodes: list[Node] = []
    states: list[State] = []
    named: list[tuple[str, str]] = []
    known: dict[str, Value] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            call = ast.parse(line, mode="eval").body
            assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            args = [_evaluate(a) for a in call.args]
            if call.func.id == "graph":
                name, dialect = args
            elif call.func.id == "input":
                inputs.append(Value(*args))
                known[args[0]] = inputs[-1]
            elif call.func.id == "named":
                named.append((args[0], args[1]))
            elif call.func.id == "output":
                outputs.append(known[args[0]])
            elif call.func.id == "state":
                states.append(State(*args))
            else:
                op, used, made, origin = args
                nodes.append(Node(op, tuple(known[u] for u in used), tuple(made), origin))
                known |= {v.name: v for v in made}
        except (SyntaxError, AssertionError, KeyError, TypeError, ValueError) as error:
            raise QCompileError(f"line {number} of the graph text does not parse: {error}") from None
    return Graph(name, dialect, tuple(inputs), tuple(outputs), tuple(nodes), tuple(states), tuple(named))


def _evaluate(tree: ast.expr) -> Any:
    """Literals and calls of the known constructors; nothing else is ever run."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        kwargs = {k.arg: _evaluate(k.value) for k in tree.keywords if k.arg}
        return _CLASSES[tree.func.id](*map(_evaluate, tree.args), **kwargs)
    if isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Name):
        return _ENUMS[tree.value.id][tree.attr]
    if isinstance(tree, ast.Tuple):
        return tuple(map(_evaluate, tree.elts))
    if isinstance(tree, ast.List):
        return list(map(_evaluate, tree.elts))
    return ast.literal_eval(tree)
