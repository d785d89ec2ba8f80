"""Attention and rotary positions of ONNX (opset 23 on) and of onnxruntime (com.microsoft), written as the products,
softmax and sums that they are made of. The softmax has no quantizer in such a node: `passes.states` gives it one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from qcompile.frontend.call import Unsupported
from qcompile.frontend.const import Const
from qcompile.frontend.file import unmasked
from qcompile.frontend.unroll.writer import Scope
from qcompile.ir import Shape
from qcompile.records import dataclass


@dataclass(frozen=True)
class Shaped:
    """A name, and what is known by it."""

    name: str
    shape: Shape


class Attending:
    """An attention node as far as it is written. Queries, keys and values are (batch, heads, places, size)."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.out = scope, scope.writer()

    def given(self, position: int) -> Shaped | None:
        name = self.scope.given(position)
        return Shaped(name, self.scope.shape(name)) if name else None

    def needed(self, position: int, what: str) -> Shaped:
        found = self.given(position)
        if found is None:
            raise Unsupported(f"its {what} is missing", "export the model again")
        return found

    def attribute(self, name: str, default: Any) -> Any:
        return self.scope.call.attribute(name, default)

    def constant(self, position: int, what: str) -> np.ndarray | None:
        name = self.scope.given(position)
        return self.scope.constant(name, what) if name else None

    def made(self, op: str, *inputs: str, name: str, shape: Shape, **attributes: Any) -> Shaped:
        return Shaped(self.out.add(op, *inputs, name=name, **attributes), shape)

    def reshaped(self, x: Shaped, shape: Shape, name: str) -> Shaped:
        if math.prod(shape) != math.prod(x.shape):
            raise Unsupported(f"cannot cut {list(x.shape)} to heads {list(shape)}", "export the model again")
        target = self.out.constant(np.array(shape, np.int64))
        return self.made("Reshape", x.name, target, name=f"{name}/reshaped", shape=shape)

    def turned(self, x: Shaped, perm: Shape, name: str) -> Shaped:
        shape = tuple(x.shape[a] for a in perm)
        return self.made("Transpose", x.name, name=f"{name}/turned", shape=shape, perm=list(perm))

    def part(self, x: Shaped, start: int, stop: int, axis: int, name: str) -> Shaped:
        shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
        return Shaped(self.out.part(x.name, start, stop, axis, name), shape)

    def element(self, x: Shaped, index: int, axis: int, name: str) -> Shaped:
        return Shaped(self.out.element(x.name, index, axis, name), (*x.shape[:axis], *x.shape[axis + 1 :]))

    def moved(self, x: Shaped, bias: Shaped | None, name: str) -> Shaped:
        return x if bias is None else self.made("Add", x.name, bias.name, name=f"{name}/biased", shape=x.shape)

    def heads(self, x: Shaped, count: int, name: str) -> Shaped:
        """Heads that stand side by side (batch, places, heads * size) on an axis of their own."""
        if len(x.shape) == 4:
            return x
        if len(x.shape) != 3 or count < 1 or x.shape[2] % count:
            raise Unsupported(f"{count} heads do not divide a tensor of shape {list(x.shape)}")
        batch, places, width = x.shape
        return self.turned(self.reshaped(x, (batch, places, count, width // count), name), (0, 2, 1, 3), name)

    def side_by_side(self, x: Shaped) -> Shaped:
        batch, heads, places, size = x.shape
        return self.reshaped(self.turned(x, (0, 2, 1, 3), "y"), (batch, places, heads * size), "y")

    def behind(self, past: Shaped | None, x: Shaped, name: str) -> Shaped:
        """What earlier steps left in front of it."""
        if past is None:
            return x
        shape = (*x.shape[:2], past.shape[2] + x.shape[2], x.shape[3])
        return self.made("Concat", past.name, x.name, name=f"{name}/present", shape=shape, axis=2)

    def repeated(self, x: Shaped, heads: int, name: str) -> Shaped:
        """Every head as often as queries share it."""
        if x.shape[1] == heads:
            return x
        if heads % x.shape[1]:
            raise Unsupported(f"{x.shape[1]} heads of keys do not divide {heads} of queries", "export the model again")
        index = self.out.constant(np.repeat(np.arange(x.shape[1]), heads // x.shape[1]))
        shape = (x.shape[0], heads, *x.shape[2:])
        return self.made("Gather", x.name, index, name=f"{name}/repeated", shape=shape, axis=1)

    def real(self, what: str, codes: int, scale: int, zero: int) -> Shaped:
        """The numbers of codes; a scale of several has one for every column."""
        x, by = self.needed(codes, what), self.needed(scale, f"scale of its {what}")
        more = [found.name] if (found := self.given(zero)) is not None else []
        name = f"{what}/real"
        return self.made("DequantizeLinear", x.name, by.name, *more, name=name, shape=x.shape, axis=len(x.shape) - 1)

    def rotated(self, x: Shaped, name: str) -> Shaped:
        """Turned by the angles of its places, from tables."""
        tables = [self.constant(i, "its table") for i in (7, 8)]
        if tables[0] is None or tables[1] is None:
            raise Unsupported("its tables are missing", "export the model again")
        inputs = [self.out.constant(a) for a in (np.arange(x.shape[2])[None], *(t for t in tables if t is not None))]
        interleaved = int(self.attribute("rotary_interleaved", 0))
        runtime = {"domain": "com.microsoft", "interleaved": interleaved}
        return self.made("RotaryEmbedding", x.name, *inputs, name=f"{name}/rotated", shape=x.shape, **runtime)

    def scores(self, q: Shaped, k: Shaped, scale: float) -> Shaped:
        """q k^T scale, scale: 1 / sqrt(size) where it is 0."""
        shape = (*q.shape[:3], k.shape[2])
        raw = self.made("MatMul", q.name, self.turned(k, (0, 1, 3, 2), "keys").name, name="product", shape=shape)
        factor = self.out.constant(np.float32(scale or 1 / math.sqrt(q.shape[3])))
        return self.made("Mul", raw.name, factor, name="scores", shape=shape)

    def masked(self, x: Shaped, constant: np.ndarray | None, *data: Shaped | None) -> Shaped:
        """Plus masks: a constant one, and such as the network computes."""
        if constant is not None and constant.any():
            x = self.made("Add", x.name, self.out.constant(unmasked(constant)), name="masked", shape=x.shape)
        for i, mask in enumerate(m for m in data if m is not None):
            x = self.made("Add", x.name, mask.name, name=f"masked/{i}", shape=x.shape)
        return x

    def weighed(self, x: Shaped, v: Shaped) -> tuple[Shaped, Shaped]:
        """softmax(x) v, and the softmax."""
        p = self.made("Softmax", x.name, name="softmax", shape=x.shape, axis=-1)
        return self.made("MatMul", p.name, v.name, name="y", shape=(*x.shape[:3], v.shape[3])), p

    def finish(self, *outputs: Shaped | None) -> onnx.GraphProto:
        for x, outer in zip(outputs, self.scope.node.output, strict=False):
            if outer and x is None:
                raise Unsupported(f"its output '{outer}' is not supported", "end the graph before it")
            if x is not None:
                self.out.alias(x.name, outer)
        return self.out.graph


def causal(rows: int, columns: int, past: int) -> np.ndarray:
    """Minus infinity where a key comes after the query."""
    later = np.arange(columns)[None] > np.arange(rows)[:, None] + past
    return np.where(later, -np.inf, 0).astype(np.float32)


def attention(scope: Scope) -> Iterator[onnx.GraphProto]:
    """Attention (ONNX, opset 23 on): queries, keys and values of 3 or 4 axes, shared heads, masks, causal, softcap,
    earlier keys and values. That of com.microsoft (no opsets): of one input, with the weights of the three.
    """
    at = Attending(scope)
    if scope.node.domain == "com.microsoft":
        x, weight = at.needed(0, "input"), at.needed(1, "weight")
        yield _of_one_input(at, x, weight, at.constant(3, "the mask of keys"), at.given(4), at.given(5))
        return
    q, k, v = (at.needed(i, n) for i, n in enumerate(("query", "key", "value")))
    flat = len(q.shape) == 3
    counts = [int(at.attribute(n, 0)) for n in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    q, k, v = (at.heads(x, n, name) for x, n, name in zip((q, k, v), counts, "qkv", strict=True))
    past = at.given(4)
    k, v = at.behind(past, k, "k"), at.behind(at.given(5), v, "v")
    constant = _mask(at, q.shape[2], k.shape[2])
    if at.attribute("is_causal", 0):
        constant = constant + causal(q.shape[2], k.shape[2], past.shape[2] if past else 0)
    given = scope.operand(scope.given(3)) if scope.given(3) else None
    data = None if given is None or isinstance(given, Const) else at.given(3)
    if data is not None and scope.call.kinds[3] == onnx.TensorProto.BOOL:
        shape, names = data.shape, [at.out.constant(np.float32(v)) for v in (0, unmasked(np.array(-np.inf)))]
        data = at.made("Where", data.name, *names, name="mask", shape=shape)
    keys, values = (at.repeated(x, q.shape[1], n) for x, n in ((k, "k"), (v, "v")))
    raw = at.scores(q, keys, float(at.attribute("scale", 0.0)))
    cap = float(at.attribute("softcap", 0.0))
    if cap:
        biased = at.masked(raw, np.where(np.isinf(constant), np.float32(0), constant), data)
        capped = _capped(at, biased, cap, np.isinf(constant))
    else:
        biased = capped = at.masked(raw, constant, data)
    y, p = at.weighed(capped, values)
    mode = int(at.attribute("qk_matmul_output_mode", 0))
    if mode == 1 and len(scope.node.output) > 3 and np.isinf(constant).any():
        raise Unsupported("its output of masked scores holds minus infinity", "leave that output away")
    yield at.finish(at.side_by_side(y) if flat else y, k, v, (raw, biased, capped, p)[mode])


def _mask(at: Attending, rows: int, columns: int) -> np.ndarray:
    """What constant masks add: what they lack at the end, and places that hold no keys, are minus infinity."""
    given, total = at.scope.operand(at.scope.given(3)) if at.scope.given(3) else None, np.zeros((rows, columns))
    if isinstance(given, Const):
        held = np.where(given.held, 0, -np.inf) if given.held.dtype == bool else given.held
        lacking = [(0, 0)] * (held.ndim - 1) + [(0, max(0, columns - held.shape[-1]))]
        total = total + np.pad(held, lacking, constant_values=-np.inf)
    lengths = at.constant(6, "the number of keys (nonpad_kv_seqlen)")
    if lengths is not None:
        total = total + np.where(np.arange(columns) < lengths.reshape(-1, 1, 1, 1), 0, -np.inf)
    return total.astype(np.float32)


def _capped(at: Attending, x: Shaped, cap: float, gone: np.ndarray) -> Shaped:
    """cap tanh(x / cap), which masked numbers leave at -cap: so ONNX has it."""
    small = at.made("Div", x.name, at.out.constant(np.float32(cap)), name="softcap/scaled", shape=x.shape)
    bent = at.made("Tanh", small.name, name="softcap/Tanh", shape=x.shape)
    at.scope.call.builder.states[bent.name] = "gate"
    factor = np.where(gone, 0, cap).astype(np.float32)
    large = at.made("Mul", bent.name, at.out.constant(factor), name="softcap/cap", shape=x.shape)
    low = at.out.constant(np.where(gone, -cap, 0).astype(np.float32))
    return at.made("Add", large.name, low, name="softcap", shape=x.shape) if gone.any() else large


def multi_head_attention(scope: Scope) -> Iterator[onnx.GraphProto]:
    """MultiHeadAttention (com.microsoft, no opsets): query, key, value, or several of them in one tensor; biases, mask
    of keys, a bias of the scores, earlier keys and values.
    """
    at, count = Attending(scope), int(scope.call.attribute("num_heads", 0))
    q, k, v = _three(at)
    bias, ends = at.given(3), [0, 0, 0, 0]
    if bias is not None:
        ends = np.cumsum([0, *(x.shape[-1] for x in (q, k, v))]).tolist()
    cut = zip((q, k, v), "qkv", ends[:-1], ends[1:], strict=True)
    q, k, v = (
        at.heads(at.moved(x, at.part(bias, a, b, 0, f"{n}/bias") if bias else None, n), count, n) for x, n, a, b in cut
    )
    past = at.given(6)
    k, v = at.behind(past, k, "k"), at.behind(at.given(7), v, "v")
    yield _runtime(at, (q, k, v), at.constant(4, "the mask of keys"), at.given(5), past.shape[2] if past else 0)


def _three(at: Attending) -> list[Shaped]:
    """Query, key and value of a MultiHeadAttention."""
    q, k, v = (at.given(i) for i in range(3))
    if q is not None and k is None and len(q.shape) == 5:
        return [at.turned(at.element(q, i, 3, n), (0, 2, 1, 3), n) for i, n in enumerate("qkv")]
    if q is not None and k is not None and v is None and len(k.shape) == 5:
        return [q, *(at.turned(at.element(k, i, 3, n), (0, 2, 1, 3), n) for i, n in enumerate("kv"))]
    return [at.needed(i, n) for i, n in enumerate(("query", "key", "value"))]


def quantized_attention(scope: Scope) -> Iterator[onnx.GraphProto]:
    """QAttention (com.microsoft, no opsets): Attention of codes, with their scales and zero points."""
    at = Attending(scope)
    names = ("input", "weight"), ((0, 3, 6), (1, 4, 7))
    x, weight = (at.real(what, *places) for what, places in zip(*names, strict=True))
    yield _of_one_input(at, x, weight, at.constant(5, "the mask of keys"), at.given(8), None)


def group_query_attention(scope: Scope) -> Iterator[onnx.GraphProto]:
    """GroupQueryAttention (com.microsoft, no opsets) of a whole sequence, causal: heads that share keys, rotary
    positions from tables, a window, softcap. Earlier keys and values are refused.
    """
    at = Attending(scope)
    if at.given(3) is not None or at.given(4) is not None:
        raise Unsupported("earlier keys and values are not supported", "export it for a whole sequence")
    if at.attribute("smooth_softmax", 0) or len(scope.node.input) > 9 and any(scope.node.input[9:]):
        raise Unsupported("positions, biases and sinks of its own are not supported", "use Attention of opset 23")
    heads, shared = (int(at.attribute(n, 0)) for n in ("num_heads", "kv_num_heads"))
    q, k, v = _grouped(at, heads, shared)
    length = q.shape[2]
    ends = at.constant(5, "the number of keys (seqlens_k)")
    if ends is not None and np.any(ends + 1 != length):
        raise Unsupported(f"sequences of {ends.ravel().tolist()} keys and one more in {length} places", "pad none")
    if at.attribute("do_rotary", 0):
        q, k = (at.rotated(x, n) for x, n in ((q, "q"), (k, "k")))
    added = causal(length, length, 0)
    window = int(at.attribute("local_window_size", -1))
    if window >= 0:
        added = added + np.where(np.arange(length)[None] <= np.arange(length)[:, None] - window, -np.inf, 0)
    raw = at.scores(q, at.repeated(k, heads, "k"), float(at.attribute("scale", 0.0)))
    cap = float(at.attribute("softcap", 0.0))
    added = added.astype(np.float32)
    scores = at.masked(_capped(at, raw, cap, np.zeros_like(added, bool)) if cap else raw, added)
    y, _ = at.weighed(scores, at.repeated(v, heads, "v"))
    yield at.finish(at.side_by_side(y), k, v)


def _grouped(at: Attending, heads: int, shared: int) -> list[Shaped]:
    """Query, key and value, which may be one tensor."""
    q = at.needed(0, "query")
    if at.given(1) is not None:
        parts = [q, at.needed(1, "key"), at.needed(2, "value")]
    else:
        size = q.shape[2] // max(heads + 2 * shared, 1)
        ends = np.cumsum([0, heads * size, shared * size, shared * size]).tolist()
        parts = [at.part(q, a, b, 2, n) for n, a, b in zip("qkv", ends[:-1], ends[1:], strict=True)]
    return [at.heads(x, n, name) for x, n, name in zip(parts, (heads, shared, shared), "qkv", strict=True)]


def _of_one_input(
    at: Attending, x: Shaped, weight: Shaped, mask: np.ndarray | None, past: Shaped | None, bias: Shaped | None
) -> onnx.GraphProto:
    """Attention of com.microsoft; bias: of the scores."""
    if at.attribute("do_rotary", 0):
        raise Unsupported("its rotary positions are not supported", "export with RotaryEmbedding nodes")
    sizes = at.attribute("qkv_hidden_sizes", None) or [weight.shape[1] // 3] * 3
    whole = at.made("MatMul", x.name, weight.name, name="input", shape=(*x.shape[:2], weight.shape[1]))
    whole = at.moved(whole, at.given(2), "input")
    ends = np.cumsum([0, *sizes]).tolist()
    count = int(at.attribute("num_heads", 0))
    cut = zip("qkv", ends[:-1], ends[1:], strict=True)
    q, k, v = (at.heads(at.part(whole, a, b, 2, n), count, n) for n, a, b in cut)
    if past is not None:
        k, v = (at.behind(at.element(past, i, 0, f"past/{n}"), t, n) for i, (t, n) in enumerate(((k, "k"), (v, "v"))))
    return _runtime(at, (q, k, v), mask, bias, past.shape[3] if past else 0, True)


def _runtime(
    at: Attending,
    parts: tuple[Shaped, Shaped, Shaped],
    mask: np.ndarray | None,
    bias: Shaped | None,
    past: int,
    joined: bool = False,
) -> onnx.GraphProto:
    """What both of onnxruntime's share. joined: present keys and values are one output."""
    q, k, v = parts
    rows, columns = q.shape[2], k.shape[2]
    added = np.zeros((rows, columns), np.float32)
    if mask is not None:
        added = added + _padding(mask, q.shape[0], rows, columns, float(at.attribute("mask_filter_value", -10000.0)))
    if at.attribute("unidirectional", 0):
        added = added + causal(rows, columns, past)
    raw = at.scores(q, k, float(at.attribute("scale", 0.0)))
    y, _ = at.weighed(at.masked(raw, added, bias), v)
    if not joined:
        return at.finish(at.side_by_side(y), k, v, raw)
    wanted = len(at.scope.node.output) > 1 and at.scope.node.output[1]
    present = Shaped(at.out.stacked([k.name, v.name], 0, "present"), (2, *k.shape)) if wanted else None
    return at.finish(at.side_by_side(y), present)


def _padding(mask: np.ndarray, batch: int, rows: int, columns: int, gone: float) -> np.ndarray:
    """A mask of onnxruntime as numbers to add (batch or 1, 1, rows or 1, columns)."""
    if mask.shape == (batch,):
        kept = np.arange(columns) < mask.reshape(-1, 1)
    elif mask.shape in ((batch, columns), (batch, rows, columns)):
        kept = mask != 0
    else:
        raise Unsupported(f"a mask of shape {list(mask.shape)} is not supported", "use one of (batch, keys)")
    return np.where(kept, 0, gone).astype(np.float32).reshape(batch, 1, -1, columns)


def rotary_embedding(scope: Scope) -> Iterator[onnx.GraphProto]:
    """RotaryEmbedding (ONNX, opset 23 on; com.microsoft, no opsets): pairs of numbers of every head are turned by
    angles of their places, from tables: x cos + (x in another order) sin.
    """
    at, runtime = Attending(scope), scope.node.domain == "com.microsoft"
    x = at.needed(0, "input")
    tables = [at.constant(i, "its table") for i in ((2, 3) if runtime else (1, 2))]
    places = at.constant(1 if runtime else 3, "the position")
    width = int(at.attribute("rotary_embedding_dim", 0))
    count = int(at.attribute("num_heads", 0))
    if tables[0] is None or tables[1] is None:
        raise Unsupported("its tables are missing", "export the model again")
    if len(x.shape) == 3 and not count:
        count = x.shape[2] // (width or 2 * tables[0].shape[-1])
    heads = at.heads(x, count, "x")
    batch, size = heads.shape[0], heads.shape[3]
    width = width or size
    cos, sin = (_angles(t, places, batch, heads.shape[2], width) for t in tables if t is not None)
    pairs = np.arange(width).reshape((-1, 2) if at.attribute("interleaved", 0) else (2, -1))
    first, second = pairs.T if at.attribute("interleaved", 0) else pairs
    order = np.arange(size)
    order[first], order[second] = second, first
    factors = np.ones((*cos.shape[:-1], size), np.float32), np.zeros((*cos.shape[:-1], size), np.float32)
    for index, sign in ((first, -1), (second, 1)):
        factors[0][..., index], factors[1][..., index] = cos, sign * sin
    other = at.made("Gather", heads.name, at.out.constant(order), name="other", shape=heads.shape, axis=3)
    parts = [
        at.made("Mul", t.name, at.out.constant(f), name=n, shape=heads.shape)
        for t, f, n in ((heads, factors[0], "cos"), (other, factors[1], "sin"))
    ]
    y = at.made("Add", parts[0].name, parts[1].name, name="sum", shape=heads.shape)
    yield at.finish(at.side_by_side(y) if len(x.shape) == 3 else y)


def _angles(table: np.ndarray, places: np.ndarray | None, batch: int, length: int, width: int) -> np.ndarray:
    """The rows of a table for the places of a sequence (batch or 1, 1, places, width / 2)."""
    if places is not None and places.size == 1 and length > 1:
        places = int(places.reshape(())) + np.arange(length)[None]
    found = table if places is None else table[places.reshape(-1, length)]
    if found.shape[-2:] != (length, width // 2) or found.size not in (length * width // 2, batch * length * width // 2):
        raise Unsupported(f"its table has shape {list(table.shape)} for {length} places", "export the model again")
    return found.reshape(-1, 1, length, width // 2).astype(np.float32)
