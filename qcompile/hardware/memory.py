"""How codes lie in memories: what the prices, the sources and the files of weights agree on."""

from __future__ import annotations

import numpy as np

from qcompile import parts
from qcompile.formats import Format
from qcompile.parts import Part
from qcompile.records import dataclass

WORD = 64  # bits of an element of an array, at most


@dataclass(frozen=True)
class Words:
    """A memory of `steps` words, one of which is read in a cycle: `codes` codes of `width` bits each, without gaps.

    In sources it is an array of elements of at most 64 bits, `parts` of which are a word; in files and on the stream
    that loads weights an element takes `container` bits.
    """

    steps: int
    codes: int
    width: int

    @property
    def together(self) -> int:
        """Codes in an element: as many as fit and divide the codes of a step."""
        most = max(1, WORD // self.width)
        return max(d for d in range(1, min(most, self.codes) + 1) if self.codes % d == 0)

    @property
    def parts(self) -> int:
        return self.codes // self.together

    @property
    def element(self) -> int:
        """Bits of an element."""
        return self.together * self.width

    @property
    def elements(self) -> int:
        return self.steps * self.parts

    @property
    def container(self) -> int:
        return next(n for n in (8, 16, 32, 64) if self.element <= n)

    @property
    def bits(self) -> int:
        """Of the whole memory."""
        return self.steps * self.codes * self.width

    def pack(self, codes: np.ndarray) -> bytes:
        """Bit patterns [steps, codes] as a file of whole 64-bit words, low codes in the low bits, little-endian."""
        shifts = (np.arange(self.together) * self.width).astype(np.uint64)
        grouped = codes.astype(np.int64).view(np.uint64).reshape(self.elements, self.together)
        grouped = grouped & np.uint64((1 << self.width) - 1)
        packed = np.bitwise_or.reduce(grouped << shifts, axis=-1).astype(f"<u{self.container // 8}")
        padded = np.zeros(-(-self.elements * self.container // WORD) * (WORD // self.container), dtype=packed.dtype)
        padded[: self.elements] = packed
        return padded.tobytes()


def loader(words: Words) -> Part:
    """What writes a memory from a stream of 64-bit words, an element a cycle (loaded_memory.sv)."""
    in_word = WORD // words.container
    waiting = parts.Register((words.parts - 1) * words.element)
    return parts.beside(parts.counters(in_word, words.parts, words.steps), parts.Mux(in_word, words.element), waiting)


def stored(fmt: Format, units: np.ndarray | None = None, reloadable: bool = False) -> tuple[int, bool]:
    """(bits, whether with a sign) of a constant in a memory. units: what it holds, where no others may come."""
    if not fmt.consecutive:
        return fmt.width, False
    if reloadable or units is None or not units.size:
        return fmt.width, fmt.signed
    return numbers(units)


def numbers(values: np.ndarray) -> tuple[int, bool]:
    """(bits, whether with a sign) of what holds all of them."""
    low, high = int(values.min()), int(values.max())
    return max(1, (-low - 1).bit_length() + 1 if low < 0 else 0, high.bit_length() + (low < 0)), low < 0


def read_alone(width: int, signed: bool) -> tuple[int, bool]:
    """The same for a number as it is in a register, or read by itself: a sign is a bit beside those of the number."""
    return max(width, 1 + signed), signed


def operand(fmt: Format, units: np.ndarray, reloadable: bool = False) -> tuple[int, bool]:
    """As `stored`, of what a layer reads element by element: signs are numbers."""
    return (2, True) if fmt.lane.signs else stored(fmt, units, reloadable)


def bits_of(fmt: Format, units: np.ndarray) -> np.ndarray:
    """Units as unsigned bit patterns of `stored` bits, to be cut to them: +1 is 1 and -1 is 0 of a bipolar format."""
    if fmt.lane.coded:
        return np.asarray(fmt.encode(units)).astype(np.int64)
    return (units > 0).astype(np.int64) if fmt.lane.signs else units.astype(np.int64)
