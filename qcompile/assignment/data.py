"""Calibration data: what a search looks at. Arrays, files, folders of images, or anything that gives batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qcompile import arrays
from qcompile.errors import QCompileError
from qcompile.host import HostPart
from qcompile.ir import Graph
from qcompile.records import dataclass

LABELS = ("labels", "label", "y", "targets")
HELD, ENOUGH = 4, 60  # one of so many vectors, of so many or more, judges codes that were fitted to the others
_MOST_VALUES = 2**28  # 1 GiB as float32
_MOST_PIXELS = 2**26  # of one image
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
_HINT = "an .npy or .npz file, a folder of images, an array (of several inputs a tuple), or batches; vector index first"


@dataclass(frozen=True)
class Data:
    """x: one float32 array (N, *shape) per input; labels: class indices (N,), or targets (N, ...), or None."""

    x: tuple[np.ndarray, ...]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x[0])

    @cached_property
    def digest(self) -> str:
        hasher = hashlib.sha256()
        for a in (*self.x, *(() if self.labels is None else (self.labels,))):
            hasher.update(repr((a.shape, a.dtype.str)).encode() + np.ascontiguousarray(a).tobytes())
        return hasher.hexdigest()

    def halves(self, seed: int) -> tuple[Data, Data]:
        """Two halves, drawn: one to choose by, one to accept by."""
        order = np.random.default_rng(seed).permutation(len(self))
        middle = len(self) - len(self) // 2
        return self.take(np.sort(order[:middle])), self.take(np.sort(order[middle:]))

    def take(self, rows: Any) -> Data:
        return Data(tuple(a[rows] for a in self.x), None if self.labels is None else self.labels[rows])


def kept_back(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of vectors that codes are fitted to, or trained on, and of those that judge them: all of few."""
    if count < ENOUGH:
        return np.arange(count), np.arange(count)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[count // HELD :]), np.sort(order[: count // HELD])


def data(source: Any, graph: Graph, labels: Any = None, front: HostPart | None = None) -> Data:
    """The data for a graph's inputs, checked; front: what makes them of the user's arrays. QCompileError says what is
    wrong with it.
    """
    if source is None:
        raise QCompileError(
            "calibration data are needed",
            graph.name,
            "--data x.npy (inputs that the network will see); or --source bn_distill, which needs none",
        )
    where = str(source) if isinstance(source, (str, Path)) else "the calibration data"
    found, own = _arrays(source, graph, where, tuple(v.name for v in graph.inputs) if front is None else front.inputs)
    found = found if front is None else front.run([np.asarray(a) for a in found])
    labels = own if labels is None else _labels(labels)
    if len(found) != len(graph.inputs):
        raise QCompileError(
            f"{len(found)} array(s) for {len(graph.inputs)} input(s): {', '.join(v.name for v in graph.inputs)}",
            where,
            _HINT,
        )
    x = tuple(_checked(np.asarray(a), v.name, v.type.shape, where) for a, v in zip(found, graph.inputs, strict=True))
    if len({len(a) for a in x}) > 1:
        raise QCompileError(
            f"the inputs have {', '.join(str(len(a)) for a in x)} vectors; as many are needed for each", where
        )
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape[:1] != (len(x[0]),) or not labels.size:
            raise QCompileError(
                f"labels of shape {list(labels.shape)} for {len(x[0])} vectors", where, "one label per vector"
            )
        if labels.dtype.kind not in "iuf" or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
            raise QCompileError(
                f"the labels are {labels.dtype}, or not finite", where, "class indices, or targets of the outputs"
            )
        if labels.dtype.kind in "iu":
            classes = graph.outputs[0].type.size
            if labels.size != len(labels):
                raise QCompileError(
                    f"class indices of shape {list(labels.shape)}", where, "one per vector; floats are targets"
                )
            if labels.min() < 0 or labels.max() >= classes:
                raise QCompileError(
                    f"the labels reach from {labels.min()} to {labels.max()}, but the network has {classes} outputs",
                    where,
                )
            labels = labels.reshape(-1).astype(np.int64)
    return Data(x, labels)


def _labels(source: Any) -> np.ndarray:
    if isinstance(source, (str, Path)):
        return next(iter(_file(Path(source)).values()))
    return np.asarray(source)


def _arrays(source: Any, graph: Graph, where: str, names: tuple[str, ...]) -> tuple[list[Any], Any]:
    """One array per input, whose names these are, and labels where the source has them."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        source = _images(path, graph) if path.is_dir() else _file(path)
    if isinstance(source, Mapping):
        named = dict(source)
        own = next((named.pop(k) for k in LABELS if k in named and k not in names), None)
        return ([named[n] for n in names] if set(names) <= set(named) else list(named.values())), own
    if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
        return [source], None
    arrays = isinstance(source, list) and len(names) > 1 and all(hasattr(a, "__array__") for a in source)
    if (isinstance(source, tuple) or arrays) and len(source) == len(names):  # batches of several inputs are tuples
        return list(source), None
    if isinstance(source, Iterable):
        return _batches(source, len(names), where)
    raise QCompileError(f"a {type(source).__name__} is no calibration data", where, _HINT)


def _batches(source: Iterable[Any], inputs: int, where: str) -> tuple[list[Any], Any]:
    """Batches of arrays, or of tuples: the inputs, then the labels where there is one array more."""
    rows = [tuple(np.asarray(a) for a in (b if isinstance(b, (tuple, list)) else (b,))) for b in source]
    if not rows or any(len(r) != len(rows[0]) for r in rows):
        raise QCompileError("it gives no batches, or batches of different kinds", where, _HINT)
    try:
        joined = [np.concatenate([r[i] for r in rows]) for i in range(len(rows[0]))]
    except ValueError as error:
        raise QCompileError(f"its batches do not fit together: {error}", where, _HINT) from None
    return (joined[:-1], joined[-1]) if len(joined) == inputs + 1 else (joined, None)


def _file(path: Path) -> dict[str, np.ndarray]:
    found = arrays.read(path, lambda headers: _check_size(headers, path))
    if not found:
        raise QCompileError("the file holds no array", str(path))
    return found


def _check_size(headers: list[arrays.Header], path: Path) -> None:
    """Calibration data are kept in memory, as float32."""
    values = sum(math.prod(h.shape) for h in headers)
    if values > _MOST_VALUES:
        raise QCompileError(
            f"it holds {values:,} numbers; {_MOST_VALUES:,} are the most", str(path), "give fewer vectors"
        )


def _images(folder: Path, graph: Graph) -> dict[str, np.ndarray]:
    """The images of a folder, by name, as (N, C, H, W) or (N, H, W, C) between 0 and 1, at the size of the input."""
    from PIL import Image  # of matplotlib

    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
    if not files:
        raise QCompileError("the folder holds no images", str(folder), f"files ending in {', '.join(_IMAGES)}")
    shape = graph.inputs[0].type.shape[1:]
    if len(shape) != 3 or not {shape[0], shape[2]} & {1, 3}:
        raise QCompileError(
            f"images do not fit an input of shape {list(graph.inputs[0].type.shape)}", str(folder), "give an .npy file"
        )
    if len(files) * math.prod(shape) > _MOST_VALUES:
        raise QCompileError(f"the folder holds {len(files)} images, which is too many", str(folder), "give fewer")
    first = shape[0] in (1, 3)
    channels, height, width = (shape[0], shape[1], shape[2]) if first else (shape[2], shape[0], shape[1])
    out = []
    for file in files:
        try:
            with Image.open(file) as image:
                if math.prod(image.size) > _MOST_PIXELS:
                    raise ValueError(f"it has {math.prod(image.size):,} pixels; {_MOST_PIXELS:,} are the most")
                scaled = image.convert("L" if channels == 1 else "RGB").resize((width, height))
                pixels = np.asarray(scaled, dtype=np.float32) / 255
        except Exception as error:  # what the parsers of a dozen formats raise for damaged files is not written down
            raise QCompileError(f"the image cannot be read: {error}", str(file)) from None
        pixels = pixels.reshape(height, width, channels)
        out.append(np.moveaxis(pixels, 2, 0) if first else pixels)
    return {graph.inputs[0].name: np.stack(out)}


def _checked(a: np.ndarray, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    place, size = f"{where}: input '{name}'", int(np.prod(shape))
    if a.dtype.kind not in "iufb" or a.ndim == 0:
        raise QCompileError(f"it holds {a.dtype} of shape {list(a.shape)}, not vectors of numbers", place, _HINT)
    if not len(a):
        raise QCompileError("it holds no vectors", place, _HINT)
    if a.size != len(a) * size:
        if a.size == size and tuple(d for d in a.shape if d != 1) == tuple(d for d in shape if d != 1):
            a = a[None]
        else:
            raise QCompileError(
                f"the array has shape {list(a.shape)}; vectors of shape {list(shape[1:] or shape)} are needed",
                place,
                _HINT,
            )
    with np.errstate(over="ignore"):  # infinity is refused
        a = a.reshape(len(a), *shape).astype(np.float32)
    if not np.isfinite(a).all():
        raise QCompileError("it holds NaN or infinity", place, "remove these vectors")
    return a
