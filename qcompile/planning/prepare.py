"""From a model and data to a task: candidates on calibrated ranges, sensitivities and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from qcompile.assignment.data import Data
from qcompile.assignment.gradients import torch_is_there
from qcompile.assignment.jobs import Jobs
from qcompile.assignment.losses import loss_of
from qcompile.assignment.methods import MetricMethod, RoundingMethod, SearchMethod, SourceMethod
from qcompile.assignment.methods.transform.equalize import linked
from qcompile.assignment.network import FloatNetwork
from qcompile.assignment.rounding import Rounder
from qcompile.assignment.study import Evaluation
from qcompile.assignment.tensors import NARROW, WEIGHT, tensors
from qcompile.assignment.transforms import options_of, transformed
from qcompile.cost.budget import CYCLES
from qcompile.errors import QCompileError
from qcompile.frontend import Model
from qcompile.frontend.tflite import is_tflite
from qcompile.ir import Graph
from qcompile.options import Options, Settings
from qcompile.planning.designs import Designs, graph_transforms
from qcompile.planning.programs import tables
from qcompile.planning.targets import QualityTarget, accuracy_of, fewest, least_share
from qcompile.planning.task import Task
from qcompile.records import dataclass

LEAST = 20  # vectors that a target needs
MEMORY = "gptq"  # the rounding in front of finetuning where weights are no logic
GIVEN_UP = 0.01  # accuracy that a fit may take for speed where nothing is said


def prepare(
    model: Model,
    settings: Settings,
    options: Options,
    limits: Mapping[str, int],
    jobs: Jobs,
    read: Callable[[], Data],
) -> Task:
    """The task of `assign`. limits: on resources (counts) and cycles; read: the user's data, where they are wanted.
    QCompileError for what cannot work on these data.
    """
    if is_tflite(model.source):
        what = "a TensorFlow Lite file has integers throughout: there is no format to choose"
        raise QCompileError(what, model.name, "compile takes it as it is; assign takes the float network (Keras, ONNX)")
    s, notes = with_metric(settings)
    s, finetuning = _searching(s, options)
    _check_priced(s, limits)
    _check_by_channel(s, options)
    given = SourceMethod.find(s.source).run
    found = given(model.graph, read, s.seed, jobs.progress, s.span)
    steps = graph_transforms(s)
    options_found = options_of(model.graph, steps, found)
    graph = transformed(model.graph, steps, options_found)
    if _equalises(s, options, graph):
        graph, s = transformed(graph, ["equalize"], {}), replace(s, transforms=(*s.transforms, "equalize"))
        notes.append("layers have equal ranges (--transform equalize), which codes of few digits fit better")
    network = FloatNetwork.of(graph)
    _check_target(s, found)
    halves = None
    if s.targeted or _as_fast_as_possible(s, limits):
        halves = _split(s, network, found)
        s, notes = halves.settings, [*notes, *halves.notes]
    designs = Designs.of(model, s, options, jobs, graph, network, halves.chooses if halves else found, options_found)
    rounding = RoundingMethod.find(s.rounding)
    apart = rounding.priced and not halves and torch_is_there()
    designs = replace(designs, finetuning=finetuning, apart=apart)
    judging = len(designs.judges[0])
    if judging < len(designs.study.evaluation.data):
        notes.append(f"losses are those of {judging} vectors that codes of all layers together are not fitted to")
    if s.rounding != "rtn" and rounding.scope == "layer" and rounding.inside:
        rounder = Rounder.of(s.rounding, graph, designs.study.weights, s.seed)
        designs = replace(designs, study=designs.study.rounded(rounder))
    notes += _check_effects(designs)
    sensitivity = MetricMethod.find(s.metric)(designs.study)
    target = halves.target(designs.study.evaluation) if halves else None
    return Task(designs, sensitivity, tables(designs, sensitivity), limits, target, tuple(notes))


def with_metric(s: Settings) -> tuple[Settings, list[str]]:
    """The default metric needs torch."""
    if s.metric:
        return s, []
    if torch_is_there():
        return replace(s, metric="fit"), []
    note = "no torch here: kl_output instead of fit (pip install 'qcompile[torch]')"
    return replace(s, metric="kl_output"), [note]


def _searching(s: Settings, options: Options) -> tuple[Settings, str]:
    """Settings with the rounding that the search uses, and the method that finetunes behind it, if any."""
    method = RoundingMethod.find(s.rounding)
    if not method.finetunes:
        return s, ""
    from qcompile.assignment.finetune import check_device

    check_device(s.device)
    logic = options.arch == "parallel" and not s.fit and s.search == Settings.search
    return replace(s, rounding=method.finetunes if logic else MEMORY), method.name


def _equalises(s: Settings, options: Options, graph: Graph) -> bool:
    """Whether layers of a transformed graph get equal ranges unasked: the few weights that a channel of a convolution
    has then lose as much as those of another at the same digits. Where that leaves all other numbers as they are.
    """
    if options.arch != "parallel" or not RoundingMethod.find(s.rounding).priced or "equalize" in s.transforms:
        return False
    return any(layer.op.windowed for first, second, *_ in linked(graph) for layer in (first, second))


def _check_priced(s: Settings, limits: Mapping[str, int]) -> None:
    """A price of codes decides what a search would, at a rate."""
    if not RoundingMethod.find(s.rounding).priced:
        return
    place = f"--rounding {s.rounding}"
    if _as_fast_as_possible(s, limits):
        raise QCompileError("a price of codes needs a rate", place, "--target-fps, or --budget interval=CYCLES")
    if s.search != "ilp":
        raise QCompileError("the price of codes is the search", place, "leave --search out")


def _check_by_channel(s: Settings, options: Options) -> None:
    """What a channel adds to the loss is known by its gradients, what it saves by unrolled logic."""
    if s.by_channel and options.arch != "parallel":
        raise QCompileError(
            f"a stream of architecture {options.arch} is as wide as its widest channel",
            "--by-channel",
            "--arch parallel, or leave it out",
        )
    if s.by_channel:
        from qcompile.assignment.gradients import torch_module

        torch_module()


def _check_target(s: Settings, found: Data) -> None:
    if s.accuracy_target is not None and (found.labels is None or found.labels.dtype.kind not in "iu"):
        raise QCompileError(
            "an accuracy target needs labels of the calibration data", hint="--labels y.npy, or --max-loss"
        )
    if SearchMethod.find(s.search).target == "must" and not s.targeted:
        raise QCompileError(
            f"{s.search} needs a target to measure against",
            hint="--accuracy-target 0.97 (with labels) or --max-loss 0.1",
        )


def _check_effects(designs: Designs) -> list[str]:
    """QCompileError for options that change nothing of this model; notes on what they leave."""
    s, study = designs.settings, designs.study
    found = tensors(designs.graph)
    given = [t for t in found if t.given is not None]
    if s.free and not given:
        raise QCompileError("the model has no formats of its own", designs.model.name, "leave --free out")
    if s.rounding != "rtn" and not study.weights:
        raise QCompileError("no weights take a format", f"--rounding {s.rounding}", "leave it out, or --free")
    own = sorted({str(c) for cs in study.candidates.values() for c in cs if c.coded})
    if own and RoundingMethod.find(s.rounding).scope != "layer":
        raise QCompileError(
            f"{', '.join(own)} have codes of their own, which it would round anew",
            f"--rounding {s.rounding}",
            "--rounding rtn, or one that looks at single layers, which leaves them",
        )
    if not s.channels and not any(t.axis is not None for t in study.weights):
        raise QCompileError("no weights have output channels", "--per-tensor", "leave it out")
    if s.asymmetric and not any(q.zero_point for own in study.evaluation.quantizers.values() for q in own):
        raise QCompileError(
            "no tensor with int candidates has numbers of both signs: there is nothing to shift",
            "--asymmetric",
            "leave it out",
        )
    narrow = [t.name for t in given if t.kind == WEIGHT and t.unquantized]
    if not narrow or s.free:
        return []
    return [f"already integers of at most {NARROW} bits, and kept: {', '.join(narrow)} (--free: not)"]


def _as_fast_as_possible(s: Settings, limits: Mapping[str, int]) -> bool:
    return s.fit and s.target_fps is None and not set(CYCLES) & set(limits)


@dataclass(frozen=True, eq=False)
class _Halves:
    """Data of which one half chooses and the other accepts. settings: with the target that holds; allowed_drop: of
    accuracy below the float network.
    """

    settings: Settings
    chooses: Data
    accepts: Evaluation
    allowed_drop: float | None
    notes: tuple[str, ...]

    def target(self, e: Evaluation) -> QualityTarget:
        """e: on the half that chooses."""
        least, y, labels = None, e.outputs({}), e.data.labels
        if self.allowed_drop is not None:
            least = (accuracy_of(y, labels) or 0.0) - self.allowed_drop
        others = None if labels is None else (y, labels)
        return QualityTarget(self.accepts, self.settings.max_loss, self.allowed_drop, least, others)


def _split(s: Settings, network: FloatNetwork, found: Data) -> _Halves:
    if len(found) < LEAST:
        raise QCompileError(
            f"a target needs {LEAST} vectors or more, half of which choose and half of which accept; {len(found)}"
            " are given",
            hint="more data, or least loss under a budget",
        )
    chooses, accepts = found.halves(s.seed)
    held = Evaluation(network, accepts, loss_of(network, accepts, s.loss), {}, {})
    accuracy = accuracy_of(Evaluation(network, found, held.loss, {}, {}).outputs({}), found.labels)
    notes: tuple[str, ...] = ()
    if not s.targeted:
        s, notes = _with_target(s, accuracy)
    drop = None if s.accuracy_target is None or accuracy is None else accuracy - s.accuracy_target
    return _Halves(s, chooses, held, drop, (*notes, *too_few(len(accepts), drop)))


def too_few(count: int, drop: float | None) -> list[str]:
    """What so many vectors cannot prove, even where a plan loses none of them."""
    if drop is None or not 0 < drop < 1 or count >= fewest(drop):
        return []
    return [
        f"{count} vectors accept, of which none lost still allows a drop of {1 - least_share(count, count):.3f}: a drop"
        f" of {drop:.3f} is proven by {fewest(drop)}, with {2 * fewest(drop)} vectors in all"
    ]


def _with_target(s: Settings, accuracy: float | None) -> tuple[Settings, tuple[str, ...]]:
    """The target of a fit that is told neither rate nor target: near the float network's accuracy."""
    if accuracy is None:
        raise QCompileError(
            "how fast, or how good? Faster layers need coarser formats",
            "--fit",
            "--target-fps, --accuracy-target or --max-loss; or labels of the data",
        )
    wanted = accuracy - GIVEN_UP
    note = f"the target is an accuracy of {wanted:.4f}, {GIVEN_UP:g} below that of the float network"
    return replace(s, accuracy_target=wanted), (note,)
