"""The circuits of hw/rtl against the Python formats, and the cost model against the points that were measured."""

import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from rtl_bench import Case, packed, run

from qcompile.cost import pairing, primitives, structure
from qcompile.cost.devices import catalogue, device
from qcompile.cost.price import price
from qcompile.cost.resources import Basis
from qcompile.formats import FixedPoint, Minifloat, Rounding
from qcompile.parts import Multiplier, SummedProducts

sys.path.insert(0, str(ROOT / "hw" / "calibration"))
import fit  # noqa: E402
import grid  # noqa: E402
import measure  # noqa: E402


def signed(code: int, bits: int) -> int:
    return code - (1 << bits) if code >> (bits - 1) else code


def numbers(random: Random, bits: int, count: int = 40) -> list[int]:
    """Codes of `bits` bits: the corners and random ones, all of them where they are few."""
    if 1 << bits <= 64:
        return list(range(1 << bits))
    corners = [0, 1, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1]
    return corners + [random.getrandbits(bits) for _ in range(count)]


def literal(value: int, bits: int) -> str:
    return f"{'-' if value < 0 else ''}{bits}'sd{abs(value)}"


def products() -> list[Case]:
    random, cases = Random(1), []
    for w, a in ((1, 3), (1, 8), (2, 2), (2, 4), (3, 3), (2, 5), (4, 4), (3, 8), (5, 7), (8, 8), (7, 12)):
        for is_signed in (0, 1):
            for style in ("lut", "dsp"):
                pairs = [(x, y) for x in numbers(random, w, 8) for y in numbers(random, a, 8)]
                value = signed if is_signed else lambda code, bits: code
                vectors = [({"w": x, "a": y}, {"y": value(x, w) * value(y, a)}) for x, y in pairs]
                params = {"W": w, "A": a, "SIGNED": is_signed, "STYLE": f'"{style}"'}
                cases.append(Case("mul", params, {"w": w, "a": a}, {"y": w + a}, vectors))
    return cases


def constants() -> list[Case]:
    random, cases = Random(2), []
    values = [0, 1, -1, 2, 3, -3, 5, 7, -7, 6, 12, 96, 107, -107, 255, 1000, -1001, 0x5A5A5, -(2**31) + 1, 2**37 - 5]
    for i, value in enumerate(values + [random.getrandbits(20) - 2**19 for _ in range(12)]):
        a, is_signed = 4 + i % 7, i % 2
        y = a + abs(value).bit_length() + 1
        vectors = [({"a": x}, {"y": value * (signed(x, a) if is_signed else x)}) for x in numbers(random, a)]
        cases.append(
            Case(
                "mul_const",
                {"A": a, "SIGNED": is_signed, "VALUE": literal(value, 64), "Y": y},
                {"a": a},
                {"y": y},
                vectors,
            )
        )
    return cases


def trees() -> list[Case]:
    random, cases = Random(3), []
    for terms, bits, is_signed in ((1, 4, 1), (2, 3, 1), (3, 5, 0), (7, 4, 1), (8, 8, 0), (13, 6, 1)):
        y, vectors = bits + (terms - 1).bit_length(), []
        for k in range(30):
            x = [random.getrandbits(bits) if k > 1 else (1 << bits - 1) - k for _ in range(terms)]
            vectors.append(({"x": packed(x, bits)}, {"y": sum(signed(v, bits) if is_signed else v for v in x)}))
        cases.append(
            Case(
                "adder_tree",
                {"TERMS": terms, "BITS": bits, "SIGNED": is_signed},
                {"x": terms * bits},
                {"y": y},
                vectors,
            )
        )
    return cases


def activations() -> list[Case]:
    """Thresholds, multiply-add-shift and clamp, with the meaning of `ops.Thresholds` and `ops.MulAddShift`."""
    random, cases = Random(4), []
    for acc, k, is_signed in ((6, 1, 1), (8, 3, 0), (8, 6, 1), (12, 15, 1), (10, 31, 0)):
        low = -(1 << acc - 1) if is_signed else 0
        cuts = sorted(low + random.getrandbits(acc) for _ in range(k))
        params = {"ACC": acc, "SIGNED": is_signed, "K": k, "CUTS": f"{k * acc}'h{packed(cuts, acc):x}"}
        vectors = []
        for code in (
            numbers(random, acc) + [c & ((1 << acc) - 1) for c in cuts] + [(c - 1) & ((1 << acc) - 1) for c in cuts]
        ):
            value = signed(code, acc) if is_signed else code
            vectors.append(({"a": code}, {"y": int(np.searchsorted(cuts, value, side="right"))}))
        cases.append(Case("thresholds", params, {"a": acc}, {"y": k.bit_length()}, vectors))
    for acc, k in ((6, 3), (8, 4), (9, 7), (11, 12), (12, 15), (4, 15)):
        cuts = sorted(random.sample(range(-(1 << acc - 1), 1 << acc - 1), k))
        places = k.bit_length() - 1
        left = cuts[::2]
        params = {"ACC": acc, "PLACES": places, "K": len(left), "CUTS": f"{len(left) * acc}'h{packed(left, acc):x}"}
        vectors = []
        for a in range(-(1 << acc - 1), 1 << acc - 1):
            place = int(np.searchsorted(cuts[1::2], a, side="right"))
            count = int(np.searchsorted(cuts, a, side="right"))
            vectors.append(({"a": a & ((1 << acc) - 1), "place": place}, {"y": count}))
        cases.append(Case("chosen_cut", params, {"a": acc, "place": places}, {"y": places + 1}, vectors))
    for bits, lo, hi, y in (
        (9, -8, 7, 4),
        (9, -7, 7, 4),
        (9, 0, 15, 4),
        (8, 0, 1 << 8, 8),
        (8, -5, 11, 5),
        (8, -200, 100, 8),
        (5, 0, 15, 4),
        (8, 3, 90, 7),
    ):
        vectors = [({"x": x}, {"y": min(max(signed(x, bits), lo), hi)}) for x in range(1 << bits)]
        cases.append(
            Case(
                "clamp",
                {"IN": bits, "LO": literal(lo, 64), "HI": literal(hi, 64), "Y": y},
                {"x": bits},
                {"y": y},
                vectors,
            )
        )
    for acc, mul, add, shift, lo, hi, y in (
        (8, 3, 5, 4, -8, 7, 4),
        (12, 1234, -99, 10, 0, 255, 8),
        (16, -77, 1 << 9, 10, -100, 100, 8),
        (20, 4097, 0, 20, -2, 1, 2),
    ):
        reach = (1 << acc - 1) * abs(mul) + abs(add)
        n = structure.width(-reach, reach)
        params = {
            "ACC": acc,
            "MUL": literal(mul, 64),
            "ADD": literal(add, 128),
            "SHIFT": shift,
            "LO": literal(lo, 64),
            "HI": literal(hi, 64),
            "N": n,
            "Y": y,
        }
        vectors = [
            ({"a": x}, {"y": min(max((mul * signed(x, acc) + add) >> shift, lo), hi)})
            for x in numbers(random, acc, 200)
        ]
        cases.append(Case("mul_add_shift", params, {"a": acc}, {"y": y}, vectors))
    return cases


def selections() -> list[Case]:
    random, cases = Random(5), []
    for n, bits in ((2, 3), (3, 4), (8, 2), (11, 5), (16, 1)):
        words = [random.getrandbits(bits) for _ in range(n)]
        vectors = [({"x": packed(words, bits), "select": i}, {"y": words[i]}) for i in range(n)]
        cases.append(
            Case("mux", {"N": n, "BITS": bits}, {"x": n * bits, "select": (n - 1).bit_length()}, {"y": bits}, vectors)
        )
    for bits, most, right in ((4, 1, 0), (5, 6, 0), (8, 15, 0), (8, 7, 1), (12, 5, 1)):
        y = bits + (0 if right else most)
        vectors = [
            ({"x": x, "amount": s}, {"y": x >> s if right else x << s})
            for x in numbers(random, bits, 4)
            for s in range(most + 1)
        ]
        cases.append(
            Case(
                "shifter",
                {"BITS": bits, "MAX": most, "RIGHT": right},
                {"x": bits, "amount": most.bit_length()},
                {"y": y},
                vectors,
            )
        )
    for name, size, out in (("table_lut", 3, 2), ("table_lut", 6, 5), ("table_lut", 9, 3), ("table_long", 9, 3)):
        words = [random.getrandbits(out) for _ in range(1 << size)]
        params = {"IN": size, "OUT": out, "CONTENTS": f"{out << size}'h{packed(words, out):x}"}
        cases.append(Case(name, params, {"x": size}, {"y": out}, [({"x": i}, {"y": w}) for i, w in enumerate(words)]))
    return cases


FORMATS = ((2, 1), (2, 3), (3, 2), (4, 3), (5, 2), (3, 0), (1, 2), (4, 0))


def minifloats() -> list[Case]:
    random, cases = Random(6), []
    for e, m in FORMATS:
        f = Minifloat(e, m, 0)
        codes, units = f.codes(), f.decode(f.codes())
        size = np.abs(units)
        decoded = []
        for c, u in zip(codes.tolist(), units.tolist(), strict=True):
            shift = max((c >> m & (1 << e) - 1) - 1, 0)
            decoded.append(({"code": c}, {"negative": c >> (e + m), "significand": abs(u) >> shift, "shift": shift}))
        cases.append(
            Case(
                "minifloat_decode",
                {"E": e, "M": m},
                {"code": f.width},
                {"negative": 1, "significand": m + 1, "shift": e},
                decoded,
            )
        )
        for e2, m2 in FORMATS[:4]:
            g = Minifloat(e2, m2, 0)
            other, y = g.decode(g.codes()), m + m2 + 2 + (1 << e) + (1 << e2) - 4
            vectors = []
            for _ in range(150):
                i, j = random.getrandbits(f.width), random.getrandbits(g.width)
                negative = (i >> (e + m)) ^ (j >> (e2 + m2))
                vectors.append(
                    ({"a": i, "b": j}, {"negative": negative, "magnitude": int(size[i]) * abs(int(other[j]))})
                )
            params = {"EA": e, "MA": m, "EB": e2, "MB": m2}
            cases.append(
                Case("minifloat_mul", params, {"a": f.width, "b": g.width}, {"negative": 1, "magnitude": y}, vectors)
            )
    return cases


def roundings() -> list[Case]:
    random, cases = Random(7), []
    for (e, m), bits, shift, even in (
        ((2, 1), 8, 0, 1),
        ((3, 2), 10, 3, 1),
        ((4, 3), 16, 2, 1),
        ((5, 2), 20, 5, 1),
        ((2, 3), 8, 2, 0),
        ((4, 3), 24, 9, 0),
        ((4, 3), 12, 0, 1),
        ((3, 2), 6, 1, 0),
    ):
        f = Minifloat(e, m, 0)
        vectors = []
        for code in numbers(random, bits, 300):
            x = signed(code, bits)
            # Upwards means away from 0 or towards it.
            rounding = Rounding.ROUND if even else Rounding.HALF_UP if x > 0 else Rounding.HALF_DOWN
            vectors.append(
                ({"x": code}, {"y": int(f.encode(f.quantize_ratio(np.array([x]), 1 << shift, rounding))[0])})
            )
        params = {"IN": bits, "SHIFT": shift, "E": e, "M": m, "EVEN": even}
        cases.append(Case("minifloat_round", params, {"x": bits}, {"y": f.width}, vectors))
    return cases


def totals() -> list[Case]:
    """Sums of products over several cycles: integer and minifloat, with pauses."""
    random, cases = Random(8), []
    for w, a, acc in ((4, 4, 12), (3, 8, 16)):
        vectors, total, done = [], 0, None
        for k in range(60):
            x, y, enable, last = random.getrandbits(w), random.getrandbits(a), random.getrandbits(2) > 0, k % 7 == 6
            vectors.append(({"reset": k == 0, "enable": enable, "last": last, "w": x, "a": y}, {"y": done}))
            if enable and k:
                total += signed(x, w) * signed(y, a)
                done, total = (total, 0) if last else (done, total)
            if enable and not k and last:
                done = None
        cases.append(
            Case(
                "mac",
                {"W": w, "A": a, "ACC": acc},
                {"reset": 1, "enable": 1, "last": 1, "w": w, "a": a},
                {"y": acc},
                vectors,
                True,
            )
        )
    for e, m in ((2, 1), (4, 3)):
        f = Minifloat(e, m, 0)
        units, bits = f.decode(f.codes()), 2 * m + 2 + 2 * (1 << e) - 4
        vectors, total, done = [], 0, None
        for k in range(60):
            i, j, last = random.getrandbits(f.width), random.getrandbits(f.width), k % 5 == 0
            vectors.append(({"reset": k == 0, "enable": 1, "last": last, "a": i, "b": j}, {"y": done}))
            total = total + int(units[i]) * int(units[j]) if k else 0
            if last:
                done, total = (total if k else None), 0
        params = {"EA": e, "MA": m, "EB": e, "MB": m, "P": bits, "ACC": bits + 4}
        cases.append(
            Case(
                "minifloat_mac",
                params,
                {"reset": 1, "enable": 1, "last": 1, "a": f.width, "b": f.width},
                {"y": bits + 4},
                vectors,
                True,
            )
        )
    return cases


def memories() -> list[Case]:
    random, cases = Random(9), []
    for depth, style in ((4, "shift"), (9, "shift"), (8, "block"), (13, "block")):
        line: list[int | None] = [None] * depth
        vectors = []
        for _ in range(80):
            x, enable = random.getrandbits(6), random.getrandbits(2) > 0
            vectors.append(({"enable": enable, "x": x}, {"y": line[-1]}))
            line = [x, *line[:-1]] if enable else line
        cases.append(
            Case(
                "line_buffer",
                {"DEPTH": depth, "WIDTH": 6, "STYLE": f'"{style}"'},
                {"enable": 1, "x": 6},
                {"y": 6},
                vectors,
                True,
            )
        )
    return cases


def streams() -> list[Case]:
    """Buffers and converters: what comes out, in order, whatever the two sides do."""
    random, cases = Random(10), []
    inputs = {"reset": 1, "in_valid": 1, "in_data": 0, "out_ready": 1}
    for depth, style in ((4, "distributed"), (5, "distributed"), (8, "block"), (6, "block")):
        vectors, queue, out = [], [], None  # out: the register behind a block memory
        for k in range(200):
            busy = 3 if k < 100 else 1
            valid, ready, data = random.getrandbits(2) < busy, random.getrandbits(2) >= busy, random.getrandbits(6)
            room = len(queue) < depth
            given = {"reset": k == 0, "take": valid and room, "push": valid and room, "in_data": data}
            given["out_ready"] = ready
            has = bool(queue) if style == "distributed" else out is not None
            first = (queue[0] if has else None) if style == "distributed" else out
            vectors.append((given, {"room": room if k else None, "out_valid": has if k else None, "out_data": first}))
            if k == 0:
                continue
            if style == "distributed":
                queue = queue[1:] if has and ready else queue
            elif queue and (out is None or ready):
                out, queue = queue[0], queue[1:]
            elif ready:
                out = None
            queue = [*queue, data] if valid and room else queue
        params = {"DEPTH": depth, "WIDTH": 6, "STYLE": f'"{style}"'}
        outputs = {"room": 1, "out_valid": 1, "out_data": 6}
        sides = {"reset": 1, "take": 1, "push": 1, "in_data": 6, "out_ready": 1}
        cases.append(Case("stream", params, sides, outputs, vectors, True))
    for wide, narrow, widen in ((12, 4, True), (8, 2, True), (12, 4, False), (15, 3, False)):
        bits, out_bits = (narrow, wide) if widen else (wide, narrow)
        vectors, parts, full = [], [], None  # parts of the next word / left of the present one
        for k in range(150):
            valid, ready, data = random.getrandbits(2) > 0, random.getrandbits(2) > 0, random.getrandbits(bits)
            given = {"reset": k == 0, "in_valid": valid, "in_data": data, "out_ready": ready}
            if widen:
                room = full is None or ready
                vectors.append(
                    (
                        given,
                        {
                            "in_ready": room if k else None,
                            "out_valid": (full is not None) if k else None,
                            "out_data": full,
                        },
                    )
                )
                if k == 0:
                    continue
                full = None if ready else full
                if valid and room:
                    parts.append(data)
                    if len(parts) == wide // narrow:
                        full, parts = packed(parts, narrow), []
            else:
                room = not parts or (ready and len(parts) == 1)
                vectors.append(
                    (
                        given,
                        {
                            "in_ready": room if k else None,
                            "out_valid": bool(parts) if k else None,
                            "out_data": parts[0] if parts else None,
                        },
                    )
                )
                if k == 0:
                    continue
                parts = parts[1:] if ready and parts else parts
                if valid and room:
                    parts = [data >> (i * narrow) & ((1 << narrow) - 1) for i in range(wide // narrow)]
        cases.append(
            Case(
                "width_converter",
                {"IN": bits, "OUT": out_bits},
                {**inputs, "in_data": bits},
                {"in_ready": 1, "out_valid": 1, "out_data": out_bits},
                vectors,
                True,
            )
        )
    return cases


def divided() -> list[Case]:
    """Roots and quotients a digit after the other, in steps that have others between them, beside whole numbers."""
    random, cases = Random(11), []
    for n_bits, k, num in ((5, 4, 300), (6, 3, 900), (3, 1, 2), (8, 5, 2**14)):
        known = [n for n in range(1, 1 << n_bits) if n * 4**k > num]
        roots = [(n, 0, max(r for r in range(1 << k) if n * r * r <= num)) for n in known]
        ports, params = {"n": n_bits}, {"N": n_bits, "K": k, "NUM": f"{n_bits + 3 * k + 3}'d{num}"}
        cases.append(_in_turn(random, "root_digits", params, ports, k, 2 * k + 1, roots))
    for n_bits, d_bits, k in ((7, 4, 4), (6, 5, 3), (9, 3, 5), (4, 4, 1)):
        ends = -(1 << n_bits - 1), 1 << n_bits - 1
        pairs = [(n, d) for d in range(1, 1 << d_bits) for n in range(*ends) if -(d << k) < n < d << k]
        wanted = [(n, d, 2 * (n // d) + (n % d != 0)) for n, d in random.sample(pairs, 60)]
        ports, params = {"n": n_bits, "d": d_bits}, {"N": n_bits, "D": d_bits, "K": k}
        cases.append(_in_turn(random, "quotient_digits", params, ports, k + 2, k + 2, wanted))
    return cases


def _in_turn(
    random: Random,
    name: str,
    params: dict[str, Any],
    ports: dict[str, int],
    bits: int,
    steps: int,
    wanted: list[tuple[int, int, int]],
) -> Case:
    vectors: list[Any] = [({"reset": 1, "enable": 0, "last": 0, **dict.fromkeys(ports, 0)}, {"y": None})]
    before = None
    for n, d, y in wanted:
        step = 0
        while step < steps:
            enable = random.getrandbits(2) > 0
            given = {p: (v if step == 0 else random.getrandbits(9)) for p, v in zip("nd", (n, d), strict=True)}
            taken = {p: given[p] & (1 << size) - 1 for p, size in ports.items()}
            vectors.append(
                ({"reset": 0, "enable": enable, "last": enable and step == steps - 1, **taken}, {"y": before})
            )
            before, step = None, step + enable
        before = y & (1 << bits) - 1
    return Case(name, params, {"reset": 1, "enable": 1, "last": 1, **ports}, {"y": bits}, vectors, True)


def rows() -> tuple[list[Case], str]:
    """Constant matrices as shared sums, written out by `pairing.verilog`."""
    random, cases, text = Random(12), [], []
    for i, (shape, top, lo, hi) in enumerate(
        (((1, 1), 1, -4, 3), ((5, 7), 1, -2, 1), ((6, 9), 7, -8, 7), ((4, 4), 100, 0, 15), ((3, 16), 12, 0, 255))
    ):
        matrix = np.array([random.randint(-top, top) for _ in range(shape[0] * shape[1])]).reshape(shape)
        reach = int(np.abs(matrix).sum(axis=1).max()) * max(-lo, hi)
        y, a = structure.width(-reach, reach), structure.width(lo, hi) - (lo >= 0)
        text.append(pairing.verilog(pairing.graph(matrix, lo, hi), f"rows{i}", lo, hi, y))
        vectors = []
        for k in range(40):
            x = [(lo, hi)[k] if k < 2 else random.randint(lo, hi) for _ in range(shape[1])]
            vectors.append(({"x": packed(x, a)}, {"y": packed((matrix @ np.array(x)).tolist(), y)}))
        cases.append(Case(f"rows{i}", {}, {"x": shape[1] * a}, {"y": shape[0] * y}, vectors))
    return cases, "".join(text)


def test_circuits_compute_what_the_formats_say(tmp_path: Path) -> None:
    matrices, text = rows()
    cases = [
        *products(),
        *constants(),
        *trees(),
        *activations(),
        *selections(),
        *minifloats(),
        *roundings(),
        *totals(),
        *memories(),
        *divided(),
        *streams(),
        *matrices,
    ]
    assert run(cases, tmp_path, text) == []


# --- the cost model


def test_published_coefficients_and_errors_follow_from_the_points() -> None:
    found = fit.fits()
    assert fit.model(found) == fit.COSTS.read_text()
    assert fit.table(found) == fit.ERRORS.read_text()
    assert not {key for key, f in found.items() if len(f.lut) and not fit.errors(*key, f).met}


def test_hard_blocks_and_registers_are_exact() -> None:
    for name in fit.COUNTED:
        for fabric in measure.COMMANDS:
            for part in filter(None, fit.exact(name, fabric).split(", ")):
                same, of = part.split()[1].split("/")
                assert same == of, f"{name} on {fabric}: {part}"


@pytest.mark.parametrize(
    "name, fabric",
    [("mul_dsp", "xcup"), ("adder_tree", "ecp5"), ("mul_add_shift", "xc7"), ("fifo", "ecp5")],
)
def test_points_can_be_measured_again(name: str, fabric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "native", True)
    digests, found = measure.read_points(name)
    primitive = grid.PRIMITIVES[name]
    assert digests[fabric] == measure.digest(primitive, fabric), "RTL or commands changed: make calibrate"
    chosen = [p for p in primitive.points if measure._key(fabric, p) in found][1::19][:2]
    assert measure.synthesise(primitive, fabric, chosen) == [found[measure._key(fabric, p)] for p in chosen]


def test_every_device_has_a_fabric() -> None:
    for d in catalogue().devices:
        f = primitives.fabric(d)
        assert (f.basis is Basis.EXTRAPOLATED) == (d.family in ("Versal", "iCE40 UltraPlus", "iCE40 HX"))
        cost = primitives.multiplier(f, 8, 8).then(primitives.accumulator(f, 24))
        assert cost.lut > 60 and cost.ff == 48 and cost.delay_ns > 0 and cost.basis == f.basis
        assert primitives.multiplier(f, 8, 8, dsp=True).dsp == 1
        assert primitives.fifo(f, 1024, 18).bram18 >= 1


def test_constants_are_counted_by_their_digits() -> None:
    f = primitives.fabric(device("xc7z020"))
    assert primitives.constant_multipliers(f, np.array([0, 1, -0, 64, 1024]), 8).lut == 0
    # One adder of the operand's width each: 3 = 2 + 1, 5, 7 = 8 - 1; -3 = 1 - 4 needs no turning.
    assert structure.chain(np.array([3, 5, -3]), 8)[0].tolist() == [8, 8, 8]
    assert structure.chain(np.array([-3, -5]), 8)[1].tolist() == [0, 11] or structure.chain(np.array([-5]), 8)[1][0] > 0
    few, many = (primitives.constant_multipliers(f, np.full(n, 11), 8).lut for n in (1, 1000))
    assert many == pytest.approx(1000 * few)


def test_equal_rows_of_a_constant_matrix_cost_nothing_more() -> None:
    f = primitives.fabric(device("xczu9eg"))
    row = np.array([[3, 0, -5, 1, 7, 2]])
    assert primitives.constant_rows(f, np.repeat(row, 4, axis=0), -8, 7) == primitives.constant_rows(f, row, -8, 7)


def test_constants_of_any_width_have_a_price() -> None:
    f = primitives.fabric(device("xczu9eg"))
    row = np.array([[3, 0, -5, 1, 7, 2]], dtype=object)
    small, wide = (primitives.constant_rows(f, row * scale, -8, 7) for scale in (1, 2**80 + 1))
    assert small == primitives.constant_rows(f, row.astype(np.int64), -8, 7)
    assert small.lut < wide.lut < 20 * small.lut


def test_outside_the_measured_widths_is_extrapolated() -> None:
    f = primitives.fabric(device("lfe5u-85f"))
    assert primitives.adder_tree(f, 16, 8).basis is Basis.MEASURED
    assert primitives.adder_tree(f, 16, 60).basis is Basis.EXTRAPOLATED


def test_sums_of_tiny_products_have_them_partly_in_their_adders() -> None:
    f = primitives.fabric(device("xc7z020"))
    for bits, absorbed in ((2, 4), (8, 0)):
        of = FixedPoint(bits)
        one = price(Multiplier(of, of), f)
        alone = one.times(8 - absorbed).lut + primitives.adder_tree(f, 8, 2 * bits).lut
        assert price(SummedProducts(8, of, of), f).lut == pytest.approx(alone)
