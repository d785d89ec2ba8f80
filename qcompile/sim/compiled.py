"""The compiled kernels of `compiled.cpp`: found in the user's cache, or compiled with g++ where that pays, else absent.

Each gives the numbers of the numpy kernel of the same name in `kernels` (a zero may have another sign), and hands what
it has no code for (other dtypes, empty arrays) to that kernel. The compiler gets `compiled.cpp` and nothing of a model.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np

from qcompile.ir.window import Window
from qcompile.native import Library, Native
from qcompile.records import dataclass
from qcompile.sim import kernels

PAYS = 0.2  # seconds of numpy kernels in a process after which they are compiled, once for all later processes

Bound = Callable[..., np.ndarray]
_FLOATS: dict[str, np.dtype[Any]] = {"f4": np.dtype(np.float32), "f8": np.dtype(np.float64)}
_LETTERS: dict[np.dtype[Any], str] = {np.dtype(np.float32): "f", np.dtype(np.float64): "d"}

# --- the library


@dataclass
class _State:
    paid: bool = False
    spent: float = 0.0


_state = _State()


def library() -> Library | None:
    """The compiled kernels, if this process or an earlier one compiled them."""
    return NATIVE.library()


def spent(seconds: float) -> None:
    """Count what numpy kernels took; compiles them once it pays."""
    _state.spent += seconds
    if _state.spent > PAYS and not _state.paid:
        _state.paid = True
        build()


def build() -> bool:
    """Compile the kernels into the cache if they are not there: whether they can be used (see `Native.build`)."""
    return NATIVE.build() is not None


def _typed(found: Library) -> Library:
    """Its functions, which take addresses as numbers."""
    at, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    for letter in "fd":
        getattr(found, f"conv_{letter}").argtypes = [at] * 5
        getattr(found, f"quantize_{letter}").argtypes = [at, at, at, size, size, size, number, number, number]
        for pool in ("max_pool", "sum_pool"):
            getattr(found, f"{pool}_{letter}").argtypes = [at] * 3
    for code in ("fff", "fdf", "fdd", "ddf", "ddd"):
        getattr(found, f"map_{code}").argtypes = [at, at, at, size, size, size]
    return found


NATIVE = Native(
    "kernels",
    Path(__file__).with_suffix(".cpp"),
    "-std=c++17 -O2 -ftree-vectorize -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti -w",
    _typed,
)


# --- functions of one number


class _Map(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int64),
        ("mode", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("index", "scale", "offset", "lo", "hi")),
    ]


class _Maps(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int64),
        ("each", ctypes.POINTER(_Map)),
        ("terms", ctypes.c_int64),
        ("coefficients", ctypes.c_void_p),
    ]


_SCALE_ROUND, _COUNT, _SEARCH, _LOOKUP, _COMBINE = range(5)
StepCode = tuple[str, Sequence[Any]]  # a kernel and its arguments behind the first


@dataclass(frozen=True)
class Function:
    """A kernel of one number with its parameters. rows: those that differ by element, in the order of their names in
    `_Map`, as lists of columns that broadcast against the numbers; tables: those that are read by row.
    """

    kind: int
    mode: int
    rows: dict[str, list[np.ndarray]]
    tables: dict[str, np.ndarray]
    dtype: np.dtype | None  # that it needs for what is between; None: that of the numbers will do
    result: np.dtype


@dataclass(frozen=True)
class _Prepared:
    """Arrays [outer, rows, inner] and the structure that says what is made of them; held: what it points to."""

    outer: int
    rows: int
    inner: int
    maps: _Maps
    held: Any

    @cached_property
    def address(self) -> int:
        return ctypes.addressof(self.maps)


def _prepared(functions: Sequence[Function], shape: tuple[int, ...], axis: int | None = None) -> _Prepared | None:
    """For arrays of that shape; axis: of the rows, else the axes along which parameters differ. None where parameters
    do not broadcast against the shape, and where they differ along its first axis, or another than the axis.
    """
    columns = [c for f in functions for row in f.rows.values() for c in row]
    lifted = [c.reshape((1,) * (len(shape) - c.ndim) + c.shape) for c in columns if c.ndim <= len(shape)]
    fits = all(n in (1, m) for c in lifted for n, m in zip(c.shape, shape, strict=True))
    axes = [i for i in range(len(shape)) if any(c.shape[i] != 1 for c in lifted)]
    elsewhere = 0 in axes if axis is None else axes not in ([], [axis])
    if len(lifted) < len(columns) or not fits or elsewhere:
        return None
    first, last = (axis, axis + 1) if axis is not None else (axes[0], axes[-1] + 1) if axes else (0, 0)
    flat = iter([np.broadcast_to(c.reshape(c.shape[first:last]), shape[first:last]).ravel() for c in lifted])
    held: list[Any] = []
    structs = [_struct(f, {k: [next(flat) for _ in v] for k, v in f.rows.items()}, held) for f in functions]
    head = structs.pop(0) if functions and functions[0].kind == _COMBINE else _Map()
    array = (_Map * len(structs))(*structs)
    held.append(array)
    maps = _Maps(len(structs), array, head.mode, head.lo)
    return _Prepared(math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:]), maps, held)


def _struct(f: Function, rows: dict[str, list[np.ndarray]], held: list[Any]) -> _Map:
    pointers = {}
    for name, value in {**f.tables, **{k: np.stack(v, axis=-1) for k, v in rows.items()}}.items():
        array = np.ascontiguousarray(value, dtype=np.int64 if name == "index" else np.float64)
        held.append(array)
        pointers[name] = array.ctypes.data
    return _Map(f.kind, f.mode, **pointers)


def _numbers(*columns: Any) -> list[np.ndarray]:
    return [np.asarray(c) for c in columns]


def _known(*arrays: Any) -> bool:
    """Whether all are numbers that a double holds, and not Python integers."""
    return all(np.asarray(a).dtype.kind in "fiu" for a in arrays)


def _scale_round(scale: Any, offset: Any, rounding: Any, lo: Any, hi: Any, dtype: str, own: str) -> Function | None:
    if dtype not in _FLOATS or own not in _FLOATS:
        return None
    rows = {
        "scale": _numbers(1.0 if scale is None else scale),
        "offset": _numbers(0.0 if offset is None else offset),
        "lo": _numbers(-np.inf if lo is None else lo),
        "hi": _numbers(np.inf if hi is None else hi),
    }
    return Function(_SCALE_ROUND, {None: 0, "even": 1, "floor": 2}[rounding], rows, {}, _FLOATS[dtype], _FLOATS[own])


def _count_thresholds(cuts: list[Any], start: Any, step: Any, dtype: str) -> Function | None:
    if dtype not in _FLOATS or not cuts or not _known(*cuts, start):
        return None
    rows = {"scale": _numbers(1.0 if step is None else step), "offset": _numbers(start), "lo": _numbers(*cuts)}
    return Function(_COUNT, len(cuts), rows, {}, None, _FLOATS[dtype])


def _search_thresholds(index: Any, cuts: np.ndarray, values: np.ndarray, dtype: str) -> Function | None:
    if dtype not in _FLOATS or not _known(cuts, values) or (cuts.size and np.abs(cuts).max() >= 2**53):
        return None
    tables = {"scale": values.astype(_FLOATS[dtype]), "lo": cuts}
    return Function(_SEARCH, cuts.shape[1], {"index": _numbers(index)}, tables, None, _FLOATS[dtype])


def _lookup(index: Any, first: int, values: Any) -> Function | None:
    table = np.asarray(values)
    if table.ndim != 2 or table.dtype not in _LETTERS or abs(first) >= 2**53:
        return None
    tables = {"scale": table, "offset": np.array([first])}
    return Function(
        _LOOKUP, table.shape[1], {"index": _numbers(0 if index is None else index)}, tables, None, table.dtype
    )


def _combine(coefficients: list[Any], dtype: str) -> Function | None:
    """Of several numbers: the first of a chain only."""
    if dtype not in _FLOATS:
        return None
    return Function(_COMBINE, len(coefficients), {"lo": _numbers(*coefficients)}, {}, _FLOATS[dtype], _FLOATS[dtype])


FUNCTIONS: dict[str, Callable[..., Function | None]] = {
    "scale_round": _scale_round,
    "count_thresholds": _count_thresholds,
    "search_thresholds": _search_thresholds,
    "lookup": _lookup,
}
_SHORT = 8  # numbers of a row below which a call for each costs more than numpy


def _functions(steps: Sequence[StepCode]) -> list[Function] | None:
    """Of all steps, or None."""
    found = [_combine(*args) if name == "combine" else FUNCTIONS[name](*args) for name, args in steps]
    return None if None in found else [f for f in found if f is not None]


def _between(functions: Sequence[Function], *others: np.dtype) -> np.dtype:
    """The widest of the types that are needed."""
    return max([*others, *(f.dtype for f in functions if f.dtype is not None)], key=lambda d: d.itemsize)


def _elementwise(lib: ctypes.CDLL, steps: Sequence[StepCode]) -> Bound | None:
    """Functions one behind the other; the first may be a combination of several arrays."""
    functions = _functions(steps)
    if functions is None:
        return None
    result = functions[-1].result

    @cache
    def prepared(shape: tuple[int, ...]) -> _Prepared | None:
        found = _prepared(functions, (1, *shape))
        return None if found is None or (found.rows > 1 and 1 < found.inner < _SHORT) else found

    @cache
    def entry(dtype: np.dtype) -> Any:
        code = "".join(_LETTERS[d] for d in (dtype, _between(functions, dtype, result), result))
        return getattr(lib, f"map_{code}")

    def call(a: Any) -> np.ndarray:
        arrays = a if isinstance(a, list) else [a]
        shape, dtype = arrays[0].shape, arrays[0].dtype
        alike = all(x.shape == shape and x.dtype == dtype for x in arrays[1:])
        ready = prepared(shape[1:]) if alike and shape and arrays[0].size and dtype in _LETTERS else None
        if ready is None:
            return _by_numpy(a, steps)
        arrays = [np.ascontiguousarray(x) for x in arrays]
        y = np.empty(shape, dtype=result)
        outer, inner = (ready.outer * shape[0], ready.inner) if ready.rows > 1 else (1, y.size)
        pointers = (ctypes.c_void_p * len(arrays))(*[x.ctypes.data for x in arrays])
        entry(dtype)(ready.address, pointers, y.ctypes.data, outer, ready.rows, inner)
        return y

    return call


def _by_numpy(a: Any, steps: Sequence[StepCode]) -> np.ndarray:
    for name, args in steps:
        a = getattr(kernels, name)(a, *args)
    return np.asarray(a)


# --- the input


def _quantize(lib: ctypes.CDLL, args: Sequence[Any]) -> Bound | None:
    """`quantize_input` in one pass over the floats; what comes near a tie, and what is no number, is left to numpy."""
    mul, add, exact, rounding, lo, hi, kind, dtype = args
    if (rounding, kind, dtype) != ("ROUND", "fixed", "f4") or np.ndim(lo) or np.ndim(hi) or max(-lo, hi) > 2**24:
        return None
    rows = {"scale": _numbers(mul), "offset": _numbers(add)}
    function = Function(_SCALE_ROUND, 0, rows, {}, None, _FLOATS[dtype])
    slack = -1.0 if exact is None else 2.0**-50  # of what double does, or that it does all exactly

    @cache
    def prepared(shape: tuple[int, ...]) -> _Prepared | None:
        return _prepared([function], (1, *shape))

    def call(x: np.ndarray) -> np.ndarray:
        ready = prepared(x.shape[1:]) if x.size and x.dtype in _LETTERS else None
        if ready is not None:
            held, y = np.ascontiguousarray(x), np.empty(x.shape, dtype=np.float32)
            outer, inner = (ready.outer * len(x), ready.inner) if ready.rows > 1 else (1, y.size)
            entry = getattr(lib, f"quantize_{_LETTERS[x.dtype]}")
            if entry(ready.address, held.ctypes.data, y.ctypes.data, outer, ready.rows, inner, lo, hi, slack) == 0:
                return y
        return np.asarray(kernels.quantize_input(x, *args))

    return call


# --- windows


class _Window(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "groups", "depth", "outs", "rows")),
        *((name, ctypes.c_int64) for name in ("height", "width", "top", "left", "bottom", "right")),
        *((f"{name}_{axis}", ctypes.c_int64) for name in ("kernel", "stride", "dilation") for axis in "yx"),
        ("parts", ctypes.c_int64),
        ("ends", ctypes.c_void_p),
        ("fill", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("sum", "map", "result")),
    ]


@dataclass(frozen=True)
class _Geometry:
    """The last one or two axes of an array, as two."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def counts(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Windows along every axis."""
        full = [n + b + e for n, b, e in zip(sizes, self.before, self.after, strict=True)]
        return Window(self.kernel, self.strides, self.dilations).fitting(full)

    def fields(self, sizes: tuple[int, ...]) -> dict[str, int]:
        (height, width), (top, left), (bottom, right) = (_two(v, 0) for v in (sizes, self.before, self.after))
        named = {"height": max(height, 1), "width": width, "top": top, "left": left, "bottom": bottom, "right": right}
        for name, values in (("kernel", self.kernel), ("stride", self.strides), ("dilation", self.dilations)):
            named[f"{name}_y"], named[f"{name}_x"] = _two(values, 1)
        return named


def _two(values: tuple[int, ...], other: int) -> tuple[int, int]:
    return (other, values[0]) if len(values) == 1 else (values[0], values[1])


@dataclass(frozen=True)
class _Weights:
    """packed: [groups, stacks of outputs, channels * places, outputs of a stack], filled up with zeros; ends: of parts
    of the products; dtype: of the sums.
    """

    packed: np.ndarray
    groups: int
    outs: int
    ends: np.ndarray
    dtype: np.dtype


def _weights(rows: np.ndarray, ends: list[int], dtype: np.dtype[Any]) -> _Weights:
    """rows: [groups, outputs, channels * places]."""
    groups, outs, terms = rows.shape
    stack = 1 if outs < 3 else 4
    full = np.pad(rows, ((0, 0), (0, -outs % stack), (0, 0))).reshape(groups, -(-outs // stack), stack, terms)
    packed = np.ascontiguousarray(full.transpose(0, 1, 3, 2))
    return _Weights(packed, groups, outs, np.array(ends, dtype=np.int64), dtype)


def _conv_weights(w: list[tuple[int, np.ndarray]], dtype: str) -> _Weights:
    ends = np.cumsum([part.shape[-1] for _, part in w]).tolist()
    return _weights(np.concatenate([part for _, part in w], axis=-1), ends, _FLOATS[dtype])


def _depthwise_weights(w: list[np.ndarray], dtype: str) -> _Weights:
    rows = np.stack([part.reshape(part.shape[:2]) for part in w], axis=-1).astype(_FLOATS[dtype])
    return _weights(rows, [len(w)], _FLOATS[dtype])


_WEIGHTS: dict[str, Callable[..., _Weights]] = {"conv": _conv_weights, "depthwise": _depthwise_weights}


def _layer(lib: ctypes.CDLL, border: Sequence[Any] | None, steps: Sequence[StepCode]) -> Bound | None:
    """A convolution, with the border in front of it and the functions behind it."""
    (name, (w, kernel, strides, dilations, dtype)), *then = steps
    if len(kernel) > 2 or dtype not in _FLOATS:
        return None
    weights, rank = _WEIGHTS[name](w, dtype), len(kernel)
    groups, outs = weights.groups, weights.outs
    before, after, fill = ((0,) * rank, (0,) * rank, 0.0) if border is None else border
    geometry = _Geometry(kernel, strides, dilations, before, after)
    functions = _functions(then)
    ready = None if functions is None else _prepared(functions, (1, 1, groups * outs, *(1,) * rank), 2)
    if functions is None or ready is None:  # each by itself
        alone = _layer(lib, border, steps[:1])
        assert alone is not None
        parts = [alone, *(_elementwise(lib, [step]) or _plain(step) for step in then)]
        return lambda a: reduce(lambda x, part: part(x), parts, a)
    result = functions[-1].result if functions else weights.dtype
    between = _between(functions, weights.dtype, result)
    entry = getattr(lib, f"conv_{_LETTERS[weights.packed.dtype]}")
    types = {k: int(t == np.float64) for k, t in (("sum", weights.dtype), ("map", between), ("result", result))}
    numbers = {
        "rows": weights.packed.shape[-1],
        "parts": len(weights.ends),
        "ends": weights.ends.ctypes.data,
        "fill": fill,
    }

    @cache
    def prepared(shape: tuple[int, ...]) -> tuple[tuple[int, ...], _Window] | None:
        """Of the result, and of the windows; None where one of the two is empty."""
        sizes = shape[-rank:]
        found = (*shape[:2], groups * outs, *geometry.counts(sizes))
        if min(*shape, *found) < 1:
            return None
        images, depth, fields = shape[0] * shape[1], shape[2] // groups, geometry.fields(sizes)
        return found, _Window(images=images, groups=groups, depth=depth, outs=outs, **fields, **numbers, **types)

    packed = weights.packed.ctypes.data

    def call(a: np.ndarray) -> np.ndarray:
        found = prepared(a.shape) if a.dtype in _LETTERS else None
        if found is None:
            return _by_numpy(a, [*_bordering(border, a), *steps])
        shape, window = found
        a = np.ascontiguousarray(a, dtype=weights.packed.dtype)
        y = np.empty(shape, dtype=result)
        if entry(ctypes.addressof(window), a.ctypes.data, packed, y.ctypes.data, ready.address):
            raise MemoryError
        return y

    return call


def _plain(step: StepCode) -> Bound:
    return lambda a: _by_numpy(a, [step])


def _bordering(border: Sequence[Any] | None, a: np.ndarray) -> list[StepCode]:
    if border is None:
        return []
    before, after, fill = border
    lead = (0,) * (a.ndim - len(before))
    return [("border", ((*lead, *before), (*lead, *after), (0,) * a.ndim, fill, a.dtype))]


def _pool(lib: ctypes.CDLL, name: str, args: Sequence[Any]) -> Bound | None:
    kernel, strides, dilations, *rest = args
    if len(kernel) > 2 or (rest and rest[0] not in _FLOATS):
        return None
    geometry = _Geometry(kernel, strides, dilations, (0,) * len(kernel), (0,) * len(kernel))
    numpy = getattr(kernels, name)

    @cache
    def prepared(shape: tuple[int, ...]) -> tuple[tuple[int, ...], _Window] | None:
        sizes, images = shape[-len(kernel) :], math.prod(shape[: -len(kernel)])
        found = (*shape[: -len(kernel)], *geometry.counts(sizes))
        return (found, _Window(images=images, depth=1, **geometry.fields(sizes))) if min(*shape, *found) > 0 else None

    def call(a: np.ndarray) -> np.ndarray:
        dtype = _FLOATS[rest[0]] if rest else a.dtype
        found = prepared(a.shape) if dtype in _LETTERS else None
        if found is None:
            return np.asarray(numpy(a, *args))
        a, y = np.ascontiguousarray(a, dtype=dtype), np.empty(found[0], dtype=dtype)
        getattr(lib, f"{name}_{_LETTERS[dtype]}")(ctypes.addressof(found[1]), a.ctypes.data, y.ctypes.data)
        return y

    return call


def bound(lib: ctypes.CDLL, name: str, args: Sequence[Any]) -> Bound | None:
    """The compiled form of a kernel, a function of its first argument, for these values of all others; None where there
    is none. `chain` has no numpy kernel of that name: a border or None, and steps one behind the other.
    """
    if name == "chain":
        border, steps = args
        return _layer(lib, border, steps) if steps[0][0] in _WEIGHTS else _elementwise(lib, steps)
    if name == "quantize_input":
        return _quantize(lib, args)
    return _pool(lib, name, args) if name in ("max_pool", "sum_pool") else None


def unbound(args: Sequence[Any]) -> Bound:
    """A chain by numpy kernels."""
    border, steps = args
    return lambda a: _by_numpy(a, [*_bordering(border, a), *steps])
