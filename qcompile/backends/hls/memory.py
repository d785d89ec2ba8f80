"""Weights in memories: their words, files, and how kernels read them."""

from __future__ import annotations

import numpy as np

from qcompile.hardware.memory import WORD, Words
from qcompile.records import dataclass


@dataclass(frozen=True)
class WeightMemory:
    """Weights in a memory: an array of `words.elements` elements, and its file, a plain array of unsigned integers of
    `words.container` bits that fills whole words of 64. kind: as of `parts.Rom`, "": as the
    tool likes.
    """

    name: str
    words: Words
    data: bytes
    reloadable: bool = False
    kind: str = ""

    @property
    def numbers(self) -> list[int]:
        """The elements."""
        return np.frombuffer(self.data, f"<u{self.words.container // 8}")[: self.words.elements].tolist()

    @property
    def load_words(self) -> int:
        """64-bit words of its file, and of the stream that loads it."""
        return len(self.data) // 8

    @property
    def in_word(self) -> int:
        """Elements in a word of it."""
        return WORD // self.words.container
