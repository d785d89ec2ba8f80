"""Layers of an integer graph as SystemVerilog, put together from the circuits of hw/rtl with their real weights and
parameters.

Every function answers the ports and the body of a module. Inputs and outputs are codes, element 0 in the low bits; sums
leave as integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from grid import packed

from qcompile import parts
from qcompile.backends import sums
from qcompile.cost import pairing, structure
from qcompile.cost import primitives as hw
from qcompile.cost.exchange import in_dsp
from qcompile.formats import Bipolar, Format, Minifloat
from qcompile.hardware.site import Site, rows_of
from qcompile.hardware.units.requant import combined_bits, steps, table_bits
from qcompile.ir import ops
from qcompile.parts import bits, signed
from qcompile.templating import templates

Module = tuple[str, str]
FILES = (
    "accumulator.sv",
    "adder_tree.sv",
    "clamp.sv",
    "compare_part.sv",
    "minifloat_decode.sv",
    "minifloat_mul.sv",
    "minifloat_round.sv",
    "mul.sv",
    "mul_const.sv",
    "rom.sv",
    "shifter.sv",
    "table_lut.sv",
    "thresholds.sv",
)


def _sized(value: int, size: int = 64) -> str:
    return f"{'-' if value < 0 else ''}{size}'sd{abs(value)}"


def _codes(fmt: Format, units: np.ndarray) -> list[int]:
    return [int(v) & ((1 << fmt.width) - 1) for v in np.asarray(fmt.encode(units)).ravel().tolist()]


# --- everything unrolled


def products(s: Site, graphs: Sequence[parts.AdderGraph], emitted: bool) -> Module:
    """Constant rows of shared sums; minifloats become integers first, and of two signs +1 counts as 1, so that the sum
    is 2 * count - all.
    """
    rows, _ = rows_of(s)
    data = s.data.type.format
    assert data is not None
    groups = getattr(s.node.op, "groups", 1)
    lo, hi = parts.value_range(data)
    most = max(-lo, hi) * int(np.abs(rows).sum(axis=1).max())
    y = structure.width(-most, most)
    first, last = (0, 1) if isinstance(data, Bipolar) else (lo, hi)
    a = structure.width(first, last) - (first >= 0)
    columns, size = rows.shape[1], len(rows) // groups
    lines = [f"wire [{groups * columns * a - 1}:0] units; wire [{len(rows) * y - 1}:0] sums;"]
    lines += [
        decoder(data, f"c[{i * data.width}+:{data.width}]", f"units[{i * a}+:{a}]", i) for i in range(groups * columns)
    ]
    for g, graph in enumerate(graphs):
        if emitted:
            page = templates().get_template("rtl/adders.sv.j2")
            text = page.render(view=sums.view(graph, "m"), a=a, signed=first < 0, y=y)
        else:  # the text of a module, in a block of its own whose x and y are those of the group
            text = pairing.verilog(graph, "m", first, last, y).split(";\n", 1)[1].rsplit("endmodule", 1)[0]
        ports = f"wire [{columns * a - 1}:0] x = units[{g * columns * a}+:{columns * a}]; wire [{size * y - 1}:0] y;"
        lines.append(f"if (1) begin : g{g}\n{ports}\n{text}assign sums[{g * size * y}+:{size * y}] = y;\nend")
    for r, total in enumerate(rows.sum(axis=1).tolist()):
        here = f"[{r * y}+:{y}]"
        lines.append(
            f"assign y{here} = "
            + (f"{{sums{here}, 1'b0}} - {_sized(int(total), 32)};" if isinstance(data, Bipolar) else f"sums{here};")
        )
    return f"input [{groups * columns * data.width - 1}:0] c, output [{len(rows) * y - 1}:0] y", "\n".join(lines)


def decoder(fmt: Format, code: str, units: str, number: int) -> str:
    """A code as a two's complement number: a table of at most 6 bits, or significand, shift and sign."""
    if not isinstance(fmt, Minifloat):
        return f"assign {units} = {code};"
    wide = bits(fmt)
    if fmt.width <= 6:
        known = fmt.codes()
        contents = packed(
            [0 if fmt.is_special(np.array([k]))[0] else int(fmt.decode(np.array([k]))[0]) for k in known], wide
        )
        return (
            f"table_lut #(.IN({fmt.width}), .OUT({wide}), .CONTENTS({contents})) d{number} (.x({code}), .y({units}));"
        )
    e, m = fmt.exponent, fmt.mantissa
    most = 2**e - 2
    return (
        f"wire [{m}:0] s{number}; wire [{e - 1}:0] e{number}; wire n{number}; wire [{m + most}:0]"
        f" u{number};\nminifloat_decode #(.E({e}), .M({m})) d{number} (.code({code}), .negative(n{number}),"
        f" .significand(s{number}), .shift(e{number}));\nshifter #(.BITS({m + 1}), .MAX({most})) h{number}"
        f" (.x(s{number}), .amount(e{number}), .y(u{number}));\nassign {units} = n{number} ? -u{number} : u{number};"
    )


def elements(s: Site, rows: np.ndarray) -> Module:
    """One element of a Requant for every one of these parameter rows: accumulators in, which are added, codes out."""
    op: ops.Requant = s.node.op
    formats = tuple(v.type.format for v in s.node.inputs)
    acc, fmt = combined_bits(op, formats), op.quantize.format
    lines = [_element(op, int(row), i, acc) for i, row in enumerate(rows)]
    out = f"output [{len(rows) * fmt.width - 1}:0] y"
    if len(formats) == 1:
        return f"input [{len(rows) * acc - 1}:0] a, {out}", "\n".join(lines)
    wide = {f"x{k}": (bits(f), f) for k, f in enumerate(formats)}
    ports = ", ".join(f"input [{len(rows) * n - 1}:0] {x}" for x, (n, _) in wide.items())
    for i in range(len(rows)):
        terms = [_term(f"{x}[{i * n}+:{n}]", f) for x, (n, f) in wide.items()]
        lines.append(f"wire signed [{acc - 1}:0] a{i} = {' + '.join(terms)}; assign a[{i * acc}+:{acc}] = a{i};")
    return f"{ports}, {out}", "\n".join([f"wire [{len(rows) * acc - 1}:0] a;", *lines])


def _term(code: str, fmt: Format) -> str:
    """A number as a signed operand."""
    return f"$signed({code})" if signed(fmt) else f"$signed({{1'b0, {code}}})"


def _element(op: ops.Requant, row: int, i: int, acc: int) -> str:
    impl, fmt = op.impl, op.quantize.format
    x, y = f"a[{i * acc}+:{acc}]", f"y[{i * fmt.width}+:{fmt.width}]"
    if isinstance(impl, ops.Thresholds):
        cuts, units = steps(impl, row)
        n, values = len(cuts).bit_length(), _codes(fmt, units)
        if not n:
            return f"assign {y} = {values[0]};"
        return (
            f"wire [{n - 1}:0] k{i}; thresholds #(.ACC({acc}), .K({len(cuts)}), .CUTS({packed(cuts.tolist(), acc)}))"
            f" t{i} (.a({x}), .y(k{i}));\ntable_lut #(.IN({n}), .OUT({fmt.width}),"
            f" .CONTENTS({_filled(values, n, fmt.width)})) v{i} (.x(k{i}), .y({y}));"
        )
    if isinstance(impl, ops.Table):
        size = table_bits(impl)
        known = (impl.first + np.arange(impl.values.data.shape[1])) % (1 << size)
        values = dict(zip(known.tolist(), _codes(fmt, impl.values.data[row]), strict=True))
        bits_of = [
            f"{fmt.width}'d{values[k]}" if k in values else f"{fmt.width}'bx" for k in reversed(range(1 << size))
        ]
        return (
            f"table_lut #(.IN({size}), .OUT({fmt.width}), .CONTENTS({{{', '.join(bits_of)}}})) v{i}"
            f" (.x(a[{i * acc}+:{size}]), .y({y}));"
        )
    assert isinstance(impl, (ops.MulAddShift, ops.FloatRound))
    column = 0 if isinstance(impl, ops.MulAddShift) else ()
    mul, add, shift = (int(p.data[row][column]) for p in (impl.mul, impl.add, impl.shift))
    reach = abs(mul) * (1 << acc - 1) + abs(add)
    n = structure.width(-reach, reach)
    total = (
        f"wire signed [{n - 1}:0] p{i}; mul_const #(.A({acc}), .VALUE({_sized(mul)}), .Y({n})) m{i} (.a({x}),"
        f" .y(p{i}));\nwire signed [{n - 1}:0] q{i} = p{i} + {_sized(add, n)};\n"
    )
    if isinstance(impl, ops.FloatRound):
        assert isinstance(fmt, Minifloat)
        top, bottom = (int(fmt.encode(np.array([abs(int(v.data[row]))]))[0]) for v in (impl.hi, impl.lo))
        ties = impl.even and (mul == 0 or add % (mul & -mul) == 0)  # else the addend has ones below every product
        limits = f".E({fmt.exponent}), .M({fmt.mantissa}), .EVEN({int(ties)}), .TOP({top}), .BOTTOM({bottom})"
        return total + f"minifloat_round #(.IN({n}), .SHIFT({shift}), {limits}) r{i} (.x(q{i}), .y({y}));"
    lo, hi, tie = _sized(int(impl.lo.data[row])), _sized(int(impl.hi.data[row])), int(impl.tie.data[row, 0])
    odd = f"q{i}[{shift}] && q{i}[{shift - 1}:{shift - tie}] != 0" if tie else f"q{i}[{shift}]"
    return (
        total + f"wire signed [{n - shift - 1}:0] r{i} = {{q{i}[{n - 1}:{shift + 1}], {odd}}};\n"
        f"clamp #(.IN({n - shift}), .LO({lo}), .HI({hi}), .Y({fmt.width})) l{i} (.x(r{i}), .y({y}));"
    )


def _filled(values: list[int], address: int, size: int) -> str:
    """Contents of a table, what is never read left open."""
    missing = (1 << address) - len(values)
    return f"{{{missing * size}'bx, {packed(values, size)}}}" if missing else packed(values, size)


# --- folded


def matrix_vector(s: Site, fabric: hw.Fabric) -> Module:
    """pe rows and simd columns a cycle, weights in a ROM; the activations of a cycle come in with `enable`, for every
    group of rows again.
    """
    rows, _ = rows_of(s)
    data, weights = s.data.type.format, s.node.inputs[s.constant].type.format
    assert data is not None and weights is not None
    pe, simd, acc = s.folding.pe, s.folding.simd, bits(s.node.output.type.format)
    groups, folds = -(-rows.shape[0] // pe), -(-rows.shape[1] // simd)
    padded = np.zeros((groups * pe, folds * simd), dtype=rows.dtype)
    padded[: rows.shape[0], : rows.shape[1]] = rows
    words = padded.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3).ravel()
    depth, w, a = groups * folds, weights.width, data.width
    address, fold = max(1, (depth - 1).bit_length()), max(1, (folds - 1).bit_length())
    style = "block" if hw.rom(fabric, depth, pe * simd * w).bram18 else "distributed"
    lines = [
        (
            f"reg [{address - 1}:0] address; reg [{fold - 1}:0] fold; reg [{simd * a - 1}:0] x; reg work, last, done;"
            " assign valid = done;"
        ),
        f"wire final_fold = fold == {folds - 1};",
        (
            "always @(posedge clk) begin if (enable) x <= c; work <= enable && !reset; last <= final_fold; done <= work"
            " && last && !reset;"
        ),
        (
            f"if (reset) begin address <= 0; fold <= 0; end else if (enable) begin address <= address == {depth - 1} ?"
            " 0 : address + 1'b1;"
        ),
        "fold <= final_fold ? 0 : fold + 1'b1; end end",
        f"wire [{pe * simd * w - 1}:0] w;",
        (
            f"rom #(.DEPTH({depth}), .WIDTH({pe * simd * w}), .CONTENTS({packed(_codes(weights, words), w)}),"
            f' .STYLE("{style}"), .S({address})) memory (.clk(clk), .enable(enable), .address(address), .q(w));'
        ),
    ]
    for p in range(pe):
        lines += _row(fabric, p, data, weights, simd, folds, acc, rows.shape[1])
    ports = (
        f"input clk, input reset, input enable, input [{simd * a - 1}:0] c, output valid, output [{pe * acc - 1}:0] y"
    )
    return ports, "\n".join(lines)


def _row(
    fabric: hw.Fabric, p: int, data: Format, weights: Format, simd: int, folds: int, acc: int, columns: int
) -> list[str]:
    """The products of a row, their sum, and the accumulator."""
    agree = isinstance(data, Bipolar) and isinstance(weights, Bipolar)
    n = 1 if agree else parts.product_bits(data, weights)
    turned = parts.sign_magnitude(data, weights) and simd == 1 and folds > 1
    minus = not agree and parts.product_range(data, weights)[0] < 0 and not turned
    total = n + (simd - 1).bit_length()
    lines = [f"wire [{simd * n - 1}:0] p{p}; wire [{total - 1}:0] t{p}; wire [{acc - 1}:0] y{p}; wire turn{p};"]
    for i in range(simd):
        k = p * simd + i
        w, x = f"w[{k * weights.width}+:{weights.width}]", f"x[{i * data.width}+:{data.width}]"
        lines += _product(
            fabric, f"{p}_{i}", w, x, data, weights, f"p{p}[{i * n}+:{n}]", n, f"turn{p}" if turned else ""
        )
    if not turned:
        lines.append(f"assign turn{p} = 0;")
    lines.append(f"adder_tree #(.TERMS({simd}), .BITS({n}), .SIGNED({int(minus)})) s{p} (.x(p{p}), .y(t{p}));")
    if folds > 1:
        options = f".IN({total}), .BITS({acc}), .SIGNED({int(minus)}), .MINUS({int(turned)})"
        lines.append(
            f"accumulator #({options}) a{p} (.clk(clk), .reset(reset), .enable(work), .last(last), .minus(turn{p}),"
            f" .x(t{p}), .y(y{p}));"
        )
    else:
        sign = f"$signed(t{p})" if minus else f"t{p}"
        lines.append(f"reg [{acc - 1}:0] r{p}; always @(posedge clk) if (work) r{p} <= {sign}; assign y{p} = r{p};")
    lines.append(f"assign y[{p * acc}+:{acc}] = " + (f"{{y{p}, 1'b0}} - {_sized(columns, 32)};" if agree else f"y{p};"))
    return lines


def _product(
    fabric: hw.Fabric, name: str, w: str, x: str, data: Format, weights: Format, y: str, n: int, turn: str
) -> list[str]:
    if isinstance(data, Bipolar) and isinstance(weights, Bipolar):
        return [f"assign {y} = ~({w} ^ {x});"]
    if isinstance(data, Minifloat) and isinstance(weights, Minifloat):
        most = data.mantissa + weights.mantissa + 2 + 2**data.exponent + 2**weights.exponent - 4
        formats = f".EA({data.exponent}), .MA({data.mantissa}), .EB({weights.exponent}), .MB({weights.mantissa})"
        pins = f".a({x}), .b({w}), .negative(n{name}), .magnitude(g{name})"
        lines = [f"wire n{name}; wire [{most - 1}:0] g{name}; minifloat_mul #({formats}) m{name} ({pins});"]
        return lines + (
            [f"assign {turn} = n{name}; assign {y} = g{name};"]
            if turn
            else [f"assign {y} = n{name} ? -g{name} : g{name};"]
        )
    if isinstance(data, Bipolar) or isinstance(weights, Bipolar):
        sign, value, fmt = (x, w, weights) if isinstance(data, Bipolar) else (w, x, data)
        lines = [f"wire signed [{n - 1}:0] e{name} = {f'$signed({value})' if signed(fmt) else value};"]
        return [*lines, f"assign {y} = {sign} ? e{name} : -e{name};"]
    sides = [(w, weights), (x, data)]
    minus = signed(data) or signed(weights)
    operands = [(f"{{1'b0, {v}}}" if minus and not signed(f) else v, parts.factor_bits(f, minus)) for v, f in sides]
    (narrow, short), (wide, long) = sorted(operands, key=lambda operand: operand[1])
    style = "dsp" if in_dsp(fabric, short, long) else "lut"
    options = f'.W({short}), .A({long}), .SIGNED({int(minus)}), .STYLE("{style}")'
    lines = [f"wire [{short + long - 1}:0] f{name}; mul #({options}) m{name} (.w({narrow}), .a({wide}), .y(f{name}));"]
    return [*lines, f"assign {y} = f{name};"]
