"""Constant matrices as adder graphs: what comes out of them, how deep they are, and what they save."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qcompile.cost import adder_bits, pairing
from qcompile.cost.structure import digits, ones
from qcompile.hardware import adders
from qcompile.hardware.adders import compiled, sharing
from qcompile.parts import AdderGraph


def values(graph: AdderGraph, x: np.ndarray) -> list[int]:
    """Every node of a vector, adder by adder."""
    out = [int(v) for v in x]
    columns = (graph.base, graph.other, graph.shift, graph.minus, graph.turned)
    for base, other, shift, minus, turned in zip(*(c.tolist() for c in columns), strict=True):
        out.append((-out[base] if turned else out[base]) + (-1 if minus else 1) * (out[other] << shift))
    return out


def product(graph: AdderGraph, x: np.ndarray) -> list[int]:
    known, rows = values(graph, x), zip(graph.node.tolist(), graph.negative.tolist(), graph.place.tolist(), strict=True)
    return [0 if n < 0 else (-known[n] if minus else known[n]) << place for n, minus, place in rows]


def check(graph: AdderGraph, w: np.ndarray, low: int, high: int, seed: int = 0) -> None:
    """Products of corners and of numbers at random, and every node within its interval and its level."""
    random = np.random.default_rng(seed)
    vectors = [np.full(w.shape[1], v) for v in (low, high)] + [
        random.integers(low, high + 1, w.shape[1]) for _ in range(5)
    ]
    corners = [np.where(row > 0, high, low) for row in w] + [np.where(row > 0, low, high) for row in w]
    for x in (*vectors, *corners):
        assert product(graph, x) == (w.astype(object) @ x.astype(object)).tolist()
        for value, least, most in zip(values(graph, x), graph.low.tolist(), graph.high.tolist(), strict=True):
            assert least <= value <= most
    level = np.concatenate([np.zeros(w.shape[1], dtype=int), graph.level_of() + 1])
    assert (np.maximum(level[graph.base], level[graph.other]) < graph.level_of() + 1).all()
    assert not (graph.minus & graph.turned).any()


def least_levels(w: np.ndarray) -> int:
    most = int(ones(np.bitwise_or(*digits(np.abs(w)))).sum(axis=1).max(initial=1))
    return (max(most, 1) - 1).bit_length()


def drawn(kind: str, shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, int, int]:
    random = np.random.default_rng(seed)
    if kind == "normal":
        return np.clip(np.round(random.normal(0, 2.5, shape)), -7, 7).astype(np.int64), -128, 127
    if kind == "binary":
        return random.integers(0, 2, shape) * 2 - 1, 0, 1
    if kind == "ternary":
        return random.integers(-1, 2, shape), 0, 3
    return random.integers(-128, 128, shape), -128, 127


MATRICES = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(-300, 300))


@given(MATRICES, st.sampled_from([(-8, 7), (0, 1), (0, 15), (3, 9), (-9, -2), (0, 0)]), st.sampled_from([None, 0, 2]))
@settings(max_examples=60, deadline=None)
def test_any_matrix(w: np.ndarray, ends: tuple[int, int], spare: int | None) -> None:
    graph = adders.solved(w, *ends, spare)
    check(graph, w, *ends)
    if spare is not None:
        assert graph.levels <= least_levels(w) + spare


@pytest.mark.parametrize("kind", ["normal", "binary", "ternary", "uniform"])
@pytest.mark.parametrize("spare", [None, adders.SPARE])
def test_larger_ones_share_more_than_the_fixed_order(kind: str, spare: int | None) -> None:
    w, *ends = drawn(kind, (20, 24))
    graph, before = adders.solved(w, *ends, spare), pairing.graph(w, *ends)
    check(graph, w, *ends)
    check(before, w, *ends)
    assert adder_bits.total(graph) < {"normal": 0.8, "binary": 0.9, "ternary": 0.9, "uniform": 0.76}[
        kind
    ] * adder_bits.total(before)
    assert spare is None or graph.levels <= least_levels(w) + spare


def test_intervals_are_those_of_the_coefficients() -> None:
    """3x is 4x - x: interval arithmetic would say -15 to 18 of numbers from 0 to 3."""
    graph = adders.solved(np.array([[3, 5], [-3, 7]]), np.array([0, -2]), np.array([3, 1]))
    reached = [values(graph, np.array(x)) for x in itertools.product(range(4), range(-2, 2))]
    assert graph.low.tolist() == np.min(reached, axis=0).tolist()
    assert graph.high.tolist() == np.max(reached, axis=0).tolist()


def test_equal_rows_cost_nothing_and_zeros_are_no_node() -> None:
    row = np.array([[3, 0, -5, 9]])
    one, more = (adders.solved(w, -8, 7) for w in (row, np.concatenate([row, 4 * row, -row, 0 * row])))
    assert len(one.base) == len(more.base)
    assert more.node.tolist()[3] == -1
    assert more.place.tolist()[:3] == [0, 2, 0]
    assert more.negative.sum() == 1
    check(more, np.concatenate([row, 4 * row, -row, 0 * row]), -8, 7)
    check(adders.solved(np.zeros((2, 3), dtype=np.int64), -8, 7), np.zeros((2, 3), dtype=np.int64), -8, 7)


def test_a_negative_row_turns_its_last_sum() -> None:
    """2y - x needs no negation of x - 2y."""
    graph = adders.solved(np.array([[-1, 2]]), -8, 7)
    assert (graph.adders, graph.turned.tolist(), graph.negative.tolist()) == (1, [True], [False])
    check(graph, np.array([[-1, 2]]), -8, 7)


def test_numbers_beyond_64_bits() -> None:
    w = np.array([[2**39, -3, 5], [7, 2**39 - 1, -(2**30)]])
    check(adders.solved(w, -(2**40), 2**40 - 1), w, -(2**40), 2**40 - 1)


def test_when_pairs_are_counted_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    w, low, high = drawn("uniform", (12, 12))
    ends = (np.full(12, low), np.full(12, high))
    found = []
    monkeypatch.setattr(compiled, "library", lambda terms: None)
    for stale in (0, 10**9):
        monkeypatch.setattr(sharing, "_STALE", stale)
        found.append(adders._made(w, *ends, None, 1))
    assert all(np.array_equal(getattr(found[0], k), getattr(found[1], k)) for k in vars(found[0]))


def alike(w: np.ndarray, low: int, high: int, spare: int | None) -> bool:
    """Whether the compiled search finds the graph that Python finds."""
    library = compiled.NATIVE.build()
    if library is None:
        pytest.skip("needs g++: apt-get install g++")
    found = []
    for use in (library, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled, "library", lambda terms, use=use: use)
            found.append(adders._made(w, *(np.full(w.shape[1], v) for v in (low, high)), spare, 1))
    return all(np.array_equal(getattr(found[0], k), getattr(found[1], k)) for k in vars(found[0]))


@pytest.mark.parametrize("spare", [0, 1, 3, None])
@pytest.mark.parametrize("ends", [(-128, 127), (0, 15), (-2, 1), (0, 1)])
def test_the_compiled_search_finds_the_same(ends: tuple[int, int], spare: int | None) -> None:
    draw = np.random.default_rng(0 if spare is None else spare)
    for most, shape in ((1, (9, 14)), (2, (12, 9)), (15, (6, 10)), (127, (4, 7)), (1000, (2, 5))):
        w = draw.integers(-most, most + 1, shape)
        w[-1] = 2 * w[0] - w[1]
        assert alike(w, *ends, spare)
    assert alike(2 * draw.integers(0, 2, (8, 16)) - 1, *ends, spare)


def test_the_compiled_search_of_many_rows() -> None:
    """Whose places are more than 64 words."""
    assert alike(np.random.default_rng(0).integers(-3, 4, (300, 4)) * 37, -8, 7, 1)


@settings(max_examples=20, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(-9, 9)), st.integers(0, 2)
)
def test_the_compiled_search_of_any_small_matrix(w: np.ndarray, spare: int) -> None:
    assert alike(w, -3, 5, spare)


def test_a_sum_that_is_there_already_is_no_second_term() -> None:
    """Rows of row differences may hold a sum and its terms."""
    for w in ([[1, 1, 0], [3, 3, 0], [3, 3, 1]], [[1, 0], [1, 1], [3, 3], [2, 2]]):
        for spare in (1, 2, None):
            check(adders.solved(np.array(w), -8, 7, spare), np.array(w), -8, 7)
            assert alike(np.array(w), -8, 7, spare)


def test_large_matrices_in_parts_of_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    w, *ends = drawn("normal", (10, 20))
    whole = adders.solved(w, *ends, 2)
    adders._known.clear()
    monkeypatch.setattr(adders, "PAIRS", 1000)
    parts = adders.solved(w, *ends, 2)
    check(parts, w, *ends)
    assert parts.levels <= least_levels(w) + 2
    assert adder_bits.total(whole) < adder_bits.total(parts) < 1.2 * adder_bits.total(whole)
    adders._known.clear()
    monkeypatch.setattr(adders, "MOST", 10)
    assert adder_bits.total(adders.solved(w, *ends)) == adder_bits.total(pairing.graph(w, *ends))
    adders._known.clear()


def test_a_matrix_is_searched_once() -> None:
    w, *ends = drawn("ternary", (4, 8))
    assert adders.solved(w, *ends) is adders.solved(w.astype(np.int8), *ends)
    assert adders.solved(w, *ends) is not adders.solved(w, *ends, spare=0)
    assert adders.solved(w, *ends) is not adders.solved(w, 0, 2)


def test_wide_numbers_are_not_searched_for_long() -> None:
    """Sums that 64 bits do not hold keep the fixed order, beyond some digits."""
    w = np.random.default_rng(0).integers(-(2**30), 2**30, (12, 30))
    found, fixed = adders.solved(w, -(2**40), 2**40), pairing.graph(w, -(2**40), 2**40)
    assert (found.base.tolist(), found.levels) == (fixed.base.tolist(), fixed.levels)
