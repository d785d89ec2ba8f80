"""Integer kernels on numpy arrays of shape (batch, *tensor). This file is carried verbatim by every emitted simulator:
numpy only.

Numbers are integers in the narrowest dtype that is proven to hold every intermediate exactly: float32 up to 2**24,
float64 up to 2**53, int64 up to 2**62, Python integers beyond. Floats are used because they are fast, not because
anything is rounded.
"""

import math
from fractions import Fraction

import numpy as np


def matmul(a, b, dtype):
    """a @ b; every partial sum fits dtype ("f4", "f8": BLAS is exact)."""
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    if (
        b.ndim == 3 and b.shape[0] == 1 and a.ndim > 2
    ):  # one constant matrix: a single product instead of one per vector
        return np.matmul(a.reshape(-1, a.shape[-1]), b[0]).reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


def matmul_wide(a, b, bits, dtype, own):
    """a @ b where sums pass 2**53: `a` in limbs of `bits` bits, whose products with b float64 holds exactly; result in
    dtype `own`.
    """
    rest, shift, total = _integers(a), 0, None
    b = _integers(b)
    if b.dtype == object or bits < 2:
        return np.matmul(rest.astype(object), b.astype(object)).astype(own)
    while True:
        last = rest.size == 0 or max(abs(int(rest.min())), abs(int(rest.max()))) < 2**bits
        limb = rest if last else rest & ((1 << bits) - 1)
        part = np.matmul(limb.astype(np.float64), b.astype(np.float64)).astype(np.int64)
        part = part.astype(dtype) * (1 << shift) if shift else part.astype(dtype)
        total = part if total is None else total + part
        if last:
            return total.astype(own)
        rest, shift = rest >> bits, shift + bits


def matmul_truncated(a, b, drop, dtype):
    """a @ b with every product floored after a shift by `drop` bits, which no order of summation can undo: term by
    term.
    """
    a, b, total = _cast(a, dtype), _cast(b, dtype), 0
    for k in range(a.shape[-1]):
        total = total + _floored(a[..., :, k, None] * b[..., None, k, :], drop)
    return total


def _floored(product, drop):
    return np.floor(np.ldexp(product, -drop)) if product.dtype.kind == "f" else product >> drop


def multiply(a, b, dtype):
    return _cast(a, dtype) * _cast(b, dtype)


def combine(terms, coeffs, dtype):
    """sum of coefficient * term."""
    total = 0
    for term, coeff in zip(terms, coeffs):
        total = total + _cast(term, dtype) * _cast(coeff, dtype)
    return total


def _cast(x, dtype):
    x = np.asarray(x)
    if dtype == "O":
        return _integers(x).astype(object)
    return x.astype(dtype, copy=False)


def _integers(x):
    return x.astype(np.int64) if x.dtype.kind == "f" else x


def scale_round(a, scale, offset, rounding, lo, hi, dtype, own):
    """clamp(a * scale + offset, rounded): exact, since scale and offset are integers times a power of two; computed in
    dtype, result in dtype `own`.

    rounding: "even", "floor" or None; None leaves a step out.
    """
    y = a.astype(dtype, copy=False) if scale is None else np.multiply(a, scale, dtype=dtype)
    if offset is not None:
        y = np.add(y, offset, out=_own(y, a))
    if rounding is not None:
        y = (np.rint if rounding == "even" else np.floor)(y, out=_own(y, a))
    y = y if lo is None and hi is None else np.clip(y, lo, hi, out=_own(y, a))
    return y.astype(own, copy=False)


def _own(y, a):
    """y, if it is an array of ours that may be overwritten."""
    return None if y is a else y


def scale_round_segments(a, breaks, scale, offset, rounding, lo, hi, dtype, own):
    """The same with parameters by segment: lists of arrays, segment s from breaks[s - 1] on."""
    a = a.astype(dtype, copy=False)
    m, b = scale[0], offset[0]
    for start, m_next, b_next in zip(breaks, scale[1:], offset[1:]):
        beyond = a >= start
        m, b = np.where(beyond, m_next, m), np.where(beyond, b_next, b)
    return scale_round(a, m, b, rounding, lo, hi, dtype, own)


def mul_add_shift(a, breaks, mul, add, shift, tie, odd, lo, hi, split, dtype):
    """Integer form for wide numbers: (mul * a + add) >> shift, with the correction of ties, to even or odd; lists by
    segment. split > 0: low bits of a that are multiplied apart so that int64 is enough; None: Python integers.
    """
    a = _integers(a)
    if split is None:
        a = a.astype(object)
    m, b, s, t = mul[0], add[0], shift[0], tie[0]
    for i, start in enumerate(breaks):
        beyond = a >= start
        m, b = np.where(beyond, mul[i + 1], m), np.where(beyond, add[i + 1], b)
        s, t = np.where(beyond, shift[i + 1], s), np.where(beyond, tie[i + 1], t)
    fine = s - t
    if split:
        high, low = a >> split, a & ((1 << split) - 1)
        # floor((high * m * 2**k + low * m + b) / 2**fine), the carry of the low part taken over exactly
        k = np.minimum(split, fine)
        carried = (high * m << (split - k)) + ((m * low + b) >> k)
        fraction = carried >> (fine - k)
    else:
        fraction = (m * a + b) >> fine
    y, ones = fraction >> t, (1 << t) - 1
    if odd:
        y = y | ((t > 0) & (fraction & ones == ones))
    else:
        y = y - ((t > 0) & (fraction & ones == 0) & (y & 1 == 1))
    return np.minimum(np.maximum(y, lo), hi).astype(dtype, copy=False)


def float_round(a, scale, offset, mantissa, lo, hi, dtype):
    """a * scale + offset rounded to the grid of a minifloat, ties to even, and limited; exact in float64."""
    v = np.multiply(a, scale, dtype=np.float64)
    v += offset
    step = np.maximum(np.frexp(v)[1] - 1 - mantissa, 0)
    v = np.ldexp(np.rint(np.ldexp(v, -step)), step)
    return np.clip(v, lo, hi, out=v).astype(dtype, copy=False)


def float_round_wide(a, mul, add, shift, lo, hi, mantissa, even, dtype):
    """Integer form: (mul * a + add) / 2**shift to the grid of a minifloat; ties to even, or up."""
    v = mul * _integers(a).astype(object) + add
    negative = v < 0
    size = np.where(negative, -v if even else -v - 1, v)
    length = np.vectorize(int.bit_length, otypes=[object])(size)
    step = np.maximum(length - shift - 1 - mantissa, 0)
    drop = shift + step
    half = np.where(drop > 0, (1 << drop) >> 1, 0)
    if even:
        half = half - ((drop > 0) & (((size >> drop) & 1) == 0))
    kept = ((size + half) >> drop) << step
    return np.minimum(np.maximum(np.where(negative, -kept, kept), lo), hi).astype(dtype, copy=False)


def count_thresholds(a, cuts, start, step, dtype):
    """start + step * (number of cuts <= a), one comparison per cut; cuts: list of arrays that broadcast against a."""
    total = np.zeros(a.shape, dtype=np.int16)
    for cut in cuts:
        total += a >= cut
    if step is None:
        return np.add(total, start, dtype=dtype)
    return np.add(np.multiply(total, step, dtype=dtype), start, dtype=dtype)


def search_thresholds(a, rows, cuts, values, dtype):
    """values[row, number of cuts[row] <= a] by binary search; cuts [P, K] ascending, values [P, K + 1]; rows broadcast
    against a.
    """
    if cuts.shape[0] == 1:
        return values[0].astype(dtype)[np.searchsorted(cuts[0], a.ravel(), side="right").reshape(a.shape)]
    width = cuts.shape[1]
    flat, base = cuts.ravel(), np.broadcast_to(rows * width, a.shape)
    position = np.zeros(a.shape, dtype=np.int64)
    for bit in reversed(range(int(width).bit_length())):
        trial = position + (1 << bit)
        inside = trial <= width
        taken = inside & (flat[base + np.minimum(trial, width) - 1] <= a)
        position[taken] += 1 << bit
    return values.astype(dtype).ravel()[np.broadcast_to(rows * (width + 1), a.shape) + position]


def lookup(a, rows, first, values):
    """values[row, a - first]."""
    width = values.shape[1]
    position = a.astype(np.int64) - first
    if rows is not None:
        position = position + rows * width
    return np.take(values.ravel(), position)


def constant(units):
    return units


def reshape(a, shape):
    return a.reshape(a.shape[:1] + tuple(shape))


def transpose(a, perm):
    return a.transpose(0, *(p + 1 for p in perm))


def take(a, axis, indices):
    return np.take(a, indices, axis=axis + 1)


def concat(parts, axis, dtype):
    batch = max(len(p) for p in parts)  # constants have a batch of 1
    full = [np.broadcast_to(p.astype(dtype, copy=False), (batch, *p.shape[1:])) for p in parts]
    return np.concatenate(full, axis=axis + 1)


def reduce_max(a, axes, shape):
    return a.max(axis=axes).reshape(a.shape[:1] + shape)


def reduce_sum(a, axes, shape, dtype):
    return a.sum(axis=axes, dtype=dtype).reshape(a.shape[:1] + shape)


def border(a, before, after, interior, fill, dtype):
    """`before` and `after` elements of `fill` along every axis (batch included), `interior` of them between
    neighbours.
    """
    sizes = [b + n + (n - 1) * i + e for n, b, e, i in zip(a.shape, before, after, interior)]
    out = np.empty(sizes, dtype=dtype)
    out[...] = fill
    out[tuple(slice(b, b + (n - 1) * (i + 1) + 1, i + 1) for n, b, i in zip(a.shape, before, interior))] = a
    return out


def taps(a, kernel, strides, dilations):
    """For every place of a window over the last axes: the elements that stand there, one per window."""
    sizes = a.shape[a.ndim - len(kernel) :]
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(sizes, kernel, strides, dilations)]
    for place in np.ndindex(*kernel):
        yield a[
            (..., *(slice(p * d, p * d + (c - 1) * s + 1, s) for p, c, s, d in zip(place, counts, strides, dilations)))
        ]


def columns(a, kernel, strides, dilations):
    """(..., *spatial) -> (..., places of the window, *windows): im2col."""
    rank, parts = len(kernel), list(taps(a, kernel, strides, dilations))
    return np.stack(parts, axis=a.ndim - rank) if len(parts) > 1 else np.expand_dims(parts[0], a.ndim - rank)


def conv(a, w, kernel, strides, dilations, dtype):
    """Convolution as one matrix product per vector and group: a (N, 1, C, *spatial), w: list of (first channel of the
    group, weights [groups, outputs, channels * places]) whose partial sums the dtype holds exactly; parts are added in
    float64.
    """
    groups, rank = w[0][1].shape[0], len(kernel)
    a = _grouped(a.astype(w[0][1].dtype, copy=False), groups)
    by_rows = all(s == 1 for s in strides) and math.prod(kernel) > 1
    total = None
    for first, part in w:
        channels = a[:, :, :, first : first + part.shape[-1] // math.prod(kernel)]
        found = (
            _columns_by_rows(channels, kernel, dilations) if by_rows else columns(channels, kernel, strides, dilations)
        )
        y = np.matmul(part, _places(found, part, rank))
        total = y.astype(dtype, copy=False) if total is None else np.add(total, y, dtype=dtype)
    total = total.reshape(*a.shape[:2], groups * w[0][1].shape[1], *found.shape[-rank:])
    return (
        total[(..., *(slice(n - d * (k - 1)) for n, k, d in zip(a.shape[-rank:], kernel, dilations)))]
        if by_rows
        else total
    )


def _grouped(a, groups):
    """(N, 1, C, *spatial) -> (N, 1, groups, channels of a group, *spatial)."""
    return a.reshape(*a.shape[:2], groups, a.shape[2] // groups, *a.shape[3:])


def _places(found, w, rank):
    """Columns with the places of all channels on one axis, and the windows on one; w [groups, outputs, channels *
    places]."""
    return found.reshape(*found.shape[:3], w.shape[-1], math.prod(found.shape[-rank:]))


def _columns_by_rows(a, kernel, dilations):
    """im2col with stride 1: a shift of the plane is a shift of its flattened rows, copied in one piece with surplus
    elements at the ends of rows. (..., C, *spatial) -> (..., C, places, windows along the first axis, *rest of
    spatial).
    """
    lead, sizes = a.shape[: a.ndim - len(kernel)], a.shape[a.ndim - len(kernel) :]
    starts, length = _row_starts(sizes, kernel, dilations)
    a = np.ascontiguousarray(a)
    count = sizes[0] - dilations[0] * (kernel[0] - 1)
    shifts = [s * d for s, d in zip(a.strides[a.ndim - len(kernel) :], dilations)]
    view = np.lib.stride_tricks.as_strided(
        a, (*lead, *kernel, length), (*a.strides[: len(lead)], *shifts, a.itemsize), writeable=False
    )
    out = np.empty((*lead, *kernel, count * math.prod(sizes[1:])), dtype=a.dtype)
    out[..., :length] = view
    out[..., length:] = 0
    return out.reshape(*lead, len(starts), count, *sizes[1:])


def _row_starts(sizes, kernel, dilations):
    """Where the shifts of a flattened plane begin, and their common length."""
    steps = [d * math.prod(sizes[i + 1 :]) for i, d in enumerate(dilations)]
    starts = [sum(p * s for p, s in zip(place, steps)) for place in np.ndindex(*kernel)]
    return starts, math.prod(sizes) - starts[-1]


def conv_wide(a, w, kernel, strides, dilations, bits, dtype, own):
    """Convolution where sums pass 2**53, with the weights in limbs of `bits` bits: a (N, 1, C, *spatial), w [groups,
    outputs, channels * places].
    """
    a = _grouped(a, w.shape[0])
    found = columns(a, kernel, strides, dilations)
    y = matmul_wide(w, _places(found, w, len(kernel)), bits, dtype, own)
    return y.reshape(*a.shape[:2], w.shape[0] * w.shape[1], *found.shape[-len(kernel) :])


def conv_truncated(a, w, kernel, strides, dilations, drop, dtype):
    """Convolution with every product floored after a shift by `drop` bits: a (N, 1, C, *spatial), w [groups, outputs,
    channels * places].
    """
    a = _grouped(_cast(a, dtype), w.shape[0])
    found = columns(a, kernel, strides, dilations)
    y = matmul_truncated(w, _places(found, w, len(kernel)), drop, dtype)
    return y.reshape(*a.shape[:2], w.shape[0] * w.shape[1], *found.shape[-len(kernel) :])


def depthwise(a, w, kernel, strides, dilations, dtype):
    """Convolution of every channel by itself, as shifted multiply-adds; w: list by place of weights [C, outputs per
    channel, 1, ...].
    """
    a = np.expand_dims(a.astype(dtype, copy=False), 3)
    if all(s == 1 for s in strides):
        total = _depthwise_by_rows(a, w, kernel, dilations)
    else:
        total = _multiply_add(list(taps(a, kernel, strides, dilations)), w, None)
    return total.reshape(*total.shape[:2], total.shape[2] * total.shape[3], *total.shape[4:])


def _depthwise_by_rows(a, w, kernel, dilations):
    """With stride 1 a shift of the plane is a shift of its flattened rows: long slices, with surplus elements where a
    row ends.
    """
    sizes = a.shape[4:]
    counts = [n - d * (k - 1) for n, k, d in zip(sizes, kernel, dilations)]
    starts, length = _row_starts(sizes, kernel, dilations)
    rows = a.reshape(*a.shape[:4], math.prod(sizes))
    planes = np.empty((*a.shape[:3], w[0].shape[1], counts[0], *sizes[1:]), dtype=a.dtype)
    total = planes.reshape(*planes.shape[:4], math.prod(planes.shape[4:]))[..., :length]
    _multiply_add([rows[..., s : s + length] for s in starts], [v.reshape(*v.shape[:2], 1) for v in w], total)
    return planes[(..., *(slice(c) for c in counts))]


def _multiply_add(parts, factors, total):
    """sum of part * factor, into `total` where one is given."""
    product = None
    for part, factor in zip(parts, factors):
        if product is None:
            total = np.multiply(part, factor, out=total)
            product = np.empty(total.shape, dtype=total.dtype)
        else:
            total += np.multiply(part, factor, out=product)
    return total


def sum_pool(a, kernel, strides, dilations, dtype):
    return _by_axis(np.add, a.astype(dtype, copy=False), kernel, strides, dilations)


def max_pool(a, kernel, strides, dilations):
    return _by_axis(np.maximum, a, kernel, strides, dilations)


def _by_axis(join, a, kernel, strides, dilations):
    """Windows joined along one axis after the other, whole rows first."""
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations)):
        ones = [1] * len(kernel)
        size, stride, gap = ([*ones[:i], n, *ones[i + 1 :]] for n in (k, s, d))
        total = None
        for part in taps(a, size, stride, gap):
            total = (
                part if total is None else join(total, part) if total.base is not None else join(total, part, out=total)
            )
        a = total
    return a


def arg_max(a, axis, keepdims, last):
    axis += 1
    found = a.shape[axis] - 1 - np.argmax(np.flip(a, axis), axis=axis) if last else np.argmax(a, axis=axis)
    return np.expand_dims(found, axis) if keepdims else np.asarray(found)


def divide(a, b, mul, div, dtype, own):
    """x = a * mul / (b * div), doubled and rounded to odd: 2 * floor(x), and 1 more where x is no integer. In floats
    too: below an integer a quotient is at least 1 / b away from it, and the rounding of a numerator within the
    significand is less than that.
    """
    a, b = _cast(a, dtype) * mul, _cast(b, dtype) * div
    whole = np.floor(a / b) if dtype in ("f4", "f8") else a // b
    return _cast(2 * whole + (whole * b != a), own)


def inverse_root(x, num, den, own):
    """floor(sqrt(num / (den * x))), exactly: one number of a row."""
    found = [math.isqrt(num // (den * int(v))) for v in np.ravel(x).tolist()]
    return _cast(np.array([*found, None], dtype=object)[:-1].reshape(np.shape(x)), own)


# --- the host side

_EPS = 2.0**-50


def quantize_input(x, mul, add, exact, rounding, lo, hi, kind, dtype):
    """clamp(round(mul * x + add)) of floats, exactly: float64 first, fractions where the value is near a rounding
    boundary.

    mul, add: float64 arrays or numbers; exact: (mul, add) as lists of fraction texts with their shapes, or None where
    float64 is exact.
    kind: "fixed", "wrapped" (between lo and hi, in place of the clamp), "bipolar", or the number of mantissa bits of a
    minifloat, whose grid is coarser in every binade.
    """
    if not np.isfinite(x).all():
        raise ValueError("the input holds NaN or infinity; give finite numbers")
    simple = (
        rounding == "ROUND"
        and kind == "fixed"
        and np.ndim(lo) == np.ndim(hi) == 0
        and x.dtype == np.float32
        and dtype == "f4"
    )
    if simple and exact is None and 2.0**-100 < mul < 2.0**100:
        # A power-of-two scale and at most 24 bits: float32 is exact too, and twice as fast.
        with np.errstate(over="ignore", under="ignore"):
            v = np.multiply(x, np.float32(mul))
        np.rint(v, out=v)
        return np.clip(v, np.float32(lo), np.float32(hi), out=v)
    if simple and max(-lo, hi) < 2**16 and 2.0**-100 < np.min(np.abs(mul)) and np.max(np.abs(mul)) < 2.0**100:
        return _quantize_float32(x, mul, add, exact, lo, hi)
    v = np.multiply(x, mul, dtype=np.float64)
    if exact is not None:
        size = np.abs(v)
        v += add
        size += np.abs(add)
        size *= _EPS
    whole = kind in ("fixed", "wrapped", "bipolar")
    step = None if whole else np.maximum(np.frexp(v)[1] - 1 - kind, 0)
    if step is not None:
        v = np.ldexp(v, -step)
    if exact is not None:
        near = _near_boundary(v, size if step is None else np.ldexp(size, -step), rounding, kind == "bipolar")
    wide = max(np.max(np.abs(lo)), np.max(np.abs(hi))) > 2**53
    v = _round(v, rounding, kind == "bipolar")
    if kind == "wrapped":
        units = lo + np.mod(np.mod(v, hi - lo + 1) - lo, hi - lo + 1)  # the remainder of floats is exact
    else:
        units = _clamp(v if step is None else np.ldexp(v, step), lo, hi, wide)
    if exact is not None and near.any():
        fixed = np.full(units.shape, 0, dtype=object)
        fixed[near] = _exact_units(x, exact, near, rounding, kind)
        inside = lo + (fixed - lo) % (hi - lo + 1) if kind == "wrapped" else np.minimum(np.maximum(fixed, lo), hi)
        units = np.where(near, inside, units)
    return units.astype(dtype, copy=False)


def _quantize_float32(x, mul, add, exact, lo, hi):
    """Rounding to nearest in float32; the few elements that come near a boundary once more, exactly."""
    with np.errstate(over="ignore", under="ignore"):
        v = np.multiply(x, np.asarray(mul, dtype=np.float32))
        if np.any(add):
            v += np.asarray(add, dtype=np.float32)
    np.clip(v, np.float32(lo - 1), np.float32(hi + 1), out=v)
    units = np.rint(v)
    v -= units
    np.abs(v, out=v)
    # Product, factor, addend and sum are each off by at most 2**-24 of what is at most this large.
    reach = max(-lo, hi) + 2 + 2 * float(np.max(np.abs(add)))
    near = v >= np.float32(0.5 - reach * 2.0**-21)
    np.clip(units, np.float32(lo), np.float32(hi), out=units)
    if near.any():
        if np.ndim(mul) == np.ndim(add) == 0:
            units[near] = quantize_input(x[near].astype(np.float64), mul, add, exact, "ROUND", lo, hi, "fixed", "f8")
        else:
            units[near] = np.minimum(np.maximum(_exact_units(x, exact, near, "ROUND", "fixed"), lo), hi)
    return units


def count_input(x, sign, cuts, dtype):
    """Number of cuts <= sign * x: exact, since every cut is the least float64 that is not below the threshold; cuts
    (..., K).
    """
    if not np.isfinite(x).all():
        raise ValueError("the input holds NaN or infinity; give finite numbers")
    x = np.multiply(x, sign, dtype=np.float64)
    if cuts.size == cuts.shape[-1]:
        return np.searchsorted(np.sort(cuts.ravel()), x.ravel(), side="right").reshape(x.shape).astype(dtype)
    total = np.zeros(x.shape, dtype=dtype)
    for k in range(cuts.shape[-1]):
        total += x >= cuts[..., k]
    return total


def grid_input(x, sign, cuts, grid, lo, hi, dtype):
    """The number of a grid that an input is rounded to, limited; grid[k]: where k cuts are passed, as in
    `count_input`.
    """
    units = grid[count_input(x, sign, cuts, "i8")]
    return np.minimum(np.maximum(units, lo), hi).astype(dtype)


def _near_boundary(v, size, rounding, bipolar):
    if bipolar:
        return np.abs(v) <= size
    grid = v if rounding in ("FLOOR", "CEIL", "UP", "DOWN") else v - 0.5
    distance = np.rint(grid)
    distance -= grid
    np.abs(distance, out=distance)
    return distance <= size


def _round(v, rounding, bipolar=False):
    if bipolar:
        return np.where(v >= 0, 1.0, -1.0)
    if rounding in ("ROUND", "FLOOR", "CEIL"):
        return {"ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil}[rounding](v)
    if rounding == "HALF_ODD":
        return np.rint(v - 1) + 1
    size = np.abs(v)
    if rounding in ("UP", "DOWN"):
        y = np.ceil(size) if rounding == "UP" else np.floor(size)
    else:
        # size + 0.5 could round up across the boundary; the fraction alone is exact.
        whole = np.floor(size)
        rest = size - whole
        y = whole + (rest >= 0.5 if rounding == "HALF_UP" else rest > 0.5)
    return np.copysign(y, v)


def _clamp(y, lo, hi, wide):
    if wide:
        big = np.array([int(t) for t in y.ravel().tolist()] + [None], dtype=object)[:-1].reshape(y.shape)
        return np.minimum(np.maximum(big, lo), hi)
    return np.minimum(np.maximum(y, lo), hi)


def _exact_units(x, exact, where, rounding, kind):
    """Units of the elements `where`; every distinct (x, mul, add) is evaluated once."""
    columns = [np.broadcast_to(x, where.shape)[where].astype(np.float64)]
    numbers = []
    for values, shape in exact:
        numbers.append([Fraction(v) for v in values])
        columns.append(np.broadcast_to(np.arange(len(values)).reshape(shape), where.shape)[where])
    distinct, inverse = np.unique(np.stack(columns), axis=1, return_inverse=True)
    out = [
        _units_exact(numbers[0][int(m)] * Fraction(value) + numbers[1][int(a)], rounding, kind)
        for value, m, a in distinct.T.tolist()
    ]
    return np.array(out + [None], dtype=object)[:-1][inverse.ravel()]


def _units_exact(v, rounding, kind):
    if kind == "bipolar":
        return 1 if v >= 0 else -1
    if kind in ("fixed", "wrapped") or abs(v) < 1:
        return _round_exact(v, rounding)
    step = max((abs(v.numerator) // v.denominator).bit_length() - 1 - kind, 0)
    return _round_exact(v / 2**step, rounding) << step


def _round_exact(v, rounding):
    size = abs(v)
    y = {
        "ROUND": lambda: round(v),
        "FLOOR": lambda: math.floor(v),
        "CEIL": lambda: math.ceil(v),
        "UP": lambda: math.ceil(size),
        "DOWN": lambda: math.floor(size),
        "HALF_UP": lambda: math.floor(size + Fraction(1, 2)),
        "HALF_DOWN": lambda: math.ceil(size - Fraction(1, 2)),
        "HALF_ODD": lambda: round(v - 1) + 1,
    }[rounding]()
    return -y if rounding not in ("ROUND", "FLOOR", "CEIL", "HALF_ODD") and v < 0 else y


def host_step(x, name, a, b):
    """One real-valued step behind the output port, in float64."""
    if name == "affine":
        y = np.multiply(x, a)
        return y if np.ndim(b) == 0 and b == 0 else np.add(y, b, out=y) if np.shape(b) == () else y + b
    if name == "clip":
        x = x if a is None else np.maximum(x, a)
        return x if b is None else np.minimum(x, b)
    if name == "leaky":
        return np.where(x < 0, x * a, x)
    if name == "count":
        return (x[..., None] >= a).sum(axis=-1).astype(np.float64)
    if name == "round":
        return _round(x, a)
    if name in ("sum", "product"):
        left, right = (_host_steps(x, steps) for steps in (a, b))
        return left + right if name == "sum" else left * right
    return FUNCTIONS[name](x, a)


def _host_steps(x, steps):
    for name, a, b in steps:
        x = host_step(x, name, a, b)
    return x


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


_erf, _erfc = (np.vectorize(f, otypes=[np.float64]) for f in (math.erf, math.erfc))
SELU = 1.67326319217681884765625, 1.05070102214813232421875
# Where functions have no value, or an infinite one, that of the nearest number here.
LEAST, NEAREST = 2.0**-1022, 1 - 2.0**-53
FUNCTIONS = {
    "sigmoid": lambda x, a: _sigmoid(x),
    "tanh": lambda x, a: np.tanh(x),
    "exp": lambda x, a: np.exp(x),
    "softplus": lambda x, a: np.logaddexp(x, 0.0),
    "softsign": lambda x, a: x / (1 + np.abs(x)),
    "erf": lambda x, a: _erf(x),
    "sqrt": lambda x, a: np.sqrt(np.maximum(x, 0)),
    "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
    "selu": lambda x, a: SELU[1] * np.where(x > 0, x, SELU[0] * np.expm1(np.minimum(x, 0))),
    "silu": lambda x, a: x * _sigmoid(x),
    "erf_gate": lambda x, a: x * _erfc(-a * x),
    "hardswish": lambda x, a: x * np.clip(a * x + 0.5, 0, 1),
    "gelu": lambda x, a: x * 0.5 * _erfc(x / -math.sqrt(2)),
    "gelu_tanh": lambda x, a: x * _sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)),
    "mish": lambda x, a: x * np.tanh(np.logaddexp(x, 0.0)),
    "log": lambda x, a: np.log(np.maximum(x, LEAST)),
    "reciprocal": lambda x, a: 1 / np.where(np.abs(x) < LEAST, LEAST, x),
    "exponential": lambda x, a: np.power(1 + a, x),
    "power": lambda x, a: np.power(x if a == int(a) and a >= 0 else np.maximum(x, LEAST if a < 0 else 0.0), a),
    "sin": lambda x, a: np.sin(x),
    "cos": lambda x, a: np.cos(x),
    "tan": lambda x, a: np.tan(x),
    "asin": lambda x, a: np.arcsin(np.clip(x, -1, 1)),
    "acos": lambda x, a: np.arccos(np.clip(x, -1, 1)),
    "atan": lambda x, a: np.arctan(x),
    "sinh": lambda x, a: np.sinh(x),
    "cosh": lambda x, a: np.cosh(x),
    "asinh": lambda x, a: np.arcsinh(x),
    "acosh": lambda x, a: np.arccosh(np.maximum(x, 1)),
    "atanh": lambda x, a: np.arctanh(np.clip(x, -NEAREST, NEAREST)),
}


def softmax(x, axis, log):
    shifted = x - x.max(axis=axis, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=axis, keepdims=True)
    return shifted - np.log(total) if log else e / total


# --- TensorFlow Lite's softmax of 8-bit codes (reference_ops::Softmax, by gemmlowp's fixed point numbers of 32 bits)


def softmax_codes(x, axis, multiplier, shift, least):
    """Codes -128 to 127 of codes x: exp of differences to the largest, 5 bits before the point, by eight factors; their
    sum with 12 bits before the point; its reciprocal by three steps of Newton and Raphson.
    """
    x = x.astype(np.int64)
    below = x - x.max(axis=axis, keepdims=True)
    e = _exp_of_negative(_high(np.maximum(below, least) << shift, multiplier))
    e = np.where(below >= least, e, 0)
    total = _divided(e, 12).sum(axis=axis, keepdims=True)
    lead = 31 - np.floor(np.log2(total)).astype(np.int64)  # zero bits in front, of 32
    scale = _one_over_one_plus((total << lead) - 2**31)
    y = _divided(_high(scale, e), 12 - lead + 23) - 128
    return np.where(below >= least, np.clip(y, -128, 127), -128).astype(np.float64)


def _high(a, b):
    """The doubled product's upper half, ties up (SaturatingRoundingDoublingHighMul); none of the products is 2**62."""
    return (a * b + 2**30) >> 31


def _divided(x, bits):
    """By a power of two, ties away from zero."""
    return np.where(x < 0, -((-x + (1 << bits >> 1)) >> bits), (x + (1 << bits >> 1)) >> bits)


def _exp_of_negative(a):
    """Of fixed point numbers with 5 bits before the point: with none before it."""
    quarter = 2**24
    part = (a & (quarter - 1)) - quarter
    y = _exp_near_0(part << 5)
    rest = part - a
    for power, factor in enumerate((1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)):
        y = np.where(rest & (quarter << power), _high(y, factor), y)
    return np.where(a == 0, 2**31 - 1, y)


def _exp_near_0(a):
    """Of -1/4 to 0."""
    x = a + 2**28  # around -1/8
    square = _high(x, x)
    fourth = _high(square, square)
    poly = _high(_divided(fourth, 2) + _high(square, x), 715827883) + square
    return 1895147668 + _high(1895147668, x + _divided(poly, 1))


def _one_over_one_plus(a):
    half = (a + 2**31) >> 1  # of 1 + a; RoundingHalfSum of a and the largest number
    x = 1515870810 + _high(half, -1010580540)
    for _ in range(3):
        x = x + (_high(x, 2**29 - _high(half, x)) << 2)
    return x << 1
