"""What a user can choose, every thing in one place: a field with its type, its default, and what the command line calls
it and says about it. The options of the commands, the schema of a project's manifest and the keywords of `compile` and
`assign` are made of these records.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

from qcompile.errors import QCompileError, keywords
from qcompile.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from qcompile.cost.budget import Budget
    from qcompile.formats import Format
    from qcompile.pipeline import Goal

VERSION = "0.1.0"
ARCHITECTURES = ("parallel", "dataflow")
BACKENDS = ("hls", "rtl")
CLOCK = "clock period in ns"
FOLDS = ("min", "full")  # foldings that have a name
WIDEST = 16  # bits of weights that are switched
PART = "FPGA part or board, see `qcompile parts`"
BUDGET = (
    "what may be used, e.g. lut=0.7,dsp=100,latency=900: shares up to 1, counts, cycles; of the rest 0.8 of LUT"
    " and FF, 0.9 of DSP, BRAM and URAM"
)
KERNELS = "softmax, GELU and layer normalization behind quantizers: the real ones, or I-ViT's integers"
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def option(default: Any, help: str = "", *flags: str, **shown: Any) -> Any:
    """A field that is an option of the command line. flags: its names there, else that of the field.

    shown: `choices` (texts that are allowed), `file` (a word, or the name of a file whose text is meant), `metavar`,
    `show_default` (a text where the default needs words), `method` (a kind of methods, whose names the help lists),
    `default_text` (behind them, a default in words), `shell` (the command line's own default), `limits` (of a
    number).
    """
    return field(default=default, metadata={"help": help, "flags": flags, **shown})


_PLAIN: dict[str, tuple[type, type, str]] = {
    "float": (Real, float, "a number"),
    "int": (Integral, int, "a whole number"),
    "bool": (bool, bool, "True or False"),
    "str": (str, str, "a text"),
}


def plain(record: Any) -> None:
    """Numbers and texts of a frozen record, as the types that it names: 5 ns are 5.0, as a project's manifest reads
    them, and numpy's numbers are Python's. QCompileError for what is none.
    """
    for f in fields(record):
        kind, _, other = str(f.type).partition(" | ")
        value = getattr(record, f.name)
        if kind not in _PLAIN or other not in ("", "None") or (other and value is None):
            continue
        allowed, made, meant = _PLAIN[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and made is not bool):
            raise QCompileError(f"{f.name} is {value!r}; it is {meant}")
        object.__setattr__(record, f.name, made(value))


def frozen(record: type, given: dict[str, Any]) -> dict[str, Any]:
    """Keywords for a record: lists are tuples where it has tuples."""
    tuples = {f.name for f in fields(record) if str(f.type).startswith("tuple")}
    return {k: tuple(v) if isinstance(v, list) and k in tuples else v for k, v in given.items()}


def subset(kind: type[T], record: Any) -> T:
    """The fields of a record that another kind of record has too."""
    return kind(**{f.name: getattr(record, f.name) for f in fields(kind)})  # type: ignore[arg-type]


def accepting(record: type) -> Callable[[F], F]:
    """A function whose **keywords are the fields of a record: its signature says so. ArgumentError for others."""

    def wrapped(function: F) -> F:
        own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
            for f in fields(record)
        ]
        function.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        return keywords(function)  # type: ignore[return-value]

    return wrapped


LISTS = "input_formats", "state_formats"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a network is compiled, see `compile`. input_formats: one per input, in order, or none; state_formats: of h,
    and of c. real: layers of a TensorFlow Lite file, or "all". accumulator_bits: the widest accumulator of minifloat
    products (0: as wide as exact sums need); where more would be needed, low bits of every product are dropped. board:
    that which `part` named, or "": `compile` puts the part's number in its place.
    """

    part: str = option("xc7z020clg400-1", PART)
    clock_ns: float = option(5.0, CLOCK, "--clock")
    arch: str = option("parallel", "architecture", choices=ARCHITECTURES)
    backend: str = option("hls", "what is written: HLS C++, or SystemVerilog", choices=BACKENDS)
    softmax: str = option("host", "a trailing softmax", choices=("host", "logits", "integer"))
    input_formats: tuple[str, ...] = option(
        (), "format of an input without quantizer, e.g. s12f10; once per input", "--input-format", metavar="F"
    )
    state_formats: tuple[str, ...] = option(
        (),
        "formats in float recurrent layers (h; c of an LSTM) and of all else that nothing rounds, e.g. s8f7",
        "--state-format",
        metavar="F",
    )
    real: str = option(
        "", "TensorFlow Lite: layers with real scales, not the kernels' multipliers; or all", metavar="NAME[,NAME]"
    )
    kernels: str = option("exact", KERNELS, choices=("exact", "ivit"))
    norms: str = option(
        "near",
        "normalizations between quantizers: codes within delta of the real ones, or exact ones (wider roots)",
        choices=("near", "exact"),
    )
    accumulator_bits: int = option(
        0, "minifloat: widest accumulator, low bits of products dropped; 0 is exact", limits=(0, 1024)
    )
    fold: str = option(
        "min",
        "dataflow: how far layers are unrolled, see docs/dataflow.md",
        metavar="min|full|FILE",
        file=FOLDS,
    )
    weights: str = option("rom", "dataflow: fixed, or loaded through a port", choices=("rom", "port"))
    switch: str = option(
        "",
        "weights of so many bits are narrowed at run time to what the input 'bits' says, e.g. 8,6,4",
        metavar="BITS,BITS",
    )
    recurrence: str = option(
        "auto",
        "one cell for all steps, or a cell each; auto: one in dataflow where possible; step: streaming inference, a"
        " step a frame, states stay in hardware",
        choices=("auto", "rolled", "unrolled", "step"),
    )
    board: str = ""

    def __post_init__(self) -> None:
        for name in LISTS:
            given = getattr(self, name)
            if not isinstance(given, (str, tuple, list)) or not all(isinstance(text, str) for text in given):
                raise QCompileError(f"{name} is {given!r}; it is a text or a list of them, for example ['s12f10']")
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        plain(self)
        for f in fields(Options):
            allowed = f.metadata.get("choices")
            if allowed and getattr(self, f.name) not in allowed:
                raise QCompileError(f"{f.name} is '{getattr(self, f.name)}'; allowed: {', '.join(allowed)}")
        if self.fold != "min" and self.arch != "dataflow":
            raise QCompileError(f"architecture {self.arch} cannot be folded", "--fold", "--arch dataflow can")
        if self.weights != "rom" and self.arch != "dataflow":
            raise QCompileError(
                f"architecture {self.arch} has its weights in the logic", "--weights", "--arch dataflow can reload them"
            )
        if self.recurrence == "step" and self.weights != "rom":
            raise QCompileError("weights cannot be loaded between steps", "--weights", "leave it away")
        if self.switched() and self.recurrence in ("rolled", "step"):
            raise QCompileError(
                "steps of a recurrence whose bits are switched have a cell each", "--switch", "leave --recurrence away"
            )
        if self.accumulator_bits and not 8 <= self.accumulator_bits <= 1024:
            raise QCompileError(
                f"accumulators of {self.accumulator_bits} bits are not possible; 8 to 1024 are, 0 is exact"
            )
        if not 0.1 <= self.clock_ns <= 1000:
            raise QCompileError(f"the clock period is {self.clock_ns} ns; 0.1 to 1000 are possible")
        if not self.part or len(self.part) > 40 or not re.fullmatch(r"[A-Za-z0-9_-]+", self.part):
            raise QCompileError(f"'{self.part}' is no part name", hint="for example xc7z020clg400-1")

    def formats(self) -> tuple[Format, ...]:
        """The input formats. QCompileError for one that is none."""
        return _parsed(self.input_formats, "--input-format")

    def formats_of_states(self) -> tuple[Format, ...]:
        """Those of recurrent layers: h, then c."""
        return _parsed(self.state_formats, "--state-format")

    def switched(self) -> tuple[int, ...]:
        """Widths of weights between which an input chooses, ascending; none without such an input."""
        texts = [t.strip() for t in self.switch.split(",")] if self.switch else []
        widths = sorted({int(t) for t in texts if t.isdecimal() and len(t) < 3})
        if texts and (len(widths) != len(texts) or len(widths) < 2 or not 1 <= widths[0] <= widths[-1] <= WIDEST):
            hint = f"two widths or more of 1 to {WIDEST} bits, once each, for example 8,6,4"
            raise QCompileError(f"'{self.switch}' are no widths of weights", "--switch", hint)
        return tuple(widths)

    def record(self) -> dict[str, Any]:
        """As a project's manifest keeps them."""
        lists = {name: list(getattr(self, name)) for name in LISTS}
        return {**asdict(subset(Options, self)), **lists}


def _parsed(texts: tuple[str, ...], flag: str) -> tuple[Format, ...]:
    from qcompile.formats import parse_format  # which take a while to load, and --help needs none
    from qcompile.formats.base import MAX_LISTED_WIDTH

    try:
        found = tuple(parse_format(t) for t in texts)
    except ValueError as error:
        raise QCompileError(str(error), flag, "s12f10 is signed, 12 bits, 10 of them after the binary point") from None
    for fmt in found:
        if not fmt.consecutive and fmt.width > MAX_LISTED_WIDTH:
            raise QCompileError(
                f"{fmt} has {fmt.width} bits; minifloats have at most {MAX_LISTED_WIDTH}",
                flag,
                "s32f16 for example is as wide",
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Which part of a model is meant, by names of tensors or nodes, what lies outside being run on the host; and for
    which sizes.
    """

    inputs: str | tuple[str, ...] = option(
        "", "the part behind these tensors or nodes; what is in front runs on the host", metavar="NAME[,NAME]"
    )
    outputs: str | tuple[str, ...] = option(
        "", "the part up to these tensors or nodes; what is behind runs on the host", metavar="NAME[,NAME]"
    )
    shapes: tuple[str, ...] = option(
        (),
        "sizes of an input, or of an axis by its name, that the file leaves open",
        "--shape",
        metavar="NAME=1x3x32x32",
    )

    @staticmethod
    def names() -> tuple[str, ...]:
        return tuple(f.name for f in fields(Cutting))

    @staticmethod
    def words(given: Mapping[str, Any]) -> list[str]:
        """The options again, as on the command line."""
        ends = [w for n in ("inputs", "outputs") if given[n] for w in (f"--{n}", given[n])]
        return [*ends, *(w for text in given["shapes"] for w in ("--shape", text))]


@dataclass(frozen=True, kw_only=True)
class Compiling(Options, Cutting):
    """What `compile` takes beside the model and its plan. fit: choose the folding, for a `Goal` if one is given; dump:
    folder for the text of the graph after each pass (force: in place of an earlier dump even where that was edited
    since).
    """

    fit: bool | Goal = False
    dump: str | Path | None = option(None, "write the text of the graph after each pass", metavar="DIR")
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What a folding is chosen for, on the command line; `Goal` in Python."""

    fitting: bool = option(False, "dataflow: choose the folding that is fastest on the part", "--fit")
    target_fps: float | None = option(None, "--fit: the smallest design with so many inferences/s", metavar="F")
    max_utilization: float | None = option(
        None,
        "of every resource of the part, up to 1  [default: 0.8 of LUT and FF, 0.9 of DSP, BRAM and URAM]",
        metavar="SHARE",
    )
    budget: str = option("", BUDGET, metavar="LIMITS")


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """What an estimate of hls4ml's hardware depends on."""

    reuse_factor: int = option(1, "hls4ml: products that share a multiplier")
    strategy: str = option("latency", "hls4ml", choices=("latency", "resource"))
    io_type: str = option("io_parallel", "hls4ml", choices=("io_parallel", "io_stream"))
    stage: str = option("synthesis", "the report that is predicted", choices=("hls", "synthesis"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `assign` looks for and how; the names are those of the extension points (see `qcompile methods`). A
    combination in which an option would change nothing is an error.

    metric: "" is `fit`, or `kl_output` where there is no torch. minimize: "" is the least area at the target, or where
    there is none at a loss within the noise of the data; "loss" is the least that the budget allows. accuracy_target,
    max_loss: targets. fit: foldings are chosen together with the formats, for target_fps; without
    it as fast as the target allows. refine: evaluations spent on exchanging formats around the optimum of the tables,
    on measured losses (None: by the size of network and data, at most 300). channels: a weight scale per output
    channel. span: lowest and highest input, for `bn_distill`.
    """

    metric: str = option("", "sensitivity", method="metric", default_text="fit; kl_output without torch")
    search: str = option("ilp", "of one candidate for every tensor", method="search")
    range: str = option("mse", "what scales keep of it", method="range")
    rounding: str = option("rtn", "of weights", method="rounding")
    rounding_options: tuple[str, ...] = option(
        (), "numbers of the rounding, e.g. epochs=40 of those that finetune", "--rounding-option", metavar="NAME=NUMBER"
    )
    device: str = option("cpu", "of torch, for roundings that finetune", choices=("cpu", "cuda"))
    transforms: tuple[str, ...] = option(
        ("fold_bn",),
        "of the float network; in order, once each; none for none",
        "--transform",
        metavar="NAME",
        shell=(),
        method="transform",
        default_text="fold_bn",
    )
    source: str = option("real", "of the data that choose", method="source")
    candidates: str = option("fixed2-8", "families of formats with widths, e.g. int3-8,minifloat4", method="grid")
    restrict: tuple[str, ...] = option(
        (),
        "for some tensors only: layer=conv1:int8, op=Gemm:int2-4, kind=activation:fixed4-8",
        metavar="WHAT=NAME:FORMATS",
    )
    loss: str = option(
        "",
        "kl (distance from the float network), cross_entropy (needs labels) or mse  [default: kl; mse for targets"
        " and single outputs]",
    )
    minimize: str = option(
        "",
        "loss: spend the budget on it; with a target: lut, dsp, bram18 or area (all of them)",
        show_default="least area; without a target at a loss that the data cannot tell from the float network's",
    )
    accuracy_target: float | None = option(
        None, "least resources at this accuracy of the bit-accurate simulator, instead of least loss"
    )
    max_loss: float | None = option(None, "least resources at this loss")
    channels: bool = option(True, "one scale per weight tensor, instead of one per output channel", "--per-tensor")
    asymmetric: bool = option(False, "integer activations may have a zero point")
    by_channel: bool = option(
        False, "parallel: channels of activations get bits and steps of their own where that saves LUTs (needs torch)"
    )
    free: bool = option(False, "formats that the model has already may be replaced")
    refine: int | None = option(
        None,
        "evaluations for exchanges around the optimum of the tables, 0 for none  [default: by the network's size,"
        " at most 300]",
    )
    span: tuple[float, float] | None = option(
        None, "range of the inputs, for bn_distill, which cannot know it", metavar="LOW HIGH"
    )
    fit: bool = option(False, "dataflow: choose the foldings together with the formats")
    target_fps: float | None = option(
        None, "--fit: for so many inferences/s  [default: as many as the accuracy allows]", metavar="F"
    )
    seed: int = option(0)

    def __post_init__(self) -> None:
        plain(self)
        if self.accuracy_target is not None and not 0 < self.accuracy_target <= 1:
            raise QCompileError(
                f"an accuracy of {self.accuracy_target:g} is not possible", hint="--accuracy-target 0.97 is 97 %"
            )
        if self.span is not None and not (len(self.span) == 2 and self.span[0] < self.span[1]):
            raise QCompileError(
                f"the inputs cannot reach from {self.span[0]:g} to {self.span[-1]:g}", hint="--span 0 1"
            )
        if self.target_fps is not None and not (self.fit and 0 < self.target_fps < 1e12):
            raise QCompileError(
                f"{self.target_fps:g} frames/s are not possible" if self.fit else "a rate goes with --fit",
                "--target-fps",
            )
        if (self.refine or 0) < 0 or self.seed < 0:
            raise QCompileError("refine and seed must not be negative")
        for without_effect, what, hint in self._idle():
            if without_effect:
                raise QCompileError(what, hint=hint)

    @property
    def targeted(self) -> bool:
        """Whether a target is given."""
        return self.accuracy_target is not None or self.max_loss is not None

    def _idle(self) -> list[tuple[bool, str, str]]:
        """(given without any effect, what is wrong, what to do) of options that need others."""
        families = {text.strip().rstrip("0123456789-") for text in self.candidates.split(",")}
        families |= {f.strip().rstrip("0123456789-") for r in self.restrict for f in r.rpartition(":")[2].split(",")}
        target = "--max-loss 0.1, or --accuracy-target 0.97 with labels"
        return [
            (
                self.targeted and not (self.fit and self.target_fps is None) and bool(self.refine),
                "refinement looks for the least loss, and a target asks for the least resources",
                "leave --refine out: under a target the plan is trimmed as far as the target allows",
            ),
            (
                self.minimize not in ("", "loss") and not self.targeted and not self.fit,
                f"least {self.minimize}, at which loss?",
                target,
            ),
            (
                self.minimize == "loss" and self.targeted,
                "a target asks for the least resources, and not for the least loss",
                "leave --minimize out, or the target",
            ),
            (
                self.fit and self.target_fps is None and self.minimize != "",
                f"as fast as possible and least {self.minimize} do not go together",
                "--target-fps, at which the least resources are taken",
            ),
            (
                self.asymmetric and "int" not in families,
                "only integers have zero points, and no int candidates are given",
                "--candidates int2-8, or leave --asymmetric out",
            ),
            (
                self.span is not None and self.source == "real",
                "the range of the inputs is asked for by bn_distill only; real data have theirs",
                "leave --span out, or --source bn_distill",
            ),
            (
                len(set(self.transforms)) < len(self.transforms),
                "a transform is given twice, and the second one would find nothing to do",
                "each once: fold_bn, equalize, bias_correct",
            ),
            (
                {"equalize", "fold_bn"} <= set(self.transforms)
                and self.transforms.index("equalize") < self.transforms.index("fold_bn"),
                "equalize finds no pair of layers behind batch norms that are folded later",
                "--transform fold_bn --transform equalize",
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What a plan is found and judged on, and for. labels: classes or targets; test, test_labels: held-out data, only
    reported; part, budget: what may be used.
    """

    labels: Any = option(None, ".npy with one class index (or target) per vector", metavar="FILE")
    test: Any = option(None, "held-out data; only reported", metavar="FILE")
    test_labels: Any = option(None, "their labels", metavar="FILE")
    part: str = option(Options.part, PART)
    budget: Budget | str = option("", BUDGET, metavar="LIMITS")


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is built, and how the search runs. workers: processes (0: all processors); dask: address of a scheduler
    instead; cache: folder where results are kept; baselines: measure uniform formats and the front too; pick: take this
    plan of the front; progress: a function of (what, done, total).
    """

    arch: str = option(Options.arch, "architecture that is priced", choices=ARCHITECTURES)
    clock_ns: float = option(Options.clock_ns, CLOCK, "--clock")
    fold: str = option(Options.fold, "dataflow: how far layers are unrolled", metavar="min|full|FILE", file=FOLDS)
    softmax: str = Options.softmax
    kernels: str = option(Options.kernels, KERNELS, choices=("exact", "ivit"))
    workers: int = option(1, "processes for evaluations", show_default="all processors", shell=0)
    dask: str = option("", "evaluations on a Dask cluster instead", metavar="ADDRESS")
    cache: str | Path | None = option(None, "where results are kept  [default: ~/.cache/qcompile]", metavar="DIR")
    baselines: bool = True
    pick: int = option(
        0, "take this plan of the front (DIR/front/NN.json) instead of the optimum", metavar="N", show_default=False
    )
    progress: Any = None


@dataclass(frozen=True, kw_only=True)
class Assigning(_Work, Settings, _Given, Cutting):
    """What `assign` takes beside the model and its calibration data."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        _check_work(self)


def _check_work(a: Assigning) -> None:
    """QCompileError for what does not go together."""
    if a.fit and a.fold != "min":
        raise QCompileError("the folding is given and to be chosen too", "--fit", "either --fit or --fold")
    if a.pick and not a.baselines:
        raise QCompileError("without baselines there is no front to pick from", "--pick", "baselines=True")
    if a.fold != "min" and a.arch == "parallel":
        raise QCompileError("architecture parallel has no foldings", "--fold", "--arch dataflow, or leave --fold out")
    if a.test is None and a.test_labels is not None:
        raise QCompileError("labels of held-out data, and no such data", "--test-labels", "--test x.npy")
    if a.dask and a.workers > 1:
        raise QCompileError("evaluations run on a Dask cluster or in processes here", "--dask", "leave --workers out")
