"""What the user of `assign` chooses."""

from __future__ import annotations

from dataclasses import dataclass

from qcompile.assignment.metrics import METRICS
from qcompile.assignment.ranges import RANGES
from qcompile.assignment.registry import unknown
from qcompile.assignment.rounding import ROUNDINGS
from qcompile.assignment.search import SEARCHES
from qcompile.assignment.sources import SOURCES
from qcompile.assignment.transforms import EXACT
from qcompile.errors import QCompileError

AREA = "area"  # all resources in LUTs, at what the parts of a fabric have of each
MODELLED = ("lut", "dsp", "bram18", "uram", "latency")  # what the cost tables know


@dataclass(frozen=True)
class Settings:
    """What the user chose; the names are those of the extension points (see `qcompile methods`). A combination in which
    an option would change nothing is an error.

    metric: "" is `fit`, or `kl_output` where there is no torch.
    accuracy_target, max_loss: least resources under these instead of least loss under the budget. fit: foldings are
    chosen together with the formats, for target_fps; without it as fast as the target allows. refine: evaluations spent
    on exchanging formats around the optimum of the tables, on measured losses (None: by the size of network and data,
    at most 300). channels: a weight scale per output channel. span: lowest and highest input, for `bn_distill`.
    """

    metric: str = ""
    search: str = "ilp"
    range: str = "mse"
    rounding: str = "rtn"
    transforms: tuple[str, ...] = ("fold_bn",)
    source: str = "real"
    candidates: str = "fixed2-8"
    restrict: tuple[str, ...] = ()
    loss: str = ""
    minimize: str = "loss"
    accuracy_target: float | None = None
    max_loss: float | None = None
    channels: bool = True
    asymmetric: bool = False
    free: bool = False
    refine: int | None = None
    span: tuple[float, float] | None = None
    fit: bool = False
    target_fps: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        names = (self.search, self.range, self.rounding, self.source)
        for registry, name in zip((SEARCHES, RANGES, ROUNDINGS, SOURCES), names, strict=True):
            registry.find(name)
        if self.metric:
            METRICS.find(self.metric)
        for name in self.transforms:
            if name not in EXACT:
                raise unknown("transform", name, EXACT)
        if self.minimize not in ("loss", AREA, *MODELLED):
            raise unknown("resource", self.minimize, ("loss", AREA, *MODELLED))
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
        if self.fit and self.search in ("bisect", "error_ratio"):
            hint = "--search ilp, iqp, pareto or greedy"
            raise QCompileError(f"{self.search} goes by the order of formats and cannot choose foldings", "--fit", hint)
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
                self.minimize != "loss" and not self.targeted and not self.fit,
                f"least {self.minimize}, at which loss?",
                target,
            ),
            (
                self.fit and self.target_fps is None and self.minimize != "loss",
                f"as fast as possible and least {self.minimize} do not go together",
                "--target-fps, at which the least resources are taken",
            ),
            (
                self.search == "error_ratio" and self.targeted,
                "error_ratio knows no target",
                "--search ilp, pareto, greedy or bisect",
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
