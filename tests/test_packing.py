"""Products side by side in DSP blocks: every operand, both backends, and what Yosys makes of a block."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, needs
from test_whole_windows import Case, assert_exact

import qcompile as qc
from qcompile import parts
from qcompile.assets import asset
from qcompile.cost import primitives as hw
from qcompile.cost.devices import device
from qcompile.cost.price import price
from qcompile.formats import FixedPoint
from qcompile.hardware import fit
from qcompile.hardware.packing import PackedWeights, packing

sys.path.insert(0, str(ROOT / "hw" / "calibration"))
import measure  # noqa: E402


def fixed(width: int, signed: bool = True, narrow: bool = False) -> FixedPoint:
    return FixedPoint(width, 0, signed, narrow)


def ends_of(fmt: FixedPoint) -> tuple[int, int]:
    return int(fmt.min_units), int(fmt.max_units)


def placed(how: PackedWeights, weights: list[np.ndarray], data: np.ndarray) -> list[np.ndarray]:
    """The sums of all rows as the circuit has them. weights: [together], of every row."""
    block = np.int64(how.offsets)
    for t in range(how.together):
        side_by_side = sum(w[t].astype(np.int64) << how.spacing * r for r, w in enumerate(weights))
        assert np.all(side_by_side == side_by_side << 39 >> 39)  # 25 bits
        block = block + side_by_side * data[t]
    assert np.all(block == block << 16 >> 16)
    places = [block >> how.spacing * r & (1 << how.spacing) - 1 for r in range(how.rows)]
    turned = [p ^ (1 << how.spacing - 1) if r < how.rows - 1 else p for r, p in enumerate(places)]
    return [(p ^ 1 << how.spacing - 1) - (1 << how.spacing - 1) for p in turned]


@pytest.mark.parametrize(
    ("data", "weights", "rows", "spacing", "together"),
    [
        (fixed(8), fixed(8), 2, 16, 1),
        (fixed(8), fixed(8, narrow=True), 2, 16, 2),
        (fixed(8, False), fixed(8), 2, 16, 1),
        (fixed(8, False), fixed(8, narrow=True), 2, 17, 2),
        (fixed(4), fixed(4), 3, 9, 2),
        (fixed(4, False), fixed(4), 3, 9, 2),
        (fixed(2), fixed(3), 4, 6, 2),
        (fixed(8), fixed(4), 2, 13, 2),
    ],
)
def test_all_products(data: FixedPoint, weights: FixedPoint, rows: int, spacing: int, together: int) -> None:
    """Every weight of every row at every number, with the sums that borrow most and least in front."""
    how = packing(data, ends_of(weights), 12, 2)
    assert how is not None and (how.rows, how.spacing, how.together) == (rows, spacing, together)
    each = [np.arange(int(f.min_units), int(f.max_units) + 1) for f in (weights, data)]
    ends = [(int(w), int(x)) for w in (each[0][0], each[0][-1]) for x in (each[1][0], each[1][-1])]
    some = each[0] if rows < 3 else each[0][[0, 1, len(each[0]) // 2, -2, -1]]
    grids = np.meshgrid(*[some] * rows, each[1], indexing="ij")
    flat = [g.ravel() for g in grids]
    for w0, x0 in (min(ends, key=math.prod), max(ends, key=math.prod)):
        rows_of = [np.stack([w, np.full_like(w, w0)])[:together] for w in flat[:rows]]
        x = np.stack([flat[rows], np.full_like(flat[rows], x0)])[:together]
        for found, w in zip(placed(how, rows_of, x), rows_of, strict=True):
            assert np.array_equal(found, (w * x).sum(axis=0))


def test_what_no_block_takes() -> None:
    byte = ends_of(fixed(8))
    assert packing(fixed(19), byte, 4, 2) is None and packing(fixed(18, False), byte, 4, 2) is None
    assert packing(fixed(8), ends_of(fixed(26)), 4, 2) is None
    assert packing(fixed(16), ends_of(fixed(16)), 4, 3) == PackedWeights(1, 32, 16, 1)
    assert packing(fixed(4), ends_of(fixed(4)), 4, 2).rows == 2  # of three that fit, those that divide the rows


BENCH = """
module bench;
  reg clk = 0;
  always #1 clk = !clk;
  integer i, fails = 0;
  reg [{all}-1:0] at, seen[0:2];
  wire [{rows}*{spacing}-1:0] y;
  packed_products #(.ROWS({rows}), .SPACING({spacing}), .WIDE({wide}), .TERMS(2), .W({w}), .X({x})) blocks (
      .clk(clk), .w(at[2*{rows}*{w}-1:0]), .x(at[{all}-1-:2*{x}]), .y(y));
  function automatic integer number(input integer code, input integer bits);
    number = code >= (1 << (bits - 1)) ? code - (1 << bits) : code;
  endfunction
  function automatic integer wanted(input [{all}-1:0] v, input integer row);
    integer t;
    wanted = 0;
    for (t = 0; t < 2; t = t + 1)
      wanted = wanted + number(v[(t*{rows}+row)*{w}+:{w}], {w}) * number(v[2*{rows}*{w}+t*{x}+:{x}], {x});
  endfunction
  integer r;
  initial begin
    for (i = 0; i < (1 << {all}) + 3; i = i + 1) begin
      at = i;
      @(negedge clk);
      if (i >= 2)
        for (r = 0; r < {rows}; r = r + 1)
          if (number(y[r*{spacing}+:{spacing}], {spacing}) != wanted(seen[1], r)) fails = fails + 1;
      seen[1] = seen[0];
      seen[0] = at;
    end
    $display("fails %0d", fails);
    $finish;
  end
endmodule
"""


@pytest.mark.parametrize(("rows", "w", "x"), [(2, 3, 2), (2, 2, 4), (3, 2, 2)])
def test_the_circuit_with_all_operands(rows: int, w: int, x: int, tmp_path: Path) -> None:
    needs("iverilog")
    how = packing(fixed(x), ends_of(fixed(w)), rows, 2)
    assert how is not None and (how.rows, how.together) == (rows, 2)
    sizes = {"rows": rows, "w": w, "x": x, "spacing": how.spacing, "wide": how.wide, "all": 2 * rows * w + 2 * x}
    (tmp_path / "bench.sv").write_text(BENCH.format(**sizes))
    sources = [str(tmp_path / "bench.sv"), str(asset("hw/rtl/packed_products.sv"))]
    subprocess.run(["iverilog", "-g2012", "-o", str(tmp_path / "sim"), *sources], check=True)
    out = subprocess.run(["vvp", str(tmp_path / "sim")], capture_output=True, text=True, check=True).stdout
    assert "fails 0" in out


def folded(case: Case, fold: dict[str, Any], **options: Any) -> qc.Design:
    return qc.compile(case.model(), arch="dataflow", fold=json.dumps({"layer": fold}), **options)


CASES = [
    (Case("conv", 4, (5, 4), (3, 2), (1, 1), (1, 1), (1, 1, 1, 0)), {"pe": 4, "simd": 12}),
    (Case("conv", 3, (6,), (3,), (1,), (1,), (0, 0)), {"pe": 2, "simd": 3}),
    (Case("grouped", 4, (4, 4), (2, 2), (1, 1), (1, 1), (0, 0, 0, 0)), {"pe": 2, "simd": 8}),
    (Case("depthwise", 6, (4, 4), (2, 2), (1, 1), (1, 1), (0, 0, 0, 0)), {"pe": 3, "simd": 4}),
]


@pytest.mark.parametrize("backend", ["hls", "rtl"])
@pytest.mark.parametrize(("case", "fold"), CASES, ids=lambda v: v.op if isinstance(v, Case) else "")
def test_layers_in_blocks(case: Case, fold: dict[str, Any], backend: str, tmp_path: Path) -> None:
    """The same codes and cycles as without, and as many blocks as are priced."""
    needs("iverilog")
    design = folded(case, fold | {"dsp": True}, backend=backend)
    plain = folded(case, fold, backend=backend)
    assert design.schedule.interval == plain.schedule.interval
    shared = next(s.unit.packed for s in design.network.stages if getattr(s.unit, "packed", None))
    assert design.estimate().total.dsp == fold["pe"] * fold["simd"] // shared.rows
    assert plain.estimate().total.dsp == 0 and design.estimate().total.lut < plain.estimate().total.lut
    assert_exact(design, tmp_path)


def test_a_layer_without_products_has_no_blocks() -> None:
    case = Case("max", 2, (4, 4), (2, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    with pytest.raises(qc.QCompileError, match="no DSP block takes its products"):
        _ = folded(case, {"dsp": True}).network


def test_the_fit_takes_blocks_where_a_part_has_them() -> None:
    case = Case("conv", 4, (5, 4), (3, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    for part, some in (("xc7s25", True), ("kv260", True), ("lfe5u-25f-6bg256c", False)):
        _, layer = fit.choices(qc.compile(case.model(), part=part).graph, device(part))
        assert any(f.dsp for f in layer.foldings) == some == hw.fabric(device(part)).packs


def test_yosys_makes_one_block_of_two_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """With registers, the sum of the weights, the sum with the block before and half a place inside: 7 series."""
    monkeypatch.setattr(measure, "native", True)
    sizes = "-set ROWS 2 -set SPACING 17 -set WIDE 25 -set TERMS 2 -set W 8 -set X 9"
    commands = f"chparam {sizes} packed_products; synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -abc9"
    source = {"packed_products.sv": asset("hw/rtl/packed_products.sv").read_bytes()}
    modules = measure.netlist(source, f"{commands} -top packed_products")
    (cells,) = (m["num_cells_by_type"] for m in modules.values())
    assert cells.get("DSP48E1") == 2 and not any(k.startswith(("LUT", "CARRY", "FD")) for k in cells)
    cost = price(parts.Times(2, parts.PackedProducts(2, 8)), hw.fabric(device("xc7z020")))
    assert (cost.dsp, cost.lut, cost.ff) == (2, 0, 0)
