"""The command line: a thin skin. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from qcompile.errors import QCompileError, visible
from qcompile.tables import paragraph, shape, table

if TYPE_CHECKING:
    import numpy as np

    from qcompile.cost.devices import Board, Device
    from qcompile.cost.resources import Resources
    from qcompile.estimation import Estimation
    from qcompile.layers import Layer
    from qcompile.pipeline import Design
    from qcompile.verification import Report


def _fold(ctx: click.Context, parameter: click.Parameter, text: str) -> str:
    """`min`, `full`, or the text of the file that is named."""
    if text in ("min", "full"):
        return text
    from qcompile.documents import read_text

    return read_text(text, "the folding", "min, full, or a JSON file")


MODEL_OPTIONS = [
    click.option(
        "--part", default="xc7z020clg400-1", show_default=True, help="FPGA part or board, see `qcompile parts`"
    ),
    click.option("--clock", "clock_ns", default=5.0, show_default=True, help="clock period in ns"),
    click.option(
        "--arch",
        default="parallel",
        show_default=True,
        type=click.Choice(["parallel", "dataflow"]),
        help="architecture",
    ),
    click.option(
        "--fold",
        default="min",
        show_default=True,
        metavar="min|full|FILE",
        callback=_fold,
        help="dataflow: how far layers are unrolled, see docs/dataflow.md",
    ),
    click.option(
        "--weights",
        default="rom",
        show_default=True,
        type=click.Choice(["rom", "port"]),
        help="dataflow: fixed, or loaded through a port",
    ),
    click.option(
        "--input-format",
        "input_formats",
        multiple=True,
        metavar="F",
        help="format of an input without quantizer, e.g. s12f10; once per input",
    ),
    click.option(
        "--accumulator-bits",
        default=0,
        help="minifloat: widest accumulator, low bits of products dropped; 0 is exact",
        show_default=True,
    ),
    click.option(
        "--softmax",
        default="host",
        show_default=True,
        type=click.Choice(["host", "logits", "integer"]),
        help="a trailing softmax",
    ),
]


FIT_OPTIONS = [
    click.option("--fit", "fitting", is_flag=True, help="dataflow: choose the folding that is fastest on the part"),
    click.option("--target-fps", type=float, metavar="F", help="--fit: the smallest design with so many inferences/s"),
    click.option(
        "--max-utilization",
        type=float,
        metavar="SHARE",
        help="of every resource of the part, up to 1  [default: 0.8 of LUT and FF, 0.9 of DSP, BRAM and URAM]",
    ),
    click.option(
        "--budget",
        default="",
        metavar="LIMITS",
        help=(
            "what may be used, e.g. lut=0.7,dsp=100,latency=900: shares up to 1, counts, cycles; of the rest 0.8 of LUT"
            " and FF, 0.9 of DSP, BRAM and URAM"
        ),
    ),
]


def _fit_options(command: Any) -> Any:
    for option in reversed(FIT_OPTIONS):
        command = option(command)
    return command


def _goal(ctx: click.Context, options: dict[str, Any], given: tuple[str, ...]) -> Any:
    """What the folding is to be chosen for; None where it is not. Takes its options out of `options`."""
    from qcompile.cost.budget import Budget
    from qcompile.pipeline import Goal

    fitting, fps, most, budget = (options.pop(k) for k in ("fitting", "target_fps", "max_utilization", "budget"))
    chosen = {k for k in given if ctx.get_parameter_source(k) is not click.core.ParameterSource.DEFAULT}
    if not fitting and fps is None:
        if wrong := sorted(chosen):
            raise click.UsageError(f"--{wrong[0].replace('_', '-')} goes with --fit")
        return None
    if ctx.get_parameter_source("arch") is click.core.ParameterSource.DEFAULT:
        options["arch"] = "dataflow"
    return Goal(Budget.parse(budget, most), fps)


def _model_options(command: Any) -> Any:
    for option in reversed(MODEL_OPTIONS):
        command = option(command)
    return command


_force_option = click.option(
    "--force", is_flag=True, help="replace the files that qcompile wrote even where they were edited since"
)


class _Commands(click.Group):
    """Turns errors into one message and exit code 1, wrong usage into click's message and exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _visible_usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        from qcompile.processes import ending_on_signals

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # characters that the terminal's encoding lacks are escaped
                stream.reconfigure(errors="backslashreplace")
        try:
            with _visible_usage(), ending_on_signals():
                return super().invoke(ctx)
        except QCompileError as error:
            _echo(f"error: {error}", err=True)
            sys.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            sys.exit(1)
        except Exception as error:  # noqa: BLE001 - the last net; whatever is caught here is to be mended
            if os.environ.get("QCOMPILE_TRACEBACK"):
                raise
            fault = f"this is a fault of qcompile: {type(error).__name__}: {error}"
            hint = "please report it with the file; QCOMPILE_TRACEBACK=1 in the environment shows where it is"
            _echo(f"error: {QCompileError(fault, hint=hint)}", err=True)
            sys.exit(1)


@contextlib.contextmanager
def _visible_usage() -> Iterator[None]:
    """click shows arguments in its messages as they are."""
    try:
        yield
    except click.ClickException as error:
        error.message = visible(error.message)  # type: ignore[misc]  # the message alone changes, not what it says
        raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="qcompile")
def main() -> None:
    """Compiles quantized neural networks to FPGA projects that are exact code for code."""


def _echo(text: str, err: bool = False) -> None:
    """The one way to a terminal: what it would obey or hide is escaped, whatever file or argument it came from."""
    click.echo(visible(text, "\n"), err=err)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def _progress(text: str) -> Iterator[Any]:
    """One line on stderr that says what takes time, where somebody can see it; it is gone afterwards."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    width = shutil.get_terminal_size().columns - 1

    def show(line: object) -> None:
        click.echo("\r" + visible(line)[:width].ljust(width) + "\r", err=True, nl=False)

    show(f"{text} ...")
    try:
        yield lambda line: show(f"{line} ...")
    finally:
        show("")


def _width() -> int | None:
    """Of the terminal; None where the output goes into a pipe or a file, which has none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    _echo(table(title, columns, rows, _width()))


def _next(command: str, err: bool = False) -> None:
    """What comes next, in one line whatever the width: it is copied."""
    _echo(f"next: {visible(command)}", err=err)


def _say(text: str) -> None:
    """A line for people: no word of it is broken, no control character of a model file reaches the terminal."""
    _echo(paragraph(visible(text), _width()))


def _inputs(path: str, design: Design) -> list[np.ndarray]:
    """Arrays of an .npy or .npz file, in order, which are inputs of the design."""
    from qcompile import arrays

    return list(arrays.read(path, design.simulator.check).values())


def _labels(path: str) -> np.ndarray:
    """The array of a file of labels. QCompileError where it is not one."""
    from qcompile import arrays

    found = arrays.read(path)
    if len(found) != 1:
        raise QCompileError(f"the file holds {len(found)} arrays, not one of labels", path)
    return next(iter(found.values()))


def _is_project(path: str) -> bool:
    return os.path.isdir(path)


def _design(path: str, options: dict[str, Any] | None = None) -> Design:
    """A written project, or a model compiled on the fly."""
    from qcompile.pipeline import compile, open_project

    return open_project(path) if _is_project(path) else compile(path, **(options or {}))


def _warn(lines: tuple[str, ...]) -> None:
    for line in lines:
        _echo(f"warning: {line}", err=True)


@main.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
@_model_options
def inspect(model: str, as_json: bool, **options: Any) -> None:
    """What is supported in MODEL, what is not and why."""
    from qcompile.errors import UnsupportedError
    from qcompile.frontend import load

    try:
        found = load(model)
    except UnsupportedError as error:
        findings = [vars(f) for f in error.findings]
        if as_json:
            _echo(json.dumps({"supported": False, "unsupported": findings}, indent=1))
        else:
            _table(
                f"{model}: cannot be compiled",
                ["where", "operator", "reason", "way out"],
                [[f["where"], f["op"], f["reason"], f["hint"]] for f in findings],
            )
        raise QCompileError(
            error.count, model, "mend these nodes in the model and export it again"
        ) from None  # the table has the rest
    problem = None
    design = None
    try:
        from qcompile.pipeline import compile

        design = compile(found, **options)
    except QCompileError as error:
        problem = None if not options["input_formats"] and _in_float(found) else error
    if as_json:
        _echo(json.dumps(_inspection(found, design, problem), indent=1))
    else:
        _show_inspection(model, found, design, problem)
    if problem is not None:
        raise problem


def _in_float(model: Any) -> bool:
    """Whether nothing in a model says which numbers the hardware has."""
    from qcompile.ir import ops

    return not any(isinstance(n.op, (ops.Quantize, ops.Round, ops.Count)) for n in model.graph.nodes)


def _inspection(model: Any, design: Any, problem: Any) -> dict[str, Any]:
    nodes = [
        {"op": type(n.op).__name__, "from": str(n.origin), "output": n.output.name, "shape": list(n.output.type.shape)}
        for n in model.graph.nodes
    ]
    record: dict[str, Any] = {
        "supported": problem is None,
        "float": problem is None and design is None,
        "unsupported": [],
        "problem": str(problem) if problem else None,
        "warnings": list(model.warnings),
        "inputs": [{"name": v.name, "shape": list(v.type.shape)} for v in model.graph.inputs],
        "outputs": [{"name": v.name, "shape": list(v.type.shape)} for v in model.graph.outputs],
        "nodes": nodes,
    }
    if design is not None:
        record["lowered"] = [
            {
                "op": type(n.op).__name__,
                "from": str(n.origin),
                "output": n.output.name,
                "format": str(n.output.type.format),
            }
            for n in design.graph.nodes
        ]
    return record


def _show_inspection(path: str, model: Any, design: Any, problem: Any) -> None:
    _table(
        f"{path}: after import",
        ["layer", "op", "shape", "from"],
        [
            [model.graph.layers[n.output.name], _op_text(n.op), shape(n.output.type.shape), n.origin.op]
            for n in model.graph.nodes
        ],
    )
    if design is not None:
        _table(
            "after lowering",
            ["layer", "op", "codes", "shape"],
            [
                [design.graph.layers[n.output.name], _op_text(n.op), n.output.type.format, shape(n.output.type.shape)]
                for n in design.graph.nodes
            ],
        )
        _warn(design.warnings)
        _echo("everything is supported")
        _next(shlex.join(["qcompile", "compile", path, "-o", "build"]))
        return
    _warn(model.warnings)
    if problem is not None:
        return
    _say("every operator is known; this is a float model: its formats are to be chosen, which takes data of its inputs")
    _next(shlex.join(["qcompile", "assign", path, "--data", "x.npy", "-o", "run"]))


def _op_text(op: Any) -> str:
    name = type(op).__name__
    if name == "Quantize":
        return f"Quantize {op.format} {op.rounding.value}"
    if name == "Map":
        return f"Map ({op.impl.kind})"
    return f"Func {op.name}" if name == "Func" else name


@main.command()
@click.argument("model")
@click.option("-o", "--output", required=True, help="folder of the project")
@click.option("--plan", metavar="FILE", help="formats for a float model: plan.json of `qcompile assign`")
@click.option("--dump", metavar="DIR", help="write the text of the graph after each pass")
@_force_option
@click.option("--json", "as_json", is_flag=True, help="machine-readable: resources, cycles, whether it fits")
@_fit_options
@_model_options
@click.pass_context
def compile(
    ctx: click.Context,
    model: str,
    output: str,
    plan: str | None,
    dump: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compile MODEL to a project: HLS C++, simulator, certificate. In the folder of an earlier one, what qcompile wrote
    is replaced, and your own files stay.
    """
    from qcompile.estimation import outcome
    from qcompile.pipeline import compile as compile_model

    goal = _goal(ctx, options, ("max_utilization", "budget"))
    if plan and goal is None:  # which may have a folding
        options = {
            k: v
            for k, v in options.items()
            if k not in ("arch", "fold") or ctx.get_parameter_source(k) is not click.core.ParameterSource.DEFAULT
        }
    with _progress(f"compiling {model}"):
        design = compile_model(model, plan, dump=dump, force=force, fit=goal or False, **options)
        design.write(output, force)
        found = outcome(design, goal.budget if goal else None)
    better = _folded_command(ctx, found.part, design.own_part) if found.part else ""
    following = f"qcompile verify {shlex.quote(output)}"
    if as_json:
        record = {"project": output, "top": design.top, **found.record(), "fit_command": better or None}
        _echo(json.dumps({**record, "warnings": list(design.warnings), "next": following}, indent=1))
        return
    _warn(design.warnings)
    _summary(design, output)
    if goal is not None:
        _show_fit(design, fastest=goal.target_fps is None)
    _echo(found.line(better, _width()))
    _next(following)


def _folded_command(ctx: click.Context, part: str, own: str, *more: str) -> str:
    """`compile` with the options that were given, and the folding chosen for a part; own: the design's part."""
    model = str(ctx.params.get("model") or ctx.params["target"])
    words = ["--part", str(ctx.params["part"]) if part == own else part]
    for parameter in ctx.command.params:
        name, value = parameter.name or "", ctx.params.get(parameter.name or "")
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and name in ("output", "plan", "clock_ns", "input_formats", "accumulator_bits", "softmax", "weights"):
            for one in value if isinstance(value, tuple) else (value,):
                words += [parameter.opts[0], str(one)]
    words = ["--fit", *words, *more]
    return shlex.join(["qcompile", "compile", *([*words, "--", model] if model.startswith("-") else [model, *words])])


def _show_fit(design: Design, fastest: bool) -> None:
    found = design.fitted
    assert found is not None
    _table("folding", ["layer", "pe", "simd"], [[found.labels[n], f.pe, f.simd] for n, f in found.foldings.items()])
    _say(f"what keeps it from being faster: {found.binding}" if fastest else "the smallest design that is fast enough")


def _summary(design: Design, output: str) -> None:
    from qcompile.ir import ops

    rows = []
    for node in design.graph.nodes:
        if isinstance(node.op, (ops.Constant, *ops.STRUCTURAL)):
            continue
        weights = next(
            (
                v.type
                for v in node.inputs
                if isinstance(getattr(design.graph.producers.get(v.name), "op", None), ops.Constant)
            ),
            None,
        )
        note = node.op.impl.kind if isinstance(node.op, ops.Map) and node.op.impl else ""
        rows.append(
            [
                design.graph.layers[node.output.name],
                type(node.op).__name__,
                shape(node.output.type.shape),
                node.output.type.format,
                f"{shape(weights.shape)} {weights.format}" if weights else "",
                note,
            ]
        )
    _table(f"{design.model.name} -> {output}", ["layer", "op", "shape", "codes", "weights", "as"], rows)


ASSIGN_OPTIONS = [
    click.option(
        "--data",
        "--calibration",
        "calibration",
        metavar="FILE|DIR",
        help="inputs that the network will see: .npy, .npz (labels in it too), a folder of images",
    ),
    click.option("--labels", metavar="FILE", help=".npy with one class index (or target) per vector"),
    click.option("--test", metavar="FILE", help="held-out data; only reported"),
    click.option("--test-labels", metavar="FILE", help="their labels"),
    click.option(
        "--part", default="xc7z020clg400-1", show_default=True, help="FPGA part or board, see `qcompile parts`"
    ),
    click.option(
        "--budget",
        default="",
        metavar="LIMITS",
        help=(
            "what may be used, e.g. lut=0.7,dsp=100,latency=900: shares up to 1, counts, cycles; of the rest 0.8 of LUT"
            " and FF, 0.9 of DSP, BRAM and URAM"
        ),
    ),
    click.option("--max-lut", type=int, help="short for --budget lut=N"),
    click.option(
        "--accuracy-target",
        type=float,
        help="least resources at this accuracy of the bit-accurate simulator, instead of least loss",
    ),
    click.option("--max-loss", type=float, help="least resources at this loss"),
    click.option(
        "--minimize", default="loss", show_default=True, help="with a target: lut, dsp, bram18 or area (all of them)"
    ),
    click.option(
        "--metric", default="", help="sensitivity, see `qcompile methods`  [default: fit; kl_output without torch]"
    ),
    click.option("--search", default="ilp", show_default=True),
    click.option("--range", default="mse", show_default=True, help="scales: mse, percentile or minmax"),
    click.option("--rounding", default="rtn", show_default=True, help="of weights: rtn, adaround or gptq"),
    click.option(
        "--transform",
        "transforms",
        multiple=True,
        metavar="NAME",
        help="fold_bn, equalize, bias_correct; in order, once each; none for none  [default: fold_bn]",
    ),
    click.option("--source", default="real", show_default=True, help="real, or bn_distill: no data needed"),
    click.option(
        "--span",
        type=(float, float),
        metavar="LOW HIGH",
        help="range of the inputs, for bn_distill, which cannot know it",
    ),
    click.option(
        "--candidates",
        default="fixed2-8",
        show_default=True,
        help="formats: fixed, int, minifloat, float, pow2, with widths, e.g. int3-8,minifloat4",
    ),
    click.option(
        "--restrict",
        multiple=True,
        metavar="WHAT=NAME:FORMATS",
        help="for some tensors only: layer=conv1:int8, op=Gemm:int2-4, kind=activation:fixed4-8",
    ),
    click.option(
        "--loss",
        default="",
        help=(
            "kl (distance from the float network), cross_entropy (needs labels) or mse  [default: kl; mse for targets"
            " and single outputs]"
        ),
    ),
    click.option(
        "--refine",
        type=int,
        help=(
            "evaluations for exchanges around the optimum of the tables, 0 for none  [default: by the network's size,"
            " at most 300]"
        ),
    ),
    click.option("--per-tensor", is_flag=True, help="one scale per weight tensor, instead of one per output channel"),
    click.option("--asymmetric", is_flag=True, help="integer activations may have a zero point"),
    click.option("--free", is_flag=True, help="formats that the model has already may be replaced"),
    click.option(
        "--arch",
        default="parallel",
        show_default=True,
        type=click.Choice(["parallel", "dataflow"]),
        help="architecture that is priced",
    ),
    click.option(
        "--fold",
        default="min",
        show_default=True,
        metavar="min|full|FILE",
        callback=_fold,
        help="dataflow: how far layers are unrolled",
    ),
    click.option("--fit", is_flag=True, help="dataflow: choose the foldings together with the formats"),
    click.option(
        "--target-fps",
        type=float,
        metavar="F",
        help="--fit: for so many inferences/s  [default: as many as the accuracy allows]",
    ),
    click.option("--clock", "clock_ns", default=5.0, show_default=True, help="clock period in ns"),
    click.option("--workers", default=0, show_default="all processors", help="processes for evaluations"),
    click.option("--dask", default="", metavar="ADDRESS", help="evaluations on a Dask cluster instead"),
    click.option("--cache", metavar="DIR", help="where results are kept  [default: ~/.cache/qcompile]"),
    click.option("--no-cache", is_flag=True, help="keep no results"),
    click.option(
        "--pick", default=0, metavar="N", help="take this plan of the front (DIR/front/NN.json) instead of the optimum"
    ),
    click.option("--seed", default=0, show_default=True),
]


def _assign_options(command: Any) -> Any:
    for option in reversed(ASSIGN_OPTIONS):
        command = option(command)
    return command


@main.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    required=True,
    help="folder for plan.json, report.html and pictures; or the name of a .json file for the plan alone",
)
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
@_assign_options
@_force_option
def assign(model: str, output: str, as_json: bool, force: bool, **options: Any) -> None:
    """Choose a format for every tensor of a float MODEL: least loss under a budget, or least resources at an
    accuracy.
    """
    from qcompile import planning
    from qcompile.assignment.jobs import default_folder

    per_tensor, max_lut, no_cache = (options.pop(k) for k in ("per_tensor", "max_lut", "no_cache"))
    if max_lut is not None:
        options["budget"] = ",".join(filter(None, [options["budget"], f"lut={max_lut}"]))
    planning.check_output(output, force)
    if no_cache and options["cache"]:
        raise QCompileError("a folder of results, and no results are to be kept", "--no-cache", "one of both")
    options["cache"] = None if no_cache else options["cache"] or default_folder()
    options["transforms"] = tuple(t for t in options["transforms"] or ("fold_bn",) if t != "none")
    with _stages() as progress:
        run = planning.run(model, options.pop("calibration"), channels=not per_tensor, progress=progress, **options)
    if output.endswith(".json"):
        run.plan.write(output, force)
        plan = output
    else:
        planning.write(run, output, model, force)
        plan = os.path.join(output, "plan.json")
    if as_json:
        _echo(
            json.dumps(
                {
                    "plan": plan,
                    "chosen": run.chosen.record(),
                    "uniform": [p.record() for p in run.baselines],
                    "held_out": [p.record() for p in run.tested],
                },
                indent=1,
            )
        )
        return
    _show_run(run, output)
    _next(planning.next_step(run, model, plan))


@contextlib.contextmanager
def _stages() -> Iterator[Any]:
    """Stages of a long run on stderr: a bar with the remaining time for each on a terminal; else a line where a stage
    begins, and every few seconds.
    """
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(visible(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report
        for task in bars.tasks:  # stages that found what they looked for before their end
            bars.update(task.id, completed=task.total)


_LINE_EVERY = 5.0  # seconds


def _lines() -> Any:
    """Progress as plain lines."""
    import time

    begin, last, at = time.monotonic(), "", 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last, at
        now = time.monotonic()
        if what != last or now - at >= _LINE_EVERY:
            last, at = what, now
            _echo(f"{now - begin:6.1f} s  {what} {done}/{total}", err=True)

    return report


def _show_run(run: Any, output: str) -> None:
    from qcompile import planning

    f = planning.figures(run, "")
    _table(
        f"formats of {run.model.name}",
        ["tensor", "shape", "candidate", "format", run.settings.metric],
        [[r[0], r[2], r[3], r[4], r[5]] for r in f.rows],
    )
    tested = {p.name: p for p in run.tested}
    rows = []
    for p in (run.chosen, *run.baselines):
        held = tested.get(p.name)
        rows.append(
            [
                p.name,
                f"{math.ceil(p.cost.lut):,}",
                p.cost.dsp,
                p.cost.bram18,
                f"{p.cost.latency:,}",
                f"{p.loss:.4g}",
                "" if p.accuracy is None else f"{p.accuracy:.4f}",
                *([f"{held.loss:.4g}", "" if held.accuracy is None else f"{held.accuracy:.4f}"] if held else []),
            ]
        )
    header = ["plan", "LUT", "DSP", "BRAM18", "cycles", "loss", "acc."] + (
        ["test loss", "test acc."] if run.tested else []
    )
    _table("the chosen plan and uniform ones, by the bit-accurate simulator", header, rows)
    for name, text in f.facts:
        _say(f"{name}: {text}")
    if not output.endswith(".json"):
        _echo(f"report: {os.path.join(output, 'report.html')}")


def _save_arrays(path: str, arrays: list[np.ndarray]) -> None:
    """One array as .npy, several as .npz; codes of more than 64 bits as decimal text, since no file holds those."""
    import io

    import numpy as np

    from qcompile.files import write_file

    held, stored = io.BytesIO(), [a.astype(str) if a.dtype == object else a for a in arrays]
    if path.endswith(".npz"):
        named: dict[str, Any] = {f"y{i}": y for i, y in enumerate(stored)}
        np.savez(held, **named)
    else:
        np.save(held, stored[0])
    write_file(path, held.getvalue(), "the result", ".npz" if path.endswith(".npz") else ".npy")


@main.command()
@click.argument("target")
@click.option("--input", "source", required=True, help=".npy, or .npz with one array per input; vector index first")
@click.option("--output", "result", required=True, help=".npy (.npz for several outputs)")
@click.option("--codes", is_flag=True, help="codes of the output ports instead of real values")
@_model_options
def simulate(target: str, source: str, result: str, codes: bool, **options: Any) -> None:
    """Bit-accurate simulation of a project or model TARGET."""

    if os.path.exists(source) and os.path.exists(result) and os.path.samefile(source, result):
        raise QCompileError("the result would replace the input", result, "name another file")
    with _progress(f"simulating {target}"):
        design = _design(target, options)
        arrays = _inputs(source, design)
        outputs = design.simulator.codes(*arrays) if codes else design.simulator(*arrays)
    if len(outputs) > 1 and not result.endswith(".npz"):
        raise QCompileError(f"the model has {len(outputs)} outputs", result, "write to a .npz file")
    _save_arrays(result, outputs)
    _echo(f"{len(outputs[0])} vectors -> {result}, shape {tuple(outputs[0].shape)}")
    _next(shlex.join(["python", "-c", f"import numpy; print(numpy.load({json.dumps(result, ensure_ascii=False)}))"]))


@main.command()
@click.argument("directory")
@click.option("--input", "source", help="verify on these vectors too (.npy or .npz)")
@click.option("--samples", default=1000, show_default=True, help="random vectors")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--float32/--no-float32",
    default=True,
    show_default=True,
    help="compare with qonnx's float32 execution where it is installed",
)
@click.option(
    "--layers",
    "per_layer",
    is_flag=True,
    help="per layer: range used, bits wasted, saturation, noise, bound and range seen",
)
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def verify(
    directory: str, source: str | None, samples: int, seed: int, float32: bool, per_layer: bool, as_json: bool
) -> None:
    """Exit code 0 only when every file is as compiled, and reference, simulator, emitted simulator and compiled C++
    agree on every code.
    """
    from qcompile.pipeline import open_project
    from qcompile.verification import report_record
    from qcompile.verification import verify as verify_project

    if not 0 <= samples <= 10_000_000 or seed < 0:
        raise QCompileError(
            f"{samples} samples and seed {seed} are not possible; 0 to 10,000,000 samples and a seed of 0 or more are"
        )
    arrays = _inputs(source, open_project(directory)) if source else []
    with _progress(f"verifying {directory}") as progress:
        report = verify_project(directory, *arrays, samples=samples, seed=seed, float32=float32, progress=progress)
        rows = _layers(directory, arrays, samples, seed, progress) if per_layer else None
    if as_json:
        _echo(
            json.dumps(
                report_record(report) | ({"layers": [r.record() for r in rows]} if rows is not None else {}), indent=1
            )
        )
        return
    _show_report(directory, report)
    if rows is not None:
        _show_layers(directory, rows, bool(arrays))
    _echo("all executions agree")
    given = shlex.quote(source or "x.npy")
    _say(f"with Vitis HLS: make -C {shlex.quote(directory)} synth")
    _next(f"qcompile simulate {shlex.quote(directory)} --input {given} --output y.npy")


def _layers(directory: str, arrays: list[np.ndarray], samples: int, seed: int, progress: Any) -> list[Layer]:
    """Statistics on the given vectors, or on random ones where none are given."""
    from qcompile.layers import layers
    from qcompile.pipeline import open_project
    from qcompile.verification import random_inputs

    design = open_project(directory)
    return layers(design, *(arrays or random_inputs(design, min(samples, 1000), seed)), progress=progress)


def _show_layers(directory: str, rows: list[Layer], given: bool) -> None:
    def decibels(row: Layer) -> str:
        return "" if row.sqnr_db is None else "exact" if math.isinf(row.sqnr_db) else f"{row.sqnr_db:.1f}"

    title = f"layers of {directory}, on " + (
        "the given vectors" if given else "random vectors: give --input for real ones"
    )
    _table(
        title,
        ["layer", "op", "codes", "bound", "seen", "wasted", "saturated", "SQNR dB"],
        [
            [
                r.layer,
                r.op,
                r.format,
                f"{r.bound[0]}..{r.bound[1]}",
                f"{r.seen[0]}..{r.seen[1]}",
                r.wasted_bits,
                "" if r.saturated is None else f"{r.saturated:.2%}",
                decibels(r),
            ]
            for r in rows
        ],
    )


def _show_report(directory: str, report: Report) -> None:
    _table(
        f"verify {directory}",
        ["comparison", "vectors", "codes", "differing", "note"],
        [
            ["every file = compiled again", "", "", 0, f"{report.files} files"],
            *([r.what, r.vectors, r.codes, r.differing, r.note] for r in report.rows),
        ],
    )
    for note in report.notes:
        _echo(f"note: {note}", err=True)


@main.command()
@click.argument("target")
@click.option("--input", "source", required=True, help=".npy, vector index first")
@click.option("--labels", required=True, help=".npy with one class index per vector")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
@_model_options
def evaluate(target: str, source: str, labels: str, as_json: bool, **options: Any) -> None:
    """Accuracy of TARGET, bit-accurate, beside that of the float model it came from."""
    from qcompile.evaluation import evaluate as evaluate_design

    with _progress(f"evaluating {target}"):
        design = _design(target, options)
        arrays, wanted = _inputs(source, design), _labels(labels)
        result = evaluate_design(design, arrays, wanted)
    if as_json:
        _echo(json.dumps(result, indent=1))
        return
    _show_accuracy(target, result)
    quoted = shlex.quote(target)
    _next(f"qcompile verify {quoted}" if _is_project(target) else f"qcompile compile {quoted} -o build")


def _show_accuracy(target: str, result: dict[str, Any]) -> None:
    count = result["vectors"]
    rows = [[name, f"{share:.4f} ({result['right'][name]} of {count})"] for name, share in result["accuracy"].items()]
    _table(f"accuracy of {target}", ["execution", "accuracy"], rows)
    columns = ["bit-accurate", *(["float model"] if "executor" in result else [])]
    if 2 < len(result["classes"]) <= MOST_CLASSES:
        _table("right, by class", ["class", "vectors", *columns], result["classes"])
    if wrong := result["confusion"]:
        more = f", the {MOST_PAIRS} most frequent of {len(wrong)} cases" if len(wrong) > MOST_PAIRS else ""
        _table(f"where one of them is wrong{more}", ["label", *columns, "vectors"], wrong[:MOST_PAIRS])
    if "executor" in result:
        same = round(result["agreement"] * count)
        _say(f"same class in both: {result['agreement']:.4f} ({same} of {count})")
        _say(f"float model run by {result['executor']}")


MOST_CLASSES, MOST_PAIRS = 32, 12  # shown; --json has all


HLS4ML_OPTIONS = [
    click.option("--reuse-factor", default=1, show_default=True, help="hls4ml: products that share a multiplier"),
    click.option(
        "--strategy", default="latency", show_default=True, type=click.Choice(["latency", "resource"]), help="hls4ml"
    ),
    click.option(
        "--io-type",
        default="io_parallel",
        show_default=True,
        type=click.Choice(["io_parallel", "io_stream"]),
        help="hls4ml",
    ),
    click.option(
        "--stage",
        default="synthesis",
        show_default=True,
        type=click.Choice(["hls", "synthesis"]),
        help="the report that is predicted",
    ),
]


def _hls4ml_options(command: Any) -> Any:
    for option in reversed(HLS4ML_OPTIONS):
        command = option(command)
    return command


@main.command()
@click.argument("target")
@click.option(
    "--generator",
    default="qcompile",
    show_default=True,
    type=click.Choice(["qcompile", "hls4ml"]),
    help="whose hardware is estimated",
)
@click.option("--plot", metavar="FILE", help="draw the shares of the part by layer (.svg, .png, .pdf)")
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
@_hls4ml_options
@_fit_options
@_model_options
@click.pass_context
def estimate(ctx: click.Context, target: str, generator: str, plot: str | None, as_json: bool, **options: Any) -> None:
    """DSP, LUT, FF, BRAM and latency of TARGET (a project or a model) on a part."""
    from qcompile.cost.budget import Budget
    from qcompile.cost.report import record
    from qcompile.estimation import folded_part

    theirs = {k: options.pop(k) for k in ("reuse_factor", "strategy", "io_type", "stage")}
    limit = Budget.parse(options["budget"], options["max_utilization"])
    goal = _goal(ctx, options, ())
    if goal is not None and (generator == "hls4ml" or _is_project(target)):
        raise click.UsageError(
            "--fit chooses the folding of a model that qcompile compiles: neither a project's nor hls4ml's"
        )
    given = {k for k in (*options, *theirs) if ctx.get_parameter_source(k) is not click.core.ParameterSource.DEFAULT}
    if generator != "hls4ml" and (wrong := sorted(given & {"reuse_factor", "strategy", "io_type"})):
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} is an option of --generator hls4ml")
    if goal is not None:
        options["fit"] = goal
    with _progress(f"estimating {target}"):
        found = _estimation(target, generator, theirs, options, given)
        limits = limit.limits(found.device)
        if plot:
            from qcompile.cost.picture import draw

            draw(found.estimate, found.device, plot)
    if as_json:
        _echo(json.dumps(record(found.estimate, limits), indent=1))
        return
    folded = "" if found.design is None else folded_part(found.design, found.estimate, found.device, limits)
    own = found.design.own_part if found.design else ""
    better = _folded_command(ctx, folded, own, "-o", "build") if folded and not _is_project(target) else ""
    _show_estimate(target, found, limits, better)
    if plot:
        _echo(f"picture: {plot}")


def _estimation(
    target: str, generator: str, theirs: dict[str, Any], options: dict[str, Any], given: set[str]
) -> Estimation:
    """Of a project on its own part and clock, unless others are given."""
    from qcompile import estimation

    source: Any = target
    if _is_project(target):
        if wrong := sorted(given & {"arch", "input_formats", "softmax", "accumulator_bits", "fold", "weights"}):
            raise click.UsageError(
                f"--{wrong[0].removesuffix('s').replace('_', '-')} is for models; {target} is a project, which has been"
                " compiled"
            )
        source = _design(target)
        options = vars(source.options) | {k: options[k] for k in given & {"part", "clock_ns"}}
    if generator == "hls4ml":
        return estimation.hls4ml(source, options["part"], options["clock_ns"], options["input_formats"], **theirs)
    return estimation.qcompile(source, theirs["stage"], **options)


def _show_estimate(target: str, found: Estimation, limits: dict[str, int], better: str) -> None:
    """better: the command that makes a design that fits, where this one does not."""
    from qcompile.cost import report
    from qcompile.cost.budget import NAMES, exceeded, limits_text

    kinds = [k for k in NAMES if limits[k] or getattr(found.estimate.total, k)]
    names = [NAMES[k] for k in kinds]
    rows = [[layer.name, layer.op, *_counted(layer.cost, kinds)] for layer in found.estimate.layers]
    total = report.shares(found.estimate.total, found.device)
    rows += [
        ["total", "", *_counted(found.estimate.total, kinds)],
        ["of the part", "", *(f"{total.get(k, 0):.1%}" for k in kinds), "", ""],
    ]
    _table(f"{target} on {found.estimate.part}, {found.what}", ["layer", "op", *names, "latency", "interval"], rows)
    for line in (*found.lines, *report.advice(found.estimate, found.device, limits)):
        _say(line)
    fits = not exceeded(found.estimate.total, limits)
    where = f"{found.estimate.part} (limits: {limits_text(found.device, limits)})"
    _say(f"it fits {where}" if fits else f"IT DOES NOT FIT {where}")
    larger = "qcompile parts shows larger parts; fewer bits or more zeros make the model smaller"
    quoted = shlex.quote(target)
    after = f"qcompile verify {quoted}" if _is_project(target) else found.after.replace("MODEL", quoted)
    _next(after if fits else better or larger)


def _counted(cost: Resources, kinds: list[str]) -> list[str]:
    from qcompile.cost.report import counts

    found = counts(cost)
    return [f"{found[k]:,}" for k in (*kinds, "latency_cycles", "interval_cycles")]


@main.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def parts(patterns: tuple[str, ...], as_json: bool) -> None:
    """FPGAs and boards that are known, all or those matching PATTERN (part, board or family)."""
    from qcompile.cost.devices import catalogue, search

    known = catalogue()
    found = list(dict.fromkeys(d for p in patterns for d in search(p))) if patterns else list(known.devices)
    if as_json:
        _echo(json.dumps({"parts": [_part_record(d, known.boards_of(d)) for d in found]}, indent=1))
        return
    _table(
        "parts",
        ["part", "family", "LUT", "FF", "DSP", "DSP kind", "BRAM36", "URAM", "boards"],
        [
            [
                d.name,
                d.family,
                f"{d.lut:,}",
                f"{d.ff:,}",
                f"{d.dsp:,}",
                d.dsp_kind.name,
                f"{d.bram36:g}",
                d.uram or "",
                ", ".join(b.name for b in known.boards_of(d)),
            ]
            for d in found
        ],
    )
    number = next((b.part for b in known.boards_of(found[0]) if b.name in patterns), found[0].number)
    _next(f"qcompile compile MODEL.onnx --part {number} -o build")


def _part_record(device: Device, boards: tuple[Board, ...]) -> dict[str, Any]:
    """All that the catalogue has on a part; bram counts its own blocks, bram18 and bram36 units of the vendor's
    reports.
    """
    import dataclasses

    record = {**dataclasses.asdict(device), "bram18": device.bram18, "bram36": device.bram36}
    record["part"] = record.pop("name")
    record["max_clock_mhz"] = dict(device.max_clock_mhz)
    record["boards"] = [{"board": b.name, "part": b.part, "clock_ns": b.clock_ns} for b in boards]
    return record


@main.command()
def calibration() -> None:
    """How far off the estimates are: errors of the cost model on what its fits did not see."""
    from qcompile.assets import asset

    for name in ("errors", "layers", "minifloat_mac", "hls4ml"):
        _echo(asset(f"hw/calibration/{name}.md").read_text(encoding="utf-8").replace("```\n", ""))
    _next("qcompile estimate MODEL.onnx --part PART; make calibrate measures and fits again")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="machine-readable")
def methods(as_json: bool) -> None:
    """Published methods: which are in the code, and which are planned."""
    from qcompile.methods import methods as listed

    rows = listed()
    if as_json:
        _echo(json.dumps({"methods": rows}, indent=1))
        return
    columns = ("name", "kind", "what", "paper", "where")
    _table("methods", columns, [[_number_of(row[c]) if c == "paper" else row[c] for c in columns] for row in rows])
    _next("qcompile inspect MODEL.onnx shows what of it a model of yours needs")


def _number_of(paper: str) -> str:
    """The number that finds a paper, its title where it has none; --json has both."""
    return paper[paper.index("arXiv") :] if "arXiv" in paper else paper


@main.command()
@click.option("-o", "--output", default="qcompile_demo", show_default=True, help="folder of the project")
@_force_option
def demo(output: str, force: bool) -> None:
    """Compile a digits classifier that ships with qcompile, verify it and show its accuracy."""
    import numpy as np

    from qcompile.assets import asset
    from qcompile.evaluation import evaluate as evaluate_design
    from qcompile.pipeline import compile as compile_model
    from qcompile.verification import verify as verify_project

    x, labels = np.load(asset("examples/digits_x.npy")), np.load(asset("examples/digits_y.npy"))
    with _progress("compiling the digits classifier") as progress:
        design = compile_model(asset("examples/digits_mlp.onnx"))
        design.write(output, force)
        report = verify_project(output, x, progress=progress)
        result = evaluate_design(design, [x], labels, float32=False)
    _summary(design, output)
    _show_report(output, report)
    _show_accuracy("the shipped test digits", result)
    _next(f"look into {shlex.quote(output)}/README.md, or compile a model of yours: qcompile inspect MODEL.onnx")


if __name__ == "__main__":
    main()
