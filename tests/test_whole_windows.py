"""Windows that come whole: all places of a kernel, or some of them, in a cycle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_dataflow import some_folding
from test_whole_tensors import model, quant

import qcompile as qc
from qcompile.hardware.network import port_shares, possible
from qcompile.hardware.units import ArgMaxUnit, BufferedUnit, MatVecUnit, WholeWindowUnit, WidthUnit


@dataclass(frozen=True)
class Case:
    """op: "conv", "depthwise", "grouped", "max" or "average"; a number per axis."""

    op: str
    channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    def model(self) -> ModelProto:
        common = {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads}
        groups = {"depthwise": self.channels, "grouped": 2}.get(self.op, 1)
        rng, held = np.random.default_rng(len(str(self))), dict[str, Any]()
        if self.op in ("max", "average"):
            kind = "MaxPool" if self.op == "max" else "AveragePool"
            last = {} if self.op == "max" else {"count_include_pad": 1}
            node = helper.make_node(kind, ["q"], ["c"], "layer", **common, **last)
        else:
            outs = self.channels if self.op == "depthwise" else 4
            held["w"] = rng.integers(-3, 4, (outs, self.channels // groups, *self.kernel)).astype(np.float32)
            node = helper.make_node(
                "Conv", ["q", "w"], ["c"], "layer", dilations=self.dilations, group=groups, **common
            )
        return model([1, self.channels, *self.size], [node, quant("c", "y")], held)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rank = draw(st.integers(1, 2))
    op = draw(st.sampled_from(["conv", "conv", "depthwise", "grouped", "max", "average"]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel = each(1, 4)
    dilations = each(1, 2) if op in ("conv", "depthwise", "grouped") else (1,) * rank
    pads = tuple(draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
    least = [
        max(1, (k - 1) * d + 1 - a - b) for k, d, a, b in zip(kernel, dilations, pads[:rank], pads[rank:], strict=True)
    ]
    size = tuple(n + draw(st.integers(0, 5)) for n in least)
    channels = draw(st.sampled_from([2, 4, 6] if op == "grouped" else [1, 2, 3, 4, 6]))
    return Case(op, channels, size, kernel, each(1, 3), dilations, pads)


def folded(case: Case, seed: int, **options: Any) -> qc.Design:
    design = qc.compile(case.model(), arch="dataflow", **options)
    return qc.compile(case.model(), arch="dataflow", fold=some_folding(design, seed), **options)


@settings(max_examples=8, deadline=None)
@given(cases(), st.integers(0, 100))
def test_any_window_in_cplusplus(tmp_path_factory: pytest.TempPathFactory, case: Case, seed: int) -> None:
    needs("g++")
    assert_exact(folded(case, seed), tmp_path_factory.mktemp("windows"))


@settings(max_examples=12, deadline=None)
@given(cases(), st.integers(0, 100))
def test_any_window_in_systemverilog(tmp_path_factory: pytest.TempPathFactory, case: Case, seed: int) -> None:
    """Codes, and cycles as scheduled."""
    needs("iverilog")
    assert_exact(folded(case, seed, backend="rtl"), tmp_path_factory.mktemp("windows"))


def at_several_places(case: Case, seed: int, **options: Any) -> qc.Design:
    """All outputs and terms of a layer at several places; reject cases that have none."""
    graph = qc.compile(case.model(), arch="dataflow").graph
    layer = next(n for n in graph.computed if n.op.windowed)
    folds = [f for f in possible(graph, layer) if f.places > 1 and f.pe * f.simd <= 256]
    assume(folds)
    fold = {graph.layers[layer.output.name]: vars(folds[seed % len(folds)])}
    shares = port_shares(graph.inputs[0])
    fold[graph.layers[graph.inputs[0].name]] = {"pe": shares[seed % len(shares)]}
    return qc.compile(case.model(), arch="dataflow", fold=json.dumps(fold), **options)


@settings(max_examples=5, deadline=None)
@given(cases(), st.integers(0, 100))
def test_several_places_in_cplusplus(tmp_path_factory: pytest.TempPathFactory, case: Case, seed: int) -> None:
    needs("g++")
    assert_exact(at_several_places(case, seed), tmp_path_factory.mktemp("windows"))


@settings(max_examples=5, deadline=None)
@given(cases(), st.integers(0, 100))
def test_several_places_in_systemverilog(tmp_path_factory: pytest.TempPathFactory, case: Case, seed: int) -> None:
    """Codes, and cycles as scheduled."""
    needs("iverilog")
    assert_exact(at_several_places(case, seed, backend="rtl"), tmp_path_factory.mktemp("windows"))


def test_a_row_in_a_cycle() -> None:
    """A 3 x 3 convolution of 6 x 6 that makes a row of its result from a row of its data: 6 cycles, one more for the
    border behind.
    """
    case = Case("conv", 2, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    fold = {"layer": {"pe": 24, "simd": 18, "places": 6}, "q": {"pe": 12}}
    design = qc.compile(case.model(), arch="dataflow", fold=json.dumps(fold))
    assert design.schedule is not None and design.schedule.interval <= 14
    wide = json.dumps({"layer": {"pe": 20, "simd": 18, "places": 5}})
    with pytest.raises(qc.QCompileError, match="at 5 places is not possible") as error:
        _ = qc.compile(case.model(), arch="dataflow", fold=wide).network
    assert "places of [2, 3, 6, 12, 18, 36]" in str(error.value)


def assert_exact(design: qc.Design, out: Path) -> None:
    design.write(out / "p")
    assert [r.differing for r in qc.verify(out / "p", samples=4, float32=False).rows if r.differing] == []


def test_a_border_is_no_process() -> None:
    """Where windows come whole they fill what lies outside; place by place a process in front does."""
    case = Case("conv", 2, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    cycles = {}
    for simd in (2, 18):
        design = qc.compile(case.model(), arch="dataflow", fold=json.dumps({"layer": {"pe": 4, "simd": simd}}))
        names = [s.unit.name for s in design.network.stages]
        assert ("border" in names) == (simd == 2)
        cycles[simd] = design.schedule.interval
    assert cycles[18] == 6 * 6 + 6 + 1 and cycles[2] >= 6 * 6 * 9


@pytest.mark.parametrize(
    ("fold", "what"),
    [({"pe": 3}, "a pe of 3 is not possible, it must divide 4"), ({"simd": 4}, "a simd of 4 .* must divide 18")],
)
def test_shares_that_are_none(fold: dict[str, int], what: str) -> None:
    case = Case("conv", 2, (6, 6), (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    with pytest.raises(qc.QCompileError, match=what):
        _ = qc.compile(case.model(), arch="dataflow", fold=json.dumps({"layer": fold})).network


def test_windows_that_are_too_wide_are_refused() -> None:
    """72 channels of 8 bits at 9 places are 5,184 bits."""
    case = Case("depthwise", 72, (4, 4), (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    with pytest.raises(qc.QCompileError, match="whole windows of more than 4096") as error:
        _ = qc.compile(case.model(), arch="dataflow", fold=json.dumps({"layer": {"pe": 72, "simd": 9}})).network
    assert "a pe of at most 36" in str(error.value)


def folded_so(case: Case, **layer: int) -> qc.Design:
    return qc.compile(case.model(), arch="dataflow", fold=json.dumps({"layer": layer, "x": {"pe": 12}}))


@pytest.mark.parametrize(("places", "simd", "cycles"), [(12, 18, 3), (36, 18, 1), (6, 9, 12), (36, 1, 18)])
def test_rows_in_a_cycle_and_folds_of_their_terms(places: int, simd: int, cycles: int) -> None:
    """A 3 x 3 convolution of 6 x 6 by 2 channels: several rows of its result in a cycle, or in as many as there are
    folds of 18 terms.
    """
    design = folded_so(
        Case("conv", 2, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), pe=4 * places, simd=simd, places=places
    )
    (unit,) = (s.unit for s in design.network.stages if isinstance(s.unit, MatVecUnit))
    assert unit.cycles == cycles


def test_windows_of_several_places_share_what_they_cover() -> None:
    """Six windows of 3 x 3 in a row are 3 x 8 places of 2 channels, not 6 x 9."""
    design = folded_so(Case("conv", 2, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), pe=24, simd=18, places=6)
    (window,) = (s for s in design.network.stages if isinstance(s.unit, WholeWindowUnit))
    assert design.network.streams[window.outputs[0]].lanes == 3 * 8 * 2


def test_a_valid_row_whose_windows_do_not_divide_its_width() -> None:
    """11 windows in a row of 13: all of a row, as fast as rows come, without what lies between its ends."""
    case = Case("conv", 1, (13, 13), (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    fold = {"layer": {"pe": 44, "simd": 9, "places": 11}, "x": {"pe": 13}}
    stages = qc.compile(case.model(), arch="dataflow", fold=json.dumps(fold)).network.stages
    cycles = {type(s.unit): s.unit.cycles for s in stages}
    assert cycles[WholeWindowUnit] == 13 and cycles[MatVecUnit] == 11


def stages_of(nodes: list[Any], shape: list[int], held: dict[str, Any]) -> set[type]:
    return {type(s.unit) for s in qc.compile(model(shape, nodes, held), arch="dataflow").network.stages}


def test_a_product_with_all_windows_is_a_convolution(tmp_path: Path) -> None:
    """Im2Col and MatMul, as FINN lowers convolutions."""
    columns = {"kernel_size": [3, 3], "stride": [2, 1], "pad_amount": [1, 0, 1, 2], "input_shape": "(1,6,5,2)"}
    nodes = [
        helper.make_node("Im2Col", ["q"], ["c"], "columns", domain="qonnx.custom_op.general", **columns),
        helper.make_node("MatMul", ["c", "w"], ["m"], "layer"),
        quant("m", "y"),
    ]
    held = {"w": np.random.default_rng(0).integers(-3, 4, (18, 3)).astype(np.float32)}
    made = stages_of(nodes, [1, 6, 5, 2], held)
    assert MatVecUnit in made and BufferedUnit not in made
    needs("g++")
    assert_exact(qc.compile(model([1, 6, 5, 2], nodes, held), arch="dataflow"), tmp_path)


@pytest.mark.parametrize(("backend", "last", "pe"), [("hls", 0, 5), ("hls", 1, 1), ("rtl", 1, 5), ("rtl", 0, 1)])
def test_the_place_of_the_largest_streams(tmp_path: Path, backend: str, last: int, pe: int) -> None:
    """An element a cycle, or all; of equal ones the first or the last."""
    needs("g++" if backend == "hls" else "iverilog")
    nodes = [helper.make_node("ArgMax", ["q"], ["y"], "layer", axis=1, select_last_index=last)]
    made = model([1, 5, 2, 3], nodes, {})
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    fold = json.dumps({"layer": {"pe": pe}, "x": {"pe": pe}})
    design = qc.compile(made, arch="dataflow", backend=backend, fold=fold)
    assert {s.unit.cycles for s in design.network.stages if isinstance(s.unit, ArgMaxUnit)} == {30 // pe}
    assert_exact(design, tmp_path)


def test_channels_last_files_of_one_channel_need_no_reorder() -> None:
    """A Reshape of (1, 4, 4, 1) to (1, 1, 4, 4), and a Transpose in front of what lays all side by side."""
    nodes = [
        helper.make_node("Reshape", ["q", "plane"], ["p"], "plane"),
        helper.make_node("Conv", ["p", "w"], ["c"], "layer"),
        quant("c", "k"),
        helper.make_node("Transpose", ["k"], ["t"], "turned", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "flat"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "v"], ["m"], "dense"),
        quant("m", "y"),
    ]
    rng = np.random.default_rng(0)
    held = {
        "plane": np.array([1, 1, 4, 4]),
        "flat": np.array([1, 12]),
        "w": rng.integers(-3, 4, (3, 1, 3, 3)).astype(np.float32),
        "v": rng.integers(-3, 4, (12, 2)).astype(np.float32),
    }
    assert BufferedUnit not in stages_of(nodes, [1, 4, 4, 1], held)


def test_words_of_other_widths_keep_the_pace() -> None:
    """7 elements to 4 by way of 28: as fast as the layers; one by one they would take longer than all others."""
    held = {"w": np.ones((28, 28), np.float32), "v": np.ones((28, 4), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["q", "w"], ["a"], "first"),
        quant("a", "k"),
        helper.make_node("MatMul", ["k", "v"], ["m"], "second"),
        quant("m", "y"),
    ]
    fold = {"first": {"pe": 7, "simd": 28}, "second": {"pe": 4, "simd": 4}}
    design = qc.compile(model([1, 28], nodes, held), arch="dataflow", fold=json.dumps(fold))
    widths = [s.unit.cycles for s in design.network.stages if isinstance(s.unit, WidthUnit)]
    assert max(widths) <= 7


def test_wide_weights_stream(tmp_path: Path) -> None:
    """Of 40 bits, as weights that nobody quantized have."""
    case = Case("conv", 2, (4, 4), (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
    made = case.model()
    (held,) = (i for i in made.graph.initializer if i.name == "w")
    rng = np.random.default_rng(0)
    held.CopyFrom(numpy_helper.from_array(rng.normal(0, 1, (4, 2, 3, 3)).astype(np.float32), "w"))
    design = qc.compile(made, arch="dataflow", fold=json.dumps({"layer": {"pe": 2, "simd": 3}}))
    assert any(isinstance(s.unit, MatVecUnit) and s.unit.stored > 26 for s in design.network.stages)
    needs("g++")
    assert_exact(design, tmp_path)
