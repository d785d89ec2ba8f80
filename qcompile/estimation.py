"""What a model becomes on a part: our own hardware, or what hls4ml would make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qcompile.cost.budget import KINDS, NAMES, Budget, exceeded, limits_text
from qcompile.cost.devices import Device, device, full_name
from qcompile.cost.estimate import check_clock, weight_bits
from qcompile.cost.report import basis_text, bottleneck, counts, rate_text, shares, smallest
from qcompile.cost.resources import Basis, Estimate
from qcompile.errors import QCompileError, visible
from qcompile.formats import parse_format
from qcompile.frontend import Model, load
from qcompile.passes import ports
from qcompile.pipeline import Design, compile
from qcompile.records import dataclass
from qcompile.tables import paragraph


@dataclass(frozen=True)
class Estimation:
    """An estimate with what people want to read beside it. what: which report it predicts; after: the next command;
    design: whose it is, if it is ours.
    """

    estimate: Estimate
    device: Device
    what: str
    lines: tuple[str, ...]
    after: str
    design: Design | None = None


def qcompile(source: Any, stage: str = "synthesis", **options: Any) -> Estimation:
    """Of our own hardware; source: a Design, a Model or a path. options: those of `compile`; of a Design, part and
    clock_ns are used.
    """
    if stage != "synthesis":
        raise QCompileError(
            f"qcompile's rules predict logic synthesis, not the stage '{stage}'",
            hint="--stage hls goes with --generator hls4ml",
        )
    _check(options)
    design = source if isinstance(source, Design) else compile(source, **options)
    part = options.get("part", design.options.part)
    clock_ns = options.get("clock_ns", design.options.clock_ns)
    found = _named(design.estimate(part, clock_ns), part)
    lines = (
        *_timing(found, clock_ns),
        f"weights: {weight_bits(design.hardware):,} bits as codes",
        (
            f"basis: {basis_text(found.total.basis)}{_because(found)}; flip-flops and latency follow from delays, the"
            " HLS tool may cut the pipeline elsewhere"
        ),
        *found.notes,
    )
    after = "qcompile compile MODEL -o build"
    priced = replace(design, options=replace(design.options, part=part, clock_ns=clock_ns, board=""))
    return Estimation(found, device(part), "logic synthesis of our hardware", lines, after, priced)


def _because(found: Estimate) -> str:
    """The layers because of which a figure is no better, where it is not measured."""
    names = [layer.name for layer in found.layers if layer.cost.basis == found.total.basis]
    if found.total.basis == Basis.MEASURED or not names:
        return ""
    return f" ({', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''})"


def hls4ml(source: Any, part: str, clock_ns: float, input_formats: tuple[str, ...] = (), **options: Any) -> Estimation:
    """Of what hls4ml would make; options: strategy, reuse_factor, io_type, stage (see `cost.hls4ml.estimate`)."""
    from qcompile.cost import hls4ml as rules  # their own hardware needs nothing of it

    _check({"part": part, "clock_ns": clock_ns})
    model = source.model if isinstance(source, Design) else source if isinstance(source, Model) else load(source)
    graph = (
        ports.with_input_formats(model.graph, tuple(parse_format(t) for t in input_formats), model.annotated)
        if input_formats
        else model.graph
    )
    found = _named(rules.estimate(graph, device(part), clock_ns, **options), part)
    what = "logic synthesis of hls4ml's project" if found.stage == "synthesis" else "the HLS report of hls4ml's project"
    return Estimation(
        found,
        device(part),
        what,
        (*_timing(found, clock_ns), *found.notes),
        "the same without --generator estimates our own hardware",
    )


def _check(options: dict[str, Any]) -> None:
    """Before any work: the part exists, and its clock can be had."""
    if "part" in options:
        check_clock(device(options["part"]), options["part"], options.get("clock_ns", 5.0))


def _named(found: Estimate, part: str) -> Estimate:
    """With the part as the user called it (the device where a board was named), and every layer by a name of
    its own.
    """
    return replace(found.named_apart(), part=full_name(part))


def _timing(found: Estimate, clock_ns: float) -> tuple[str, ...]:
    latency, rate = found.total.latency * clock_ns, rate_text(found.total.interval, clock_ns)
    return (
        f"bottleneck: {bottleneck(found)}",
        (
            f"latency: {found.total.latency:,} cycles = {latency / 1000:,.3f} us; throughput: {rate}"
            f" inferences/s at {1000 / clock_ns:g} MHz"
        ),
    )


@dataclass(frozen=True)
class Outcome:
    """What a design takes of its part, and whether that fits. estimate None: it cannot be said, and reason says why.
    part: where it does not fit, one on which a folded design does (its own, if that is possible); "" if there is none.
    """

    design: Design
    estimate: Estimate | None
    limits: dict[str, int]
    reason: str = ""
    part: str = ""

    @property
    def fits(self) -> bool | None:
        """None where that cannot be said."""
        return None if self.estimate is None else not exceeded(self.estimate.total, self.limits)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        options = self.design.options
        record: dict[str, Any] = {"part": options.part, "clock_ns": options.clock_ns, "arch": options.arch}
        if self.estimate is None:
            return {**record, "fits": None, "reason": self.reason}
        total = self.estimate.total
        return {
            **record,
            **counts(total),
            "shares": {k: round(v, 4) for k, v in shares(total, device(options.part)).items()},
            "inferences_per_second": round(_rate(total.interval, options.clock_ns)),
            "limits": self.limits,
            "fits": self.fits,
        }

    def line(self, command: str = "", width: int | None = None) -> str:
        """In one line; on a terminal of width characters broken between its parts, never within a number and its unit.

        command: the one that makes a design that fits; it stays in one piece, on a line of its own, to be copied.
        """
        options = self.design.options
        if self.estimate is None:
            return paragraph(visible(f"estimate: none for {options.part}: {self.reason}"), width)
        target, cost = device(options.part), self.estimate.total
        share, number = shares(cost, target), counts(cost)
        used = [
            f"{number[k]:,} {NAMES[k]} ({f'{share[k]:.1%}' if k in share else 'it has none'})"
            for k in KINDS
            if number[k] or k == "lut"
        ]
        rate = f"{rate_text(cost.interval, options.clock_ns)}/s"
        cycles = f"{cost.latency:,} cycles, a vector every {cost.interval:,}: {rate}"
        start = f"estimate: {', '.join(used)} of {options.part}; {cycles}{self._clock()}"
        allowed = f"(limits: {limits_text(target, self.limits)})"
        if self.fits:
            return paragraph(f"{start}; fits {allowed}", width, between=",;")
        text = f"{start}; DOES NOT FIT {allowed};"
        if not command:
            return paragraph(f"{text} folded it is too large for all parts of this fabric too", width, between=",;")
        end = " " if width is None else "\n"
        return f"{paragraph(text, width, between=',;')}{end}this does: {visible(command)}"

    def _clock(self) -> str:
        """What is known of the clock that the design reaches."""
        reached = self.estimate.mhz if self.estimate else 0.0
        needed = 1000 / self.design.options.clock_ns
        if reached and reached < needed:
            return f"; about {reached:.0f} MHz, LESS THAN THE CLOCK of {needed:g}: --clock {1000 / reached:.3g} or more"
        return f"; about {reached:.0f} MHz" if reached else ""


def _rate(interval: int, clock_ns: float) -> float:
    """Inferences a second."""
    return 1e9 / (clock_ns * interval)


def outcome(design: Design, budget: Budget | None = None) -> Outcome:
    """Of a design within a budget. Where there is no price that is said, and nothing raised: the project is right."""
    try:
        target = device(design.options.part)
        limits = (budget or Budget()).limits(target)
        found = design.estimate()
        return Outcome(design, found, limits, part=folded_part(design, found, target, limits))
    except (QCompileError, ArithmeticError, ValueError, LookupError) as error:
        reason = "; ".join(filter(None, (error.what, error.hint))) if isinstance(error, QCompileError) else str(error)
        return Outcome(design, None, {}, reason)


def folded_part(design: Design, found: Estimate, target: Device, limits: dict[str, int]) -> str:
    """Of a design that does not fit, a part on which the least folding does, from which the search for a better one
    starts; "" where it fits, or there is none (a network may have no folding: its streams are too long).
    """
    if not exceeded(found.total, limits):
        return ""
    try:
        least = replace(design, options=replace(design.options, arch="dataflow", fold="min")).estimate()
    except QCompileError:
        return ""
    if not exceeded(least.total, limits):
        return design.own_part
    larger = smallest(least, target, limits)
    return larger.number if larger else ""
