"""Architecture `dataflow`: folded networks equal the simulator, depths are live and tight, cycles are those of
published runs.
"""

import dataclasses
import json
import subprocess
from pathlib import Path

import generate
import numpy as np
import onnx
import pytest
from conftest import CORPUS, GROUND_TRUTH, needs_models, needs_results, or_absent, records
from hls_lint import lint_project

import qcompile as qc
from qcompile.backends import hls
from qcompile.backends.pysim.simulator import encode
from qcompile.hardware.folding import drawn
from qcompile.hardware.liveness import liveness
from qcompile.hardware.network import Network, port_shares, port_value, possible
from qcompile.hardware.order import from_stream, placed, places, to_stream
from qcompile.hardware.timing import PIPELINE, Timetable, _most, memory, schedule
from qcompile.hardware.units.unit import channels_of
from qcompile.ir import Array, ops

MODELS = {r["id"]: r for r in records("residual", "unet", "layer", "cnn", "minifloat", "mlp")}
SMALL = [
    m
    for m in (
        "brevitas/int8_perch_residual__qonnx",
        "brevitas/unet_convtranspose_concat__qonnx",
        "brevitas/fp6_e3m2_ocp__qonnx",
        "project_CERN/cern_qonnx_model",
        "brevitas/asym_shifted_uint8__qonnx",
        "finn_radioml/wise_lion_step_tidy_up",
    )
    if m in MODELS
]


SEVERAL = 256  # products in a cycle up to which tests work on several places


def compiled(name: str, fold: str = "min") -> qc.Design:
    record = MODELS[name]
    return qc.compile(
        CORPUS / record["file"], arch="dataflow", fold=fold, input_formats=tuple(record.get("input_format") or ())
    )


def verified(design: qc.Design, folder: Path) -> None:
    design.write(folder)
    assert "PASS" in subprocess.run(["make", "-C", str(folder), "csim"], capture_output=True, text=True).stdout
    report = qc.verify(folder, samples=8, float32=False)
    assert [r.differing for r in report.rows] == [0, 0, 0] and lint_project(folder) == []


def some_folding(design: qc.Design, seed: int) -> str:
    """A legal folding, drawn: of some nodes one that works on several places a cycle, of inputs tokens of any size."""
    full = qc.compile(design.model, design.plan, **{**vars(design.options), "fold": "full"})
    assert full.network is not None
    graph, rng = full.graph, np.random.default_rng(seed)
    found = json.loads(drawn(full.network, graph.layers, seed))
    for node in graph.computed:
        name = graph.layers[node.output.name]
        if name in found and rng.random() < 0.3:
            several = [f for f in possible(graph, node) if channels_of(node.output) < f.pe and f.pe * f.simd <= SEVERAL]
            if several:
                fold = several[rng.integers(len(several))]
                found[name] = {"pe": fold.pe, "simd": fold.simd, "places": fold.places}
    for port in graph.inputs:
        found[graph.layers[port.name]] = {"pe": int(rng.choice(port_shares(port_value(graph, port)[0])))}
    return json.dumps(found)


def at_some_folding(model: onnx.ModelProto, seed: int, **options: str) -> qc.Design:
    """A generated network at a legal folding, drawn."""
    imported, text = qc.load(model), generate.input_format(model)
    formats = (text,) * len(imported.graph.inputs) if text else ()
    design = qc.compile(imported, input_formats=formats, arch="dataflow", **options)
    return qc.compile(imported, **{**vars(design.options), "fold": some_folding(design, seed)})


@pytest.mark.parametrize("fold", ["min", "full", "drawn"])
def test_digits(digits: Path, tmp_path: Path, fold: str) -> None:
    design = qc.compile(digits, arch="dataflow")
    verified(
        qc.compile(digits, arch="dataflow", fold=some_folding(design, 1) if fold == "drawn" else fold), tmp_path / "p"
    )


@pytest.mark.parametrize("name", or_absent(SMALL))
def test_models(name: str, tmp_path: Path) -> None:
    """Branches, transposed convolutions, minifloats, padding with zero points; drawn foldings."""
    design = compiled(name)
    verified(compiled(name, some_folding(design, 2)), tmp_path / "p")


def blocks(network: Network, depths: tuple[int, ...]) -> bool:
    """Whether a run does not end: reads and writes, what each waits for, and a cycle among them."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sources, targets, reads, writes, count = [], [], {}, {}, 0
    for stage in network.stages:
        move = stage.unit.traffic()
        columns = [*move.reads, *(move.writes for _ in stage.outputs)]
        order = np.lexsort((np.repeat(np.arange(len(columns)), [len(c) for c in columns]), np.concatenate(columns)))
        place = count + np.argsort(order)
        parts = np.split(place, np.cumsum([len(c) for c in columns])[:-1])
        reads |= dict(zip(stage.inputs, parts, strict=False))
        writes |= dict(zip(stage.outputs, parts[len(stage.inputs) :], strict=True))
        sources.append(count + np.arange(len(place) - 1))
        targets.append(sources[-1] + 1)
        count += len(place)
    for i, depth in enumerate(depths):
        sources += [writes[i], reads[i][: max(0, len(reads[i]) - depth)]]
        targets += [reads[i], writes[i][depth:]]
    source, target = np.concatenate(sources), np.concatenate(targets)
    edges = coo_matrix((np.ones(len(source), dtype=np.int8), (source, target)), shape=(count, count)).tocsr()
    return connected_components(edges, directed=True, connection="strong")[0] < count


def assert_tight(network: Network, live: tuple[int, ...]) -> int:
    """With these depths runs end, with one place less in any stream they do not. How many streams have more than one
    place.
    """
    assert not blocks(network, live)
    deep = [i for i, d in enumerate(live) if d > 1]
    for i in deep:
        assert blocks(network, tuple(d - (k == i) for k, d in enumerate(live)))
    return len(deep)


@pytest.mark.parametrize("name", or_absent([m for m in SMALL if "residual" in m or "CERN" in m or "unet" in m]))
def test_depths_are_tight(name: str) -> None:
    """Every stream: one place less than the depth for liveness, and the run does not end."""
    network = compiled(name, "min" if "CERN" in name else "full").network
    plan = schedule(network)
    live = liveness(network, plan.waiting)
    assert all(a <= b for a, b in zip(live, plan.depth, strict=True))
    assert assert_tight(network, live) > 0
    loops = Timetable(network)
    lazy = loops.lazy(loops.forward().finish)
    assert loops.enough(lazy)
    for run in (lazy, loops.forward(lazy.sources)):
        assert not (loops.enough(run) and blocks(network, run.waiting))
        assert not loops.enough(dataclasses.replace(run, slack=(0,) * len(run.slack)))


@pytest.mark.parametrize("spread", [50, 5_000, 500_000])
def test_places_in_sequences_are_those_of_a_search(spread: int) -> None:
    """Counted where numbers lie close together; and the tokens that wait, of which some are looked at first."""
    rng = np.random.default_rng(spread)
    have, at = (np.sort(rng.integers(-20, spread, n)) for n in (700, 900))
    for after, side in ((False, "left"), (True, "right")):
        assert np.array_equal(placed(have, at, after), np.searchsorted(have, at, side=side))
    assert np.array_equal(placed(have[:0], at), np.zeros(900))
    written = np.sort(rng.integers(0, spread, 900))
    for read in (written, np.sort(written + rng.integers(0, spread, 900))):
        slow = (np.arange(1, 901) - np.searchsorted(read, written, side="left")).max()
        assert _most(written, read) == slow


def bounded_run(network: Network, depths: tuple[int, ...]) -> tuple[int, int]:
    """(interval, latency) of a run on streams of these depths: sweeps over the processes until no event is later."""
    loops = Timetable(network)
    events = [loops.of(p) for p in range(len(network.stages))]
    read, written, before = {}, {}, None

    def late(when: np.ndarray, at: np.ndarray, ready: np.ndarray, side: str) -> np.ndarray:
        return np.append(0, np.maximum.accumulate(np.maximum(0, ready - at)))[np.searchsorted(at, when, side=side)]

    while before is None or before.keys() != read.keys() or not all(np.array_equal(before[i], read[i]) for i in read):
        before = dict(read)
        for order in (1, -1):
            for stage, (starts, writes) in list(zip(network.stages, events, strict=True))[::order]:
                tokens = [(at, written[i], "right") for i, at in zip(stage.inputs, starts, strict=True)]
                room = [
                    (writes[depths[i] :], read[i][: -depths[i]] - PIPELINE + 2)
                    for i in stage.outputs
                    if depths[i] < len(read.get(i, ()))
                ]
                for i, at in zip(stage.inputs, starts, strict=True):  # a read comes before the write of its iteration
                    read[i] = at + np.max([late(at, *c) for c in (*tokens, *((*c, "left") for c in room))], axis=0)
                for i in stage.outputs:
                    waits = [late(writes, *c) for c in (*tokens, *((*c, "right") for c in room))]
                    written[i] = writes + np.max([np.zeros_like(writes), *waits], axis=0) + PIPELINE
    interval, ends = loops.cycles_of({p: read[s.inputs[0]] for p, s in enumerate(network.stages) if not s.outputs})
    return interval, ends[0]


@pytest.mark.parametrize("fold", ["min", "full"])
@pytest.mark.parametrize(
    "name", or_absent([m for m in SMALL if "residual" in m or "CERN" in m or "unet" in m or "radioml" in m])
)
def test_depths_lose_no_cycle(name: str, fold: str) -> None:
    network = compiled(name, fold).network
    plan = schedule(network)
    assert bounded_run(network, plan.depth) == (plan.interval, plan.latency)


@pytest.mark.parametrize("name", or_absent([m for m in SMALL if "residual" in m]))
def test_tokens_wait_where_they_are_narrow(name: str) -> None:
    """Half the bits of what is as late or as early as possible everywhere; no cycle more by the test above."""
    network = compiled(name).network
    loops = Timetable(network)
    lazy = loops.lazy(loops.forward().finish)
    either = [memory(network, run.places) for run in (lazy, loops.forward(lazy.sources))]
    assert memory(network, schedule(network).depth) < 0.6 * min(either)


@needs_models
def test_too_shallow_blocks_in_simulation(tmp_path: Path) -> None:
    """The C simulation runs on exactly the depths that it is given."""
    design = compiled("brevitas/int8_perch_residual__qonnx", "full")
    live = liveness(design.network, design.schedule.waiting)
    deep = int(np.argmax(live))
    for name, depths in {"live": live, "short": tuple(d - (i == deep) for i, d in enumerate(live))}.items():
        folder = tmp_path / name
        design.write(folder)
        files = hls.emit(
            design.graph,
            design.top,
            design.options.part,
            5.0,
            design.network,
            dataclasses.replace(design.schedule, depth=depths),
        )
        for file in (f"src/{design.top}.cpp",):
            (folder / file).write_bytes(files[file])
        done = subprocess.run(["make", "-C", str(folder), "csim"], capture_output=True, text=True)
        assert ("PASS" in done.stdout) == (name == "live") and ("DEADLOCK" in done.stdout) == (name == "short"), (
            done.stdout + done.stderr
        )


@needs_models
@needs_results
@pytest.mark.parametrize("build", ["output_auto", "output_custom_1", "output_custom_2"])
def test_cycles_of_a_published_run(build: str) -> None:
    """FINN's RTL simulation of TFC-W1A1 with the same folding, from the first input to the last output.
    (output_custom_4 takes 7 cycles more than output_custom_2 with the folding of that; its reports do not say for
    what.)
    """
    builds, layers = (
        [json.loads(line) for line in (GROUND_TRUTH / f"{n}.jsonl").read_text().splitlines()]
        for n in ("finn_builds", "finn_layers_post_synth")
    )
    (published,) = [r for r in builds if build in r["source"]]
    fold = [
        r["hw_config"]
        for r in layers
        if r["source"] == published["source"] and r["node"].startswith("MVAU") and r["hw_config"]
    ]
    graph = compiled("brevitas/tfc_1w1a__qonnx").graph
    names = [n.output.name for n in graph.nodes if isinstance(n.op, ops.MatMul)]
    text = json.dumps({n: {"pe": f["PE"], "simd": f["SIMD"]} for n, f in zip(names, fold, strict=True)})
    network = compiled("brevitas/tfc_1w1a__qonnx", text).network
    # Their input has tokens of another size, and behind the last layer one of the ten scores is selected, five in a
    # cycle, for which words of ten are taken apart.
    behind = 2 + PIPELINE + (1 + PIPELINE) * (fold[-1]["PE"] > 5)
    latency = schedule(network).latency + published["rtlsim"]["N_IN_TXNS"] - network.streams[0].tokens + behind
    assert abs(latency / published["rtlsim_latency_cycles"] - 1) < 0.1


def test_orders() -> None:
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert np.array_equal(from_stream(to_stream(x, 1), (3, 4, 5), 1), x)
    assert np.array_equal(x[0].ravel()[places((3, 4, 5))], to_stream(x[0]).ravel())


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ('{"/1/MatMul": {"pe": 5}}', ["a pe of 5 is not possible", "must divide 32", "nearest: 2, 4, 8"]),
        ('{"/1/MatMul": {"simd": 0}}', ["/1/MatMul.simd", "greater than or equal to 1, not 0"]),
        ('{"nowhere": {"pe": 1}}', ["'nowhere'", "no layer", "layers: "]),
        ("[1]", ["the folding", "JSON"]),
        ("most", ["the folding is no JSON"]),
        (
            '{"/3/act_quant/export_handler/Quant": {"pe": 2}}',
            ["'/1/MatMul' makes with as many lanes", "a process of its own then"],
        ),
        ('{"image": {"pe": 2, "simd": 3}}', ["a port has a pe alone", "input 'image'"]),
    ],
)
def test_bad_foldings(digits: Path, fold: str, words: list[str]) -> None:
    with pytest.raises(qc.QCompileError) as caught:
        qc.compile(digits, arch="dataflow", fold=fold).network  # noqa: B018
    for word in words:
        assert word in str(caught.value)


def test_weights_by_port(digits: Path, tmp_path: Path) -> None:
    """Any codes of their formats may come: the sources stay the same, and the C++ gives what the simulator gives with
    the new ones.
    """
    design = qc.compile(
        digits, arch="dataflow", weights="port", fold=some_folding(qc.compile(digits, arch="dataflow"), 3)
    )
    verified(design, tmp_path / "p")
    rng = np.random.default_rng(0)
    nodes = []
    for node in design.graph.nodes:
        if isinstance(node.op, ops.Constant) and node.op.reloadable:
            fmt = node.output.type.format
            units = rng.choice([fmt.min_units, fmt.max_units, 0, 1], size=node.op.units.data.shape)
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, units=Array(units)))
        nodes.append(node)
    other = dataclasses.replace(design, graph=dataclasses.replace(design.graph, nodes=tuple(nodes)))
    old, new = (hls.emit(d.graph, design.top, design.options.part, 5.0, d.network, d.schedule) for d in (design, other))
    assert {n for n in old if old[n] != new[n]} == {"src/weights/weights.bin", "src/weights/weights.inc"}
    (tmp_path / "p/src/weights/weights.bin").write_bytes(new["src/weights/weights.bin"])
    x = rng.integers(0, 17, (6, 64)) / 16
    units = design.simulator.quantize(x)
    bits = [v.type.format.bits(encode(u, v.type.format)) for u, v in zip(units, design.graph.inputs, strict=True)]
    (tmp_path / "in.bin").write_bytes(hls.vector_file(design.graph, bits, network=design.network))
    run = subprocess.run(
        "make csim >/dev/null; ./build/csim ../in.bin ../out.bin",
        shell=True,
        cwd=tmp_path / "p",
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    outputs = hls.read_vectors(design.graph, (tmp_path / "out.bin").read_bytes(), network=design.network)
    found = [
        v.type.format.from_bits(b).reshape(-1, *h.vector_shape)
        for v, h, b in zip(design.graph.outputs, design.outputs, outputs, strict=True)
    ]
    for a, b in zip(other.simulator.codes(x), found, strict=True):
        assert np.array_equal(a, b) and len(np.unique(b)) > 2


def test_weights_by_port_refused(digits: Path) -> None:
    with pytest.raises(qc.QCompileError, match="has its weights in the logic"):
        qc.compile(digits, weights="port")


def test_schedule_of_the_project(digits: Path, tmp_path: Path) -> None:
    """Folding, cycles and both kinds of depth stand in the project."""
    design = qc.compile(digits, arch="dataflow", fold="full")
    design.write(tmp_path / "p")
    record = json.loads((tmp_path / "p/schedule.json").read_text())
    assert record["interval_cycles"] == design.schedule.interval == max(p["cycles"] for p in record["processes"])
    assert [s["depth"] for s in record["streams"]] == list(design.schedule.depth)
    assert min(design.schedule.depth) == 2  # one place would take a token every other cycle
    assert all(s["depth_live"] <= s["depth"] for s in record["streams"]) and {p["pe"] for p in record["processes"]} >= {
        32,
        10,
    }
