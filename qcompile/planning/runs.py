"""What is left of a run: the plan, and everything that its report shows; kept between runs."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Any

import qcompile
from qcompile.assets import asset
from qcompile.assignment.candidates import parse
from qcompile.assignment.jobs import Cache
from qcompile.assignment.plan import Plan
from qcompile.cost.budget import limits_text
from qcompile.cost.devices import device
from qcompile.cost.report import rate_text
from qcompile.cost.resources import Basis, Resources
from qcompile.errors import QCompileError
from qcompile.options import Options, Settings, frozen
from qcompile.planning.designs import Point
from qcompile.planning.targets import Acceptance
from qcompile.planning.task import Task
from qcompile.records import dataclass
from qcompile.tables import card, html, shape

_POINTS = ("baselines", "front", "tested", "steps")


@dataclass(frozen=True)
class TensorHarm:
    """A tensor and its candidates. chosen: among the names of `harm`, which says by the metric what each of them does
    to the network.
    """

    name: str
    kind: str
    layer: str
    shape: tuple[int, ...]
    chosen: str
    harm: dict[str, float]


@dataclass(frozen=True, repr=False)
class Run:
    """A whole run. settings: those that held, with the metric and the target that were found for what was left out;
    limits: on resources and cycles; front: plans that no other of the run beats in LUTs and loss, cheapest first;
    tested: on held-out data; accepted: under a target, the plan on the half of the data that did not choose it; steps:
    from a uniform plan to the chosen one; task: what was searched, None where the run was kept from before.
    """

    model: str
    settings: Settings
    options: Options
    limits: dict[str, int]
    vectors: int
    loss: str
    float_loss: float
    float_accuracy: float | None
    tensors: tuple[TensorHarm, ...]
    chosen: Point
    baselines: tuple[Point, ...] = ()
    front: tuple[Point, ...] = ()
    tested: tuple[Point, ...] = ()
    steps: tuple[Point, ...] = ()
    accepted: Acceptance | None = None
    notes: tuple[str, ...] = ()
    task: Task | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return card(f"Run for {self.model}", self.facts())

    def _repr_html_(self) -> str:
        return html(f"Run for {self.model}", self.facts(), self.header, self.rows())

    @property
    def plan(self) -> Plan:
        """What was chosen."""
        return self.chosen.plan

    @property
    def header(self) -> tuple[str, ...]:
        """Of `rows`."""
        others = "alternatives: sensitivity / LUTs more or less"
        return "tensor", "layer", "shape", "candidate", "format", self.settings.metric, others

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """A row per tensor."""
        return tuple(self._row(t) for t in self.tensors)

    def _row(self, t: TensorHarm) -> tuple[str, ...]:
        choice = self.plan.tensors[t.name]
        near = _near(choice.why.get("alternatives", {}), t.chosen)
        others = ", ".join(f"{k} {v['loss']:.2g}/{v['lut']:+d}" for k, v in near.items())
        harm = f"{choice.why.get(self.settings.metric, 0):.3g}"
        return t.name, t.layer, shape(t.shape), t.chosen, str(choice.format), harm, others

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Name and text of what a reader wants to know first."""
        point, s, cost = self.chosen, self.settings, self.chosen.cost
        used = [
            f"{r} {math.ceil(getattr(cost, r)):,} of {limit:,}" for r, limit in self.limits.items() if getattr(cost, r)
        ]
        facts = [
            ("model", self.model),
            ("part", self.options.part),
            ("architecture", self.options.arch),
            (
                "metric, search",
                f"{s.metric}, {s.search}" + (f", {s.refine} evaluations of refinement" if s.refine else ""),
            ),
            ("range, rounding, transforms", f"{s.range}, {s.rounding}, {', '.join(s.transforms) or 'none'}"),
            (
                "data",
                f"{self.vectors} vectors ({s.source})" + (" that chose" if self.accepted is not None else ""),
            ),
            ("loss", f"{point.loss:.4g} (float {self.float_loss:.4g}), {self.loss}"),
        ]
        if point.accuracy is not None and self.float_accuracy is not None:
            facts.append(("accuracy", f"{point.accuracy:.4f} (float {self.float_accuracy:.4f})"))
        if self.accepted is not None:
            facts.append(("accepted", self.accepted.text()))
        for held in self.tested[:1]:
            facts.append(
                (
                    "held-out",
                    f"loss {held.loss:.4g}" + (f", accuracy {held.accuracy:.4f}" if held.accuracy is not None else ""),
                )
            )
        facts.append(("cost, estimated", ", ".join(used)))
        facts.append(("limits", limits_text(device(self.options.part), self.limits)))
        if self.options.arch == "dataflow":
            facts.append(
                ("rate", f"{cost.interval:,} cycles = {rate_text(cost.interval, self.options.clock_ns)} inferences/s")
            )
        if self.plan.folding:
            facts.append(("folding, pe x simd", ", ".join(f"{n} {f}" for n, f in self.plan.folding.items())))
        return (*facts, *(("note", n) for n in self.notes))

    def record(self) -> dict[str, Any]:
        """All but the task, as JSON has it."""
        return {
            **{k: v for k, v in vars(self).items() if k != "task"},
            "settings": vars(self.settings),
            "options": vars(self.options),
            "tensors": [vars(t) for t in self.tensors],
            "chosen": _record(self.chosen),
            **{name: [_record(p) for p in getattr(self, name)] for name in _POINTS},
            "accepted": None if self.accepted is None else vars(self.accepted),
        }

    @staticmethod
    def of(record: dict[str, Any]) -> Run:
        """Of such a record. KeyError, TypeError, ValueError or QCompileError where it is none."""
        return Run(
            **{
                **record,
                "settings": Settings(**frozen(Settings, record["settings"])),
                "options": Options(**frozen(Options, record["options"])),
                "tensors": tuple(TensorHarm(**{**t, "shape": tuple(t["shape"])}) for t in record["tensors"]),
                "chosen": _point(record["chosen"]),
                **{name: tuple(map(_point, record[name])) for name in _POINTS},
                "accepted": None if record["accepted"] is None else Acceptance(**record["accepted"]),
                "notes": tuple(record["notes"]),
            }
        )


def _record(p: Point) -> dict[str, Any]:
    return {**vars(p), "plan": p.plan.to_json(), "cost": vars(p.cost)}


def _point(record: dict[str, Any]) -> Point:
    cost = record["cost"]
    return Point(
        **{
            **record,
            "plan": Plan.parse(record["plan"]),
            "cost": Resources(**{**cost, "basis": Basis(cost["basis"])}),
        }
    )


def _near(alternatives: dict[str, Any], label: str) -> dict[str, Any]:
    """The neighbours of a candidate among its alternatives."""
    names = [*alternatives, label]
    parsed = {n: parse(n)[0] for n in names}
    mine = parsed[label]
    near = sorted((abs(c.bits - mine.bits), c.family != mine.family, n) for n, c in parsed.items() if n != label)
    return {n: alternatives[n] for *_, n in near[:3]}


def kept(cache: Cache, asked: Any, searched: Callable[[], Run]) -> Run:
    """A run out of the cache, or a new one that is put there. asked: everything that decides it but the software."""
    key = "run-" + hashlib.sha256(repr((_software(), asked)).encode()).hexdigest()[:40]
    known = cache.of(key)
    with suppress(KeyError, TypeError, ValueError, QCompileError):  # a damaged file, or none: searched again
        return Run.of(known["run"])
    run = searched()
    record = run.record()
    with suppress(ValueError):  # numbers that JSON does not have
        json.dumps(record, allow_nan=False)
        known["run"] = record
        cache.save(key)
    return run


@functools.cache
def _software() -> tuple[str, ...]:
    """What decides the result beside what was asked: the code and its tables, and libraries that compute."""
    hasher = hashlib.sha256()
    for folder, pattern in ((Path(qcompile.__file__).parent, "**/*.py"), (asset("hw"), "**/*.toml")):
        for path in sorted(folder.glob(pattern)):
            hasher.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return hasher.hexdigest(), sys.version, *(f"{name} {_version(name)}" for name in ("numpy", "scipy", "torch"))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
