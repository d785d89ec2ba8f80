"""Implementations of activation chains against rational arithmetic, on every reachable accumulator value."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcompile.cost.exchange import fabric_of
from qcompile.formats import FixedPoint, Overflow, Rounding
from qcompile.ir import Array, Node, Param, TensorType, Value, ops
from qcompile.passes import implement, requant

FABRIC = fabric_of("xc7z020")
SCALES = st.one_of(
    st.integers(-12, 3).map(lambda k: Fraction(2) ** k),
    st.floats(2.0**-12, 4.0, width=32).map(Fraction),
    st.fractions(Fraction(1, 60), 3, max_denominator=60),
)
CHAINS = st.lists(st.sampled_from(["relu", "leaky", "clip", "abs"]), max_size=2)


def exact(a: int, slope: Fraction, offset: Fraction, chain: list[str], q: ops.Quantize) -> int:
    """The specification, written once more with plain fractions."""
    v = slope * a + offset
    for name in chain:
        v = {
            "relu": max(v, Fraction(0)),
            "leaky": v if v >= 0 else v / 8,
            "clip": min(max(v, Fraction(-3)), Fraction(3)),
            "abs": abs(v),
        }[name]
    y = v / q.scale.scalar + q.zero_point.scalar
    whole, size = y.numerator // y.denominator, abs(y)
    sign = -1 if y < 0 else 1
    r = {
        "ROUND": lambda: round(y),
        "FLOOR": lambda: whole,
        "CEIL": lambda: -(-y.numerator // y.denominator),
        "DOWN": lambda: sign * (size.numerator // size.denominator),
        "UP": lambda: sign * -(-size.numerator // size.denominator),
        "HALF_UP": lambda: sign * int(size + Fraction(1, 2)),
        "HALF_DOWN": lambda: sign * -int(-(size - Fraction(1, 2)) // 1),
        "HALF_ODD": lambda: round(y - 1) + 1,
    }[q.rounding.value]()
    return min(max(r, q.format.min_units), q.format.max_units)


STEPS = {
    "relu": ops.Clip(Param.of(0)),
    "leaky": ops.Leaky(Param.of(Fraction(1, 8))),
    "clip": ops.Clip(Param.of(-3), Param.of(3)),
    "abs": ops.Leaky(Param.of(-1)),
}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    SCALES,
    st.booleans(),
    st.fractions(-4, 4, max_denominator=64),
    CHAINS,
    SCALES,
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from(list(Rounding)),
    st.fractions(-3, 3, max_denominator=4),
    st.integers(1, 700),
    st.integers(-700, 300),
)
def test_every_value(slope, negative, offset, chain, scale, width, signed, rounding, zero, span, first) -> None:
    slope = -slope if negative else slope
    q = ops.Quantize(FixedPoint(width, 0, signed), Param.of(scale), Param.of(zero), rounding, Overflow.SATURATE)
    steps = (ops.Affine(Param.of(slope), Param.of(offset)), *(STEPS[c] for c in chain), q)
    op = ops.Requant(Array(np.zeros((), dtype=np.int64)), Array(np.ones((1, 1), dtype=np.int64)), steps)
    low, high = np.array([first]), np.array([first + span])
    wanted = [exact(a, slope, offset, chain, q) for a in range(first, first + span + 1)]
    points = np.arange(first, first + span + 1)[None]
    rows = np.zeros_like(points)
    node = Node(op, (), (Value("y", TensorType((1,), q.format)),))
    impls = [implement.choose(node, low, high, FABRIC), implement._by_pieces(op, low, high)]
    ends = implement.evaluate_rows(op, np.stack([low, high], axis=-1))
    affine = requant.multiply_add_shift(op, low, high, ends)
    impls += [affine] if affine else []
    for impl in impls:
        assert implement._run(impl, points, rows)[0].tolist() == wanted, impl.kind
        if isinstance(impl, ops.Thresholds):  # where all changes are the same, executions and prices count cuts
            assert np.array_equal(np.diff(impl.values.data[0]) != 0, impl.cuts.data[0] <= high[0])


def test_no_smaller_shift() -> None:
    """The shift that the search finds is the smallest: brute force over all (m, b) agrees."""
    for p, r in ((3, 7), (13, 50), (101, 997), (5, 3)):
        ends = [(p * a + 11) // r for a in (-40, 90)]
        piece = requant.Piece(0, -40, 90, p, 11, r, False, *ends)
        _, _, shift, _ = requant._search([piece])[0]
        points = np.arange(-40, 91)
        wanted = (p * points + 11) // r
        for s in range(shift):
            m, b = np.arange((p << s) // r + 3)[:, None], np.arange(-(4 << s), (4 << s) + 1)
            right = np.ones((len(m), len(b)), dtype=bool)
            for a, y in zip(points.tolist(), wanted.tolist(), strict=True):
                right &= np.clip((m * a + b) >> s, *ends) == y
            assert not right.any(), (p, r, s)


@given(
    st.integers(0, 12),
    st.booleans(),
    st.fractions(-40, 40, max_denominator=97),
    st.integers(-600, 200),
    st.integers(1, 900),
    st.integers(-20, 20),
    st.integers(1, 40),
)
def test_powers_of_two_need_no_search(shift, negative, offset, first, span, lo, codes) -> None:
    """Where the slope is a power of two, whatever the offset, what is said at once is what the search finds."""
    p, q, r = ((-1) ** negative * offset.denominator, offset.numerator << shift, offset.denominator << shift)
    ends = sorted(min(max((p * a + q) // r, lo), lo + codes) for a in (first, first + span))
    piece = requant.Piece(0, first, first + span, p, q, r, False, *ends)
    found = requant._dyadic_slope(piece)
    assert (found is not None) == (ends[1] - ends[0] > 1)
    assert found is None or found == requant._search([piece])[0]
