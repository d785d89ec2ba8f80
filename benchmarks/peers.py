"""The other tools on the same models and inputs: what qcompile's benchmarks compare with.

Every function measures in this process and on one thread, so its figures stand beside ours from the same run.
As a script it prints the figures for the two models that the project's claims name.
"""

import contextlib
import json
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # these two before numpy loads its BLAS
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Path = str | os.PathLike[str]

TFC = "qonnx_model_zoo/TFC_2W2A.onnx"
JET = "qonnx_model_zoo/qkeras_jettagging.onnx"
CONVOLUTIONS = (
    "nn2fpga/resnet8.onnx",
    "nn2fpga/resnet20_a8w8b16.onnx",
    "brevitas_radioml_21/VGG10_w8a8_20.onnx",
    "finn_rl/finn_rl_075_025_b.onnx",
    "brevitas/cnv_1w1a__qonnx_ts.onnx",
    "brevitas/int8_residual_floatbias__qonnx.onnx",
)
DEPTHWISE = ("brevitas/mobilenet4b_dw__qonnx.onnx",)
CONVERTED = ("finn_rl/finn_rl_075_025_b.onnx",)  # of these, what hls4ml 1.3 converts


class Hls4ml(NamedTuple):
    """Seconds that hls4ml took, and what it predicted."""

    predict: float
    write: float  # convert and write the project; qonnx's cleanup before that is not counted
    compile: float  # g++, to a shared library
    outputs: Floats  # (rows, outputs)


def corpus() -> pathlib.Path:
    """The folder of models that others made: `QCOMPILE_CORPUS`, or `../shared/models` beside the checkout. Where it is
    absent the benchmark ends there, and says so.
    """
    beside = pathlib.Path(__file__).resolve().parents[1].parent / "shared" / "models"
    folder = pathlib.Path(os.environ.get("QCOMPILE_CORPUS", beside))
    if not (folder / "index.json").is_file():
        print(f"skipped: needs the models of others, which are not in {folder}: QCOMPILE_CORPUS names their folder")
        sys.exit(0)
    return folder


def vectors(model_path: Path, rows: int) -> Floats:
    """The stored inputs of a corpus model without its batch of one, repeated to (rows, ...)."""
    with np.load(pathlib.Path(model_path).with_suffix(".npz")) as stored:
        x = stored["x"][:, 0].astype(np.float32)
    return np.resize(x, (rows, *x.shape[1:]))


def input_precision(model_path: Path) -> str | None:
    """hls4ml's name of the input format that the corpus gives, where the graph does not quantize its input."""
    path = pathlib.Path(model_path)
    index = path.parents[1] / "index.json"
    records = json.loads(index.read_text()) if index.exists() else []
    for record in records:
        if path.parents[1] / record["file"] == path and record.get("input_format"):
            width, fraction = (int(t) for t in record["input_format"][0][1:].split("f"))
            unsigned = "u" if record["input_format"][0][0] == "u" else ""
            return f"{unsigned}fixed<{width},{width - fraction}>"
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what this process and its children print to nowhere."""
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)


def clean(model_path: Path, batch: int = 1) -> Any:
    """The model as qonnx's tools want it: folded, with shapes and readable names, for `batch` vectors at a time."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    model = onnx.load(model_path)
    for value in [*model.graph.input, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if dims and value.name not in {t.name for t in model.graph.initializer}:
            dims[0].dim_value = batch
    del model.graph.value_info[:]  # they name the old batch size
    shapes = {n.input[1] for n in model.graph.node if n.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if batch > 1 and tensor.name in shapes:
            shape = onnx.numpy_helper.to_array(tensor).copy()
            if shape.size and shape[0] == 1:
                shape[0] = batch
                tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))
    for node in model.graph.node:  # qonnx knows its quantizers under one domain only
        if node.op_type in ("Quant", "BipolarQuant", "Trunc", "MultiThreshold"):
            node.domain = "qonnx.custom_op.general"
    return cleanup_model(ModelWrapper(model))


def hls4ml_predict(model_path: Path, x: Floats) -> Hls4ml:
    """hls4ml with its Vitis backend; `x` is (rows, ...) and predicted in one call. Images: channels last and io_stream,
    else io_parallel.
    """
    import hls4ml
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    images = x.ndim > 3
    fed = np.ascontiguousarray(np.moveaxis(x, 1, -1) if images else x.reshape(len(x), -1))
    with tempfile.TemporaryDirectory() as folder, quiet():
        model = clean(model_path)
        if images:
            model = model.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
        model = cleanup_model(model.transform(GemmToMatMul()))
        start = time.perf_counter()
        config = hls4ml.utils.config.config_from_onnx_model(model, granularity="name", backend="Vitis")
        precision = input_precision(model_path)
        if precision is not None:
            config["LayerName"][model.graph.input[0].name]["Precision"]["result"] = precision
        options = {
            "output_dir": folder,
            "backend": "Vitis",
            "io_type": "io_stream" if images else "io_parallel",
            "hls_config": config,
        }
        project = hls4ml.converters.convert_from_onnx_model(model, **options)
        project.write()
        written = time.perf_counter()
        project._compile()  # compile() would write the project once more
        compiled = time.perf_counter()
        y = project.predict(fed)
        done = time.perf_counter()
    return Hls4ml(done - compiled, written - start, compiled - written, np.asarray(y, dtype=np.float32))


def qonnx_execute(model_path: Path, x: Floats, per_sample: bool) -> float:
    """Seconds of qonnx's execute_onnx on `x` (rows, ...): one call a row, or one call with the batch size changed."""
    from qonnx.core.onnx_exec import execute_onnx

    model = clean(model_path, 1 if per_sample else len(x))
    name = model.graph.input[0].name
    parts = [row[None] for row in x] if per_sample else [x]
    execute_onnx(model, {name: parts[0]})  # warm up
    start = time.perf_counter()
    for part in parts:
        execute_onnx(model, {name: part})
    return time.perf_counter() - start


def onnxruntime_float(model_path: Path, x: Floats) -> Callable[[], Any]:
    """One run of onnxruntime (one thread) on the same network with every quantizer left out: a bound, not a peer."""
    import onnxruntime

    model = clean(model_path, len(x)).model
    for node in model.graph.node:
        if node.op_type in ("Quant", "BipolarQuant", "Trunc"):
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)


def best(*runs: Callable[[], Any], repeats: int = 8) -> list[float]:
    """Shortest time of each, in seconds, after one that warms up; one after the other, so that what else the machine
    does meets all alike.
    """
    times = [[math.inf] for _ in runs]
    for repeat in range(repeats + 1):
        for run, own in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            own += [time.perf_counter() - start] if repeat else []
    return [min(own) for own in times]


def report(name: str, rows: int = 1000, single_rows: int = 50) -> None:
    """Print what the peers do with one corpus model."""
    path = corpus() / name
    x = vectors(path, rows)
    result = hls4ml_predict(path, x)
    with quiet():
        single = qonnx_execute(path, x[:single_rows], per_sample=True)
        whole = qonnx_execute(path, x, per_sample=False)
        (plain,) = best(onnxruntime_float(path, x), repeats=5)
    print(name)
    print(f"  hls4ml predict, {rows} rows        {rows / result.predict:12.0f} samples/s")
    print(f"  hls4ml convert and write         {result.write:12.2f} s")
    print(f"  hls4ml compile                   {result.compile:12.2f} s")
    print(f"  qonnx, one row a call            {single_rows / single:12.0f} samples/s")
    print(f"  qonnx, {rows} rows a call          {rows / whole:12.0f} samples/s")
    print(f"  onnxruntime without quantizers   {rows / plain:12.0f} samples/s")


if __name__ == "__main__":
    for model_name in (TFC, JET):
        report(model_name)
