"""Architecture `dataflow` is priced as it is printed: bits of memories, products, and loops that stay loops."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import generate_cnn
import numpy as np
import onnx
import pytest
from conftest import CORPUS, records
from emitted import additions, memories, processes, unrolled, unrolled_products
from onnx import TensorProto, helper, numpy_helper
from test_dataflow import at_some_folding

import qcompile as qc
from qcompile.backends import hls
from qcompile.cost import primitives as hw
from qcompile.cost.budget import Budget
from qcompile.cost.exchange import fabric_of
from qcompile.hardware.memory import Words
from qcompile.hardware.network import Stage
from qcompile.hardware.products import rolled
from qcompile.hardware.units import (
    BufferedUnit,
    DepthwiseUnit,
    ElementwiseUnit,
    GlobalPoolUnit,
    MatVecUnit,
    PoolUnit,
    QuotientUnit,
    RequantUnit,
    SlidingWindowUnit,
    SparseUnit,
    UnrolledUnit,
)
from qcompile.ir import ops
from qcompile.parts import AdderGraph, ConstantRows, Multiplier, leaves, memory_bits

PART = "xc7z020clg400-1"
SEEDS = range(24)
COUNTED = (MatVecUnit, DepthwiseUnit, PoolUnit, GlobalPoolUnit, ElementwiseUnit)


def sources(design: qc.Design) -> dict[str, bytes]:
    assert design.network is not None and design.schedule is not None
    return hls.emit(design.graph, design.top, design.options.part, 5.0, design.network, design.schedule)


def kept(stage: Stage) -> int:
    """Bits of the memories of a process. Parameters that are found by the place of an element are arrays of the text
    that nothing else tells from constants.
    """
    unit = stage.unit
    if isinstance(unit, BufferedUnit):
        return sum(m.bits for m in (*unit.operands, *unit.loops.kept))
    after = (
        unit
        if isinstance(unit, RequantUnit)
        else RequantUnit.behind(stage.map, stage.folding.pe)
        if stage.map
        else None
    )
    own = 0 if isinstance(unit, RequantUnit) else memory_bits(unit.parts())
    return own + (memory_bits(after.parts()) if after and after.rows else 0)


def priced(design: qc.Design) -> dict[str, int]:
    """Bits of the memories of every process, and of the streams, that the estimate counts."""
    network, plan = design.network, design.schedule
    found = {f"p{i}_{s.unit.name}": kept(s) for i, s in enumerate(network.stages)}
    waits = zip(network.streams, plan.depth, strict=True)
    return found | {"streams": sum(d * s.bits for s, d in waits)}


def declared(design: qc.Design) -> dict[str, int]:
    """Bits of the memories in the text."""
    return {name: sum(bits) for name, bits in memories(sources(design), design.top).items()}


def products(stage: Stage) -> int:
    """Products, sums or elements of a cycle that the estimate counts."""
    if isinstance(stage.unit, SparseUnit):
        return stage.unit.pe * stage.unit.products
    return stage.folding.pe * stage.folding.simd if isinstance(stage.unit, COUNTED) else 1


def assert_as_priced(design: qc.Design) -> None:
    assert declared(design) == priced(design)
    bodies = processes(sources(design)[f"src/{design.top}.cpp"].decode())
    for position, stage in enumerate(design.network.stages):
        name = f"p{position}_{stage.unit.name}"
        if isinstance(stage.unit, (*COUNTED, BufferedUnit)) and not isinstance(stage.unit, QuotientUnit):
            assert unrolled(bodies[name]) == products(stage), name


def generated() -> Iterator[onnx.ModelProto]:
    for seed in SEEDS:
        yield (generate_cnn.seeded_cnn if seed % 3 else generate.seeded_mlp)(seed)


@pytest.mark.parametrize("weights", ["rom", "port"])
def test_generated_networks(weights: str) -> None:
    """Small networks at drawn foldings."""
    found: set[type] = set()
    for seed, model in enumerate(generated()):
        try:
            design = at_some_folding(model, seed, part=PART, weights=weights)
        except qc.QCompileError as error:
            assert weights == "port" and "zero point" in str(error), error
            continue
        assert_as_priced(design)
        found |= {type(s.unit) for s in design.network.stages}
    assert {MatVecUnit, SlidingWindowUnit} <= found


def test_additions_and_products_of_unrolled_layers() -> None:
    """Those of the text are those that are priced."""
    seen = [0, 0]
    for model in list(generated())[::4]:
        text = generate.input_format(model)
        imported = qc.load(model)
        design = qc.compile(imported, input_formats=(text,) * len(imported.graph.inputs) if text else (), part=PART)
        if rolled(design.graph):
            continue
        layers = [n for n in design.graph.nodes if isinstance(n.op, (ops.MatMul, ops.Conv))]
        priced = [leaf for n in layers for leaf in leaves(UnrolledUnit.of(n, design.graph, final=True).parts())]
        sums = sum(n * p.adders for n, p in priced if isinstance(p, AdderGraph))
        products = sum(
            n * (p.weights.size if isinstance(p, ConstantRows) else isinstance(p, Multiplier)) for n, p in priced
        )
        files = design.files().files
        source = files[f"src/{design.top}.cpp"].decode()
        assert sums == additions(source, files.get("src/sums.hpp", b"").decode())
        assert products == unrolled_products(source)
        seen = [seen[0] + sums, seen[1] + products]
    assert seen[0] > 1000


CASES = (
    "conv groups",
    "conv depthwise multiplier",
    "convtranspose groups",
    "mul broadcast",
    "squeeze and excite",
    "pad channels",
    "concat constant",
    "reducemean all @13~",
    "argmax last index",
    "matmul of two",
    "matmul rank 3",
    "conv of three maps",
    "depthtospace",
    "focus",
    "gather list",
    "an output is a constant",
)


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    """Those without a streaming unit, and grouped convolutions."""
    operators = pytest.importorskip("test_operators")
    net, outputs = operators.built(name, operators.ROWS[name])
    assert_as_priced(qc.compile(net.model(outputs), arch="dataflow", part=PART))


@pytest.mark.parametrize(
    "record", [*records("cnn", "residual", "minifloat", "unet")[::9], *records("mlp")[8::11]], ids=lambda r: r["id"]
)
def test_models_of_others(record: dict) -> None:
    formats = tuple(record.get("input_format") or ())
    assert_as_priced(qc.compile(CORPUS / record["file"], arch="dataflow", part=PART, input_formats=formats))


def convolution(channels: int, groups: int, size: int, bits: int = 4, **options: Any) -> qc.Design:
    """One convolution of `channels` to as many, 3 x 3 in a border, codes of 4 bits."""
    rng = np.random.default_rng(0)
    half = 2 ** (bits - 1)
    w = rng.integers(-half, half, (channels, channels // groups, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "layer", pads=[1, 1, 1, 1], group=groups)
    shape = [1, channels, size, size]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return qc.compile(model, **{"arch": "dataflow", "part": PART, "input_formats": ("s4",), **options})


def test_grouped_convolution_is_a_unit() -> None:
    """16 channels in 4 groups at 16 x 16: a product a cycle and no more, not 147,456 of them at once."""
    design = convolution(16, 4, 16)
    assert not any(isinstance(s.unit, BufferedUnit) for s in design.network.stages)
    cycles = dict(zip((type(s.unit) for s in design.network.stages), design.schedule.cycles, strict=True))
    assert cycles[MatVecUnit] == 16 * 16 * 16 * 4 * 9
    assert_as_priced(design)


def test_weights_that_are_loaded_lie_without_gaps() -> None:
    """64 x 64 x 3 x 3 codes of 4 bits, one a cycle: declared and priced as so many places of 4 bits."""
    design = convolution(64, 1, 4, weights="port")
    source = sources(design)[f"src/{design.top}.cpp"].decode()
    assert "static ap_uint<4> w0[36864];" in source
    layer = next(x for x in design.estimate().layers if x.op == "Conv")
    assert layer.cost.bram18 - hw.block_rams(fabric_of(PART), 36864, 4) in (0, 1, 2)  # and the window
    assert len(sources(design)["src/weights/weights.bin"]) == 36864
    assert_as_priced(design)


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_weights_lie_where_the_folding_says(backend: str, tmp_path: Path) -> None:
    """Constants in LUTs and in block RAM, loaded ones in UltraRAM: priced there, asked for there, the same codes."""
    for kind, weights in (("bram", "rom"), ("uram", "port")):
        fold = json.dumps({"layer": {"pe": 2, "simd": 4, "memory": kind}})
        design = convolution(8, 1, 4, part="xczu7ev", backend=backend, weights=weights, fold=fold)
        cost = next(x for x in design.estimate().layers if x.op == "Conv").cost
        assert (cost.bram18 > 0, cost.uram > 0) == (kind == "bram", kind == "uram")
        design.write(tmp_path / kind)
        text = "".join(p.read_text() for p in (tmp_path / kind).glob("*/*.*") if p.suffix in (".cpp", ".sv"))
        wanted = f"impl={kind}" if backend == "hls" else f'STYLE("{"ultra" if kind == "uram" else "block"}")'
        assert wanted in text
        assert not any(r.differing for r in qc.verify(tmp_path / kind, samples=4, float32=False).rows)
    with pytest.raises(qc.QCompileError, match="UltraRAM has no contents at first"):
        assert convolution(8, 1, 4, fold=fold).network
    with pytest.raises(qc.QCompileError, match="this part has no UltraRAM"):
        convolution(8, 1, 4, weights="port", fold=fold).estimate()


def test_the_fit_takes_the_memory_that_is_left() -> None:
    """Of as many LUTs a faster design fits when weights may lie in block RAM."""
    goals = (qc.Goal(Budget.parse(f"lut=2600,dsp=0,bram18={n}")) for n in (0, 100))
    scarce, plenty = (convolution(16, 1, 8, part="xczu7ev", fit=goal) for goal in goals)
    assert plenty.fitted.interval < scarce.fitted.interval
    assert {f.memory for f in plenty.fitted.foldings.values()} == {"", "bram"}


def test_layers_that_stay_loops_have_the_memories_of_the_text() -> None:
    """A network too large to be unrolled: every array is priced, and no buffer of windows, which there is none of."""
    design = convolution(16, 4, 64, arch="parallel")
    text = design.files().files[f"src/{design.top}.cpp"].decode()
    arrays = [int(w) * int(n) for w, n in re.findall(r"static ap_u?int<(\d+)> v\d+\[(\d+)\];", text)]
    units = [BufferedUnit.rolled(n, design.graph) for n in design.graph.nodes if not isinstance(n.op, ops.Constant)]
    inputs = sum(v.type.size * v.type.codes.width for v in design.graph.inputs)
    assert inputs + sum(m.bits for u in units for m in u.loops.kept) == sum(arrays)
    found = design.estimate()
    blocks = sum(hw.rom(fabric_of(PART), m.depth, m.width).bram18 for u in units for m in (*u.operands, *u.loops.kept))
    assert found.total.bram18 == blocks + found.layers[-1].cost.bram18
    assert found.total.latency == sum(u.cycles for u in units)


@pytest.mark.parametrize(("codes", "width"), [(1, 4), (12, 4), (96, 3), (7, 13), (11, 33), (64, 1), (6, 64)])
def test_words_have_no_gaps(codes: int, width: int) -> None:
    """Elements of at most 64 bits, whole ones in a step; a file holds them in little-endian integers."""
    words = Words(5, codes, width)
    assert words.bits == words.elements * words.element and words.element <= 64
    rng = np.random.default_rng(codes)
    numbers = rng.integers(0, 2 ** min(width, 62), (5, codes))
    elements = np.frombuffer(words.pack(numbers), f"<u{words.container // 8}")
    assert len(words.pack(numbers)) % 8 == 0
    read = [int(elements[i // words.together]) >> width * (i % words.together) for i in range(5 * codes)]
    assert [r % 2**width for r in read] == numbers.ravel().tolist()


@pytest.mark.parametrize("cuts", [3, 15, 63, 255])
def test_thresholds_are_priced_as_they_are_built(cuts: int) -> None:
    """What is chosen is the cheaper of two circuits, and the text and the price are of the same one."""
    rng = np.random.default_rng(cuts)
    w = rng.integers(-8, 8, (8, 4)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], "dense"), helper.make_node("Tanh", ["a"], ["t"], "tanh")]
    scale = [
        numpy_helper.from_array(np.float32(v), n)
        for v, n in ((2 / (cuts + 1), "s"), (0, "z"), (np.log2(cuts + 1), "b"))
    ]
    nodes.append(
        helper.make_node(
            "Quant",
            ["t", "s", "z", "b"],
            ["y"],
            "q",
            domain="qonnx.custom_op.general",
            signed=1,
            narrow=0,
            rounding_mode="ROUND",
        )
    )
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]),
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(w / 16, "w"), *scale])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    )
    for arch in ("parallel", "dataflow"):
        design = qc.compile(model, arch=arch, part=PART, input_formats=("s6f4",))
        (node,) = (n for n in design.graph.nodes if isinstance(n.op, ops.Requant))
        assert isinstance(node.op.impl, ops.Thresholds)
        text = design.files().files[f"src/{design.top}.cpp"].decode()
        search = node.op.impl.search
        assert ("thresholds_search<" in text) == search and ("thresholds_affine<" in text) == (not search)
        assert search if cuts > 15 else cuts > 3 or not search


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_a_border_of_signs_leaves_signs(value: float) -> None:
    """One bit an element, in front of it and behind."""
    rng = np.random.default_rng(0)
    w, x = (rng.choice([-1, 1], shape).astype(np.float32) for shape in ((3, 2, 3, 3), (9, 2, 5, 5)))
    nodes = [helper.make_node("Pad", ["x", "pads", "value"], ["p"]), helper.make_node("Conv", ["p", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 2, 5, 5]), ("y", None))]
    held = {"w": w, "value": np.float32(value), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    inner = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "net", ends[:1], ends[1:], inner), opset_imports=[helper.make_opsetid("", 17)]
    )
    bordered = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(bordered, (3, 3), axis=(2, 3))
    for arch in ("parallel", "dataflow"):
        design = qc.compile(model, arch=arch, part=PART, input_formats=("bipolar",))
        (pad,) = (n for n in design.graph.nodes if isinstance(n.op, ops.Pad))
        assert pad.output.type.codes.width == 1
        assert np.array_equal(design.simulate(x), np.einsum("bchwij,ocij->bohw", windows, w))
    assert_as_priced(design)


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_long_searches_lie_in_memories(backend: str, tmp_path: Path) -> None:
    """A sigmoid of a sum too wide for segments, in 16 bits: its 7,000 cuts once for every lane, not as logic."""
    rng = np.random.default_rng(0)
    held = {"s": np.float32(2**-6), "z": np.int8(0), "t": np.float32(1.3e-4), "y0": np.int16(0)}
    held["w"] = (rng.integers(-127, 128, (80, 4)) / 32).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["f"]),
        helper.make_node("QuantizeLinear", ["f", "t", "y0"], ["y"]),
    ]
    kinds = (("x", TensorProto.FLOAT, 80), ("y", TensorProto.INT16, 4))
    ports = [helper.make_tensor_value_info(n, kind, [1, size]) for n, kind, size in kinds]
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    design = qc.compile(model, arch="dataflow", backend=backend)
    (made,) = (n.op.impl for n in design.graph.nodes if isinstance(n.op, ops.Requant))
    assert isinstance(made, ops.Thresholds) and made.search and made.cuts.data.shape[1] > 4096
    total = design.estimate().total
    assert total.bram18 >= 8 and total.lut < 1500
    design.write(tmp_path / "b")
    assert all(row.differing == 0 for row in qc.verify(tmp_path / "b", samples=40).rows if "float32" not in row.what)
