"""How codes lie in ports. One rule for inputs and outputs; the testbench files use the same words."""

from __future__ import annotations

import numpy as np

from qcompile.hardware.network import WORD
from qcompile.ir import Value
from qcompile.records import dataclass

PACKED, SCALARS = 128, 64  # bits of a single packed port; words that are ports of their own


@dataclass(frozen=True)
class PortLayout:
    """n elements of `width` bits, element 0 in the low bits.

    Up to 128 bits: one packed port. Else words of as many whole elements as fit in 64 bits (at least one): up to 64
    words are scalar ports, more are one array port. In files every word takes limbs of 64 bits, low limb first.
    streamed: never packed wider than a word, and a word holds whole tokens of `lanes` elements.
    """

    width: int
    count: int
    streamed: bool = False
    lanes: int = 1

    @property
    def packed(self) -> bool:
        return not self.streamed and self.width * self.count <= PACKED

    @property
    def per_word(self) -> int:
        return self.count if self.packed else min(self.count, max(1, WORD // self.width // self.lanes) * self.lanes)

    @property
    def words(self) -> int:
        return -(-self.count // self.per_word)

    @property
    def word_width(self) -> int:
        return self.per_word * self.width

    @property
    def axis_bits(self) -> int:
        """Of a word of an AXI stream: a power of two bytes (`axis` of qc/stream.hpp)."""
        return 8 << (-(-self.word_width // 8) - 1).bit_length()

    @property
    def array(self) -> bool:
        return self.words > SCALARS

    @property
    def limbs(self) -> int:
        return -(-self.word_width // 64)

    @property
    def size(self) -> int:
        """64-bit words of one sample in a file."""
        return self.words * self.limbs

    def in_word(self, word: int) -> int:
        """Elements of that word."""
        return min(self.per_word, self.count - word * self.per_word)

    def pack(self, bits: np.ndarray) -> np.ndarray:
        """Unsigned bit patterns (N, ...) -> uint64 (N, size)."""
        flat = bits.reshape(len(bits), -1)
        if self.width <= 64 and self.word_width <= 64:
            padded = np.zeros((len(flat), self.words * self.per_word), dtype=np.uint64)
            padded[:, : self.count] = flat.astype(np.uint64)
            shifts = np.arange(self.per_word, dtype=np.uint64) * np.uint64(self.width % 64)
            return np.bitwise_or.reduce(padded.reshape(len(flat), self.words, self.per_word) << shifts, axis=-1)
        return self._pack_wide(flat)

    def _pack_wide(self, flat: np.ndarray) -> np.ndarray:
        padded = np.zeros((len(flat), self.words * self.per_word), dtype=object)
        padded[:, : self.count] = flat.astype(object)
        total = np.zeros((len(flat), self.words), dtype=object)
        for i in range(self.per_word):
            total = total + (padded[:, i :: self.per_word] << (self.width * i))
        limbs = [(total >> (64 * k)) & (2**64 - 1) for k in range(self.limbs)]
        return np.stack(limbs, axis=-1).reshape(len(flat), self.size).astype(np.uint64)

    def unpack(self, words: np.ndarray) -> np.ndarray:
        """uint64 (N, size) -> unsigned bit patterns (N, count): int64 up to 63 bits, uint64 for 64, else Python
        integers.
        """
        if self.word_width <= 64 and self.width < 64:
            shifts = np.arange(self.per_word, dtype=np.uint64) * np.uint64(self.width)
            parts = (words[:, :, None] >> shifts) & np.uint64(2**self.width - 1)
            return parts.reshape(len(words), -1)[:, : self.count].astype(np.int64)
        wide = words.reshape(len(words), self.words, self.limbs).astype(object)
        total = sum(
            (wide[:, :, k] << (64 * k) for k in range(self.limbs)),
            start=np.zeros((len(words), self.words), dtype=object),
        )
        parts = [(total >> (self.width * i)) & (2**self.width - 1) for i in range(self.per_word)]
        return np.stack(parts, axis=-1).reshape(len(words), -1)[:, : self.count]


def layout(value: Value) -> PortLayout:
    """Of a port of architecture `parallel`."""
    return PortLayout(value.type.codes.width, value.type.size)


def stream_layout(value: Value, lanes: int) -> PortLayout:
    """Words of an AXI stream: whole tokens of `lanes` elements, at most 64 bits where one token fits in them."""
    return PortLayout(value.type.codes.width, value.type.size, True, lanes)
