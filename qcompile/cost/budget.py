"""How much of a part may be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qcompile.cost.devices import Device
from qcompile.cost.resources import Resources
from qcompile.errors import QCompileError, nearest
from qcompile.records import dataclass

CEILING = {"lut": 0.8, "ff": 0.8, "dsp": 0.9, "bram18": 0.9, "uram": 0.9}
"""Share of a part that is used where nobody says otherwise: fuller ones hardly route, and estimates have errors."""
KINDS = tuple(CEILING)
NAMES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM"}
CYCLES = ("latency", "interval")
_EXAMPLE = (
    "for example --budget lut=0.7,dsp=100,latency=500: a share up to 1, or a count; latency and interval in cycles"
)


def amounts(cost: Resources) -> np.ndarray:
    """What it takes of each of KINDS."""
    return np.array([float(getattr(cost, k)) for k in KINDS])


def of_amounts(cost: np.ndarray) -> Resources:
    """The same as resources."""
    return Resources(**dict(zip(KINDS, cost.tolist(), strict=True)))


def available(device: Device) -> dict[str, int]:
    """What the part has, in the units of `Resources`."""
    return {"lut": device.lut, "ff": device.ff, "dsp": device.dsp, "bram18": device.bram18, "uram": device.uram}


@dataclass(frozen=True)
class Budget:
    """Limits per resource: a float up to 1.0 is a share of the part, an int is a count. `Budget(dsp=0.5, lut=20_000)`.
    What is not given is `CEILING`: 80 % of LUT and FF, 90 % of DSP, BRAM and URAM.

    latency, interval: cycles from input to output and between two inputs; not limited where they are not given.
    """

    lut: float | int = CEILING["lut"]
    ff: float | int = CEILING["ff"]
    dsp: float | int = CEILING["dsp"]
    bram18: float | int = CEILING["bram18"]
    uram: float | int = CEILING["uram"]
    latency: int | None = None
    interval: int | None = None

    def __post_init__(self) -> None:
        for kind in CYCLES:
            value = getattr(self, kind)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise QCompileError(
                    f"a budget of {kind}={value} is not possible", hint=f"whole cycles from 1 on; {_EXAMPLE}"
                )
        for kind in KINDS:
            value = getattr(self, kind)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise QCompileError(f"a budget of {kind}={value} is not possible", hint=_EXAMPLE)
            if isinstance(value, float) and value > 1:
                raise QCompileError(
                    f"the budget {kind}={value:g} is more than the whole part", hint=f"a share ends at 1.0; {_EXAMPLE}"
                )

    @staticmethod
    def parse(text: str, most: float | None = None) -> Budget:
        """`lut=0.7,dsp=100`: numbers up to 1 and percentages are shares (1 is the whole part), other whole numbers are
        counts. most: share of the rest, instead of `CEILING`.
        """
        if most is not None and not 0 < most <= 1:
            raise QCompileError(
                f"a utilization of {most:g} is not possible", hint="a share above 0 and up to 1, for example 0.7"
            )
        limits: dict[str, Any] = {}
        for item in filter(None, (t.strip() for t in text.split(","))):
            name, _, number = item.partition("=")
            kind = _kind(name.strip().lower())
            if kind in limits:
                raise QCompileError(f"the budget says {kind} twice", hint=_EXAMPLE)
            value = _number(item, number.strip())
            limits[kind] = int(value) if kind in CYCLES and float(value).is_integer() else value
        return Budget(**{**(CEILING if most is None else dict.fromkeys(KINDS, float(most))), **limits})

    def limits(self, device: Device) -> dict[str, int]:
        """Counts on a part. QCompileError where the part has less than the budget counts on."""
        have, out = available(device), {}
        for kind in KINDS:
            value = getattr(self, kind)
            out[kind] = math.floor(value * have[kind] + 1e-9) if isinstance(value, float) else value
            if out[kind] > have[kind]:
                raise QCompileError(
                    f"the budget {kind}={value} is more than {device.name} has: {have[kind]}",
                    hint=f"at most {kind}={have[kind]}, or a larger part",
                )
        return out | {kind: value for kind in CYCLES if (value := getattr(self, kind)) is not None}


def share_of(device: Device, limits: dict[str, int]) -> dict[str, float]:
    """The part of each resource that limits on a device allow."""
    return {kind: limits[kind] / have for kind, have in available(device).items() if have}


def limits_text(device: Device, limits: Mapping[str, int]) -> str:
    """Limits on a part for people, resources with the same share together: "80 % of LUT and FF, 90 % of DSP"."""
    groups: dict[str, list[str]] = {}
    for kind, have in available(device).items():
        if have:
            exact = limits[kind] == math.floor(round(100 * limits[kind] / have) / 100 * have + 1e-9)
            said = f"{round(100 * limits[kind] / have)} %" if exact else f"{limits[kind]:,}"
            groups.setdefault(said, []).append(NAMES[kind])
    return ", ".join(
        f"{said} of {' and '.join(filter(None, [', '.join(n[:-1]), n[-1]]))}" for said, n in groups.items()
    )


def exceeded(cost: Resources, limits: Mapping[str, int]) -> dict[str, float]:
    """Resources of which more is needed than allowed, and how many times the limit (infinite where nothing is
    allowed).
    """
    needed = {kind: math.ceil(getattr(cost, kind)) for kind in limits}
    return {k: n / limits[k] if limits[k] else math.inf for k, n in needed.items() if n > limits[k]}


def _kind(name: str) -> str:
    alias = {"luts": "lut", "ffs": "ff", "dsps": "dsp", "bram": "bram18", "brams": "bram18", "urams": "uram"}.get(
        name, name
    )
    if alias not in (*KINDS, *CYCLES):
        near = nearest(alias, (*KINDS, *CYCLES))
        raise QCompileError(
            f"'{name}' is no resource{f'; did you mean {near[0]}' if near else ''}",
            hint=f"{', '.join((*KINDS, *CYCLES))}; {_EXAMPLE}",
        )
    return alias


def _number(item: str, text: str) -> float | int:
    try:
        value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise QCompileError(f"the budget '{item}' is no number", hint=_EXAMPLE) from None
    if text.endswith("%") or not 1 < value < math.inf:
        return value
    if not text.isdecimal():  # 2.0 may be meant as twice the part
        raise QCompileError(
            f"the budget '{item}' is more than the whole part",
            hint=f"a share ends at 1.0, a count has no point; {_EXAMPLE}",
        )
    return int(text)


def most_cycles(fps: float, clock_ns: float) -> int:
    """Cycles that a frame may take at a rate; 2^62 stand for all that are more."""
    return int(min(1e9 / clock_ns / fps, 2.0**62))
