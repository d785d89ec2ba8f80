"""What a model becomes on a part: our own hardware, or what hls4ml would make of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from qcompile.cost.devices import Device, device, full_name
from qcompile.cost.estimate import check_clock, weight_bits
from qcompile.cost.report import basis_text, bottleneck
from qcompile.cost.resources import Basis, Estimate
from qcompile.errors import QCompileError
from qcompile.formats import parse_format
from qcompile.frontend import Model, load
from qcompile.passes import ports
from qcompile.pipeline import Design, compile


@dataclass(frozen=True)
class Estimation:
    """An estimate with what people want to read beside it. what: which report it predicts; after: the next command."""

    estimate: Estimate
    device: Device
    what: str
    lines: tuple[str, ...]
    after: str


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
        f"weights: {weight_bits(design.graph):,} bits as codes",
        (
            f"basis: {basis_text(found.total.basis)}{_because(found)}; flip-flops and latency follow from delays, the"
            " HLS tool may cut the pipeline elsewhere"
        ),
        *found.notes,
    )
    return Estimation(found, device(part), "logic synthesis of our hardware", lines, "qcompile compile MODEL -o build")


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
    latency, interval = found.total.latency * clock_ns, found.total.interval * clock_ns
    return (
        f"bottleneck: {bottleneck(found)}",
        (
            f"latency: {found.total.latency:,} cycles = {latency / 1000:,.3f} us; throughput: {1e9 / interval:,.0f}"
            f" inferences/s at {1000 / clock_ns:g} MHz"
        ),
    )
