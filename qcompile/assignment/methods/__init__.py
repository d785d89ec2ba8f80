"""The room for methods: one file per published method, `<kind>/<name>.py`, with a typed function and its record METHOD.

Packages outside register theirs as entry points of the group `qcompile.methods`, named KIND.NAME, which lead to such a
record. Names are read off the folders and the metadata of packages; a file is imported when its method is asked for.
"""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, replace
from functools import cache, wraps
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from qcompile.errors import QCompileError, unknown
from qcompile.records import dataclass

if TYPE_CHECKING:
    import numpy as np

    from qcompile.assignment.data import Data
    from qcompile.assignment.jobs import StepProgress
    from qcompile.assignment.metrics import Sensitivity
    from qcompile.assignment.plan import Plan
    from qcompile.assignment.problem import Problem, Request, Selection
    from qcompile.assignment.rounding import NetworkProblem, RoundingProblem
    from qcompile.assignment.study import Study
    from qcompile.assignment.transforms import TransformContext
    from qcompile.formats import Format
    from qcompile.ir import Graph

    Ends = tuple[float, float]
    Coder = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

GROUP = "qcompile.methods"
M = TypeVar("M", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method:
    """What every method says of itself. what: in half a line; paper: with the number that finds it; needs: of "data",
    "labels", "torch", "scikit-learn", what it does not do without; package: that registers it, "" for qcompile.
    """

    kind: ClassVar[str] = ""
    noun: ClassVar[str] = ""  # in messages

    name: str
    what: str
    paper: str
    needs: tuple[str, ...] = ()
    package: str = ""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All of this kind; nothing is imported."""
        return tuple(sorted({*_inside(cls.kind), *(name for kind, name in _outside() if kind == cls.kind)}))

    @classmethod
    def find(cls: type[M], name: str) -> M:
        """The method of that name. QCompileError offers the nearest names, and names packages that are broken."""
        found = _found(cls, name)  # type: ignore[arg-type]  # a class has a hash
        assert isinstance(found, cls)
        return found

    def declares(self) -> str:
        """What it says of itself beyond every method's fields, for people."""
        own = [f.name for f in fields(self) if f.name not in _COMMON]
        shown = {n: v for n in own if (v := getattr(self, n)) not in (None, "", False, {}) and not callable(v)}
        shown = {n: " ".join(v) if isinstance(v, Mapping) else v for n, v in shown.items()}
        return ", ".join(n if v is True else f"{n} {v}" for n, v in shown.items())

    def fault(self, text: str) -> QCompileError:
        """The error for a result that is none."""
        return QCompileError(f"the {self.noun} '{self.name}' {text}", self.package)


_COMMON = {f.name for f in fields(Method)}


@dataclass(frozen=True, kw_only=True)
class RangeMethod(Method):
    """How much of a tensor's range is kept. run: rows (rows, n) -> largest magnitude (rows,); searched: smaller ones
    are tried too, for the least squared error on the grid; ends: numbers (n,) -> (lowest, highest), for zero points.
    """

    kind, noun = "range", "range estimator"
    run: Callable[[np.ndarray], np.ndarray]
    searched: bool = False
    ends: Callable[[np.ndarray], Ends] | None = None


@dataclass(frozen=True, kw_only=True)
class SourceMethod(Method):
    """Where data come from. run: (float graph, the user's data when called, seed, progress, range of the inputs) ->
    data; makes: its own, so that the user's are not wanted.
    """

    kind, noun = "source", "data source"
    run: Callable[[Graph, Callable[[], Data], int, StepProgress, Ends | None], Data]
    makes: bool = True


@dataclass(frozen=True, kw_only=True)
class TransformMethod(Method):
    """A change of the float graph. exact: in real arithmetic its outputs stay as they are.

    run: context -> graph, without data: a plan is replayed by `compile`, which has none. What depends on data is found
    by `fit`, on a context that has them, and is JSON: the plan keeps it, and `run` gets it as the context's options.
    offsets: instead of `run`, of transforms behind the choice of formats: (context, plan) -> offset per output channel,
    by layer, which the plan keeps.
    """

    kind, noun = "transform", "transform"
    exact: bool = False
    run: Callable[[TransformContext], Graph] | None = None
    fit: Callable[[TransformContext], dict[str, Any]] | None = None
    offsets: Callable[[TransformContext, Plan], dict[str, tuple[float, ...]]] | None = None

    def declares(self) -> str:
        return "exact" if self.exact else "approximate"


@dataclass(frozen=True, kw_only=True)
class MetricMethod(Method):
    """A table of harm, tensor by candidate. unit: "loss" where it estimates losses, "rank" where it only orders; pairs:
    it has terms for pairs of tensors too.
    """

    kind, noun = "metric", "metric"
    run: Callable[[Study], Sensitivity]
    unit: str
    pairs: bool = False

    def __call__(self, study: Study) -> Sensitivity:
        found = self.run(study)
        for t in study.tensors:
            if len(found.table.get(t.name, ())) != len(study.candidates[t.name]):
                raise self.fault(f"does not have a number for every candidate of '{t.name}'")
        return found


@dataclass(frozen=True, kw_only=True)
class SearchMethod(Method):
    """A choice of one candidate per variable. pairs: of the loss, "", "uses" or "needs"; target: "can", "must" or
    "cannot" have one; evaluates: it asks `evaluate` or `accepts` of its request; ordered: it goes by the order of
    candidates, which foldings do not have; front: (problem, resource, points) -> the whole front at once.
    """

    kind, noun = "search", "search"
    run: Callable[[Problem, Request], Selection]
    pairs: str = ""
    target: str = "can"
    evaluates: bool = False
    ordered: bool = False
    front: Callable[[Problem, str, int], list[Selection]] | None = None

    def __call__(self, problem: Problem, request: Request) -> Selection:
        found = tuple(int(c) for c in self.run(problem, request))
        if len(found) != len(problem.sizes) or not all(0 <= c < n for c, n in zip(found, problem.sizes, strict=True)):
            raise self.fault(f"chose {found}, which is no choice")
        return found


@dataclass(frozen=True, kw_only=True)
class RoundingMethod(Method):
    """Codes of weights. scope: what is looked at together, "layer", "block", "window" or "network"; inside: candidates
    are measured and priced with its codes, before the choice of formats; else it follows the choice; iterative: it
    takes seconds a layer, so that fewer configurations are measured.

    priced: codes are weighed by what they cost, at a price that is looked for with the formats. finetunes: the rounding
    whose plan it trains, once, where weights are logic: searches use that one; options: numbers that the user may set.

    run: of scope layer, a `RoundingProblem` -> numbers of the grid, (groups, outputs, terms); of others, a
    `NetworkProblem` -> its plan with codes, and with scales and offsets if it moves them.
    """

    kind, noun = "rounding", "rounding"
    run: Callable[[RoundingProblem], np.ndarray] | Callable[[NetworkProblem], Plan]
    scope: str = "layer"
    inside: bool = True
    iterative: bool = False
    priced: bool = False
    finetunes: str = ""
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """sha256 of the file that has it: codes of another version are not taken from a cache."""
        return hashlib.sha256(Path(inspect.getfile(inspect.unwrap(self.run))).read_bytes()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class GridMethod(Method):
    """A family of candidate formats. run: (bits, signed, weight) -> the formats that it can become, all with unit 1;
    least, most: bits, even: no others; po2: scales are powers of two.

    coded: instead of `run`, of weights alone, whose codes are more than the nearest numbers of one grid (see `coding`).
    """

    kind, noun = "grid", "candidate family"
    run: Callable[[int, bool, bool], tuple[Format, ...]] | None = None
    coded: Coder | None = None
    least: int
    most: int
    even: bool = False
    po2: bool = False

    def declares(self) -> str:
        return super().declares() + (", weights alone" if self.coded else "")


KINDS: tuple[type[Method], ...] = (
    GridMethod,
    RangeMethod,
    SourceMethod,
    TransformMethod,
    MetricMethod,
    SearchMethod,
    RoundingMethod,
)


def every() -> Iterator[tuple[type[Method], str]]:
    """Kind and name of all methods, by kind."""
    for kind in KINDS:
        for name in kind.names():
            yield kind, name


def misnamed() -> list[QCompileError]:
    """Entry points whose names have no kind."""
    kinds = [k.kind for k in KINDS]
    return [
        _broken(point, f"its name is not KIND.NAME, with a kind of {', '.join(kinds)}")
        for (kind, _), points in _outside().items()
        for point in points
        if kind not in kinds
    ]


@cache
def _inside(kind: str) -> frozenset[str]:
    """Names of the files of a kind."""
    folder = f"{__path__[0]}/{kind}"
    return frozenset(m.name for m in pkgutil.iter_modules([folder]) if not m.name.startswith("_"))


@cache
def _outside() -> dict[tuple[str, str], list[metadata.EntryPoint]]:
    """Entry points by (kind, name)."""
    out: dict[tuple[str, str], list[metadata.EntryPoint]] = {}
    for point in sorted(metadata.entry_points(group=GROUP), key=_package):
        kind, _, name = point.name.partition(".")
        out.setdefault((kind, name), []).append(point)
    return out


@cache
def _found(kind: type[Method], name: str) -> Method:
    own, others = name in _inside(kind.kind), _outside().get((kind.kind, name), [])
    if others and own + len(others) > 1:
        other = "qcompile itself" if own else f"the package {_package(others[1])}"
        raise _broken(others[0], f"{other} has a {kind.noun} of that name")
    if own:
        found = import_module(f"{__name__}.{kind.kind}.{name}").METHOD
        assert isinstance(found, kind) and found.name == name
        return found
    if not others:
        raise unknown(kind.noun, name, kind.names())
    return _loaded(kind, name, others[0])


def _loaded(kind: type[Method], name: str, point: metadata.EntryPoint) -> Method:
    """A method of another package, whose faults are told as such."""
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        raise _broken(point, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, kind) or found.name != name:
        raise _broken(point, f"{point.value} is no {kind.__name__} of the name '{name}'")
    guarded: dict[str, Any] = {
        f.name: _guarded(point, v) for f in fields(found) if callable(v := getattr(found, f.name))
    }
    return replace(found, package=_package(point), **guarded)


def _guarded(point: metadata.EntryPoint, run: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(run)
    def guarded(*args: Any) -> Any:
        try:
            return run(*args)
        except QCompileError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of theirs, not of qcompile
            raise _broken(point, f"{type(error).__name__}: {error}") from error

    return guarded


def _broken(point: metadata.EntryPoint, why: str) -> QCompileError:
    return QCompileError(f"the method '{point.name}' of the package {_package(point)} cannot be used: {why}")


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
