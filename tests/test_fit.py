"""The folding that is chosen equals full enumeration where that can be done, and keeps its promises where it cannot."""

import itertools
import json
import math
import shlex
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import CORPUS, needs_models, records
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import estimation
from qcompile.cli import main
from qcompile.cost.budget import KINDS, Budget, available, exceeded
from qcompile.cost.devices import device
from qcompile.cost.report import rate_text
from qcompile.estimation import folded_part
from qcompile.hardware import fit, timing
from qcompile.hardware.estimate import of_network
from qcompile.hardware.following import Following
from qcompile.hardware.network import fullest, joining, network
from qcompile.hardware.site import slides
from qcompile.hardware.timing import schedule
from qcompile.hardware.units import SlidingWindowUnit, unit_of
from qcompile.ir import ops
from qcompile.pipeline import Goal

PART = "xc7z020clg400-1"
MOST = 150  # foldings of a network that are enumerated


def generated(seed: int) -> qc.Design:
    """Fully connected or, of an odd seed, convolutional."""
    model = (generate_cnn.seeded_cnn if seed % 2 else generate.seeded_mlp)(seed)
    text = generate.input_format(model)
    imported = qc.load(model)
    return qc.compile(imported, arch="dataflow", input_formats=(text,) * len(imported.graph.inputs) if text else ())


def designs(count: int) -> list[qc.Design]:
    """Small generated networks, fully connected ones and convolutional ones, with a few hundred foldings."""
    found: list[qc.Design] = []
    for seed in itertools.count():
        design = generated(seed)
        size = math.prod(len(c.foldings) for c in fit.choices(design.graph, device(PART)))
        if 30 <= size <= MOST:
            found.append(design)
        if len(found) == count:
            return found
    raise AssertionError


@pytest.mark.parametrize("design", designs(6), ids=lambda d: d.model.name)
def test_equals_enumeration(design: qc.Design) -> None:
    """Under tight budgets: the interval is the least of all foldings that fit, the size the least of those with that
    interval.
    """
    target = device(PART)
    layers = fit.choices(design.graph, target)
    every = []
    for combination in itertools.product(*(range(len(c.foldings)) for c in layers)):
        chosen = [c.foldings_of(i) for c, i in zip(layers, combination, strict=True)]
        made = network(design.graph, {name: f for one in chosen for name, f in one.items()})
        every.append(of_network(design.graph, made, schedule(made), target).total)
    luts = sorted(t.lut for t in every)
    for share in (0.02, 0.3, 0.7, 1.0):
        budget = {**Budget().limits(target), "lut": math.ceil(luts[int(share * (len(luts) - 1))])}
        best = min(t.interval for t in every if not exceeded(t, budget))
        found = fit.fit(fit.FoldingSearch(design.graph, target), 5.0, budget)
        assert found.interval == best and not exceeded(found.estimate.total, budget)
    with pytest.raises(qc.QCompileError, match="no folding fits"):
        fit.fit(fit.FoldingSearch(design.graph, target), 5.0, {**budget, "lut": math.ceil(luts[0]) - 50})


def test_program_equals_enumeration() -> None:
    """The integer program itself, on tables without a network behind them."""
    rng = np.random.default_rng(0)
    search = object.__new__(fit.FoldingSearch)
    for _ in range(40):
        search.layers = [
            fit.Choices(
                f"{i}",
                f"{i}",
                tuple(fit.Folding(k, 1) for k in range(4)),
                rng.integers(1, 30, (4, len(KINDS))).astype(float),
                rng.integers(1, 9, 4),
                (f"{i}",) * 4,
                ({},) * 4,
            )
            for i in range(4)
        ]
        search.fixed, search.base, search.share = [], np.zeros(len(KINDS)), rng.random(len(KINDS))
        room, cycles = rng.integers(20, 90, len(KINDS)).astype(float), int(rng.integers(3, 9))
        sums = []
        for pick in itertools.product(range(4), repeat=4):
            cost = sum(c.cost[i] for c, i in zip(search.layers, pick, strict=True))
            if (cost <= room).all() and all(c.cycles[i] <= cycles for c, i in zip(search.layers, pick, strict=True)):
                sums.append(float((cost * search.share).sum()))
        picked = search._program(cycles, room)
        assert (picked is None) == (not sums)
        if picked is not None:
            cost = sum(c.cost[i] for c, i in zip(search.layers, picked, strict=True))
            assert (cost <= room + 1e-9).all() and float((cost * search.share).sum()) == pytest.approx(
                min(sums), abs=1e-9
            )


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_a_requantization_with_fewer_lanes_is_a_process_of_its_own(backend: str, tmp_path: Path) -> None:
    model = generate.seeded_mlp(3)
    graph = qc.compile(model, arch="dataflow").hardware
    node, after = next((n, a) for n in graph.computed if (a := joining(graph, n)) is not None)
    most = fullest(graph, node)
    assert most.pe > 1
    fold = json.dumps({graph.layers[node.output.name]: {"pe": most.pe}, graph.layers[after.output.name]: {"pe": 1}})
    design = qc.compile(model, arch="dataflow", backend=backend, part=PART, fold=fold)
    assert any(s.node is not None and s.node.output.name == after.output.name for s in design.network.stages)
    design.write(tmp_path / "p")
    assert [r.differing for r in qc.verify(tmp_path / "p", samples=4, float32=False).rows] == [0, 0, 0]


def padded(width: int, border: int) -> onnx.ModelProto:
    """A convolution of one element, 8 to `width` channels, its requantization by channel, and a border."""
    rng = np.random.default_rng(0)
    numbers = {
        "one": np.float32(1),
        "zero": np.float32(0),
        "bits": np.float32(8),
        "w": rng.integers(-7, 8, (width, 8, 1, 1)).astype(np.float32),
        "s": (rng.random((1, width, 1, 1)) * 10 + 5).astype(np.float32),
        "p": np.array([0, 0, border, border] * 2),
    }
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["x", "one", "zero", "bits"], ["q"], **quant),
        helper.make_node("Quant", ["w", "one", "zero", "bits"], ["v"], **quant),
        helper.make_node("Conv", ["q", "v"], ["c"], name="conv"),
        helper.make_node("Quant", ["c", "s", "zero", "bits"], ["r"], name="round", **quant),
        helper.make_node("Pad", ["r", "p"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4])]
    outer = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width, 4 + 2 * border, 4 + 2 * border])]
    constants = [numpy_helper.from_array(v, n) for n, v in numbers.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "padded", ends, outer, constants), opset_imports=opsets, ir_version=8
    )


def test_fewer_lanes_make_nothing_behind_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """A border has four times the elements that its layer makes."""
    graph = qc.compile(padded(8, 2), arch="dataflow").hardware
    found = fit.choices(graph, device(PART))
    monkeypatch.setattr(Following, "_narrower", lambda self, fold, cycles: iter(()))
    for layer, wide in zip(found, fit.choices(graph, device(PART)), strict=True):
        assert layer.cycles.tolist() == wide.cycles.tolist() and layer.foldings == wide.foldings


def test_sums_on_their_own_are_no_wider_than_other_words() -> None:
    fold = json.dumps({"conv": {"pe": 128}, "round": {"pe": 8}})
    with pytest.raises(qc.QCompileError, match="its 128 sums are words of more than 1024 bits"):
        assert qc.compile(padded(128, 1), arch="dataflow", fold=fold).network


@needs_models
def test_what_follows_takes_turns_where_that_is_smaller() -> None:
    """A softmax behind a product that makes a row at once, and then nothing for long."""
    record = next(r for r in records("transformer") if r["id"] == "brevitas/quant_mha_packed__qonnx_ts")
    fitted = qc.compile(CORPUS / record["file"], part="zcu104", fit=True)
    graph, chosen = fitted.hardware, json.loads(fitted.options.fold)
    own = {graph.layers[n.output.name] for n in graph.computed if unit_of(n, graph).folded}
    narrow = {name for name in chosen if name not in own and name not in {graph.layers[v.name] for v in graph.inputs}}
    assert "/a/Softmax" in narrow
    wide = json.dumps({name: f for name, f in chosen.items() if name not in narrow})
    other = qc.compile(CORPUS / record["file"], part="zcu104", arch="dataflow", fold=wide).estimate().total
    assert fitted.estimate().total.lut < other.lut and fitted.fitted.interval == other.interval


@needs_models
def test_residual_network(tmp_path: Path) -> None:
    record = next(r for r in records("residual") if r["id"] == "nn2fpga/resnet8")
    small = qc.compile(CORPUS / record["file"], part="xc7z020", fit=True)
    large = qc.compile(CORPUS / record["file"], part="zcu104", fit=True)
    assert large.fitted.interval < small.fitted.interval and "LUT" in small.fitted.binding
    assert not exceeded(small.estimate().total, Budget().limits(device("xc7z020")))
    slow = qc.compile(CORPUS / record["file"], part="zcu104", fit=Goal(target_fps=1000))
    assert 1e9 / 5 / slow.fitted.interval >= 1000 and slow.estimate().total.lut < 0.5 * large.estimate().total.lut
    # What was chosen is an ordinary folding, which the project carries.
    again = qc.compile(CORPUS / record["file"], **vars(small.options))
    assert (
        again.schedule == small.schedule
        and again.files().digest() == small.files().digest()
        and json.loads(small.options.fold)
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fit", "--arch", "parallel"], ["cannot be folded"]),
        (["--fit", "--fold", "full"], ["either --fit or --fold"]),
        (["--target-fps", "0"], ["0 frames/s are not possible"]),
        (["--target-fps", "1e8"], ["at most", "frames/s are possible"]),
        (["--fit", "--budget", "lut=2.0"], ["more than the whole part", "a count has no point"]),
        (["--fit", "--max-utilization", "2"], ["a utilization of 2 is not possible"]),
        (["--fit", "--budget", "lut=100"], ["no folding fits", "100 are allowed"]),
        (["--fit", "--budget", "lots=1"], ["'lots' is no resource"]),
        (["--budget", "lut=100"], ["--budget goes with --fit"]),
        (["--fit", "--part", "zcu10"], ["zcu10"]),
    ],
)
def test_bad_goals(digits: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    result = CliRunner().invoke(main, ["compile", str(digits), "-o", str(tmp_path / "p"), *arguments])
    assert result.exit_code != 0 and not (tmp_path / "p").exists()
    assert all(w in result.output for w in words), result.output


def outcome(*arguments: object) -> dict:
    result = CliRunner().invoke(main, ["compile", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_compile_says_whether_it_fits_and_what_does(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that it names is the user's own with --fit, and does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my models").mkdir()
    model = Path("my models") / "-digits.onnx"
    model.write_bytes(digits.read_bytes())
    for arch in (["--arch", "parallel"], ["--arch", "dataflow", "--fold", "full"]):
        options = ["--part", "xc7s25", "--softmax", "logits", "--clock", "6", "-o", "my build"]
        text = CliRunner().invoke(main, ["compile", str(model), *arch, *options]).output
        *_, line, following = text.splitlines()
        record = outcome(model, *arch, *options)
        command = record["fit_command"]
        assert line.startswith("estimate: ") and line.endswith(f"; this does: {command}") and "DOES NOT FIT" in line
        assert "limits: 80 % of LUT and FF, 90 % of DSP and BRAM18" in line and following.startswith("next: ")
        assert not record["fits"] and f"{record['lut']:,} LUT ({100 * record['shares']['lut']:.1f}%)" in line
        assert record["limits"]["lut"] == 11680 and record["latency_cycles"] > 0
        words = shlex.split(command)
        assert words[:3] == ["qcompile", "compile", str(model)] and {"logits", "6.0", "my build"} <= set(words)
        found = outcome(*words[2:])
        assert found["fits"] and found["arch"] == "dataflow" and found["fit_command"] is None
        assert found["lut"] <= 11680 and found["project"] == "my build"


def test_a_design_without_a_folding_keeps_its_estimate(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of its foldings are too long: no command is named, and the figures are shown."""
    monkeypatch.setattr(timing, "MOST_TOKENS", 10)
    found = estimation.outcome(qc.compile(digits, part="xc7s25"))
    assert found.fits is False and found.part == "" and "LUT (" in found.line()
    assert (rate_text(98, 5), rate_text(425_988_108, 5)) == ("2,040,816", "0.469")


def test_windows_of_too_many_tokens_are_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their times are not looked at; where all foldings have them, the fit says so."""
    graphs = (generated(seed).graph for seed in range(1, 99, 2))
    graph, window = next(
        (g, w)
        for g in graphs
        for n in g.nodes
        if isinstance(n.op, ops.Conv) and slides(n) and (w := SlidingWindowUnit.front(n, 1, False)).groups > 1
    )
    counts = [len(c.foldings) for c in fit.choices(graph, device(PART))]
    monkeypatch.setattr(timing, "MOST_TOKENS", window.tokens - 1)
    assert sum(len(c.foldings) for c in fit.choices(graph, device(PART))) < sum(counts)
    monkeypatch.setattr(timing, "MOST_TOKENS", 1)
    with pytest.raises(qc.QCompileError, match="tokens are too many for a stream"):
        fit.choices(graph, device(PART))


def test_where_there_is_no_price_the_project_is_written(digits: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["compile", str(digits), "-o", str(tmp_path / "p"), "--part", "xc7z999"])
    assert result.exit_code == 0 and "estimate: none for xc7z999: the part 'xc7z999' is not in" in result.output
    assert (tmp_path / "p" / "manifest.json").is_file()


def test_a_larger_part_where_no_folding_fits(digits: Path) -> None:
    design = qc.compile(digits, part="xc7s25")
    target, found = device("xc7s25"), design.estimate()
    part = folded_part(design, found, target, Budget(lut=500).limits(target))
    assert part and device(part).lut > target.lut
    assert folded_part(design, found, target, Budget(lut=1).limits(target)) == ""


def test_the_ceiling_holds_where_nobody_says_otherwise(digits: Path) -> None:
    target = device("xc7s25")
    found = qc.compile(digits, part="xc7s25", fit=True).estimate().total
    assert (
        not exceeded(found, Budget().limits(target)) and found.lut > 0.4 * target.lut
    )  # a faster design is twice as large
    assert Budget() == Budget.parse("") and Budget().limits(target)["lut"] == 11680
    assert Budget.parse("", 1.0).limits(target) == available(target)
    assert Budget.parse("lut=2,dsp=100%").limits(target)["dsp"] == target.dsp
    for text in ("lut=2.0", "lut=1e3", "lut=200%", "dsp=2.5"):
        with pytest.raises(qc.QCompileError, match="more than the whole part"):
            Budget.parse(text)
