"""Operands of units that are constant, in memories: ROMs, or arrays that are loaded."""

from __future__ import annotations

import numpy as np

from qcompile.backends.hls.builder import Tensor
from qcompile.backends.hls.memory import WeightMemory
from qcompile.backends.hls.types import Integer
from qcompile.backends.hls.units.context import Context
from qcompile.formats import Format
from qcompile.hardware.memory import Words, bits_of, numbers, operand, read_alone, stored
from qcompile.hardware.units import PairedUnit, ScaledUnit
from qcompile.hardware.units.matvec import in_steps
from qcompile.hardware.units.paired import pair_codes
from qcompile.hardware.units.scaled import factored
from qcompile.hardware.units.sparse import BLOCK, INDEX, places
from qcompile.ir import Value
from qcompile.records import dataclass


@dataclass(frozen=True)
class Weights:
    """A memory of steps, `words.codes` codes each, and the array `w` of the numbers of one step."""

    rom: WeightMemory
    w: Tensor
    signed: bool
    bipolar: bool


def weights(c: Context, value: Value, steps: np.ndarray, kind: str) -> Weights:
    """steps: units [steps, codes of a step]; kind: as of `WeightMemory`."""
    op, fmt = c.graph.producers[value.name].op, value.type.codes
    width, signed = stored(fmt, steps, op.reloadable)
    words = Words(len(steps), steps.shape[1], width)
    rom = WeightMemory(f"w{len(c.roms)}", words, words.pack(bits_of(fmt, steps)), op.reloadable, kind)
    c.roms.append(rom)
    return Weights(rom, _step(fmt, width, signed), signed, fmt.lane.signs)


def scaled_weights(c: Context, value: Value, rows: np.ndarray, unit: ScaledUnit) -> tuple[Weights, Weights]:
    """Of weights [rows, columns] that share factors, the small numbers and the factors."""
    blocks, pe = unit.blocks, unit.pe // unit.side_by_side * unit.blocks.planes
    small, factors = factored(rows, blocks)
    steps, fmt = in_steps(small, pe, unit.simd), blocks.format
    signed = stored(fmt, small)[1]
    words = Words(len(steps), steps.shape[1], blocks.stored)
    rom = WeightMemory(f"w{len(c.roms)}", words, words.pack(bits_of(fmt, steps)), kind=unit.kind)
    c.roms.append(rom)
    held = Weights(rom, _step(fmt, blocks.stored, signed), signed, False)
    return held, memory(c, in_steps(factors, pe, 1), "k")


def paired_weights(c: Context, rows: np.ndarray, unit: PairedUnit) -> Weights:
    """Of weights [rows, columns] in pairs of codes; the array has places of their table."""
    steps = in_steps(pair_codes(rows, unit.rare), unit.pe // unit.side_by_side, unit.simd)
    words = Words(len(steps), steps.shape[1], unit.stored)
    rom = WeightMemory(f"w{len(c.roms)}", words, words.pack(steps), kind=unit.kind)
    c.roms.append(rom)
    return Weights(rom, _step(unit.weights, unit.weights.width, False), False, False)


def sparse_weights(c: Context, value: Value, steps: np.ndarray, kind: str) -> Weights:
    """Of weights that are 2:4, what is kept of every block. steps: units [steps, columns of a step], rows after
    rows.
    """
    fmt, blocks = value.type.codes, steps.reshape(len(steps), -1, BLOCK)
    at = places(blocks)
    kept = np.take_along_axis(blocks, at, axis=-1).reshape(len(steps), -1)
    width, signed = stored(fmt, steps)
    words = Words(len(steps), kept.shape[1], width + INDEX)
    codes = bits_of(fmt, kept) & ((1 << width) - 1) | at.reshape(kept.shape) << width
    rom = WeightMemory(f"w{len(c.roms)}", words, words.pack(codes), kind=kind)
    c.roms.append(rom)
    return Weights(rom, _step(fmt, width, signed), signed, False)


def memory(
    c: Context, words: np.ndarray, name: str, kind: tuple[int, bool] | None = None, storage: str = ""
) -> Weights:
    """A memory of numbers [words, numbers of a word], and the array `name` of a word. kind: (bits of a number, whether
    with a sign), where they are not as wide as they need to be; storage: as of `WeightMemory`.
    """
    width, signed = kind or numbers(words)
    made = Words(len(words), words.shape[1], width)
    rom = WeightMemory(f"k{len(c.roms)}", made, made.pack(words), kind=storage)
    c.roms.append(rom)
    return Weights(rom, Tensor(name, Integer(*read_alone(width, signed))), signed, False)


def _step(fmt: Format, width: int, signed: bool) -> Tensor:
    """The array of the numbers of one step."""
    if fmt.lane.coded:
        return Tensor("w", Integer(fmt.width), codes=fmt)
    if fmt.lane.signs or (signed and width == 1):
        return Tensor("w", Integer(2, True))
    return Tensor("w", Integer(width, signed))


def units_of(c: Context, value: Value) -> np.ndarray:
    """A constant, in its shape."""
    return np.asarray(c.graph.producers[value.name].op.units.data).reshape(value.type.shape)


def elements(c: Context, value: Value) -> Tensor:
    """An operand in a memory, element by element in the order of the tensor."""
    op, fmt = c.graph.producers[value.name].op, value.type.codes
    width, signed = operand(fmt, op.units.data, op.reloadable)
    units = op.units.data.reshape(-1, 1)
    words = Words(len(units), 1, width)
    data = words.pack(units if fmt.lane.signs else bits_of(fmt, units))
    c.roms.append(WeightMemory(f"w{len(c.roms)}", words, data, op.reloadable))
    return Tensor(c.roms[-1].name, Integer(width, signed), codes=fmt if fmt.lane.coded else None)
