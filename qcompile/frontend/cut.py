"""A part of an ONNX graph between tensors that are named, and what is in front of it and behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from qcompile.errors import QCompileError, UnsupportedError, unknown
from qcompile.frontend.importer import PATIENCE, import_model
from qcompile.frontend.inline import used
from qcompile.host import AFTER, BEFORE, HostPart
from qcompile.isolated import Failed, as_array, as_bytes, call
from qcompile.records import dataclass

Dims = list[int | None]


@dataclass(frozen=True)
class Pieces:
    """part: what is compiled; before, after: None where nothing was cut off that its tensors are enough for."""

    part: onnx.ModelProto
    before: HostPart | None
    after: HostPart | None
    warnings: tuple[str, ...]


def names_of(text: str | Sequence[str]) -> tuple[str, ...]:
    """NAME[,NAME], or names."""
    return tuple(n.strip() for n in text.split(",") if n.strip()) if isinstance(text, str) else tuple(text)


def cut(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str], where: str) -> Pieces:
    """The part from some tensors to others (none: those of the file); nodes are known by their names too.

    QCompileError for names that there are not, and for tensors that do not enclose a part.
    """
    graph = _Graph(model, where)
    ends = graph.tensors(outputs, "--outputs") or [o.name for o in model.graph.output]
    starts = graph.tensors(inputs, "--inputs") or graph.inputs
    nodes, read = graph.between(ends, starts)
    if inputs and (past := [n for n in graph.inputs if n in read and n not in starts]):
        raise QCompileError(
            f"the part reads input '{past[0]}' of the model too, past --inputs",
            where,
            f"--inputs {','.join([*inputs, *past])}",
        )
    if inputs and (unread := [n for n in starts if n not in read]):
        raise QCompileError(
            f"nothing between the inputs and the outputs depends on '{unread[0]}'", f"{where}: --inputs"
        )
    if not nodes:
        raise QCompileError("there is no node between the inputs and the outputs", where, "name others")
    starts = starts if inputs else [n for n in starts if n in read]
    part = graph.model(nodes, [graph.info(n) for n in starts], ends)
    before = None
    if any(n in graph.makers for n in starts):
        before = graph.host(BEFORE, starts, graph.inputs, model.graph.input)
    after, warnings = _after(graph, ends)
    return Pieces(part, before, after, warnings)


def _after(graph: _Graph, ends: list[str]) -> tuple[HostPart | None, tuple[str, ...]]:
    """What makes the outputs of the file of tensors, as far as these are enough."""
    wanted = [o.name for o in graph.source.graph.output]
    if set(ends) <= set(wanted):
        return None, ()  # outputs are chosen, nothing is cut off
    reached = {name: graph.between([name], ends)[1] for name in wanted}
    behind = [n for n in wanted if reached[n] & set(ends)]
    more = {n: sorted(reached[n] - set(ends)) for n in behind}
    lists = [n for n in behind if not graph.is_tensor(n)]
    made = [n for n in behind if not more[n] and n not in lists]
    lost = [f"output '{n}' cannot be made behind it, it reads '{more[n][0]}' too" for n in behind if more[n]]
    lost += [f"output '{n}' is no tensor, so the host does not make it" for n in lists]
    if not made:
        return None, tuple(lost)
    return graph.host(AFTER, made, ends, [graph.info(n) for n in ends]), tuple(lost)


class _Graph:
    """The graph of a file, with its tensors by name."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.source, self.where = model, where
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self.constants = {t.name for t in model.graph.initializer} | {
            t.values.name for t in model.graph.sparse_initializer
        }
        self.inputs = [i.name for i in model.graph.input if i.name not in self.constants]
        self._inferred: dict[str, tuple[int, Dims]] | None = None

    def tensors(self, names: Sequence[str], option: str) -> list[str]:
        """The tensors that are named, by themselves or by the nodes that make (or read) them."""
        nodes = {n.name: n for n in self.source.graph.node if n.name}
        found: list[str] = []
        for name in names:
            if name in self.makers or name in self.inputs:
                found.append(name)
            elif name in nodes:
                node = nodes[name]
                data = [n for n in node.input if n in self.makers or n in self.inputs]
                found += node.output[:1] if option == "--outputs" else data[:1]
            else:
                error = unknown("tensor or node of the model", name, [*self.makers, *self.inputs, *nodes])
                raise QCompileError(error.what, f"{self.where}: {option}", error.hint)
        return list(dict.fromkeys(found))

    def between(self, ends: Iterable[str], starts: Iterable[str]) -> tuple[list[onnx.NodeProto], set[str]]:
        """(the nodes on which tensors depend, the starts and inputs of the file that they read)."""
        stop, todo, seen, read = {*starts}, list(ends), set[str](), set[str]()
        kept: set[int] = set()
        while todo:
            name = todo.pop()
            if name in seen or not name:
                continue
            seen.add(name)
            if name in stop or name in self.inputs:
                read.add(name)
            elif name in self.makers:
                kept.add(id(self.makers[name]))
                todo += used(self.makers[name])
        return [n for n in self.source.graph.node if id(n) in kept], read

    def model(
        self, nodes: Sequence[onnx.NodeProto], inputs: Iterable[onnx.ValueInfoProto], outputs: Iterable[str]
    ) -> onnx.ModelProto:
        """A model of some of the nodes."""
        made, graph = onnx.ModelProto(), self.source.graph
        made.CopyFrom(self.source)
        for field in ("node", "input", "output", "initializer", "sparse_initializer", "value_info"):
            made.graph.ClearField(field)
        made.graph.node.extend(nodes)
        made.graph.input.extend(inputs)
        names = {n for node in nodes for n in used(node)}
        given = {i.name for i in made.graph.input}
        made.graph.initializer.extend(t for t in graph.initializer if t.name in names - given)
        made.graph.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in names - given)
        tensors = {n for node in nodes for n in node.output}
        made.graph.value_info.extend(v for v in graph.value_info if v.name in tensors)
        known = {v.name: v for v in (*graph.output, *graph.value_info)}
        made.graph.output.extend(known.get(n, onnx.ValueInfoProto(name=n)) for n in outputs)
        return made

    def host(
        self, what: str, outputs: Sequence[str], starts: Sequence[str], infos: Iterable[onnx.ValueInfoProto]
    ) -> HostPart:
        """The part that makes tensors of others, for any number of vectors."""
        nodes, read = self.between(outputs, starts)
        same = [n for n in outputs if n in read]  # an input is no output in onnxruntime
        nodes += [onnx.helper.make_node("Identity", [n], [f"{n}.same"]) for n in same]
        names = [f"{n}.same" if n in same else n for n in outputs]
        made = self.model(nodes, [_any_batch(i) for i in infos if i.name not in self.constants], names)
        made.graph.ClearField("value_info")
        for out in made.graph.output:
            kind = out.type.tensor_type.elem_type
            out.ClearField("type")
            if kind:
                out.type.tensor_type.elem_type = kind
        inputs = tuple(i.name for i in made.graph.input)
        return HostPart(what, made.SerializeToString(deterministic=True), inputs, tuple(outputs))

    def is_tensor(self, name: str) -> bool:
        """Whether an output of the file is a tensor, and no sequence or map."""
        return all(
            o.type.WhichOneof("value") in (None, "tensor_type") for o in self.source.graph.output if o.name == name
        )

    # --- types

    def info(self, name: str) -> onnx.ValueInfoProto:
        """Type and shape of a tensor: as the file says, as ONNX infers, or as our own import finds. QCompileError where
        none does.
        """
        graph = self.source.graph
        stated = next((v for v in (*graph.input, *graph.value_info, *graph.output) if v.name == name), None)
        kind, dims = _typed(stated)
        if not _complete(dims):
            if self._inferred is None:
                self._inferred = _inferred(self.source)
            other, dims = self._inferred.get(name, (0, None))
            kind = kind or other
        if not _complete(dims):
            dims = self._imported(name) or self._executed(name)
        if not _complete(dims) or dims is None:
            raise QCompileError(
                "its shape is not known: neither the file says it, nor do ONNX and onnxruntime find it",
                f"{self.where}: tensor '{name}'",
                "export with value_info (onnx.shape_inference.infer_shapes), or cut elsewhere",
            )
        return onnx.helper.make_tensor_value_info(
            name, kind or onnx.TensorProto.FLOAT, [1 if d is None else d for d in dims]
        )

    def _front(self, name: str) -> onnx.ModelProto:
        nodes, _ = self.between([name], self.inputs)
        return self.model(nodes, [i for i in self.source.graph.input if i.name not in self.constants], [name])

    def _imported(self, name: str) -> Dims | None:
        try:
            return list(import_model(self._front(name), self.where).graph.outputs[0].type.shape)
        except (UnsupportedError, QCompileError):
            return None

    def _executed(self, name: str) -> Dims | None:
        """Of the very tensor that the front makes of zeros."""
        infos = [i for i in self.source.graph.input if i.name not in self.constants]
        zeros = [np.zeros([d or 1 for d in _typed(i)[1] or []], np.float32) for i in infos]
        try:
            return list(self.host(BEFORE, [name], self.inputs, infos).run(zeros)[0].shape)
        except QCompileError:
            return None


def _typed(info: onnx.ValueInfoProto | None) -> tuple[int, Dims | None]:
    """(element type, sizes of axes: None where they are open); the shape None where nothing says it."""
    if info is None or not info.type.tensor_type.HasField("shape"):
        return (0 if info is None else info.type.tensor_type.elem_type), None
    dims = info.type.tensor_type.shape.dim
    return info.type.tensor_type.elem_type, [d.dim_value if d.dim_value > 0 else None for d in dims]


def _complete(dims: Dims | None) -> bool:
    """Whether all axes but the batch have a size."""
    return dims is not None and all(d is not None for d in dims[1:])


def _any_batch(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The same input for any number of vectors."""
    made = onnx.ValueInfoProto()
    made.CopyFrom(info)
    dims = made.type.tensor_type.shape.dim
    if len(dims) > 1 and dims[0].dim_value <= 1:
        dims[0].dim_param = "vectors"
    return made


def _inferred(model: onnx.ModelProto) -> dict[str, tuple[int, Dims]]:
    """By ONNX' own inference, which damaged files can crash."""
    try:
        source = as_array(model.SerializeToString())
        (found,) = call(f"{__name__}:infer", source, timeout=PATIENCE, modules=("onnx.shape_inference",))
    except (Failed, ValueError):
        return {}
    return {name: (kind, dims) for name, (kind, dims) in json.loads(as_bytes(found)).items()}


def infer(source: np.ndarray) -> list[np.ndarray]:
    """Types and shapes of an ONNX file's tensors as JSON; in a process of its own."""
    import onnx.shape_inference

    model = onnx.ModelProto()
    model.ParseFromString(as_bytes(source))
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {v.name: _typed(v) for v in (*graph.value_info, *graph.output)}
    return [as_array(json.dumps({n: t for n, t in found.items() if t[1] is not None}).encode())]
