"""Mutations of what a user may hand over: bytes, ONNX graphs, JSON, arrays. Every one is a function of a
`random.Random`, so that the same seed makes the same file.
"""

import copy
import io
import json
import math
import random
import zipfile
from collections.abc import Callable, MutableSequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

Random = random.Random

INTS = [0, 1, -1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 128, 255, 256, 1000, 65536]
INTS += [-2, -3, -128, 2**31 - 1, 2**31, -(2**31), 2**40, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 0.1, 3.0, 7.5, 255.0, 2.0**-20, 2.0**24, 1e-7, 1e-30, 1e-38, 1e-45, 1e20, 1e38]
FLOATS += [3.4e38, math.inf, -math.inf, math.nan]
TEXTS = [
    "",
    "x",
    "y",
    "\n",
    "\x1b[31m\x07",
    "a" * 300,
    "../../x",
    "{{x}}",
    '"); system("id',
    "é☃",
    "\0",
    "-o",
    "/tmp/x",
]
TEXTS += ["ROUND", "FLOOR", "CEIL", "HALF_UP", "SAME_UPPER", "VALID", "NOTSET", "linear", "nearest", "reflect", "edge"]
ATTRIBUTES = (
    "axis axes perm alpha beta pads strides dilations kernel_shape group auto_pad ceil_mode count_include_pad signed"
    " narrow rounding_mode to keepdims transA transB allowzero mode block_size value value_float value_ints min max"
    " output_shape output_padding epsilon blocksize starts ends split num_outputs shape coordinate_transformation_mode"
    " out_dtype out_scale out_bias data_layout noop_with_empty_axes select_last_index exclude_outside direction"
).split()
OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas()})
OPERATORS += "Quant BipolarQuant Trunc FloatQuant MultiThreshold IntQuant Scan Loop If".split() * 3
DOMAINS = ["", "ai.onnx", "qonnx.custom_op.general", "finn.custom_op.general", "com.microsoft", "ai.onnx.ml", "x\n"]


def number(rng: Random) -> int:
    return rng.choice(INTS) if rng.random() < 0.8 else rng.randint(-(2**63), 2**63 - 1)


def real(rng: Random) -> float:
    return rng.choice(FLOATS) if rng.random() < 0.8 else math.ldexp(rng.uniform(-1, 1), rng.randint(-150, 127))


# --- bytes


def damaged(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A few bytes changed, cut, doubled, or taken from another file."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del out[at : at + rng.choice((1, 2, 8, 100, 10**6))]
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
        elif kind == 4:
            out[at:at] = out[max(0, at - rng.choice((4, 32, 400))) : at]
        elif kind == 5 and others:
            other = rng.choice(others)
            place = rng.randrange(len(other) + 1)
            length = rng.choice((4, 32, 400))
            out[at : at + length] = other[place : place + length]
        else:
            out[at : at + 8] = rng.choice(INTS).to_bytes(8, "little", signed=True)
    return bytes(out)


# --- ONNX graphs


def flatbuffer(rng: Random, data: bytes) -> bytes:
    """A TensorFlow Lite file with some bytes or 32-bit numbers changed behind its mark; now and then cut off."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(8, len(found) - 4)
        if rng.random() < 0.5:
            found[at] = rng.randrange(256)
        else:
            found[at : at + 4] = (rng.choice([*INTS, 2**31 - 1, -(2**31)]) % 2**32).to_bytes(4, "little")
    return bytes(found[: rng.randrange(8, len(found))] if rng.random() < 0.1 else found)


def _names(graph: onnx.GraphProto) -> list[str]:
    """Every tensor's."""
    found = [t.name for t in graph.initializer] + [v.name for v in (*graph.input, *graph.output)]
    return found + [name for n in graph.node for name in (*n.input, *n.output)]


def _changed_in(rng: Random, values: MutableSequence[Any], make: Callable[[], Any]) -> None:
    """One element of a list changed, added, taken out, or all replaced."""
    kind, place = rng.randrange(5), rng.randrange(len(values) + 1)
    if kind <= 1 and place < len(values):
        values[place] = make()
    elif kind == 2:
        values.insert(place, make())
    elif kind == 3 and place < len(values):
        del values[place]
    else:
        values[:] = [make() for _ in range(rng.choice((0, 1, 2, 4, 8)))]


def array(rng: Random, like: np.ndarray | None = None) -> np.ndarray:
    """Numbers of any shape and type; like: one of these instead, with a few things changed."""
    if like is None:
        shape = tuple(rng.choice((0, 1, 1, 2, 3, 4, 8)) for _ in range(rng.choice((0, 1, 1, 2, 3, 4))))
        like = np.ones(shape, rng.choice(("f4", "f4", "i8", "i4", "i1", "u1", "f8", "?")))
    out = np.array(like)
    if out.dtype.kind not in "fiub":
        return out
    kind = rng.randrange(8)
    value = real(rng) if out.dtype.kind == "f" else number(rng)
    with np.errstate(all="ignore"):
        if out.dtype.kind in "iu":
            info = np.iinfo(out.dtype)
            value = min(max(value, info.min), info.max)
        if kind <= 1 and out.size:
            out.ravel()[rng.randrange(out.size)] = value
        elif kind == 2:
            out[...] = value
        elif kind == 3:
            out = (out * 2.0 ** rng.randint(-140, 120)).astype(out.dtype)
        elif kind == 4 and out.ndim:
            out = np.repeat(out, rng.choice((0, 1, 2, 3)), axis=rng.randrange(out.ndim))
        elif kind == 5:
            out = out.reshape(rng.choice([(-1,), (1, -1), (-1, 1), out.shape[::-1]])) if out.size else out
        elif kind == 6:
            out = out.astype(rng.choice(("f2", "f4", "f8", "i8", "i1", "u1", "?")))
        else:
            out = np.full(rng.choice([(), (1,), out.shape]), value).astype(out.dtype)
    return out


def attribute(rng: Random, name: str) -> AttributeProto:
    """Of any kind."""
    kind = rng.randrange(7)
    if kind == 5:
        return helper.make_attribute(name, numpy_helper.from_array(array(rng)))
    made = AttributeProto(name=name, type=rng.choice((1, 2, 3, 4, 5, 6, 7, 8)))
    if kind == 0:
        made.i, made.type = number(rng), 2
    elif kind == 1:
        made.f, made.type = real(rng), 1
    elif kind == 2:
        made.s, made.type = rng.choice(TEXTS).encode(), 3
    elif kind == 3:
        made.ints.extend(number(rng) for _ in range(rng.randrange(6)))
        made.type = 7
    elif kind == 4:
        made.floats.extend(real(rng) for _ in range(rng.randrange(6)))
        made.type = 6
    return made


def _operator(rng: Random, m: onnx.ModelProto) -> None:
    rng.choice(m.graph.node).op_type = rng.choice(OPERATORS)


def _same_operator(rng: Random, m: onnx.ModelProto) -> None:
    """The operator of another node."""
    rng.choice(m.graph.node).op_type = rng.choice(m.graph.node).op_type


def _domain(rng: Random, m: onnx.ModelProto) -> None:
    rng.choice(m.graph.node).domain = rng.choice(DOMAINS)


def _name(rng: Random, m: onnx.ModelProto) -> None:
    rng.choice([*m.graph.node, m.graph]).name = rng.choice(TEXTS)


def _rename(rng: Random, m: onnx.ModelProto) -> None:
    """A tensor, everywhere."""
    old, new = rng.choice(_names(m.graph)), rng.choice(TEXTS)
    for item in (*m.graph.initializer, *m.graph.input, *m.graph.output):
        item.name = new if item.name == old else item.name
    for node in m.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new if name == old else name for name in ends]


def _drop(rng: Random, m: onnx.ModelProto) -> None:
    del m.graph.node[rng.randrange(len(m.graph.node))]


def _bypass(rng: Random, m: onnx.ModelProto) -> None:
    """A node taken out, its first input in place of its first output."""
    node = m.graph.node.pop(rng.randrange(len(m.graph.node)))
    for other in m.graph.node:
        other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]


def _double(rng: Random, m: onnx.ModelProto) -> None:
    node = onnx.NodeProto.FromString(rng.choice(m.graph.node).SerializeToString())
    if rng.random() < 0.7:
        node.output[:] = [name + "_" for name in node.output]
    m.graph.node.insert(rng.randrange(len(m.graph.node) + 1), node)
    if rng.random() < 0.5:
        _edge(rng, m)


def _move(rng: Random, m: onnx.ModelProto) -> None:
    node = m.graph.node.pop(rng.randrange(len(m.graph.node)))
    m.graph.node.insert(rng.randrange(len(m.graph.node) + 1), node)


def _edge(rng: Random, m: onnx.ModelProto) -> None:
    names = [*_names(m.graph), ""]
    node = rng.choice(m.graph.node)
    _changed_in(rng, node.input if rng.random() < 0.8 else node.output, lambda: rng.choice(names))


def _insert(rng: Random, m: onnx.ModelProto) -> None:
    """A node between a tensor and one that reads it."""
    reader = rng.choice(m.graph.node)
    place = rng.randrange(len(reader.input))
    inputs = [reader.input[place]]
    for i in range(rng.choice((0, 0, 1, 1, 2, 3))):
        if rng.random() < 0.7:
            m.graph.initializer.append(numpy_helper.from_array(array(rng), f"new_{len(m.graph.node)}_{i}"))
            inputs.append(m.graph.initializer[-1].name)
        else:
            inputs.append(rng.choice(_names(m.graph)))
    made = helper.make_node(rng.choice(OPERATORS), inputs, [f"new_{len(m.graph.node)}"], domain=rng.choice(DOMAINS[:3]))
    made.attribute.extend(attribute(rng, a) for a in rng.sample(ATTRIBUTES, rng.choice((0, 0, 1, 2))))
    reader.input[place] = made.output[0]
    m.graph.node.insert(rng.randrange(len(m.graph.node) + 1), made)


def _attribute(rng: Random, m: onnx.ModelProto) -> None:
    node = rng.choice([n for n in m.graph.node if n.attribute])
    kind, place = rng.randrange(10), rng.randrange(len(node.attribute))
    a = node.attribute[place]
    if kind == 0:
        del node.attribute[place]
    elif kind == 1:
        a.type = rng.randrange(16)
    elif kind == 2:
        a.name = rng.choice(ATTRIBUTES)
    elif kind == 3:
        node.attribute.append(a)
    elif a.ints:
        _changed_in(rng, a.ints, lambda: number(rng))
    elif a.floats:
        _changed_in(rng, a.floats, lambda: real(rng))
    elif a.HasField("t"):
        _tensor_changed(rng, a.t)
    elif a.type == AttributeProto.FLOAT:
        a.f = real(rng)
    elif a.type == AttributeProto.STRING:
        a.s = rng.choice(TEXTS).encode()
    elif a.HasField("g"):
        a.ClearField("g")
    else:
        a.i = number(rng)


def _new_attribute(rng: Random, m: onnx.ModelProto) -> None:
    rng.choice(m.graph.node).attribute.append(attribute(rng, rng.choice(ATTRIBUTES)))


def _tensor_changed(rng: Random, t: TensorProto) -> None:
    kind = rng.randrange(10)
    if t.data_location == TensorProto.EXTERNAL:
        return
    if kind == 0:
        _changed_in(rng, t.dims, lambda: number(rng))
    elif kind == 1:
        t.data_type = rng.randrange(30)
    elif kind == 2:
        t.raw_data = t.raw_data[: rng.randrange(len(t.raw_data) + 1)]
    elif kind == 3:
        t.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "8")):
            t.external_data.add(key=key, value=value if rng.random() < 0.8 else rng.choice(TEXTS))
    else:
        t.CopyFrom(numpy_helper.from_array(array(rng, numpy_helper.to_array(t)), t.name))


def _initializer(rng: Random, m: onnx.ModelProto) -> None:
    place = rng.randrange(len(m.graph.initializer))
    kind = rng.randrange(12)
    if kind == 0:
        del m.graph.initializer[place]
    elif kind == 1:
        m.graph.initializer.append(m.graph.initializer[place])
    elif kind == 2:
        m.graph.output.append(onnx.ValueInfoProto(name=m.graph.initializer[place].name))
    elif kind == 3:
        name = m.graph.initializer.pop(place).name
        m.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [rng.choice((1, 2, 4))]))
    else:
        _tensor_changed(rng, m.graph.initializer[place])


def _ports(rng: Random, m: onnx.ModelProto) -> None:
    """Inputs and outputs of the graph."""
    ports = rng.choice((m.graph.input, m.graph.input, m.graph.output))
    kind, port = rng.randrange(8), rng.choice(ports)
    shape = port.type.tensor_type.shape
    if kind <= 2:
        rng.choice(shape.dim).dim_value = number(rng)
    elif kind == 3:
        port.type.tensor_type.elem_type = rng.randrange(30)
    elif kind == 4:
        rng.choice(shape.dim).dim_param = rng.choice(TEXTS)
    elif kind == 5:
        ports.remove(port)
    elif kind == 6:
        ports.append(port)
        ports[-1].name = rng.choice([*_names(m.graph), "other"])
    else:
        _changed_in(rng, shape.dim, lambda: type(shape).Dimension(dim_value=number(rng)))


def _versions(rng: Random, m: onnx.ModelProto) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        m.ir_version = number(rng)
    elif kind == 1:
        del m.opset_import[:]
    else:
        rng.choice(m.opset_import).version = rng.choice((0, 1, 6, 7, 9, 10, 11, 13, 15, 18, 21, 24, 99, number(rng)))


def _any_field(rng: Random, m: onnx.ModelProto) -> None:
    """Some scalar field of some message, wherever it is."""
    message: Any = m
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = rng.choice(fields)
        if field.message_type:
            message = value if hasattr(value, "ListFields") else rng.choice(value)
            continue
        kinds = {"int": lambda: number(rng), "float": lambda: real(rng), "str": lambda: rng.choice(TEXTS)}
        kinds["bytes"] = lambda: rng.randbytes(rng.choice((0, 1, 4, 8, 64)))
        repeated = not isinstance(value, (int, float, str, bytes))
        make = kinds[type(value[0] if repeated else value).__name__]
        if repeated:
            _changed_in(rng, value, make)
        else:
            setattr(message, field.name, make())
        return


STRUCTURAL = [_operator, _same_operator, _domain, _name, _rename, _drop, _bypass, _double, _move, _edge, _edge, _insert]
STRUCTURAL += [_insert, _attribute, _attribute, _attribute, _new_attribute, _initializer, _initializer, _initializer]
STRUCTURAL += [_initializer, _ports, _ports, _versions, _any_field, _any_field]


def mutated_model(rng: Random, data: bytes) -> bytes:
    """One to five changes of the graph."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        try:
            rng.choice(STRUCTURAL)(rng, model)
        except Exception:
            continue  # there is nothing of the kind, or protobuf does not hold such a value
    return model.SerializeToString(deterministic=True)


# --- JSON


_DIGITS = "a number of 5,000 digits"


def _json_value(rng: Random) -> Any:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice((None, True, False, [], {}, [[]], {"": None}, [1, "x"], "\ud800"))
    if kind == 1:
        return number(rng)
    if kind == 2:
        return real(rng)
    if kind == 3:
        return rng.choice((10 ** rng.choice((19, 90, 400)), -(10**30), _DIGITS))
    if kind == 4:
        return rng.choice((*TEXTS, "s8f4", "u1", "s99", "e4m3b7", "e8m23", "s64f-500", "min", "full"))
    value: Any = rng.choice(([], {}, 1))
    for _ in range(rng.choice((1, 5, 40, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of everything in it."""
    found, todo = [], [value]
    while todo:
        item = todo.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        found += [(item, k) for k in keys]
        todo += [item[k] for k in keys]
    return found


def mutated_json(rng: Random, text: str) -> bytes:
    """Values, names and text of a JSON document changed."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(value)
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice((*TEXTS, *holder))] = holder.pop(key)
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = _json_value(rng)
        elif kind == 3:
            other = rng.choice(places)
            holder[key] = copy.deepcopy(other[0][other[1]])
        else:
            holder[key] = _json_value(rng)
    try:
        made = json.dumps(value).replace(json.dumps(_DIGITS), "9" * 5000)
    except RecursionError:
        made = "[" * 100_000
    kind = rng.randrange(12)
    if kind == 0:
        return damaged(rng, made.encode(errors="surrogatepass"), [])
    if kind == 1:
        made = made.replace("Infinity", "1e400").replace(": ", ":")
    if kind == 2:
        made = "\ufeff" + made
    if kind == 3 and made.startswith("{") and len(made) > 2:
        made = made[:-1] + "," + made[1:]  # every name twice
    return made.encode(errors="surrogatepass")


# --- arrays


def arrays_file(rng: Random, shapes: list[tuple[int, ...]]) -> tuple[str, bytes]:
    """(name, bytes) of an .npy or .npz file for inputs of these shapes: right, wrong, or damaged."""
    count = rng.choice((1, 2, 5, 0))
    made = []
    for shape in shapes:
        a = np.random.default_rng(rng.randrange(2**32)).normal(size=(count, *shape))
        a = a.astype(rng.choice(("f4", "f4", "f8", "f2", "i1", "u1", "i8", ">f4", "?", "c8", "U3", "M8[s]", "V3", "g")))
        made.append(array(rng, a) if rng.random() < 0.6 else np.asfortranarray(a) if rng.random() < 0.3 else a)
    archive = len(made) != 1 or rng.random() < 0.4
    buffer = io.BytesIO()
    if archive:
        with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
            for i, a in enumerate(made):
                content = _npy(rng, a)
                file.writestr(zipfile.ZipInfo(rng.choice((f"x{i}.npy", f"x{i}.npy", "../x.npy", "x"))), content)
    else:
        buffer.write(_npy(rng, made[0]))
    data = buffer.getvalue()
    if rng.random() < 0.4:
        data = damaged(rng, data, [])
    return ("x.npz" if archive else "x.npy"), data


def _npy(rng: Random, a: np.ndarray) -> bytes:
    """A file of an array; sometimes with a header that is wrong."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, a, allow_pickle=False)
    data = buffer.getvalue()
    if rng.random() < 0.6:
        return data
    header = {"descr": a.dtype.str, "fortran_order": False, "shape": a.shape}
    wrong: dict[str, Any] = {
        "shape": (number(rng), 4),
        "descr": rng.choice(("|O", "<f8", "<f4", [("a", "<f4")], 3, "x")),
    }
    wrong["fortran_order"] = rng.choice((True, 3, None))
    key = rng.choice(list(wrong))
    text = repr(header | {key: wrong[key]}).encode()
    text = damaged(rng, text, []) if rng.random() < 0.4 else text
    text = text.ljust(117) + b"\n"
    return (
        b"\x93NUMPY" + bytes((rng.choice((1, 1, 1, 2, 3, 9)), 0)) + len(text).to_bytes(2, "little") + text + data[128:]
    )
