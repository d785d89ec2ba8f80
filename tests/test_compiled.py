"""The compiled kernels of the simulator equal those of numpy, and nothing needs them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import CORPUS, ROOT, needs_models
from onnx import helper, numpy_helper

import qcompile as qc
from qcompile.backends.pysim.fuse import fused
from qcompile.native import Library
from qcompile.sim import compiled, kernels

RNG = np.random.default_rng
FLOATS = {"f4": np.float32, "f8": np.float64}


@pytest.fixture(scope="module")
def library() -> Library:
    if not compiled.build():
        pytest.skip("needs g++: apt-get install g++")
    found = compiled.library()
    assert found is not None
    return found


def alike(found: np.ndarray, wanted: np.ndarray) -> bool:
    """The same shape, type and numbers; of zeros the sign is free, since numpy's differs between versions."""
    return found.dtype == wanted.dtype and np.array_equal(found, wanted)


def check(library: Library, a: Any, *steps: compiled.StepCode, border: Any = None) -> None:
    call = compiled.bound(library, "chain", (border, list(steps)))
    assert call is not None
    assert alike(call(a), compiled.unbound((border, list(steps)))(a))


def whole(shape: Sequence[int], limit: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Integers in -limit .. limit, its ends and both zeros among them."""
    rng = RNG(seed)
    out = rng.integers(-limit, limit + 1, tuple(shape)).astype(FLOATS[dtype])
    return np.where(rng.random(out.shape) < 0.2, rng.choice([-limit, limit, 0.0, -0.0], out.shape), out).astype(
        out.dtype
    )


SHAPES = [  # images (N, batch of the model), channels, sizes, groups, outputs of a group, kernel, strides, dilations
    ((3, 1), 3, (9, 7), 1, 5, (3, 3), (1, 1), (1, 1)),
    ((2, 2), 4, (9, 8), 1, 4, (3, 2), (2, 1), (1, 2)),
    ((1, 1), 6, (10, 11), 3, 7, (3, 3), (2, 3), (2, 1)),
    ((40, 1), 8, (4, 4), 1, 9, (3, 3), (1, 1), (1, 1)),
    ((70, 1), 5, (1, 1), 1, 12, (1, 1), (1, 1), (1, 1)),
    ((2, 1), 4, (50, 60), 2, 4, (5, 1), (3, 3), (1, 1)),
    ((5, 1), 3, (33,), 1, 8, (5,), (1,), (1,)),
    ((5, 1), 4, (40,), 2, 3, (3,), (2,), (3,)),
    ((2, 1), 2, (20, 20), 1, 4, (1, 1), (3, 2), (1, 1)),
    ((3, 1), 7, (12, 9), 7, 1, (3, 3), (1, 1), (1, 1)),
    ((3, 1), 5, (13, 9), 5, 2, (3, 3), (2, 2), (1, 1)),
    ((2, 1), 4, (31,), 4, 1, (9,), (1,), (2,)),
    ((30, 1), 8, (7, 7), 1, 6, (3, 3), (1, 1), (1, 1)),  # with a border, vectors begin with every row of windows
    ((3, 2), 3, (23, 29), 1, 5, (3, 3), (1, 1), (1, 1)),
    ((5, 1), 4, (31, 30), 2, 4, (3, 3), (2, 2), (1, 1)),
    ((2, 1), 2, (15, 31), 1, 66, (3, 3), (1, 1), (1, 1)),
    ((4, 1), 6, (15, 14), 6, 1, (3, 3), (1, 1), (1, 1)),
    ((0, 1), 3, (9, 7), 1, 5, (3, 3), (1, 1), (1, 1)),
]


def convolution(case: Any, parts: int, dtype: str) -> tuple[np.ndarray, compiled.StepCode]:
    """Numbers and a convolution whose sums reach the last integer that the types hold."""
    (n, batch), channels, sizes, groups, outs, kernel, strides, dilations = case
    depth = channels // groups
    held = "f4" if dtype == "f4" or parts > 1 else "f8"
    ends = np.linspace(0, depth, min(parts, depth) + 1).astype(int)
    terms = int(np.diff(ends).max()) * int(np.prod(kernel))
    size = int((2 ** (24 if held == "f4" else 50) / terms) ** 0.5)
    a = whole((n, batch, channels, *sizes), size, "f4" if size < 2**24 else "f8")
    w = whole((groups, outs, depth, int(np.prod(kernel))), size, held, seed=1)
    w[0, 0] = size  # one sum at its end
    pieces = [(int(p), w[:, :, p:q].reshape(groups, outs, -1)) for p, q in zip(ends[:-1], ends[1:], strict=True)]
    return a, ("conv", (pieces, kernel, strides, dilations, dtype))


@pytest.mark.parametrize("parts, dtype", [(1, "f4"), (1, "f8"), (3, "f8")])
@pytest.mark.parametrize("case", SHAPES)
def test_convolutions(library: Library, case: Any, parts: int, dtype: str) -> None:
    a, step = convolution(case, parts, dtype)
    check(library, a, step)
    check(library, np.asfortranarray(a), step)
    sides = tuple(range(1, 1 + len(case[2])))
    check(library, a, step, border=(sides, tuple(reversed(sides)), -3.0))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", [c for c in SHAPES if c[3] == c[1]])
def test_depthwise(library: Library, case: Any, dtype: str) -> None:
    (n, batch), channels, sizes, _, outs, kernel, strides, dilations = case
    a = whole((n, batch, channels, *sizes), 1000, dtype)
    shape = (channels, outs, *(1 for _ in kernel))
    w = [whole(shape, 1000, dtype, seed=k) for k in range(int(np.prod(kernel)))]
    step = ("depthwise", (w, kernel, strides, dilations, dtype))
    check(library, a, step)
    check(library, a, step, border=((1,) * len(sizes), (2,) * len(sizes), 5.0))


def parameters(rows: str, shape: tuple[int, ...], values: Any, seed: int) -> Any:
    """One number, one for each channel, or one for each element."""
    if rows == "one":
        return float(values[0])
    return RNG(seed).choice(values, {"channel": (shape[1], 1, 1), "element": shape[1:]}[rows])


def functions(rows: str, shape: tuple[int, ...], dtype: str, own: str) -> list[compiled.StepCode]:
    """Of every kind and rounding, with and without each parameter."""
    scale = parameters(rows, shape, np.array([0.25, -0.5, 1.5]), 1).astype(FLOATS[dtype]) if rows != "one" else 0.25
    offset = parameters(rows, shape, np.array([0.5, -0.25, 3.0]), 2)
    lo, hi = (
        parameters(rows, shape, np.array([-7.0, 0.0, -100.0]), 3),
        parameters(rows, shape, np.array([7.0, 90.0]), 4),
    )
    if rows != "one":
        offset, lo, hi = (v.astype(FLOATS[dtype]) for v in (offset, lo, hi))
    full = shape[1:] if rows == "element" else (shape[1], 1, 1) if rows == "channel" else ()
    index = np.arange(int(np.prod(full))).reshape(full) % 3
    cuts = np.sort(RNG(5).integers(-300, 300, (3, 37)), axis=1)
    few = [cuts[index, k].astype(FLOATS[dtype]) if full else float(cuts[0, k]) for k in range(0, 37, 5)]
    values = np.cumsum(RNG(6).integers(-4, 9, (3, 38)), axis=1)
    table = RNG(7).integers(-9, 9, (3, 2001)).astype(FLOATS[own])
    count = 1 if rows == "one" else 3
    return [
        *(("scale_round", (scale, offset, r, lo, hi, dtype, own)) for r in ("even", "floor", None)),
        ("scale_round", (None, None, "even", 0.0, None, dtype, own)),
        ("scale_round", (scale, None, "even", None, hi, dtype, own)),
        ("count_thresholds", (few, 3.0, None, own)),
        ("count_thresholds", (few, offset, scale, own)),
        ("search_thresholds", (index, cuts[:count], values[:count], own)),
        ("lookup", (None if rows == "one" else index, -1000, table[:count])),
    ]


@pytest.mark.parametrize(
    "dtype, between, own", [("f4", "f4", "f4"), ("f4", "f8", "f4"), ("f8", "f8", "f4"), ("f8", "f8", "f8")]
)
@pytest.mark.parametrize("rows", ["one", "channel", "element"])
def test_functions(library: Library, rows: str, dtype: str, between: str, own: str) -> None:
    """Ties, both sides of every cut, and the ends."""
    shape = (4, 5, 6, 7) if rows != "channel" else (3, 5, 20, 31)
    a = whole(shape, 310, dtype)
    steps = functions(rows, shape, between, own)
    for step in steps:
        check(library, a, step)
        check(library, a[:0], step)
        check(library, np.ascontiguousarray(a.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0), step)
    check(library, a, *steps[:3])
    if own == between:
        small = [whole(shape, 50, dtype, seed=s) for s in range(3)]
        coefficients = [parameters(rows, shape, np.array([1.0, -2.0, 3.0]), s) for s in range(3)]
        check(library, small, ("combine", (coefficients, between)))
        check(library, small, ("combine", (coefficients, between)), *steps[:2])


@pytest.mark.parametrize("case", [SHAPES[0], SHAPES[3], SHAPES[7]])
@pytest.mark.parametrize("dtype", FLOATS)
def test_convolutions_with_functions(library: Library, case: Any, dtype: str) -> None:
    """Behind a convolution, by channel in one, by element one after the other."""
    a, step = convolution(case, 1, dtype)
    a, outs, rank = np.sign(a), case[3] * case[4], len(case[2])
    step = (step[0], ([(0, np.sign(step[1][0][0][1]))], *step[1][1:]))
    by_channel = RNG(1).choice([0.25, 1.5], (outs, *(1,) * rank)).astype(FLOATS[dtype])
    by_element = RNG(2).choice([0.5, 2.0], kernels.conv(a, *step[1]).shape[2:]).astype(FLOATS[dtype])
    for scale in (0.5, by_channel, by_element):
        then = ("scale_round", (scale, 0.5, "even", -8.0, 7.0, dtype, "f4"))
        check(library, a, step, then)
        check(library, a, step, then, then)
        if scale is not by_element:  # which a border would not fit
            check(library, a, step, then, then, border=((1,) * rank, (1,) * rank, 0.0))
        check(library, a, step, ("count_thresholds", ([-1.0, 0.0, 2.0], 0.0, None, "f4")), then)


@pytest.mark.parametrize("dtype", FLOATS)
def test_pools(library: Library, dtype: str) -> None:
    for (n, batch), channels, sizes, _, _, kernel, strides, dilations in SHAPES:
        a = whole((n, batch, channels, *sizes), 1000, dtype)
        for name, rest in (("max_pool", ()), ("sum_pool", (dtype,))):
            for window in ((kernel, strides, dilations), (sizes, sizes, (1,) * len(sizes))):
                call = compiled.bound(library, name, (*window, *rest))
                assert call is not None
                assert np.array_equal(call(a), getattr(kernels, name)(a, *window, *rest))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("lo, hi", [(-8, 7), (0, 255), (-(2**20), 2**20)])
def test_inputs(library: Library, dtype: str, lo: int, hi: int) -> None:
    """Ties and their neighbours, both zeros, far beyond the limits; by channel too, and nothing but numbers."""
    points = RNG(0).integers(2 * lo - 9, 2 * hi + 9, (6, 3, 5, 7)) / 2
    x = np.stack([points, np.nextafter(points, 1e9), np.nextafter(points, -1e9), points * 1e-9, points * 1e30])
    x = np.concatenate([*x, np.full((1, 3, 5, 7), -0.0)]).astype(FLOATS[dtype])
    channels, third = np.array([0.25, 3.0, -0.3]).reshape(3, 1, 1), Fraction(1, 3)
    exact_channels = [str(Fraction(v)) for v in channels.ravel().tolist()], (3, 1, 1)
    for mul, add, exact in (
        (1.0, 0.0, None),
        (0.25, 0.0, None),
        (1 / 3, 0.0, [([str(third)], ()), (["0"], ())]),
        (1 / 3, 0.5, [([str(third)], ()), (["1/2"], ())]),
        (channels, -2.0, [exact_channels, (["-2"], ())]),
    ):
        args = (mul, add, exact, "ROUND", lo, hi, "fixed", "f4")
        call = compiled.bound(library, "quantize_input", args)
        assert call is not None
        for part in (x, x[:6], x[6:12], x[-1:], x[:0]):
            assert not part.size or alike(call(part), kernels.quantize_input(part, *args))
        for bad in (np.nan, np.inf):
            with pytest.raises(ValueError):
                call(np.where(x == x.max(), bad, x).astype(x.dtype))


EXAMPLES = [str(ROOT / "examples" / f"digits_{kind}.onnx") for kind in ("mlp", "mixed")]
MODELS = [
    "nn2fpga/two_layers.onnx",
    "brevitas/mobilenet4b_dw__qonnx.onnx",
    "brevitas/sigmoid_tanh_hardtanh_1d__qonnx.onnx",
]


def simulated(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    design = qc.compile(path)
    units = [whole((7, *v.type.shape), 3, "f4") for v in design.graph.inputs]
    found = design.simulator.run(units)
    with monkeypatch.context() as without:
        without.setattr(compiled, "library", lambda: None)
        wanted = design.simulator.run(units)
    assert found.keys() == wanted.keys()
    assert all(alike(found[name], wanted[name]) for name in found)
    with ThreadPoolExecutor(4) as pool:
        assert all(alike(r[n], wanted[n]) for r in pool.map(lambda _: design.simulator.run(units), range(4)) for n in r)


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples(library: Library, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(path, monkeypatch)


@needs_models
@pytest.mark.parametrize("name", MODELS)
def test_models(library: Library, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(str(CORPUS / name), monkeypatch)


@pytest.mark.parametrize("rows, lo, hi, places", [(8, 0, 7, 8), (8, -3, 7, 11), (8, -20, 20, 32), (8, 9, 20, 7)])
def test_a_looked_up_number_is_one_function(
    library: Library, monkeypatch: pytest.MonkeyPatch, rows: int, lo: int, hi: int, places: int
) -> None:
    """Of a table only what its address can reach is kept; the address goes straight to its entry."""
    table = RNG(0).integers(-9, 10, rows).astype(np.float32) / 4
    nodes = [
        helper.make_node("Round", ["x"], ["whole"]),
        helper.make_node("Clip", ["whole", "lo", "hi"], ["held"]),
        helper.make_node("Cast", ["held"], ["index"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["y"], axis=0),
    ]
    numbers = {"table": table, "lo": np.float32(lo), "hi": np.float32(hi)}
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 5]) for n in "xy"]
    inner = [numpy_helper.from_array(np.asarray(v), n) for n, v in numbers.items()]
    graph = helper.make_graph(nodes, "tables", ports[:1], ports[1:], inner)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    design = qc.compile(model, input_formats=("s8f1",))
    calls = [c for c in design.simulator.plan.calls if c.kernel == "lookup"]
    assert np.size(calls[-1].args[-1]) == places
    assert not {"take", "matmul"} & {c.kernel for c in fused(design.simulator.plan).calls}
    x = np.arange(-60, 65, dtype=np.float32).reshape(-1, 5) / 2
    place = np.clip(np.round(x), lo, hi).astype(int)
    inside = (-rows <= place) & (place < rows)
    wanted = np.where(inside, table[place % rows], 0)
    assert np.array_equal(design.simulate(x), wanted)
    with monkeypatch.context() as without:
        without.setattr(compiled, "library", lambda: None)
        assert np.array_equal(design.simulate(x), wanted)


PROGRAM = """
import sys, numpy
import qcompile as qc
from qcompile.sim import compiled
print(compiled.build(), compiled.library() is not None)
numpy.save(sys.argv[2], qc.compile(sys.argv[1]).simulate(numpy.load(sys.argv[3])))
"""


def told(tmp_path: Path, name: str, **env: str) -> tuple[str, bytes]:
    """What a process of its own says of the library, and the bytes of its result."""
    x, y = ROOT / "examples" / "digits_x.npy", tmp_path / f"{name}.npy"
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "examples" / "digits_mlp.onnx"), str(y), str(x)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return done.stdout.strip(), y.read_bytes()


def test_without_compiler_or_cache(library: Library, tmp_path: Path) -> None:
    """Numpy does without being asked, and gives the same file."""
    cache = tmp_path / "cache"
    with_it = told(tmp_path, "with", XDG_CACHE_HOME=str(cache))
    (place,) = (cache / "qcompile").iterdir()
    alone = told(tmp_path, "alone", PATH="", XDG_CACHE_HOME=str(cache))
    nowhere = told(tmp_path, "nowhere", XDG_CACHE_HOME=os.devnull)
    assert with_it[0] == "True True"
    assert alone[0] == nowhere[0] == "False False"
    assert with_it[1] == alone[1] == nowhere[1]
    place.chmod(0o777)  # anybody could have written it
    assert compiled.NATIVE.loaded(place) is None
    place.chmod(0o700)
    assert compiled.NATIVE.loaded(place) is not None


def test_broken_library(library: Library, tmp_path: Path) -> None:
    """A file that is no library is made again."""
    place = tmp_path / "kernels.so"
    place.write_bytes(b"no library")
    place.chmod(0o700)
    tmp_path.chmod(0o700)
    assert compiled.NATIVE.loaded(place) is None
    assert compiled.NATIVE.compiled(place) is not None


def test_compiled_once_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(compiled, "_state", compiled._State())
    monkeypatch.setattr(compiled, "build", lambda: calls.append(None))
    compiled.spent(compiled.PAYS / 2)
    assert not calls
    for _ in range(3):
        compiled.spent(compiled.PAYS)
    assert len(calls) == 1
