"""Import rule of Einsum: transpositions, matrix products and sums."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from qcompile.frontend.call import Call, Operand, Rule, Unsupported
from qcompile.frontend.onnx.arithmetic import product
from qcompile.frontend.onnx.products import matmul
from qcompile.frontend.tensors import shape_of, structural, to_shape
from qcompile.ir import ops

_FREE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(call: Call) -> Operand:
    """Einsum (ONNX, opset 12 on) of any number of tensors, two at a time; a letter that stands twice in a tensor takes
    the diagonal.
    """
    terms, out = _terms(call)
    single = [_diagonal(call, call.data(i), term) for i, term in enumerate(terms)]
    operands, terms = [x for x, _ in single], [term for _, term in single]
    x, letters = _summed(call, operands[0], terms[0], set("".join(terms[1:])) | set(out))
    for i in range(1, len(operands)):
        later = set("".join(terms[i + 1 :])) | set(out)
        y, own = _summed(call, operands[i], terms[i], set(letters) | later)
        x, letters = _contracted(call, (x, letters), (y, own), later)
    x, letters = _summed(call, x, letters, set(out))
    return _ordered(call, x, letters, out)


def _terms(call: Call) -> tuple[list[str], str]:
    """Letters of every tensor and of the result; an ellipsis has capital letters."""
    equation = re.sub(r"\s", "", str(call.attribute("equation", "")))
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    ranks = [len(shape_of(call.data(i))) for i in range(len(call.inputs))]
    if len(terms) != len(ranks) or not re.fullmatch(r"[a-z.,]*", left + right):
        raise Unsupported(f"the equation '{equation}' does not fit {len(ranks)} tensors", "lower case letters are")
    many = [n - len(t.replace("...", "")) for n, t in zip(ranks, terms, strict=True)]
    if any((m < 0) or (m and "..." not in t) for m, t in zip(many, terms, strict=True)):
        raise Unsupported(f"the equation '{equation}' does not fit tensors of {ranks} axes")
    most = max([m for m, t in zip(many, terms, strict=True) if "..." in t], default=0)
    full = [t.replace("...", _FREE[most - m : most]) for m, t in zip(many, terms, strict=True)]
    if not arrow:
        once = sorted(c for c in set("".join(full)) if "".join(full).count(c) == 1 and c.islower())
        right = _FREE[:most] + "".join(once)
    out = right.replace("...", _FREE[:most])
    if len(set(out)) != len(out):
        raise Unsupported(f"the equation '{equation}' names an axis of its result twice")
    return full, out


Labelled = tuple[Operand, str]


def _diagonal(call: Call, x: Operand, letters: str) -> Labelled:
    """With every letter once."""
    while twice := next((c for c in letters if letters.count(c) > 1), ""):
        first, second = [i for i, c in enumerate(letters) if c == twice][:2]
        rest = [i for i in range(len(letters)) if i not in (first, second)]
        shape = shape_of(x)
        size = shape[first]
        if shape[second] != size:
            raise Unsupported(f"the diagonal of axes of {size} and {shape[second]} elements is not defined")
        turned = structural(call, x, ops.Transpose((*rest, first, second)))
        flat = to_shape(call, turned, (*(shape[i] for i in rest), size * size))
        x = structural(call, flat, ops.Take(len(rest), tuple(range(0, size * size, size + 1))))
        letters = "".join(letters[i] for i in rest) + twice
    return x, letters


def _summed(call: Call, x: Operand, letters: str, kept: set[str]) -> Labelled:
    """Without the axes that nothing else names, which are summed."""
    axes = tuple(i for i, c in enumerate(letters) if c not in kept)
    if not axes:
        return x, letters
    return call.emit(ops.ReduceSum(axes, False), call.value(x)), "".join(c for c in letters if c in kept)


def _contracted(call: Call, a: Labelled, b: Labelled, later: set[str]) -> Labelled:
    """(*batch, left, inner) @ (*batch, inner, right)."""
    (x, own), (y, other) = a, b
    shared = [c for c in own if c in other]
    batch, inner = [c for c in shared if c in later], [c for c in shared if c not in later]
    left, right = [c for c in own if c not in other], [c for c in other if c not in own]
    size = dict(zip(own, shape_of(x), strict=True)) | {
        c: n for c, n in zip(other, shape_of(y), strict=True) if n > 1 or c not in own
    }
    if any(n not in (1, size[c]) for t, v in ((own, x), (other, y)) for c, n in zip(t, shape_of(v), strict=True)):
        raise Unsupported(f"axes of one letter are of different sizes: {list(shape_of(x))}, {list(shape_of(y))}")
    if not inner:  # an outer product, element by element
        full = "".join((*batch, *left, *right))
        first, second = (_spread(call, v, t, full) for v, t in ((x, own), (y, other)))
        return product(call, first, second), full
    rows, columns = _ordered(call, x, own, [*batch, *left, *inner]), _ordered(call, y, other, [*batch, *inner, *right])
    sizes = [[size[c] for c in group] for group in (batch, left, inner, right)]
    m, k, n = (math.prod(group) for group in sizes[1:])
    rows, columns = to_shape(call, rows, (*sizes[0], m, k)), to_shape(call, columns, (*sizes[0], k, n))
    made = matmul(replace(call, inputs=[rows, columns]))
    return to_shape(call, made, (*sizes[0], *sizes[1], *sizes[3])), "".join((*batch, *left, *right))


def _ordered(call: Call, x: Operand, letters: str, wanted: str | list[str]) -> Operand:
    if sorted(letters) != sorted(wanted):
        raise Unsupported(f"the result has an axis that no tensor has: {''.join(wanted)}")
    perm = tuple(letters.index(c) for c in wanted)
    return x if perm == tuple(range(len(perm))) else structural(call, x, ops.Transpose(perm))


def _spread(call: Call, x: Operand, letters: str, full: str) -> Operand:
    """With axes of size 1 for the letters that it lacks."""
    moved = _ordered(call, x, letters, [c for c in full if c in letters])
    own = dict(zip(letters, shape_of(x), strict=True))
    return to_shape(call, moved, tuple(own.get(c, 1) for c in full))


RULES: dict[str, Rule] = {"Einsum": einsum}
