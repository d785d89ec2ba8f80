"""TensorFlow Lite files: codes equal to those of the reference kernels, of whole networks and of single operators."""

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import pytest
from conftest import SHARED

import qcompile as qc
from qcompile.pipeline import open_project

pytest.importorskip("tflite", reason="pip install 'qcompile[tflite]'")
from tflite_files import Given, Step, one, several  # noqa: E402

FILES = SHARED / "tflite"
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"needs MLPerf Tiny's files, which are not in {FILES}")
RNG = np.random.default_rng(0)
X = Given("x", [1, 4, 5, 6], scale=0.037, zero=7)
Y = Given("y", [1, 4, 5, 6], scale=0.051, zero=-9)


def weights(*shape: int, scale: Any = 0.011, axis: int = 0) -> Given:
    return Given("w", shape, "int8", scale, np.zeros(np.size(scale)), RNG.integers(-127, 128, shape), axis)


def bias(n: int) -> Given:
    return Given("b", [n], "int32", 0.0004, 0, RNG.integers(-2000, 2000, n))


def made(shape: list[int], scale: float = 0.07, zero: int = 3, kind: str = "int8") -> Given:
    return Given("y", shape, kind, scale, zero)


def ints(*values: Any) -> Given:
    return Given("i", np.shape(values), "int32", None, 0, np.array(values))


CHANNELS = np.array([0.011, 0.017, 0.009], np.float32)
WINDOW = {"StrideH": 1, "StrideW": 1, "FilterHeight": 2, "FilterWidth": 3}
CONV = {"StrideH": 1, "StrideW": 2, "DilationHFactor": 1, "DilationWFactor": 1}
SPAN = {"int8": (-128, 128), "int16": (-(2**15), 2**15)}
Case = tuple[str, list[Given], list[Given], str, dict[str, Any]]
CASES: dict[str, Case] = {
    "fully connected": (
        "FULLY_CONNECTED",
        [Given("x", [1, 20], scale=0.03, zero=5), weights(6, 20), bias(6)],
        [made([1, 6])],
        "FullyConnectedOptions",
        {},
    ),
    "fully connected per channel": (
        "FULLY_CONNECTED",
        [Given("x", [1, 20], scale=0.03, zero=5), weights(3, 20, scale=CHANNELS), bias(3)],
        [made([1, 3])],
        "FullyConnectedOptions",
        {"FusedActivationFunction": 1},
    ),
    "conv same": (
        "CONV_2D",
        [X, weights(3, 3, 3, 6, scale=CHANNELS), bias(3)],
        [made([1, 4, 3, 3])],
        "Conv2DOptions",
        CONV,
    ),
    "conv valid relu6": (
        "CONV_2D",
        [X, weights(3, 2, 2, 6, scale=CHANNELS), bias(3)],
        [made([1, 3, 2, 3])],
        "Conv2DOptions",
        {**CONV, "Padding": 1, "FusedActivationFunction": 3},
    ),
    "depthwise": (
        "DEPTHWISE_CONV_2D",
        [X, weights(1, 3, 3, 6, scale=np.linspace(0.01, 0.02, 6), axis=3), bias(6)],
        [made([1, 4, 3, 6])],
        "DepthwiseConv2DOptions",
        {**CONV, "DepthMultiplier": 1},
    ),
    "transposed conv": (
        "TRANSPOSE_CONV",
        [ints(1, 8, 10, 3), weights(3, 3, 3, 6, scale=CHANNELS), X],
        [made([1, 8, 10, 3])],
        "TransposeConvOptions",
        {"StrideH": 2, "StrideW": 2},
    ),
    "add": ("ADD", [X, Given("z", X.shape, scale=0.021, zero=-3)], [Y], "AddOptions", {"FusedActivationFunction": 1}),
    "sub": ("SUB", [X, Given("z", X.shape, scale=0.021, zero=-3)], [Y], "SubOptions", {}),
    "mul": ("MUL", [X, Given("z", X.shape, scale=0.021, zero=-3)], [Y], "MulOptions", {}),
    "concatenation": (
        "CONCATENATION",
        [Y, Given("z", Y.shape, scale=0.051, zero=-9)],
        [made([1, 4, 5, 12], 0.051, -9)],
        "ConcatenationOptions",
        {"Axis": 3},
    ),
    "average pool": ("AVERAGE_POOL_2D", [X], [made([1, 4, 5, 6], 0.037, 7)], "Pool2DOptions", WINDOW),
    "max pool": ("MAX_POOL_2D", [X], [made([1, 3, 3, 6], 0.037, 7)], "Pool2DOptions", {**WINDOW, "Padding": 1}),
    "mean": ("MEAN", [X, ints(1, 2)], [made([1, 6])], "ReducerOptions", {}),
    "relu6": ("RELU6", [X], [made(list(X.shape), 0.0235, -128)], "", {}),
    "logistic": ("LOGISTIC", [X], [made(list(X.shape), 1 / 256, -128)], "", {}),
    "tanh": ("TANH", [X], [made(list(X.shape), 1 / 128, 0)], "", {}),
    "16 bits": (
        "CONV_2D",
        [
            Given("x", [1, 4, 5, 6], "int16", 0.0003),
            weights(3, 2, 2, 6, scale=CHANNELS),
            Given("b", [3], "int64", 1e-6, 0, RNG.integers(-2000, 2000, 3)),
        ],
        [made([1, 4, 3, 3], 0.002, 0, "int16")],
        "Conv2DOptions",
        CONV,
    ),
    "add 16 bits": (
        "ADD",
        [Given("x", [1, 6], "int16", 0.0003), Given("z", [1, 6], "int16", 0.0005)],
        [made([1, 6], 0.0006, 0, "int16")],
        "AddOptions",
        {},
    ),
    "softmax": (
        "SOFTMAX",
        [Given("x", [1, 9], scale=0.1, zero=5)],
        [made([1, 9], 1 / 256, -128)],
        "SoftmaxOptions",
        {"Beta": 1.0},
    ),
    "requantize": ("QUANTIZE", [X], [Y], "", {}),
    "reshape": ("RESHAPE", [X, ints(1, 120)], [made([1, 120], 0.037, 7)], "", {}),
    "pad": ("PAD", [X, ints([0, 0], [1, 0], [0, 2], [0, 0])], [made([1, 5, 7, 6], 0.037, 7)], "", {}),
    "strided slice": (
        "STRIDED_SLICE",
        [X, ints(0, 1, 0, 0), ints(1, 4, 5, 6), ints(1, 2, 1, 3)],
        [made([1, 2, 5, 2], 0.037, 7)],
        "StridedSliceOptions",
        {},
    ),
    "resize nearest": (
        "RESIZE_NEAREST_NEIGHBOR",
        [X, ints(8, 7)],
        [made([1, 8, 7, 6], 0.037, 7)],
        "ResizeNearestNeighborOptions",
        {},
    ),
    "resize bilinear": (
        "RESIZE_BILINEAR",
        [X, ints(7, 8)],
        [made([1, 7, 8, 6], 0.037, 7)],
        "ResizeBilinearOptions",
        {"HalfPixelCenters": True},
    ),
    "resize bilinear aligned": (
        "RESIZE_BILINEAR",
        [X, ints(3, 9)],
        [made([1, 3, 9, 6], 0.037, 7)],
        "ResizeBilinearOptions",
        {"AlignCorners": True},
    ),
    "leaky": ("LEAKY_RELU", [X], [Y], "LeakyReluOptions", {"Alpha": 0.3}),
    "hard swish": ("HARD_SWISH", [Given("x", [1, 64], scale=0.05, zero=-20)], [made([1, 64], 0.03, -100)], "", {}),
    "hard swish wide": ("HARD_SWISH", [Given("x", [1, 64], scale=0.2, zero=3)], [made([1, 64], 0.1, -120)], "", {}),
    "pack": (
        "PACK",
        [Y, Given("z", Y.shape, scale=0.051, zero=-9)],
        [made([1, 4, 2, 5, 6], 0.051, -9)],
        "PackOptions",
        {"Axis": 2, "ValuesCount": 2},
    ),
    "transpose": ("TRANSPOSE", [X, ints(0, 2, 1, 3)], [made([1, 5, 4, 6], 0.037, 7)], "", {}),
}


def by_reference(source: bytes, x: list[np.ndarray]) -> np.ndarray:
    """Codes of the reference kernels, a vector a call."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install ai-edge-litert")
    runner = litert.Interpreter(
        model_content=source, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF, num_threads=1
    )
    runner.allocate_tensors()
    results = []
    for i in range(len(x[0])):
        for detail, a in zip(runner.get_input_details(), x, strict=True):
            runner.set_tensor(detail["index"], a[i])
        runner.invoke()
        results.append(runner.get_tensor(runner.get_output_details()[0]["index"]).copy())
    return np.stack(results)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    op, inputs, outputs, options, given = CASES[name]
    source = one(op, inputs, outputs, options, **given)
    x = [RNG.integers(*SPAN[t.kind], (20, *t.shape)).astype(t.kind) for t in inputs if t.data is None]
    wanted = by_reference(source, x)
    got = qc.compile(source).simulate(*(a.astype(np.float32) for a in x))
    assert np.array_equal(got.reshape(wanted.shape), wanted)


def shaped(kind: str) -> bytes:
    """An operator whose shape the file computes from that of its input, as converters write it for an open batch."""

    def number(name: str, *values: int) -> Given:
        return Given(name, np.shape(values), "int32", None, 0, np.array(values))

    shape, first, whole = (Given(n, s, "int32", None) for n, s in (("s", [4]), ("f", []), ("t", [2])))
    axis = [number("a", 0), number("b", 1), number("c", 1)]
    steps = [
        Step("SHAPE", [X], [shape], "ShapeOptions", {"OutType": 2}),
        Step("STRIDED_SLICE", [shape, *axis], [first], "StridedSliceOptions", {"ShrinkAxisMask": 1}),
    ]
    if kind == "RESHAPE":
        rest, y = Given("r", [], "int32", None, 0, np.array(120)), made([1, 120], 0.037, 7)
        steps += [Step("PACK", [first, rest], [whole], "PackOptions", {"ValuesCount": 2}), Step(kind, [X, whole], [y])]
    else:
        w = Given("w", [3, 2, 3, 6], "int8", 0.011, 0, RNG.integers(-127, 128, (3, 2, 3, 6)))
        rest = [Given(f"r{n}", [], "int32", None, 0, np.array(n)) for n in (8, 11, 3)]
        whole, y = Given("t", [4], "int32", None), made([1, 8, 11, 3])
        steps += [
            Step("PACK", [first, *rest], [whole], "PackOptions", {"ValuesCount": 4}),
            Step(kind, [whole, w, X], [y], "TransposeConvOptions", {"StrideH": 2, "StrideW": 2, "Padding": 1}),
        ]
    return several(steps, [X], [y])


@pytest.mark.parametrize("kind", ["RESHAPE", "TRANSPOSE_CONV"])
def test_shapes_that_are_computed(kind: str) -> None:
    source, x = shaped(kind), RNG.integers(-128, 128, (9, *X.shape)).astype(np.int8)
    got, wanted = qc.compile(source).simulate(x.astype(np.float32)), by_reference(source, [x])
    assert np.array_equal(got.reshape(wanted.shape), wanted)


@pytest.mark.parametrize("name", ["", "x"])
def test_tensors_without_names_of_their_own(name: str) -> None:
    """As tools leave them that strip files."""
    x, r, y = (Given(name, [1, 6], scale=s, zero=z) for s, z in ((0.04, 3), (0.02, -100), (0.05, 1)))
    source = several([Step("RELU", [x], [r]), Step("SUB", [x, r], [y], "SubOptions")], [x], [y])
    codes = RNG.integers(-128, 128, (20, 1, 6)).astype(np.int8)
    got, wanted = qc.compile(source).simulate(codes.astype(np.float32)), by_reference(source, [codes])
    assert np.array_equal(got.reshape(wanted.shape), wanted)


def test_parts_of_other_sizes() -> None:
    """SPLIT_V and UNPACK have several outputs, of which the reference interpreter gives all."""
    outs = [Given(f"y{n}", [1, 4, n, 6], scale=0.037, zero=7) for n in (2, 3)]
    split = one("SPLIT_V", [X, ints(2, -1), ints(2)], outs, "SplitVOptions", NumSplits=2)
    x = RNG.integers(-128, 128, (5, *X.shape)).astype(np.float32)
    a, b = qc.compile(split).simulate(x)
    assert np.array_equal(np.concatenate([a, b], axis=-2).reshape(x.shape), x)
    rows = [Given(f"y{i}", [1, 5, 6], scale=0.037, zero=7) for i in range(4)]
    parts = one("UNPACK", [X], rows, "UnpackOptions", Axis=1, Num=4)
    found = qc.compile(parts).simulate(x)
    assert np.array_equal(np.stack(found, axis=-3).reshape(x.shape), x)
    with pytest.raises(qc.QCompileError, match="integers throughout"):
        qc.assign(qc.load(parts), x)


@needs_files
@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant"])
def test_network(name: str, arch: str) -> None:
    with np.load(FILES / f"{name}.npz") as data:
        x, y = data["x"].astype(np.float32), data["y"]
    assert np.array_equal(qc.compile(str(FILES / f"{name}.tflite"), arch=arch).simulate(x).reshape(y.shape), y)


@needs_files
def test_a_part_of_a_network_is_a_project_with_its_file(tmp_path: Path) -> None:
    """Up to the logits: the project has the whole file, and the names where it was cut."""
    path = str(FILES / "kws_ref_model.tflite")
    with pytest.raises(qc.QCompileError, match="did you mean functional_1/dense/BiasAdd"):
        qc.load(path, outputs="functional_1/dense/BiasAd")
    design = qc.compile(path, outputs="functional_1/dense/BiasAdd", arch="dataflow")
    with np.load(FILES / "kws_ref_model.npz") as data:
        x, y = data["x"].astype(np.float32), data["y"]
    assert np.array_equal(design.simulate(x).reshape(y.shape).argmax(-1), y.argmax(-1))
    folder = design.write(tmp_path / "p")
    assert (folder / "model.tflite").read_bytes() == design.model.source and not (folder / "model.onnx").exists()
    assert open_project(folder).files().digest() == design.files().digest()


def test_scales_are_real_numbers_where_that_is_wanted(tmp_path: Path) -> None:
    """The exact product, rounded once, against integers of the same."""
    kind, inputs, outputs, options, given = CASES["fully connected per channel"]
    design = qc.compile(one(kind, inputs, outputs, options, **given), real="y", arch="dataflow")
    x, w, b = inputs
    codes = RNG.integers(-128, 128, (200, 20)).astype(np.int64)
    sums = (codes - 5) @ np.asarray(w.data, np.int64).T + np.asarray(b.data, np.int64)
    factor = [
        Fraction(float(np.float32(0.03))) * Fraction(float(s)) / Fraction(float(np.float32(0.07))) for s in CHANNELS
    ]
    size = [[abs(s) * f for s, f in zip(row, factor, strict=True)] for row in sums.tolist()]
    exact = np.sign(sums) * np.array([[int(v + Fraction(1, 2)) for v in row] for row in size])
    wanted = np.clip(exact + 3, 3, 127)  # a fused RELU
    np.testing.assert_array_equal(design.simulate(codes, codes=True).astype(np.int8).reshape(200, 3), wanted)
    design.write(tmp_path / "b")
    assert open_project(tmp_path / "b").files().digest() == design.files().digest()


@pytest.mark.parametrize("name", ["add", "mul", "mean", "relu6", "conv same", "16 bits"])
def test_real_scales_are_at_most_a_code_away(name: str) -> None:
    kind, inputs, outputs, options, given = CASES[name]
    source = one(kind, inputs, outputs, options, **given)
    x = [RNG.integers(*SPAN[t.kind], (60, *t.shape[1:])) for t in inputs if t.data is None]
    a, b = (qc.compile(source, real=real).simulate(*x) for real in ("", "all"))
    assert 0 <= np.abs(a - b).max() <= 1


def test_real_scales_of_what_there_is_not() -> None:
    with pytest.raises(qc.QCompileError, match=r"--real: 'z' is no layer of the file"):
        qc.compile(one("RELU6", [X], [Y]), real="z")
    with pytest.raises(qc.QCompileError, match="only TensorFlow Lite files have multipliers"):
        qc.compile(str(Path(__file__).parents[1] / "examples" / "digits_mlp.onnx"), real="all")


def test_damaged_files_are_refused() -> None:
    source = one("RELU6", [X], [made(list(X.shape), 0.0235, -128)])
    for broken in (source[:100], source[:8] + bytes(100), source.replace(b"\x04\x00", b"\xff\x7f")):
        with pytest.raises(qc.QCompileError):
            qc.load(broken)
    with pytest.raises(qc.QCompileError, match="it holds no graph"):
        qc.load(b"\x1c\0\0\0TFL3" + bytes(30))


def test_hostile_files_are_refused_in_one_line() -> None:
    rng = random.Random(0)
    sources = [one(*case[:4], **case[4]) for case in CASES.values()]
    refused = 0
    for _ in range(600):
        try:
            qc.load(mutate.flatbuffer(rng, rng.choice(sources)))
        except qc.QCompileError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("suffix", [".pt", ".pb", ".pkl"])
def test_files_of_others_get_the_line_that_converts(suffix: str, tmp_path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"something")
    with pytest.raises(qc.QCompileError, match="onnx"):
        qc.load(str(path))


def test_operators_that_are_refused_are_named() -> None:
    with pytest.raises(qc.UnsupportedError, match="FLOOR") as caught:
        qc.load(one("FLOOR", [X], [Y]))
    assert "makes 'y'" in str(caught.value)
