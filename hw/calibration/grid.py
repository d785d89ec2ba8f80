"""What is measured: the circuits of every primitive, over a grid of widths, and the constants in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from qcompile.backends.rtl.units.plane import control
from qcompile.cost import pairing, structure
from qcompile.parts import DigitSum, WindowControl

RTL = Path(__file__).resolve().parents[1] / "rtl"
Params = dict[str, Any]


@dataclass(frozen=True)
class Primitive:
    """One kind of circuit. `wrap`: ports and body of a module that holds one of them; `files`: the RTL it is
    made of; `memory`: of one that reads a file, its name and text.
    """

    files: tuple[str, ...]
    wrap: Callable[[Params], tuple[str, str]]
    points: tuple[Params, ...]
    memory: Callable[[Params], tuple[str, str]] | None = None


def _pick(random: Random, bits: int) -> int:
    return random.getrandbits(max(bits, 1))


def constant(p: Params) -> int:
    """A constant whose highest bit is `bits` - 1, of either sign."""
    random = Random(p["seed"])
    size = (1 << (p["bits"] - 1)) | _pick(random, p["bits"] - 1) if p["bits"] > 1 else 1
    return -size if p["negative"] else size


def cuts(p: Params) -> list[int]:
    """Ascending thresholds: evenly spread with noise ("even") or anywhere ("random"), in the range of the
    accumulator.
    """
    random = Random(p["seed"])
    span = 1 << p["acc"]
    low = -(span >> 1) if p["signed"] else 0
    if p["kind"] == "even":
        step = span // (p["k"] + 1)
        return [low + step * (i + 1) + _pick(random, 16) % max(step // 2, 1) for i in range(p["k"])]
    return sorted(low + _pick(random, p["acc"]) for _ in range(p["k"]))


def affine(p: Params) -> Params:
    """MUL, ADD, SHIFT, LO, HI, N of a requantization to y bits with a multiplier of `bits` bits."""
    random = Random(p["seed"])
    mul = (1 << (p["bits"] - 1)) | _pick(random, p["bits"] - 1) | 1
    shift = max(p["acc"] + p["bits"] - 1 - p["y"] - p["loss"], 0)
    add = (1 << shift >> 1) + (_pick(random, shift + p["y"] - 2) if p["bias"] else 0)
    lo, hi = (-(1 << p["y"] - 1), (1 << p["y"] - 1) - 1) if p["out_signed"] else (0, (1 << p["y"]) - 1)
    reach = (1 << p["acc"] - 1) * mul + add
    return {"MUL": mul, "ADD": add, "SHIFT": shift, "LO": lo, "HI": hi, "N": structure.width(-reach, reach)}


def contents(p: Params) -> list[int]:
    """Entries of a table: "random"; "smooth", a slowly varying monotone function as most activations are; "bump", one
    that turns.
    """
    random = Random(p["seed"])
    size, top = 1 << p["in"], (1 << p["out"]) - 1
    if p["kind"] == "random":
        return [_pick(random, p["out"]) for _ in range(size)]
    middle, steep = size * (0.3 + 0.4 * random.random()), (2 + 6 * random.random()) / size
    if p["kind"] == "bump":
        return [int(top / (1 + (steep * (i - middle)) ** 2)) for i in range(size)]
    return [int(top * (0.5 + 0.5 * (steep * (i - middle)) / (1 + abs(steep * (i - middle))))) for i in range(size)]


def matrix(p: Params) -> np.ndarray:
    """Weights [rows, columns] of `w` bits (1: +-1), symmetric, about half of the range likely, a share of them zero."""
    random = Random(p["seed"])
    if p["w"] == 1:
        values = [1 - 2 * _pick(random, 1) for _ in range(p["rows"] * p["cols"])]
    else:
        top = (1 << p["w"] - 1) - 1
        values = [max(-top, min(top, round(random.gauss(0, top / 2.5)))) for _ in range(p["rows"] * p["cols"])]
        values = [0 if random.random() < p["zeros"] else v for v in values]
    return np.array(values).reshape(p["rows"], p["cols"])


def packed(values: list[int], bits: int) -> str:
    """A SystemVerilog constant with value 0 in the low bits."""
    total = sum((v & ((1 << bits) - 1)) << (i * bits) for i, v in enumerate(values))
    return f"{len(values) * bits}'h{total:x}"


def _signed(value: int, bits: int = 64) -> str:
    return f"{'-' if value < 0 else ''}{bits}'sd{abs(value)}"


def _clog2(n: int) -> int:
    return (n - 1).bit_length()


# --- circuits


def _instance(module: str, params: Params, inputs: dict[str, int], outputs: dict[str, int]) -> tuple[str, str]:
    """Ports and body of a wrapper around one instance."""
    ports = [f"input [{n - 1}:0] {k}" for k, n in inputs.items()] + [
        f"output [{n - 1}:0] {k}" for k, n in outputs.items()
    ]
    values = ", ".join(f".{k}({v})" for k, v in params.items())
    pins = ", ".join(f".{k}({k})" for k in (*inputs, *outputs))
    return ", ".join(ports), f"{module} #({values}) u ({pins});"


def _mul(p: Params) -> tuple[str, str]:
    w, a = p["w"], p["a"]
    if p["signed"] == 2:  # w signed, a not: a zero in front of it; the rows are bits of the narrower one
        rows, other = ("w", "{1'b0, a}") if w <= a + 1 else ("{1'b0, a}", "w")
        return (
            f"input [{w - 1}:0] w, input [{a - 1}:0] a, output [{w + a}:0] y",
            (
                f'mul #(.W({min(w, a + 1)}), .A({max(w, a + 1)}), .STYLE("{p["style"]}")) u (.w({rows}), .a({other}),'
                " .y(y));"
            ),
        )
    style = {"W": w, "A": a, "SIGNED": p["signed"], "STYLE": f'"{p["style"]}"'}
    return _instance("mul", style, {"w": w, "a": a}, {"y": w + a})


def digit_chain(p: Params) -> DigitSum:
    return DigitSum(p["terms"], p["w"], p["signed"] != 0, p["a"], p["signed"] == 1)


def _digits(p: Params) -> tuple[str, str]:
    """All digits of a chain, one behind the other as the backend puts them."""
    chain, terms, a = digit_chain(p), p["terms"], p["a"]
    lines, above, low = [], "", []
    for k, (size, signed) in enumerate(chain.sums):
        highest = int(chain.weight_signed and k == chain.digits - 1)
        bits = [f"w[{t * p['w'] + min(2 * k + i, p['w'] - 1)}]" for t in range(terms - 1, -1, -1) for i in (1, 0)]
        params = f".TERMS({terms}), .A({a}), .SIGNED({int(chain.data_signed)}), .HIGHEST({highest}), .S({size})"
        pins = f".start({size}'({above or 0})), .digits({{{', '.join(bits)}}}), .x(x)"
        pins += f", .triple({'0' if highest else 'triple'}), .y(s{k})"
        lines.append(f"wire [{size - 1}:0] s{k}; digit_sum #({params}) d{k} ({pins});")
        above = f"{'$signed' if signed else ''}(s{k}[{size - 1}:2])"
        low.insert(0, f"s{k}[1:0]" if k < chain.digits - 1 else f"s{k}")
    ports = f"input [{terms * p['w'] - 1}:0] w, input [{terms * a - 1}:0] x, input [{terms * (a + 2) - 1}:0] triple"
    y = chain.sums[-1][0] + 2 * (chain.digits - 1)
    return f"{ports}, output [{y - 1}:0] y", "\n".join([*lines, f"assign y = {{{', '.join(low)}}};"])


def _mul_const(p: Params) -> tuple[str, str]:
    y = p["a"] + p["bits"] + 1
    return _instance(
        "mul_const",
        {"A": p["a"], "SIGNED": p["signed"], "VALUE": _signed(constant(p)), "Y": y},
        {"a": p["a"]},
        {"y": y},
    )


def _adder_tree(p: Params) -> tuple[str, str]:
    params = {"TERMS": p["terms"], "BITS": p["bits"], "SIGNED": p["signed"]}
    return _instance("adder_tree", params, {"x": p["terms"] * p["bits"]}, {"y": p["bits"] + _clog2(p["terms"])})


_CLOCKED = {"clk": 1, "reset": 1}


def _accumulator(p: Params) -> tuple[str, str]:
    params = {"IN": p["in"], "BITS": p["bits"], "SIGNED": p["signed"], "MINUS": p["minus"]}
    return _instance(
        "accumulator", params, {**_CLOCKED, "enable": 1, "last": 1, "minus": 1, "x": p["in"]}, {"y": p["bits"]}
    )


def _thresholds(p: Params) -> tuple[str, str]:
    params = {"ACC": p["acc"], "SIGNED": p["signed"], "K": p["k"], "CUTS": packed(cuts(p), p["acc"])}
    return _instance("thresholds", params, {"a": p["acc"]}, {"y": _clog2(p["k"] + 1)})


def _mul_add_shift(p: Params) -> tuple[str, str]:
    c = affine(p)
    params = {
        "ACC": p["acc"],
        "MUL": _signed(c["MUL"]),
        "ADD": _signed(c["ADD"], 128),
        "SHIFT": c["SHIFT"],
        "LO": _signed(c["LO"]),
        "HI": _signed(c["HI"]),
        "N": c["N"],
        "Y": p["y"],
    }
    return _instance("mul_add_shift", params, {"a": p["acc"]}, {"y": p["y"]})


def _clamp(p: Params) -> tuple[str, str]:
    params = {"IN": p["in"], "LO": _signed(p["lo"]), "HI": _signed(p["hi"]), "Y": p["y"]}
    return _instance("clamp", params, {"x": p["in"]}, {"y": p["y"]})


def _table(p: Params) -> tuple[str, str]:
    params = {"IN": p["in"], "OUT": p["out"], "CONTENTS": packed(contents(p), p["out"])}
    return _instance("table_lut", params, {"x": p["in"]}, {"y": p["out"]})


def _words(p: Params) -> tuple[str, str]:
    random = Random(p["seed"])
    words = [_pick(random, p["width"]) for _ in range(p["depth"])]
    return f"words_{p['depth']}_{p['width']}_{p['seed']}.mem", "".join(f"{w:x}\n" for w in words)


def _rom(p: Params) -> tuple[str, str]:
    params = {
        "DEPTH": p["depth"],
        "WIDTH": p["width"],
        "FILE": f'"{_words(p)[0]}"',
        "STYLE": f'"{p["style"]}"',
    }
    return _instance("rom_file", params, {"clk": 1, "address": _clog2(p["depth"])}, {"q": p["width"]})


def _mux(p: Params) -> tuple[str, str]:
    return _instance(
        "mux", {"N": p["n"], "BITS": p["bits"]}, {"x": p["n"] * p["bits"], "select": _clog2(p["n"])}, {"y": p["bits"]}
    )


def _shifter(p: Params) -> tuple[str, str]:
    y = p["bits"] + (0 if p["right"] else p["most"])
    params = {"BITS": p["bits"], "MAX": p["most"], "RIGHT": p["right"]}
    return _instance("shifter", params, {"x": p["bits"], "amount": _clog2(p["most"] + 1)}, {"y": y})


def _decode(p: Params) -> tuple[str, str]:
    outputs = {"negative": 1, "significand": p["m"] + 1, "shift": p["e"]}
    return _instance("minifloat_decode", {"E": p["e"], "M": p["m"]}, {"code": p["e"] + p["m"] + 1}, outputs)


def _product(p: Params) -> tuple[str, str]:
    y = p["ma"] + p["mb"] + 2 + (1 << p["ea"]) + (1 << p["eb"]) - 4
    params = {"EA": p["ea"], "MA": p["ma"], "EB": p["eb"], "MB": p["mb"]}
    return _instance(
        "minifloat_mul",
        params,
        {"a": p["ea"] + p["ma"] + 1, "b": p["eb"] + p["mb"] + 1},
        {"negative": 1, "magnitude": y},
    )


def _round(p: Params) -> tuple[str, str]:
    params = {"IN": p["in"], "SHIFT": p["shift"], "E": p["e"], "M": p["m"], "EVEN": p["even"]}
    return _instance("minifloat_round", params, {"x": p["in"]}, {"y": p["e"] + p["m"] + 1})


def _fifo(p: Params) -> tuple[str, str]:
    params = {"DEPTH": p["depth"], "WIDTH": p["width"], "STYLE": f'"{p["style"]}"'}
    inputs = {**_CLOCKED, "take": 1, "push": 1, "in_data": p["width"], "out_ready": 1}
    return _instance("stream", params, inputs, {"room": 1, "out_valid": 1, "out_data": p["width"]})


def _counter(p: Params) -> tuple[str, str]:
    bits = max(1, _clog2(p["limit"]))
    return (
        f"input clk, input reset, input step, output [{bits - 1}:0] place, output ended",
        f"counter #(.LIMIT({p['limit']})) u (.clk(clk), .reset(reset), .step(step), .restart(1'b0), .place(place),"
        " .ended(ended));",
    )


_WINDOW = ("HEIGHT", "WIDTH", "GROUPS", "KH", "KW", "SH", "SW", "DH", "DW", "HELD", "BY_GROUP", "BITS")


def _window(p: Params) -> tuple[str, str]:
    params = {k: p[k.lower()] for k in _WINDOW} | {"STYLE": '"block"'}
    inputs = {**_CLOCKED, "fire": 1, "in_data": p["bits"]}
    return _instance("window", params, inputs, {"reads": 1, "writes": 1, "out_data": p["bits"]})


def window_control(p: Params) -> WindowControl:
    """What the backend says that its control is."""
    return control(tuple((k, p[k.lower()]) for k in _WINDOW))


def _line(p: Params) -> tuple[str, str]:
    params = {"DEPTH": p["depth"], "WIDTH": p["width"], "STYLE": f'"{p["style"]}"'}
    return _instance("line_buffer", params, {"clk": 1, "enable": 1, "x": p["width"]}, {"y": p["width"]})


def _converter(p: Params) -> tuple[str, str]:
    inputs = {**_CLOCKED, "in_valid": 1, "in_data": p["in"], "out_ready": 1}
    return _instance(
        "width_converter",
        {"IN": p["in"], "OUT": p["out"]},
        inputs,
        {"in_ready": 1, "out_valid": 1, "out_data": p["out"]},
    )


def row_bits(p: Params) -> tuple[int, int, int]:
    """Range of an input, and bits of an output that hold every row."""
    lo, hi = (-(1 << p["a"] - 1), (1 << p["a"] - 1) - 1) if p["signed"] else (0, (1 << p["a"]) - 1)
    reach = int(np.abs(matrix(p)).sum(axis=1).max()) * max(-lo, hi)
    return lo, hi, structure.width(-reach, reach)


def _rows(p: Params) -> tuple[str, str]:
    lo, hi, y = row_bits(p)
    # The text of the module itself: there is one for every matrix.
    text = pairing.verilog(pairing.graph(matrix(p), lo, hi), "m", lo, hi, y)
    body = text.split(";\n", 1)[1].rsplit("endmodule", 1)[0]
    return f"input [{p['cols'] * p['a'] - 1}:0] x, output [{p['rows'] * y - 1}:0] y", body


def _mac(p: Params) -> tuple[str, str]:
    params = {"W": p["w"], "A": p["a"], "ACC": p["acc"], "STYLE": f'"{p["style"]}"'}
    return _instance("mac", params, {**_CLOCKED, "enable": 1, "last": 1, "w": p["w"], "a": p["a"]}, {"y": p["acc"]})


def _minifloat_mac(p: Params) -> tuple[str, str]:
    params = {"EA": p["e"], "MA": p["m"], "EB": p["e"], "MB": p["m"], "P": p["p"], "ACC": p["acc"]}
    n = p["e"] + p["m"] + 1
    return _instance("minifloat_mac", params, {**_CLOCKED, "enable": 1, "last": 1, "a": n, "b": n}, {"y": p["acc"]})


# --- grids


def _product_of(**axes: Any) -> Iterator[Params]:
    """All combinations, the last axis fastest."""

    def walk(names: list[str], chosen: Params) -> Iterator[Params]:
        if not names:
            yield dict(chosen)
            return
        for value in axes[names[0]]:
            yield from walk(names[1:], {**chosen, names[0]: value})

    yield from walk(list(axes), {})


def _muls() -> Iterator[Params]:
    for p in _product_of(
        w=(2, 3, 4, 5, 6, 7, 8, 10, 12), a=(2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16), signed=(1, 0), style=("lut",)
    ):
        if p["w"] <= p["a"] and (p["signed"] or (p["w"] + p["a"]) % 2 == 0):
            yield p
    for w, a in ((2, 2), (2, 4), (3, 2), (4, 3), (4, 4), (3, 8), (8, 3), (6, 6), (8, 4), (5, 8), (8, 8), (12, 8)):
        yield {"w": w, "a": a, "signed": 2, "style": "lut"}


def _digit_chains() -> Iterator[Params]:
    for i, p in enumerate(_product_of(terms=(1, 2, 3, 4), w=(2, 3, 4, 5, 6, 8, 10), a=(3, 4, 6, 8, 10))):
        if i % 3:
            yield {**p, "signed": (1, 2, 2, 1, 2)[i % 5]}  # 1: both have a sign, 2: weights alone


def _dsps() -> Iterator[Params]:
    widths = (4, 8, 9, 12, 16, 17, 18, 19, 24, 25, 26, 27, 28, 32, 35, 36)
    for i, w in enumerate(widths):
        for j, a in enumerate(widths[i:]):
            if (i + j) % 2 == 0 and w + a > 8:  # below, Yosys takes LUTs
                yield {"w": w, "a": a, "signed": int((i + j) % 6 != 0), "style": "dsp"}


def _constants() -> Iterator[Params]:
    for i, p in enumerate(_product_of(a=(6, 8, 12, 16, 20, 24), bits=(2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 28))):
        if p["bits"] > 3 * p["a"]:  # more bits than a table of the operand would take
            continue
        yield {**p, "signed": int(i % 3 != 0), "negative": int(i % 5 == 0 or i % 7 == 3), "seed": i + 1}


def _cuts() -> Iterator[Params]:
    for i, p in enumerate(
        _product_of(acc=(6, 8, 10, 12, 16, 20, 24, 32), k=(1, 2, 3, 7, 11, 15, 31, 63), kind=("even", "random"))
    ):
        if (1 << p["acc"]) > 15 * p["k"] and (i + p["k"]) % 3 == 0 and (p["k"] < 63 or p["acc"] < 24):
            yield {**p, "signed": int(i % 4 != 3), "seed": i + 1}


def _affines() -> Iterator[Params]:
    for i, p in enumerate(_product_of(acc=(12, 16, 20, 24, 32), bits=(1, 4, 8, 12, 16, 20, 24), y=(2, 4, 8))):
        if i % 2 == 0:
            yield {**p, "loss": i % 3, "bias": int(i % 4 != 0), "out_signed": i % 2, "seed": i + 1}


def _clamps() -> Iterator[Params]:
    for bits in (8, 10, 13, 17, 24):
        for y in (2, 4, 8):
            if y < bits:
                yield {"in": bits, "lo": -(1 << y - 1), "hi": (1 << y - 1) - 1, "y": y}
                yield {"in": bits, "lo": 0, "hi": (1 << y) - 1, "y": y}
                yield {"in": bits, "lo": -(1 << y - 1) + 1, "hi": (1 << y - 1) - 1, "y": y}
        yield {"in": bits, "lo": 0, "hi": 1 << bits, "y": bits}
        yield {"in": bits, "lo": -5, "hi": 11, "y": 5}
        yield {"in": bits, "lo": -(1 << bits - 2) + 77, "hi": (1 << bits - 2) - 13, "y": bits - 1}


def _tables() -> Iterator[Params]:
    for i, p in enumerate(
        _product_of(**{"in": (4, 5, 6, 7, 8, 9, 10), "out": (1, 3, 4, 8), "kind": ("random", "smooth")})
    ):
        if p["in"] < 10 or p["out"] <= 4:
            yield {**p, "seed": i + 1}
    for i, p in enumerate(_product_of(**{"in": (6, 7, 8, 9, 10, 11), "out": (2, 4, 6), "kind": ("smooth", "bump")})):
        yield {**p, "seed": i + 101}


def _roms() -> Iterator[Params]:
    for i, p in enumerate(
        _product_of(depth=(256, 400, 512, 600, 1024, 1500, 2048), width=(1, 4, 8, 9, 16, 18, 24, 36, 48, 72))
    ):
        if i % 2 == 0 and p["depth"] * p["width"] <= 30_000:
            yield {**p, "style": "block", "seed": 1}


def _counters() -> Iterator[Params]:
    for limit in (2, 3, 4, 5, 6, 8, 9, 10, 14, 16, 24, 28, 32, 48, 64, 96, 128, 150, 216, 256, 384, 512, 784, 1024):
        yield {"limit": limit}
    for limit in (1536, 2160, 3072, 4096, 5000, 10000, 16384, 40000, 65536):
        yield {"limit": limit}


def _windows() -> Iterator[Params]:
    planes = ((5, 5), (8, 8), (12, 12), (14, 14), (16, 16), (28, 28), (32, 32), (1, 64), (1, 15), (10, 8))
    for i, (height, width) in enumerate(planes):
        for j, (groups, kernel, stride, gap) in enumerate(
            ((1, 3, 1, 1), (3, 3, 1, 1), (8, 2, 2, 1), (1, 5, 1, 1), (4, 3, 2, 1), (2, 3, 1, 2), (16, 1, 2, 1))
        ):
            tall, wide = (1 if height == 1 else kernel), kernel
            if (i + j) % 2 or gap * (wide - 1) >= width or gap * (tall - 1) >= height:
                continue
            down = 1 if height == 1 else stride
            held = min(height, gap * (tall - 1) + 1 + down)
            sizes = (height, width, groups, tall, wide, down, stride, 1 if height == 1 else gap, gap, held, j % 2, 4)
            yield dict(zip((k.lower() for k in _WINDOW), sizes, strict=True))


def _fifos() -> Iterator[Params]:
    depths, widths = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 128), (1, 4, 6, 12, 24, 48, 64)
    for i, p in enumerate(_product_of(depth=depths, width=widths)):
        if i % 2 == 0:
            yield {**p, "style": "distributed"}
    for i, p in enumerate(_product_of(depth=(256, 700, 1024, 4096), width=(4, 8, 18, 32, 36, 64))):
        if i % 2 == 0 and p["depth"] * p["width"] <= 70_000:
            yield {**p, "style": "block"}


def _lines() -> Iterator[Params]:
    for i, p in enumerate(_product_of(depth=(4, 8, 14, 16, 28, 32, 48, 64, 96, 128), width=(1, 4, 8, 12, 16, 32))):
        if i % 2 == 0:
            yield {**p, "style": "shift"}
    for i, p in enumerate(_product_of(depth=(64, 224, 256, 512, 640, 1024, 1920, 2048), width=(4, 8, 16, 24, 32, 64))):
        if i % 2 == 0:
            yield {**p, "style": "block"}


def _converters() -> Iterator[Params]:
    for i, p in enumerate(_product_of(small=(1, 2, 4, 8, 12, 16), ratio=(2, 3, 4, 5, 8, 12, 16))):
        wide = p["small"] * p["ratio"]
        yield {"in": p["small"], "out": wide} if i % 2 else {"in": wide, "out": p["small"]}


def _matrices() -> Iterator[Params]:
    shapes = ((1, 8), (1, 32), (4, 16), (8, 8), (8, 24), (16, 16), (10, 32), (16, 48), (32, 16))
    for i, (rows, cols) in enumerate(shapes):
        for j, (w, zeros) in enumerate(((1, 0), (2, 0.3), (3, 0), (4, 0), (4, 0.6), (6, 0), (8, 0.2))):
            if rows * cols * w <= 1600:
                yield {
                    "rows": rows,
                    "cols": cols,
                    "w": w,
                    "a": (2, 4, 8, 3, 6)[(i + 2 * j) % 5],
                    "signed": (i + j) % 2,
                    "zeros": zeros,
                    "seed": 7 * i + j,
                }
    for i, (rows, cols) in enumerate(((1, 16), (4, 16), (8, 8), (8, 24), (10, 32), (16, 16), (10, 64))):
        for w in (1, 2):
            yield {"rows": rows, "cols": cols, "w": w, "a": 1, "signed": 0, "zeros": 0.3 * (w - 1), "seed": 100 + i}


_TABLE = ("mul.sv", "table_lut.sv")
_FLOAT = ("minifloat_decode.sv", "minifloat_mul.sv", "shifter.sv", *_TABLE)
_FORMATS = (
    (2, 1),
    (2, 2),
    (2, 3),
    (2, 4),
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
    (4, 0),
    (4, 1),
    (4, 2),
    (4, 3),
    (4, 4),
    (5, 1),
    (5, 2),
    (5, 3),
)

PRIMITIVES: dict[str, Primitive] = {
    "mul_lut": Primitive(_TABLE, _mul, tuple(_muls())),
    "mul_dsp": Primitive(_TABLE, _mul, tuple(_dsps())),
    "digit_sum": Primitive(("digit_sum.sv",), _digits, tuple(_digit_chains())),
    "mul_const": Primitive(("mul_const.sv",), _mul_const, tuple(_constants())),
    "adder_tree": Primitive(
        ("adder_tree.sv",),
        _adder_tree,
        tuple(
            {**p, "signed": (p["terms"] + p["bits"]) % 2 if p["bits"] > 1 else 0}
            for p in _product_of(terms=(2, 3, 4, 6, 8, 12, 16, 25, 32, 64), bits=(1, 2, 3, 4, 6, 8, 12, 16, 20))
        ),
    ),
    "accumulator": Primitive(
        ("accumulator.sv",),
        _accumulator,
        tuple(
            {**p, "in": max(p["bits"] - d, 2), "signed": s}
            for p in _product_of(bits=(8, 12, 16, 20, 24, 28, 32, 40, 48), minus=(0, 1))
            for d, s in ((2, 1), (6, 0), (9, 1))
        ),
    ),
    "thresholds": Primitive(("thresholds.sv", "compare_part.sv"), _thresholds, tuple(_cuts())),
    "mul_add_shift": Primitive(
        ("mul_add_shift.sv", "mul_const.sv", "clamp.sv", "thresholds.sv", "compare_part.sv"),
        _mul_add_shift,
        tuple(_affines()),
    ),
    "clamp": Primitive(("clamp.sv", "thresholds.sv", "compare_part.sv"), _clamp, tuple(_clamps())),
    "table": Primitive(("table_lut.sv",), _table, tuple(_tables())),
    "rom": Primitive(("rom_file.sv", "rom_words.sv"), _rom, tuple(_roms()), _words),
    "mux": Primitive(
        ("mux.sv",), _mux, tuple(_product_of(n=(2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64), bits=(1, 8, 16)))
    ),
    "shifter": Primitive(
        ("shifter.sv",),
        _shifter,
        tuple(
            p
            for p in (
                *_product_of(bits=(3, 4, 6, 8, 12, 16, 24), most=(1, 3, 4, 7, 12, 15, 28, 60), right=(0, 1)),
                *_product_of(bits=(20, 28, 32, 40), most=(19, 28), right=(1,)),
                *_product_of(bits=(10, 20, 30), most=(40, 60), right=(0,)),
            )
            if not p["right"] or p["most"] < 2 * p["bits"]
        ),
    ),
    "minifloat_decode": Primitive(
        ("minifloat_decode.sv", "table_lut.sv"), _decode, tuple({"e": e, "m": m} for e, m in _FORMATS)
    ),
    "minifloat_mul": Primitive(
        _FLOAT,
        _product,
        tuple(
            {"ea": a[0], "ma": a[1], "eb": b[0], "mb": b[1]}
            for i, a in enumerate(_FORMATS)
            for j, b in enumerate(_FORMATS)
            if i <= j and a[1] and b[1] and ((i + j) % 2 == 0 or i == j)
        ),
    ),
    "minifloat_round": Primitive(
        ("minifloat_round.sv",),
        _round,
        tuple(
            {**p, "e": e, "m": m, "even": int(i % 3 != 0 or p["shift"] == 0)}
            for i, p in enumerate(_product_of(**{"in": (8, 12, 16, 20, 24, 32), "shift": (0, 1, 4, 8)}))
            for e, m in ((2, 1), (3, 2), (2, 3), (4, 3), (5, 2))
            if p["in"] > p["shift"] + m + 2 and (i + e + m) % 2
        ),
    ),
    "fifo": Primitive(("stream.sv",), _fifo, tuple(_fifos())),
    "counter": Primitive(("counter.sv",), _counter, tuple(_counters())),
    "window": Primitive(("window.sv",), _window, tuple(_windows())),
    "line_buffer": Primitive(("line_buffer.sv",), _line, tuple(_lines())),
    "width_converter": Primitive(("width_converter.sv",), _converter, tuple(_converters())),
    "constant_rows": Primitive((), _rows, tuple(_matrices())),
}
