"""Weights that are loaded at run time: what keeps the frames that have others apart (frame_gate.sv, reload_control.sv).

New weights come when no frame is inside: frames that a port has begun leave first, with the weights that they began
with, and no other begins before all memories are filled.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcompile import parts
from qcompile.hardware.network import Network
from qcompile.hardware.units import InputUnit, OutputUnit
from qcompile.parts import Part, Ram, leaves

AT_PORT = 4  # words that wait at an output


def memories(network: Network) -> int:
    """How many are loaded."""
    return round(sum(n for s in network.stages for n, leaf in leaves(s.parts()) if isinstance(leaf, Ram)))


def most_frames(network: Network, depth: Sequence[int]) -> int:
    """Frames that are inside at most: of each a token is in a stream or at an output, or a process works on it."""
    outputs = sum(isinstance(s.unit, OutputUnit) for s in network.stages)
    return sum(depth) + len(network.stages) + AT_PORT * outputs


def control(network: Network, depth: Sequence[int]) -> Part:
    """Of each port the frames that it is behind others or that are inside, of an input the place in its frame; which
    memory is filled.
    """
    found, most = list[Part](), most_frames(network, depth)
    for stage in network.stages:
        if isinstance(stage.unit, (InputUnit, OutputUnit)):
            found.append(parts.Counter(most))
        if isinstance(stage.unit, InputUnit):
            found.append(parts.counters(stage.unit.tokens))
    return parts.beside(*found, parts.Register(memories(network) + 4))
