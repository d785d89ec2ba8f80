"""The room for methods: every method has its file, its record, its formula, its test and its place in the docs; methods
of other packages are taken, and their faults are told as theirs.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from methods.transform.checks import check
from studies import CALIBRATION, FOLDER, MLP

import qcompile as qc
from qcompile import methods as listed
from qcompile import planning, systems
from qcompile.assignment import methods
from qcompile.cli import main
from qcompile.formats.text import FAMILIES
from qcompile.planning.designs import logits

EVERY = [(kind, name) for kind, name in methods.every()]
DOCS = ROOT / "docs" / "methods.md"


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda v: v if isinstance(v, str) else v.kind)
def test_every_method_is_whole(kind: type[methods.Method], name: str) -> None:
    found = kind.find(name)
    place = ROOT / "qcompile" / "assignment" / "methods" / kind.kind / f"{name}.py"
    assert found.name == name and found.what and found.paper and place.is_file()
    run = next(f for key in ("run", "coded", "offsets") if (f := getattr(found, key, None)) is not None)
    assert len(run.__doc__ or "") > 20, "the docstring has the formula and its source"
    assert set(found.needs) <= {"data", "labels", "torch", "scikit-learn"}
    assert (ROOT / "tests" / "methods" / kind.kind / f"test_{name}.py").is_file(), "its acceptance test"


def test_no_test_is_of_a_method_that_is_gone() -> None:
    known = {(kind.kind, f"test_{name}.py") for kind, name in EVERY}
    assert {(p.parent.name, p.name) for p in (ROOT / "tests" / "methods").glob("*/test_*.py")} == known


def test_docs_list_what_there_is(pytestconfig: pytest.Config) -> None:
    head = ("kind", "name", "what", "needs", "declares", "paper")
    rows = [r for r in listed.methods()[0] if (r["kind"], r["name"]) in {(k.kind, n) for k, n in EVERY}]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *([r[c] for c in head] for r in rows))]
    table = "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"
    text = DOCS.read_text()
    wanted = re.sub(r"\| kind \| name \|.*\n(\|.*\n)+", lambda _: table, text)
    if pytestconfig.getoption("--update-golden"):
        DOCS.write_text(wanted)
    assert DOCS.read_text() == wanted, "pytest tests/test_methods.py --update-golden"


def test_the_list_promises_nothing() -> None:
    rows, faults = listed.methods()
    families = [family for family in FAMILIES if family.what]
    assert not faults and len(rows) == len(EVERY) + len(listed.ELSEWHERE) + len(families)
    assert len({(r["kind"], r["name"]) for r in rows}) == len(rows)
    for row in rows:
        path, _, attribute = row["where"].partition(": ")
        text = (ROOT / path).read_text()
        assert not attribute or re.search(rf"^(def {attribute}\(|class {attribute}\b|{attribute}\b.* = )", text, re.M)


Package = Callable[[str, str, str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Puts there what pip leaves of a package with one module and one entry point."""

    def installed(name: str, point: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[qcompile.methods]\n{point}\n")
        forget()

    def forget() -> None:
        methods._outside.cache_clear()
        methods._found.cache_clear()
        for name in ("bad", "one", "two", "halved", "nothing"):
            sys.modules.pop(name, None)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield installed
    forget()


def command(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def assigned(**more: object) -> planning.Run:
    quick = {"part": "xczu7ev", "metric": "sqnr", "candidates": "fixed3-4", "refine": 0, "baselines": False}
    return planning.run(MLP, CALIBRATION["x"], **{**quick, **more})  # type: ignore[arg-type]


def test_the_example_of_the_docs(package: Package) -> None:
    """Installed, it is listed, named by the help, found by its name, and asked."""
    text = DOCS.read_text()
    (source,), (point,) = (re.findall(p, text, re.S) for p in (r"```python\n(.*?)```", r'\n("search.random" = .*?)\n'))
    package("random_search", point.replace('"', ""), source)
    rows, faults = listed.methods()
    row = next(r for r in rows if r["name"] == "random")
    assert not faults and row["where"] == "random_search 1.0" and "evaluates" in row["declares"]
    shown = " ".join(command("assign", "-h")[1].split())
    assert ", ".join(methods.SearchMethod.names()) in shown and "random" in methods.SearchMethod.names()
    run = assigned(search="random", budget="lut=14000")
    assert run.settings.search == "random" and run.chosen.cost.lut <= 14000


RECORD = """
from qcompile.assignment.methods import RoundingMethod
METHOD = RoundingMethod(name={!r}, what="w", paper="p", run={})
"""
BROKEN = {
    "no module": ("rounding.bad = absent:METHOD", "", "ModuleNotFoundError: No module named 'absent'"),
    "no attribute": ("rounding.bad = bad:OTHER", "", "AttributeError"),
    "an error inside": ("rounding.bad = bad:METHOD", "1 / 0", "ZeroDivisionError: division by zero"),
    "no record": ("rounding.bad = bad:METHOD", "METHOD = 3", "bad:METHOD is no RoundingMethod of the name 'bad'"),
    "another name": ("rounding.bad = bad:METHOD", RECORD.format("good", "None"), "no RoundingMethod of the name 'bad'"),
    "another kind": ("metric.bad = bad:METHOD", RECORD.format("bad", "None"), "is no MetricMethod of the name 'bad'"),
    "no kind": ("bad = bad:METHOD", RECORD.format("bad", "None"), "its name is not KIND.NAME"),
    "ours": (
        "rounding.gptq = bad:METHOD",
        RECORD.format("gptq", "None"),
        "qcompile itself has a rounding of that name",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_named_in_one_line(case: str, package: Package) -> None:
    """By the list, which shows the others, and by what asks for it; whoever does not is not disturbed."""
    point, text, message = BROKEN[case]
    package("bad", point, text)
    code, out, err = command("methods")
    name = point.partition(" ")[0]
    assert code == 1 and "equalize" in out and err.count("\n") == 1
    assert err.startswith(f"error: the method '{name}' of the package bad 1.0 cannot be used: ") and message in err
    if name.startswith("rounding"):
        with pytest.raises(qc.QCompileError, match="of the package bad 1.0 cannot be used"):
            assigned(rounding=name.partition(".")[2])
    assert command("assign", "-h")[0] == 0 and assigned().plan.tensors


def test_two_packages_with_one_name_are_refused(package: Package) -> None:
    for name in ("one", "two"):
        package(name, f"rounding.mine = {name}:METHOD", RECORD.format("mine", "None"))
    code, _, err = command("methods")
    assert code == 1 and "'rounding.mine' of the package one 1.0" in err
    assert "the package two 1.0 has a rounding of that name" in err


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("lambda layer: 1 / 0", "package bad 1.0 cannot be used: ZeroDivisionError"),
        ("lambda layer: layer.units", "^bad 1.0: the rounding 'bad' gives numbers .* that are none of"),
        ("lambda layer: 0", "that are none of"),
    ],
)
def test_a_package_that_fails_when_it_runs_is_named(run: str, message: str, package: Package) -> None:
    package("bad", "rounding.bad = bad:METHOD", RECORD.format("bad", run))
    with pytest.raises(qc.QCompileError, match=message):
        assigned(rounding="bad")


HALVED = """
from dataclasses import replace
from fractions import Fraction
from qcompile.assignment.methods import TransformMethod
from qcompile.assignment.transforms import along_outputs, axis_of_channels, float_weight, replaced, scaled
from qcompile.ir import Param

def first(graph):
    return next(n for n in graph.nodes if n.op.products)

def fit(context):
    assert len(context.data) == 256
    reach = context.statistics.most(first(context.graph).output.name)
    return {"factor": 0.5 if reach.max() > 0 else 1.0}

def run(context):
    node = first(context.graph)
    source = float_weight(context.graph, node)
    factor = Param.of(Fraction(context.options["factor"]))
    return replaced(context.graph, {source.output.name: scaled(source, along_outputs(factor, node))})

METHOD = TransformMethod(name="halved", what="w", paper="p", run=run, fit=fit, needs=("data",))
"""


def test_what_a_transform_finds_on_data_is_replayed(package: Package) -> None:
    """The plan has it; `compile`, which has no data, makes the same network of it."""
    package("halved", "transform.halved = halved:METHOD", HALVED)
    run, plain = (assigned(transforms=t, candidates="fixed6") for t in (("fold_bn", "halved"), ("fold_bn",)))
    plan = qc.Plan.parse(run.plan.to_json())
    assert plan.transforms == ("fold_bn", "halved") and plan.options == {"halved": {"factor": 0.5}}
    e = run.task.designs.study.evaluation
    again = logits(qc.compile(MLP, plan, part="xczu7ev"), e.data)
    assert e.loss(again) == run.chosen.loss > plain.chosen.loss


NETWORK = """
from dataclasses import replace
import numpy as np
from qcompile.assignment.methods import RoundingMethod

def run(problem):
    zero = {t.name: np.zeros(t.shape, dtype=np.int64) for t in problem.study.weights}
    return replace(problem.plan, tensors={n: replace(c, units=zero.get(n)) for n, c in problem.plan.tensors.items()})

METHOD = RoundingMethod(name="nothing", what="w", paper="p", run=run, scope="network", inside=False)
"""


def test_a_rounding_of_the_whole_network_gives_a_plan(package: Package) -> None:
    package("nothing", "rounding.nothing = nothing:METHOD", NETWORK)
    assert assigned(rounding="nothing").chosen.cost.lut < 1500


def test_nothing_of_the_room_is_imported_before_it_is_asked_for() -> None:
    script = (
        "import sys\nimport qcompile as qc\nfrom qcompile.cli import main\n"
        f"qc.compile({str(FOLDER / 'digits_mlp.onnx')!r}).files()\n"
        "print([m for m in sys.modules if m.startswith('qcompile.assignment.methods')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_all_published_systems_are_shown() -> None:
    """Fifty-nine papers, each with its home, or with what was taken of it; what is said to be there is listed."""
    rows = systems.systems(listed.methods()[0])
    assert len(rows) == len({r["paper"] for r in rows}) == 59
    context = {r["system"] for r in rows if r["kind"] == systems.CONTEXT}
    assert context == {"BeyondBench", "HideNseek", "VQ-NeRF", "UniLIP"}
    assert all(re.fullmatch(r"arXiv \d{4}\.\d{5}", r["paper"]) and r["home"] for r in rows)
    by_name = {r["system"]: r for r in rows}
    assert by_name["FIT"]["home"] == "metric fit" and by_name["FIT"]["where"].endswith("metric/fit.py")
    assert by_name["QuantNAS"]["home"] == "metric noise, rounding noise"
    homes = {home for s in systems.SYSTEMS for home in s.homes}
    assert set(systems.measured()) <= homes and all(
        {"claim", "value", "held"} <= set(v) for v in systems.measured().values()
    )
    code, out, _ = command("methods")
    assert code == 0 and "Outlier Suppression+" in out
    assert len(json.loads(command("methods", "--json")[1])["systems"]) == 59


OWN = {"channel_separable", "dynamic_token"}  # take attention alone, real functions alone: see their own files


@pytest.mark.parametrize(
    "name", [n for n in methods.TransformMethod.names() if methods.TransformMethod.find(n).exact and n not in OWN]
)
def test_exact_transforms_move_no_output(name: str) -> None:
    """Every one that says so of itself, in rationals."""
    check(*dict.fromkeys(("fold_bn", name)), models=("MLP",))
