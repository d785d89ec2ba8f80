"""The rules of the house: imports go one way, every op has every rule, the same input gives the same bytes, the command
line starts fast.
"""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import click
import numpy as np
import onnx.defs
import pytest
from click.testing import CliRunner
from conftest import CORPUS, ROOT, or_absent, records

import qcompile as qc
from qcompile import documents, explanation, ir, options, planning
from qcompile.assignment import network
from qcompile.backends.hls import layers
from qcompile.cli.options import options_of
from qcompile.cost.hls4ml import graph as theirs
from qcompile.formats import E4M3, FixedPoint
from qcompile.formats.text import FAMILIES
from qcompile.frontend import onnx as onnx_rules
from qcompile.hardware.units import buffered
from qcompile.hardware.units.unrolled import UNITS
from qcompile.ir import ops, typing, walk
from qcompile.passes import lower, ranges
from qcompile.sim import reference

ORDER = [
    "records",
    "errors",
    "tables",
    "isolated",
    "assets",
    "templating",
    "formats",
    "options",
    "documents",
    "files",
    "processes",
    "native",
    "arrays",
    "ir",
    "sim",
    "explanation",
    "host",
    "frontend",
    "parts",
    "cost",
    "hardware",
    "passes",
    "assignment",
    "backends",
    "probes",
    "pipeline",
    "project",
    "authenticity",
    "estimation",
    "inspection",
    "reports",
    "float32",
    "verification",
    "layers",
    "evaluation",
    "allocation",
    "planning",
    "methods",
    "systems",
    "cli",
    "__main__",
]
LATE = {
    ("pipeline", "project"),  # Design.files() asks project for the files when they are wanted
    ("options", "cost"),  # types alone: of a budget, of a goal
    ("options", "pipeline"),
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [node.module]
            if isinstance(node, ast.ImportFrom) and node.module
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        found |= {n.split(".")[1] for n in names if n.startswith("qcompile.")}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "qcompile").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(ROOT / "qcompile").parts[0].removesuffix(".py")
    if own in ("__init__",):
        return
    for other in imported(path):
        assert ORDER.index(other) <= ORDER.index(own) or (own, other) in LATE, f"{path} imports {other}"


@pytest.mark.parametrize("path", sorted((ROOT / "qcompile").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_room_asks_for_the_family_of_a_format(path: Path) -> None:
    """A new one is a file of formats/: what others want to know of a format, it says itself."""
    if "formats" in path.relative_to(ROOT).parts:
        return
    families = {family.__name__ for family in FAMILIES}
    asked = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "type", "issubclass")
    ]
    for node in asked:
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        assert not names & families, f"{path}:{node.lineno} asks for {names & families}"


def runtime_imports(path: Path) -> set[str]:
    """Modules that a file imports when it runs, in functions too; not what only types name."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return found


def test_nothing_imports_in_circles() -> None:
    files = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in (ROOT / "qcompile").rglob("*.py")
    }
    graph = {name: (runtime_imports(path) & set(files)) - {name} for name, path in files.items()}
    # A package is made of its files: what they import of it stands above them already.
    graph = {n: {o for o in others if not n.startswith(f"{o}.")} for n, others in graph.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", sorted({*onnx_rules.RULES, *onnx_rules.CHANNELS_LAST}))
def test_every_import_rule_says_its_operator_and_opsets(name: str) -> None:
    """And the opset is that in which ONNX' own schemas have it first."""
    rule = onnx_rules.RULES[name]
    text = " ".join((rule.__doc__ or "").split())
    assert re.search(rf"\b{name}\b", text), "the docstring names the ONNX operator"
    schemas = onnx.defs.get_all_schemas_with_history()
    since = min((s.since_version for s in schemas if s.name == name and s.domain == ""), default=None)
    if since is None:
        assert re.search("no opsets|other domains|qonnx", text)
    else:
        first = re.search(r"\(.*?opset (\d+) on", text[text.index(name) :]) or re.search(r"opset (\d+) on", text)
        assert first and int(first[1]) == since


PLAN = importlib.import_module("qcompile.backends.pysim.plan")
# What an op must have, in which table, for which of the ops.
MEANINGS: dict[str, tuple[Collection[type], tuple[type, ...]]] = {
    "typing in ir/typing.py": (typing.RULES, tuple(dict.fromkeys((*ops.MODEL, *ops.INTEGER)))),
    "value in sim/reference.py": (reference.RULES, ops.MODEL),
    "words in explanation.py": (explanation.RULES, ops.MODEL),
    "lowering in passes/lower.py": (lower.RULES, ops.MODEL),
    "evaluation in assignment/network.py": (
        network.RULES,
        tuple(op for op in ops.MODEL if op is not ops.BatchNorm),
    ),  # it is folded
    "hls4ml layer in cost/hls4ml/graph.py": (theirs.RULES, ops.MODEL),
    "range in passes/ranges.py": (ranges.RULES, ops.INTEGER),
    "C++ in backends/hls/layers.py": (layers.RULES, ops.INTEGER),
    "simulation in backends/pysim/plan.py": (PLAN.RULES, tuple(op for op in ops.INTEGER if op is not ops.Constant)),
    "hardware in hardware/units/unrolled.py": (UNITS, ops.INTEGER),
    "loops in hardware/units/buffered.py": (buffered.LOOPS, ops.INTEGER),
}
CELLS = [(op, meaning) for meaning, (_, wanted) in MEANINGS.items() for op in wanted]


@pytest.mark.parametrize(("op", "meaning"), CELLS, ids=[f"{op.__name__}: {meaning}" for op, meaning in CELLS])
def test_every_op_has_every_meaning(op: type, meaning: str) -> None:
    what, _, where = meaning.partition(" in ")
    assert op in MEANINGS[meaning][0], f"{op.__name__} has no {what}: add a rule in qcompile/{where}"


@pytest.mark.parametrize("meaning", MEANINGS)
def test_no_table_has_more_than_ops(meaning: str) -> None:
    table, wanted = MEANINGS[meaning]
    assert set(table) <= {*wanted, ops.BatchNorm}


def test_an_option_is_added_in_one_place() -> None:
    """A field of `Options` is an option of the commands, a field of the manifest and a keyword of `compile`."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class More(options.Options):
        depth: int = options.option(3, "how deep", "--depth")

    @click.command()
    @options_of(More)
    def command(**given: object) -> None:
        click.echo(json.dumps(given["depth"]))

    run = CliRunner().invoke
    assert "--depth INTEGER" in run(command, ["--help"]).output and run(command, ["--depth", "5"]).output == "5\n"
    assert "depth" in documents._schema_of(More).model_fields
    assert inspect.signature(options.accepting(More)(lambda source, **given: None)).parameters["depth"].default == 3


PLANNING = sorted((ROOT / "qcompile" / "planning").glob("*.py"))


@pytest.mark.parametrize("path", PLANNING, ids=lambda p: p.name)
def test_a_search_for_a_plan_changes_no_record(path: Path) -> None:
    """Steps of planning are functions over frozen records: what one finds is in what it returns."""
    tree = ast.parse(path.read_text())
    stored = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and not isinstance(n.ctx, ast.Load)]
    assert not stored, [f"line {n.lineno}: {ast.unparse(n)}" for n in stored]
    made = [d for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for d in n.decorator_list]
    assert all("frozen=True" in ast.unparse(d) for d in made)


def test_defaults_of_assign_stand_in_one_record() -> None:
    wanted = {f.name: f.default for f in dataclasses.fields(options.Assigning)}
    for function in (planning.assign, planning.run):
        found = inspect.signature(function).parameters
        assert {name: p.default for name, p in found.items() if name in wanted} == wanted
    settings = {f.name: f.default for f in dataclasses.fields(options.Settings)}
    assert settings == {name: wanted[name] for name in settings}
    for path in PLANNING:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                own = node.args.args[len(node.args.args) - len(node.args.defaults) :]
                own += [a for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None]
                assert not {a.arg for a in own} & set(wanted), f"{path.name}: {node.name} has a default of its own"


def test_same_bytes(digits: Path) -> None:
    script = f"import qcompile as qc; print(qc.compile({str(digits)!r}).files().digest())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": str(s), "PYTHONPATH": str(ROOT)},
        )
        for s in (1, 2)
    ]
    assert runs[0].stdout == runs[1].stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = ["numpy", "onnx", "torch", "mpmath", "jinja2", "rich", "pydantic"]
    script = f"import sys, qcompile.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_a_project_is_written_with_what_it_needs(arch: str, tmp_path: Path) -> None:
    """Of what takes a while to load: no schemas, no search for foldings, no views and templates of the other
    architecture.
    """
    script = """
import sys, jinja2
from qcompile.cli import main
loaded, load = [], jinja2.FileSystemLoader.get_source
jinja2.FileSystemLoader.get_source = lambda *args: loaded.append(args[2]) or load(*args)
main(["compile", *sys.argv[1:]], standalone_mode=False)
print("\\n".join([*sys.modules, *loaded]))
"""
    command = [sys.executable, "-c", script, "examples/digits_mlp.onnx", "--arch", arch, "-o", str(tmp_path / "p")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    other = {"parallel": "dataflow", "dataflow": "parallel"}[arch]
    unused = {"pydantic", "scipy", "qcompile.hardware.fit", f"qcompile.backends.hls.{other}"}
    assert f"qcompile.backends.hls.{arch}" in lines and f"hls/tb/{arch}.cpp.j2" in lines
    assert {*unused, f"hls/tb/{other}.cpp.j2"} & {*lines} == set()


@pytest.mark.parametrize("record", or_absent(records("mlp")[::4]), ids=lambda r: r["id"])
def test_text_parses_back(record: dict) -> None:
    design = qc.compile(CORPUS / record["file"], input_formats=tuple(f for f in record.get("input_format") or () if f))
    for graph in (design.model.graph, design.reference, design.graph):
        ir.verify(graph)
        assert ir.parse(ir.print_graph(graph)) == graph


def test_a_rounding_to_minifloats_parses_back() -> None:
    one, x = ir.Array(np.ones(1, dtype=int)), ir.Value("x", ir.TensorType((1, 4), FixedPoint(8)))
    impl = ops.FloatRound(one, one, one, one, one, 3, True)
    op = ops.Requant(
        ir.Array(np.zeros((1, 1), dtype=int)), ir.Array(np.ones((1, 1), dtype=int)), (ops.Quantize(E4M3),), impl
    )
    node = ir.Node(op, (x,), (ir.Value("y", ir.TensorType((1, 4), E4M3)),))
    graph = ir.Graph("g", "integer", (x,), (node.output,), (node,))
    assert ir.parse(ir.print_graph(graph)) == graph


def test_walking_a_graph(digits: Path) -> None:
    graph = qc.compile(digits).graph
    products = [n for n in graph.nodes if isinstance(n.op, ops.MatMul)]
    assert products
    for node in products:
        weights = walk.weights_of(graph, node)
        assert weights is not None and walk.constant_place(graph, node) == 1
        assert walk.is_constant(graph, node.inputs[1]) and not walk.is_constant(graph, node.inputs[0])
        assert walk.only_reader(graph, weights.output) is node
    assert walk.maker(graph, graph.inputs[0]) is None and walk.only_reader(graph, graph.outputs[0]) is None
    assert walk.maker(graph, products[0].output, ops.Conv) is None
    assert walk.live(graph.nodes, graph.outputs) == graph.nodes
    first = walk.live(graph.nodes, [products[0].output])
    assert first[-1] is products[0] and len(first) < len(graph.nodes)


def test_verifier_names_what_is_wrong() -> None:
    x = ir.Value("x", ir.TensorType((1, 4)))
    node = ir.Node(ops.Reshape((2, 3)), (x,), (ir.Value("y", ir.TensorType((2, 3))),), ir.Origin("r", "y", "Reshape"))
    with pytest.raises(qc.VerificationError) as caught:
        ir.verify(ir.Graph("g", "model", (x,), (node.output,), (node,)))
    assert str(caught.value) == "g: Reshape -> 'y' (node 'r' (Reshape)): cannot reshape [1, 4] to [2, 3]"


def test_verifier_counts_operands() -> None:
    x = ir.Value("x", ir.TensorType((1, 4)))
    node = ir.Node(ops.MatMul(), (x,), (ir.Value("y", ir.TensorType((1, 4))),), ir.Origin("m", "y", "MatMul"))
    with pytest.raises(qc.VerificationError, match="it has 1 operands; 2 are needed: data, weights"):
        ir.verify(ir.Graph("g", "model", (x,), (node.output,), (node,)))


@pytest.mark.parametrize(
    "op", sorted({*ops.MODEL, *ops.INTEGER}, key=lambda op: op.__name__), ids=lambda op: op.__name__
)
def test_traits_of_an_op_fit_one_another(op: type[ops.Op]) -> None:
    """What passes ask stands with the op: operands by name, and at most one way to make a result of many numbers."""
    assert op.products == ("weights" in op.operands) == hasattr(op, "groups")
    assert bool(op.products) + bool(op.gathers) + op.moves + issubclass(op, ops.Step) <= 1
    assert (op.terms is not ops.Op.terms) == bool(op.products or op.gathers)
    assert op.windowed == ("strides" in {f.name for f in dataclasses.fields(op)})
    assert (op is ops.Constant) == (not op.operands)


def test_a_name_of_a_class_stands_once() -> None:
    """A name means one thing in the whole package: classes, and aliases of types in modules."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "qcompile").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            alias = isinstance(node, ast.Assign) and re.fullmatch("[A-Z][a-z][A-Za-z]*", ast.unparse(node.targets[0]))
            name = node.name if isinstance(node, ast.ClassDef) else alias[0] if alias else None
            if name is not None and name != "Rule":  # of a table of rules: what a rule is in that module
                found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert not {name: where for name, where in found.items() if len(where) > 1}


def test_one_function_prints() -> None:
    """`echo` and the line of progress escape what a terminal would obey; nothing else may print, nor a library."""
    prints = [
        f"{path.relative_to(ROOT)}: {node.lineno}"
        for path in (ROOT / "qcompile").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "click.secho", "rich.print")
    ]
    assert sorted(p.split(":")[0] for p in prints) == [
        "qcompile/cli/terminal.py",
        "qcompile/cli/terminal.py",
        "qcompile/isolated.py",
    ], prints
