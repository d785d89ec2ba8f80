"""Rows of parameters that the tokens of a stream need, in one order: what the price and the text of a folded
requantization agree on.
"""

from __future__ import annotations

from functools import lru_cache
from math import lcm
from typing import Any

import numpy as np

from qcompile.formats import Format
from qcompile.hardware.memory import WORD
from qcompile.hardware.order import stream_shape, to_stream
from qcompile.ir import Array, Node, Shape, ops
from qcompile.records import dataclass
from qcompile.sim.ratio import max_abs

PER_ROW, FEW = 4, 1024  # words: so many times the rows, or so many in all; more are not worth their memory


@dataclass(frozen=True)
class Rows:
    """One word of parameters for `lanes` elements; it serves `hold` tokens, then the next one, in a circle.

    order: rows of elements that follow one another, each repeated `inner` times.
    """

    order: Array
    inner: int
    lanes: int

    @property
    def hold(self) -> int:
        return self.inner // self.lanes if self.inner % self.lanes == 0 else 1

    @property
    def words(self) -> int:
        period = self.order.data.size * self.inner
        return lcm(period, self.lanes) // self.lanes // self.hold

    def index(self) -> np.ndarray:
        """[words, lanes]: the row of every element of a word."""
        element = np.arange(self.words)[:, None] * self.hold * self.lanes + np.arange(self.lanes)
        return self.order.data[element // self.inner % self.order.data.size]


def parameter_rows(node: Node, lanes: int) -> Rows | None:
    """Of a Requant whose rows differ, `lanes` elements in a token. None where tokens have no short order of words, or
    numbers are too wide for a memory: then rows are found by the place of an element.
    """
    op, found = node.op, all_rows(node, lanes)
    short = found.words <= max(FEW, PER_ROW * op.coeffs.data.shape[1] // lanes)
    return found if short and node.output.type.size % lanes == 0 and not _wide(op) else None


def all_rows(node: Node, lanes: int) -> Rows:
    """The same, however long."""
    return Rows(*_order(node.op.index, node.output.type.shape), lanes)


def in_stream(index: np.ndarray, shape: Shape) -> np.ndarray:
    """Rows by place in the stream, to be broadcast against it. index: to be broadcast against the tensor of `shape`."""
    return to_stream(index.reshape((1,) * (len(shape) - index.ndim) + index.shape))


@lru_cache(maxsize=256)
def _order(index: Array, shape: Shape) -> tuple[Array, int]:
    """(rows of elements that follow one another, how often each is repeated), the shortest that make up the stream."""
    full = np.broadcast_to(in_stream(index.data, shape), stream_shape(shape)).ravel()
    inner = int(np.gcd.reduce(np.append(np.flatnonzero(np.diff(full)) + 1, full.size)))
    rows = full[::inner]
    sizes = np.flatnonzero(rows.size % np.arange(1, rows.size + 1) == 0) + 1
    period = next(n for n in sizes.tolist() if np.array_equal(rows[n:], rows[:-n]))
    return Array(rows[:period]), inner


def _wide(op: ops.Requant) -> bool:
    """Whether a parameter does not fit into an element of a memory."""
    arrays = [op.coeffs, *(x for x in vars(op.impl).values() if isinstance(x, Array))]
    return any(x.data.size and max_abs(x.data) >= 2 ** (WORD - 2) for x in arrays)


LOGIC = 2**12  # entries up to which a table of constants is multiplexers; a larger one is a memory of each reader


def is_memory(impl: Any) -> bool:
    """Whether a table is a memory though its entries are constants."""
    return isinstance(impl, ops.Table) and impl.values.data.shape[1] > LOGIC


def in_logic(op: ops.Requant) -> bool:
    """Whether all elements have the same parameters, as constants of the logic."""
    searched = isinstance(op.impl, ops.Thresholds) and op.impl.search and op.impl.cuts.data.shape[1] > LOGIC
    return op.coeffs.data.shape[1] == 1 and not is_memory(op.impl) and not searched


@dataclass(frozen=True)
class Entries:
    """numbers: [rows, n], of which a number that is found before chooses one of its row, from a memory that every lane
    has for itself; room: numbers for which a word has room.
    """

    numbers: np.ndarray
    room: np.ndarray


def looked_up(impl: Any, fmt: Format | None) -> tuple[Entries, ...]:
    """All tables of an implementation: of a search the cuts of every step, and what comes of it. fmt: of the result,
    where arrays hold its codes.
    """
    if isinstance(impl, ops.Table):
        return (_entries(impl.values.data, fmt),)
    if isinstance(impl, ops.Thresholds) and impl.search:
        cuts, values = _searched(impl)
        return *(Entries(x, impl.cuts.data) for x in cuts), _entries(values, fmt)
    return ()


def _entries(units: np.ndarray, fmt: Format | None) -> Entries:
    held = codes_or_units(units, fmt)
    return Entries(held, held)


def codes_or_units(units: np.ndarray, fmt: Format | None) -> np.ndarray:
    """What an array holds of a result: codes, where arrays keep those of its format."""
    return np.asarray(fmt.encode(units)) if fmt is not None and fmt.lane.coded else units


def _searched(impl: ops.Thresholds) -> tuple[list[np.ndarray], np.ndarray]:
    """([rows, 2**s] for every step s of a binary search: cuts; [rows, 2**steps]: results). Cuts that a row lacks
    are its last one again, behind which results are alike.
    """
    rows, count = impl.cuts.data.shape
    deep = count.bit_length()
    cuts, values = (
        np.concatenate([x, np.repeat(x[:, -1:], size - x.shape[1], axis=1)], axis=1)
        for x, size in ((impl.cuts.data, 2**deep - 1), (impl.values.data, 2**deep))
    )
    middles = [(2 * np.arange(2**s) + 1 << deep - 1 - s) - 1 for s in range(deep)]
    return [cuts[:, at] for at in middles], values


def in_order(fmt: Format, units: np.ndarray) -> np.ndarray:
    """Codes of a minifloat as integers in the order of the numbers."""
    codes = np.asarray(fmt.encode(np.abs(units)))
    return np.where(units < 0, -codes, codes)


def affine_step(impl: ops.Thresholds, fmt: Format | None) -> np.ndarray | None:
    """[P] change at every cut of a row, where the number is a start and so much for every cut passed. None where it is
    looked up by the count: codes, changes that differ, numbers beyond 32 bits.
    """
    counts = not (fmt is not None and fmt.lane.coded) and max_abs(impl.values.data) < 2**31
    return impl.step() if counts else None
