"""compile(): the way from a model to a design, readable top to bottom."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, cast

import numpy as np

from qcompile.assignment.plan import Plan
from qcompile.backends import hls, pysim
from qcompile.backends.base import FileSet
from qcompile.backends.pysim import Simulator
from qcompile.cost.budget import KINDS, Budget, exceeded
from qcompile.cost.devices import board, device, known_board, part_number
from qcompile.cost.estimate import check_clock
from qcompile.cost.exchange import fabric_of
from qcompile.cost.fabrics import fabrics
from qcompile.cost.primitives import Fabric
from qcompile.cost.resources import Estimate
from qcompile.errors import Finding, QCompileError, UnsupportedError, keywords
from qcompile.files import Folder
from qcompile.frontend import Model, load, loaded, with_real_scales
from qcompile.hardware import estimate as estimates
from qcompile.hardware.folding import folded, foldings
from qcompile.hardware.frames import Frames
from qcompile.hardware.network import Network, gathering
from qcompile.hardware.products import rolled, too_many, unquantized
from qcompile.hardware.timing import Schedule, schedule
from qcompile.hardware.units import BufferedUnit, UnrolledUnit
from qcompile.host import HostPart
from qcompile.ir import Graph, print_graph, verify
from qcompile.options import FOLDS, Compiling, Cutting, Options, accepting, frozen, plain
from qcompile.parts import Part
from qcompile.passes import ports, states
from qcompile.passes.counting import counted
from qcompile.passes.dead import remove_dead_channels, zero_idle_weights
from qcompile.passes.exact_norms import inexact, with_exact_norms
from qcompile.passes.flatten import flattened_in_order
from qcompile.passes.implement import implement
from qcompile.passes.ivit import kept, with_chosen_kernels
from qcompile.passes.layout import sink_transposes
from qcompile.passes.lower import lower
from qcompile.passes.ports import HostInput, HostOutput
from qcompile.passes.rolled import LoweredPiece, Rolled
from qcompile.passes.rolled import rolled as rolled_graphs
from qcompile.passes.rows import settled
from qcompile.passes.segments import APART, segmented
from qcompile.passes.signs import with_signs_apart
from qcompile.passes.stepwise import Sides, Stepwise, frames_of, kept_states, stepwise
from qcompile.passes.subpixel import without_zeros_between
from qcompile.passes.summed import rounded_terms, with_rounded_terms
from qcompile.passes.switched import unswitched, with_switched_bits
from qcompile.passes.tokens import layers_of_tokens
from qcompile.passes.unused import remove_unused
from qcompile.records import dataclass
from qcompile.tables import card, html, shape

if TYPE_CHECKING:
    from qcompile.backends.rtl import NetworkView, StreamView
    from qcompile.hardware.fit import Fitted

P = ParamSpec("P")


@dataclass(frozen=True, repr=False)
class Design:
    """A compiled network: `simulate`, `estimate` and `write` it.

    reference: the model graph, in real numbers; graph: what the hardware computes, in codes (`qc.print_graph` prints
    either); inputs, outputs: what the host does in front and behind; hardware: the graph as it is built, `graph` or
    with one cell for all steps of a recurrence; unrolled: recurrences that have a cell for every step, and why; plan:
    the formats that were chosen for it.
    """

    model: Model
    options: Options
    reference: Graph
    graph: Graph
    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]
    hardware: Graph
    unrolled: tuple[tuple[str, str], ...] = ()
    steps: Stepwise | None = None
    """Of streaming inference: which step of the file a frame is."""
    frames: Frames | None = None
    """Of `parallel` with one cell: `hardware` is a step, and takes the steps of these one after the other."""
    fitted: Fitted | None = None
    """How the folding came about, where `compile` chose it."""
    plan: Plan | None = None

    @cached_property
    def simulator(self) -> Simulator:
        """The bit-accurate simulator, for codes and for single layers; `simulate` is the short way."""
        return Simulator(self.graph, self.inputs, self.outputs)

    @cached_property
    def network(self) -> Network | None:
        """Processes and streams of architecture `dataflow`."""
        if self.options.arch != "dataflow":
            return None
        made = folded(self.hardware, self.options.fold)
        return gathering(made) if self.options.backend == "rtl" else made

    @cached_property
    def schedule(self) -> Schedule | None:
        """Cycles and depths of the network of architecture `dataflow`; of SystemVerilog with its own registers."""
        if self.network is not None and self.options.backend == "rtl":
            return cast("StreamView", self.rtl).schedule
        if self.fitted is not None:
            return self.fitted.schedule
        return schedule(self.network) if self.network else None

    @cached_property
    def rtl(self) -> NetworkView | StreamView:
        """What is printed as SystemVerilog."""
        from qcompile.backends import rtl  # which few designs need

        return rtl.view(self.hardware, self.top, self.options.part, self.options.clock_ns, self.network, self.frames)

    def _rtl_on(self, part: str, clock_ns: float) -> NetworkView | StreamView:
        own = (part, clock_ns) == (self.options.part, self.options.clock_ns)
        return self.rtl if own else replace(self, options=replace(self.options, part=part, clock_ns=clock_ns)).rtl

    @cached_property
    def truncated(self) -> dict[str, int]:
        """Tensors whose accumulators drop bits because the user asked for narrower ones, and how many."""
        return {n.output.name: n.op.truncated_bits for n in self.graph.nodes if getattr(n.op, "truncated_bits", 0)}

    @cached_property
    def top(self) -> str:
        """Name of the top function of the C++, and of its files."""
        return hls.identifier(self.model.name)

    @property
    def own_part(self) -> str:
        """The board, or else the part, that it is for."""
        return self.options.board or self.options.part

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: of the import, of the size, of what is not exact."""
        too_big = too_many(self.hardware) if self.options.arch == "parallel" else None
        cut = (
            f"{len(self.truncated)} accumulators drop low bits: the result is not exact, verify says how far off"
            if self.truncated
            else None
        )
        summed = rounded_terms(self.reference)
        apart = (f"recurrence '{name}' has a cell for every step: {why}" for name, why in self.unrolled)
        real = kept(self.reference) if self.options.kernels == "ivit" else ()
        near = inexact(self.reference) if self.options.norms == "exact" else ()
        same = unswitched(self.reference) if self.options.switch else ()
        wide = unquantized(self.hardware)
        return (*self.model.warnings, *(w for w in (too_big, cut, wide) if w), *summed, *apart, *real, *near, *same)

    def facts(self) -> list[tuple[str, str]]:
        """What people want to know first: part, inputs, outputs, layers, warnings."""
        ports = [("input", v) for v in self.graph.in_ports] + [("output", v) for v in self.graph.out_ports]
        names = [h.name for h in self.inputs] + [h.name for h in self.outputs]
        where = (
            f"{self.options.board or self.options.part} at {1000 / self.options.clock_ns:g} MHz, {self.options.arch}"
        )
        shown = [
            (kind, f"{name} {shape(v.type.shape)}, codes {v.type.format}")
            for (kind, v), name in zip(ports, names, strict=True)
        ]
        return [("part", where), *shown, ("layers", self.hardware.census()), *(("warning", w) for w in self.warnings)]

    def __repr__(self) -> str:
        return card(f"Design {self.model.name}", self.facts())

    def _repr_html_(self) -> str:
        names = self.hardware.layers
        rows = [
            (names[n.output.name], type(n.op).__name__, shape(n.output.type.shape), n.output.type.format)
            for n in self.hardware.nodes
            if n.inputs
        ]
        return html(f"Design {self.model.name}", self.facts(), ("layer", "op", "shape", "codes"), rows)

    @keywords
    def simulate(self, *x: np.ndarray, codes: bool = False) -> Any:
        """Real values of the output (codes=True: codes of the port) for floats (N, ...), of the shape (N, ...) that the
        source framework gives: a batch axis of the file is the vector index N. A list if there are several outputs.
        What was cut off is run by onnxruntime in front, and behind real values.
        """
        x = self.at_ports(*x)
        results = self.simulator.codes(*x) if codes else self.finished(self.simulator(*x))
        return results[0] if len(results) == 1 else results

    def at_ports(self, *x: np.ndarray) -> tuple[np.ndarray, ...]:
        """The floats of the hardware's inputs: behind what was cut off in front, if anything was."""
        return x if self.model.before is None else tuple(self.model.before.run(x))

    def finished(self, y: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs of the file: behind what was cut off behind the hardware, if anything was."""
        return y if self.model.after is None else self.model.after.run(y)

    @keywords
    def estimate(self, part: str | None = None, clock_ns: float | None = None) -> Estimate:
        """Resources and cycles per layer and in total, on the design's part and clock or others. QCompileError for an
        unknown part or clock.
        """
        part, clock_ns = part or self.options.part, clock_ns or self.options.clock_ns
        target = device(part)
        check_clock(target, part, clock_ns)
        if self.network is not None and self.options.backend == "rtl":
            streamed = cast("StreamView", self._rtl_on(part, clock_ns))
            return estimates.of_network(self.hardware, self.network, streamed.schedule, target, streamed.parts())
        if self.network is not None and self.schedule is not None:
            return estimates.of_network(self.hardware, self.network, self.schedule, target)
        if rolled(self.hardware):
            return estimates.of_loops(self.hardware, target)
        if self.options.backend == "rtl":
            view = cast("NetworkView", self._rtl_on(part, clock_ns))  # others have a network
            found = estimates.of_pipeline(self.hardware, target, clock_ns, loops=False)
            total = replace(found.total, latency=view.latency, ff=view.flip_flops)
            if self.hardware.keeps:  # a step begins when the state of the one before is in its register
                total = replace(total, interval=view.latency + 1)
            return replace(found, total=total, mhz=view.mhz(fabric_of(part)))
        ports = [hls.layout(v) for v in (*self.graph.in_ports, *self.graph.out_ports)]
        words = max((p.words for p in ports if p.array), default=1)
        made = estimates.of_pipeline(self.hardware, target, clock_ns, 1 if self.frames else words)
        if not self.hardware.keeps:
            return made
        cycles = made.total.latency * self.frames.steps + words - 1 if self.frames else made.total.latency
        return replace(made, total=replace(made.total, latency=cycles, interval=cycles))

    def parts(self) -> list[Part]:
        """What its layers are made of."""
        if self.network is not None:
            return [s.parts() for s in self.network.stages]
        make = BufferedUnit.rolled if rolled(self.hardware) else UnrolledUnit.of
        return [make(n, self.hardware).parts() for n in self.hardware.nodes]

    def files(self) -> FileSet:
        """The whole project; the same design gives the same bytes."""
        from qcompile.project import project_files

        return project_files(self)

    def write(self, directory: str | Path, force: bool = False) -> Path:
        """The project on disk, in place of an earlier one; other files in the folder stay. QCompileError if the folder
        holds something else, cannot be written, or has files of ours that were edited (force: these are replaced).
        """
        path = Path(directory)
        self.files().write(path, force)
        return path


Pass = Callable[[Graph], Graph]


def integer_passes(fabric: Fabric, arch: str = "parallel", fold: str = "min") -> tuple[tuple[str, Pass], ...]:
    """What becomes of a lowered graph, in this order; of a folded one as much stays as its foldings divide."""

    def without_dead(graph: Graph) -> Graph:
        least = remove_dead_channels(graph)
        if least is graph or arch != "dataflow" or fold == "full":
            return least
        return remove_dead_channels(graph, foldings(implement(graph, fabric), fold))

    streams = arch == "dataflow"
    folded = ("without_zeros_between", without_zeros_between), ("layers_of_tokens", layers_of_tokens)
    layers = folded if streams else ()
    ordered = (("flattened_in_order", flattened_in_order),) if streams else ()
    return (
        ("remove_unused", remove_unused),
        *layers,
        ("sink_transposes", sink_transposes),
        ("zero_idle_weights", zero_idle_weights),
        ("remove_dead_channels", without_dead),
        *ordered,
        ("implement", partial(implement, fabric=fabric)),
        ("segmented", partial(segmented, fabric=fabric, apart=APART if streams else 0.0)),
    )


@dataclass(frozen=True)
class Goal:
    """What a folding is chosen for: the fastest design inside the budget, or with target_fps the smallest that is fast
    enough.
    """

    budget: Budget = Budget()
    target_fps: float | None = None

    def __post_init__(self) -> None:
        plain(self)
        if self.target_fps is not None and not 0 < self.target_fps < 1e12:
            raise QCompileError(
                f"{self.target_fps:g} frames/s are not possible", "--target-fps", "a positive number, for example 30"
            )


class Compile(Protocol[P]):
    """The type of `compile`: its keywords are the fields of `Compiling`."""

    def __call__(
        self, source: Any, plan: Plan | str | Path | None = None, *args: P.args, **options: P.kwargs
    ) -> Design: ...


def _typed(record: Callable[P, object]) -> Callable[[Callable[..., Design]], Compile[P]]:
    return accepting(record)  # type: ignore[arg-type]


@_typed(Compiling)
def compile(source: Any, plan: Plan | str | Path | None = None, **given: Any) -> Design:
    """Design of a model (a Model, or whatever `load` takes).

    plan: formats for the tensors that the model does not quantize itself (and foldings, unless others are given): what
    `assign` found, or the path of its file.
    part: FPGA or board (xc7z020clg400-1); clock_ns: the period (5); arch: "parallel" (every product has its own
    hardware) or "dataflow" (layers are processes, folded); softmax: "host", "logits" (left out) or "integer";
    input_formats: of inputs without a quantizer, in order, such as "s12f10"; state_formats: of h and gates in float
    recurrent layers, and of an LSTM's c, and of softmaxes that nothing rounds; real: layers of a TensorFlow Lite file
    (or "all") with real scales in place of the reference kernels' multipliers; accumulator_bits: the widest accumulator
    of minifloat products, 0 for exact sums; kernels: "exact", or "ivit" for I-ViT's integer softmax, GELU and layer
    normalization behind quantizers; recurrence: "step" is streaming inference, a step a frame;
    norms: "exact" for normalizations whose codes are all the correctly rounded ones; switch: widths of weights, such as
    "8,6,4", between which one more input chooses at run time.
    Of dataflow: fold: "min", "full", or JSON {layer: {"pe": 2, "simd": 4}}; fit: choose the folding of every layer for
    the part, or for a `Goal`; weights: "rom", or "port" where they are loaded.
    inputs, outputs, shapes: as for `load`.
    board: the board of a part that is no board; dump: folder for the text of the graph after each pass (force: in place
    of an earlier dump even where that was edited since).
    QCompileError for whatever cannot be done, with the way out.
    """
    options = frozen(Options, {name: v for name, v in given.items() if v is not None})
    fit, dump, force = options.pop("fit", False), options.pop("dump", None), options.pop("force", False)
    model = loaded(source, **{name: options.pop(name, ()) for name in Cutting.names()})
    model = with_real_scales(model, options.get("real", ""))
    plan = Plan.read(plan) if isinstance(plan, (str, Path)) else plan
    if plan is None:
        _refuse_dynamic(model)
        if not options.get("state_formats") and (found := states.unformatted(model.graph, model.states)):
            raise UnsupportedError(found, model.name)
    dumped = None if dump is None else partial(_dump, Path(dump), force)
    if plan is not None:
        if plan.folding and not fit:
            if options.get("switch") and "fold" not in options:
                hint = "--fit chooses one again, --fold gives one"
                raise QCompileError("the plan's folding is of layers whose bits are not switched", "--switch", hint)
            options = {
                "arch": "dataflow",
                "fold": json.dumps({name: vars(f) for name, f in plan.folding.items()}),
            } | options
        return replace(_compile(_planned(model, plan), dumped, fit, options), model=model, plan=plan)
    return _compile(model, dumped, fit, options)


def _refuse_dynamic(model: Model) -> None:
    """UnsupportedError for scales that depend on the data."""
    reason = "its scale is a float32 that depends on the data"
    hint = "qcompile assign MODEL --data x.npz chooses formats, with --transform dynamic_token a scale per token"
    found = tuple(Finding(f"node '{name}'", "DynamicQuantizeLinear", reason, hint) for name in model.dynamic)
    if found:
        raise UnsupportedError(found, model.name)


def _planned(model: Model, plan: Plan) -> Model:
    """The model as the plan quantizes it."""
    if plan.model and plan.model != model.sha256:
        raise QCompileError(
            f"the plan was made for another file ('{plan.name}', sha256 {plan.model[:12]}...)",
            model.name,
            'qcompile assign on this model; or remove "sha256" from the plan to use it all the same',
        )
    from qcompile.assignment.apply import apply  # most designs need no plan

    return replace(model, graph=apply(model.graph, plan), states={})


Stages = list[tuple[str, Graph]]


def _compile(
    model: Model, dumped: Callable[[Stages], None] | None, fit: bool | Goal, options: dict[str, Any]
) -> Design:
    chosen = resolved(options, bool(fit))
    formatted = states.with_state_formats(model.graph, model.states, chosen.formats_of_states())
    reference = ports.with_input_formats(formatted, chosen.formats(), model.annotated)
    reference = with_switched_bits(reference, chosen.switched()) if chosen.switch else reference
    made = lowered(reference, chosen)
    reference, graph = made.reference, made.stages[-1][1]
    if dumped is not None:
        dumped([("import", model.graph), ("input-formats", reference), *made.stages])
    sides = made.inputs, made.outputs, made.hardware, made.unrolled, made.steps, made.frames
    design = Design(model, chosen, reference, graph, *sides)
    return _fitted(design, fit if isinstance(fit, Goal) else Goal()) if fit else design


@dataclass(frozen=True)
class Lowered:
    """reference: the model graph, softmaxes as they are made; stages: graphs down to the integer graph, the last;
    inputs, outputs: what the host does in front and behind; hardware, unrolled: see `Design`.
    """

    reference: Graph
    stages: Stages
    inputs: tuple[HostInput, ...]
    outputs: tuple[HostOutput, ...]
    hardware: Graph
    unrolled: tuple[tuple[str, str], ...] = ()
    steps: Stepwise | None = None
    frames: Frames | None = None


def lowered(reference: Graph, chosen: Options) -> Lowered:
    """Of a model graph, every input of which has a format."""
    reference = with_chosen_kernels(reference, chosen.kernels, chosen.softmax)
    reference = with_exact_norms(reference) if chosen.norms == "exact" else reference
    reference = with_rounded_terms(reference, chosen.formats_of_states())
    if chosen.recurrence == "step":
        return _of_step(stepwise(reference, chosen.recurrence), chosen)
    if chosen.arch == "parallel" and chosen.recurrence == "rolled":
        whole, steps = _lowered(reference, chosen), stepwise(reference, chosen.recurrence)
        step = _of_step(steps, chosen)
        all_steps, one = (Sides(made.hardware, made.inputs, made.outputs) for made in (whole, step))
        return replace(whole, hardware=step.hardware, frames=frames_of(all_steps, one, steps.steps))
    if chosen.arch != "dataflow" or chosen.recurrence == "unrolled" or chosen.weights != "rom":
        return _lowered(reference, chosen)
    made = rolled_graphs(reference, partial(_piece, chosen))
    if not isinstance(made, Rolled):
        return replace(_lowered(reference, chosen), unrolled=made)
    around = made.around
    stages = [("rolled", made.hardware), ("steps", made.graph)]
    for _, graph in stages:
        verify(graph)
    settled_reference = settled(reference, around.kernels)
    return Lowered(settled_reference, stages, around.inputs, around.outputs, made.hardware, made.refused)


def _of_step(step: Stepwise, chosen: Options) -> Lowered:
    """Whose states are the last inputs and outputs of its graph."""
    made = _lowered(step.graph, chosen)
    kept = step.states
    states = kept_states(made.hardware, made.inputs, made.outputs, kept, chosen.recurrence)
    graph = replace(made.hardware, states=states)
    ports = made.inputs[:-kept], made.outputs[:-kept]
    return Lowered(made.reference, [*made.stages, ("states", graph)], *ports, graph, (), step)


def _piece(chosen: Options, graph: Graph) -> LoweredPiece:
    """What is around recurrences, or a step. Which channels are dead does not depend on a folding by names, as it is of
    the whole network.
    """
    fold = chosen.fold if chosen.fold in FOLDS else "min"
    made, kernels = _stages(graph, replace(chosen, fold=fold))
    return LoweredPiece(made.hardware, made.inputs, made.outputs, kernels)


def _lowered(reference: Graph, chosen: Options) -> Lowered:
    """With all steps as they are."""
    made, kernels = _stages(reference, chosen)
    return replace(made, reference=settled(reference, kernels))


def _stages(reference: Graph, chosen: Options) -> tuple[Lowered, dict[str, Any]]:
    """And how rows are made."""
    borders = ports.split(reference, chosen.softmax)
    unrolled = chosen.arch == "parallel"
    apart = with_signs_apart(reference, folded=not unrolled) if chosen.weights == "rom" else reference
    summed = counted(apart, {h.port for h in borders.inputs}) if unrolled else apart
    graph, inputs, outputs, kernels = lower(summed, borders, chosen.accumulator_bits, chosen.weights == "port")
    stages: Stages = [("lower", graph)]
    for name, step in integer_passes(fabric_of(chosen.part), chosen.arch, chosen.fold):
        graph = step(graph)
        verify(graph)
        stages.append((name, graph))
    return Lowered(reference, stages, inputs, outputs, graph), kernels


def resolved(given: dict[str, Any], fitting: bool) -> Options:
    """A folding that is to be chosen needs an architecture that can be folded, and no other choice."""
    if fitting and given.get("arch", "dataflow") != "dataflow":
        raise QCompileError(
            f"architecture {given['arch']} cannot be folded", "--fit", "leave --arch away, or --arch dataflow"
        )
    if fitting and given.get("fold", "min") != "min":
        raise QCompileError("the folding is given and to be chosen too", "--fit", "either --fit or --fold")
    chosen = Options(**{**given, "arch": "dataflow"} if fitting else given)
    return replace(chosen, part=_part(chosen.part), board=_board(chosen))


def _fitted(design: Design, goal: Goal) -> Design:
    """The search knows the prices of units. Modules of SystemVerilog are priced when they are made: where they need
    more than the budget, the search gets that much less.
    """
    from qcompile.hardware.fit import FoldingSearch  # most foldings are given
    from qcompile.hardware.fit import fit as fit_folding

    chosen, target = design.options, device(design.options.part)
    check_clock(target, chosen.part, chosen.clock_ns)
    budget = goal.budget.limits(target)
    search, room = FoldingSearch(design.hardware, target), dict(budget)
    while True:
        found = fit_folding(search, chosen.clock_ns, room, goal.target_fps)
        made = replace(design, options=replace(chosen, fold=found.text()), fitted=found)
        needed = made.estimate().total if chosen.backend == "rtl" else found.estimate.total
        over = exceeded(needed, {k: budget[k] for k in KINDS})
        if not over:
            return made
        taken = found.estimate.total
        room |= {k: min(int(getattr(taken, k) / times), room[k] - 1) for k, times in over.items()}


def _part(name: str) -> str:
    """The part number that the vendor tool wants, of a board's or a short name too; numbers that the catalogue lacks
    stay as they are.
    """
    try:
        return part_number(name)
    except QCompileError:
        if any(f.prefix and name.lower().startswith(f.prefix) for f in fabrics().values()):
            return name
        raise


def _board(chosen: Options) -> str:
    """The board that the part names, else the one that a project remembers beside its part."""
    if (named := known_board(chosen.part)) is not None:
        return named.name
    if chosen.board and board(chosen.board).part != _part(chosen.part):
        hint = f"part='{chosen.board}' names the board and its part"
        raise QCompileError(f"the part {chosen.part} is not that of the board {chosen.board}", hint=hint)
    return chosen.board and board(chosen.board).name


def _dump(folder: Path, force: bool, stages: Stages) -> None:
    texts = {f"{i}-{name}.txt": print_graph(graph, data=False).encode() for i, (name, graph) in enumerate(stages)}
    Folder.recorded(texts, "dump.json", "dump").write(folder, force)


def open_project(directory: str | Path) -> Design:
    """The design of a written project, compiled again from the model and options that it carries. QCompileError for a
    folder that is none.
    """
    from qcompile import documents
    from qcompile.project import SCHEMA

    folder = Path(directory)
    manifest = documents.manifest(folder, SCHEMA)
    host, ends = (manifest.host or {}), manifest.ends or ((), ())
    source = _read(folder / manifest.model.file)
    model = load(source, inputs=ends[0], outputs=ends[1])
    plan = Plan.read(folder / "plan.json") if manifest.plan is not None else None
    name = manifest.model.name
    parts: dict[str, Any] = {
        k: HostPart(p.file, _read(folder / p.file), tuple(p.inputs), tuple(p.outputs)) for k, p in host.items()
    }
    model = replace(model, name=name, graph=replace(model.graph, name=name), **parts)
    return compile(model, plan, **dict(manifest.options))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise QCompileError(
            f"the project's model cannot be read: {error.strerror}", str(path), "compile it again"
        ) from None


__all__ = ["Design", "Options", "compile", "open_project", "pysim"]
