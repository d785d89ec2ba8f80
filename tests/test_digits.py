"""Sums of products digit after digit of the weights: every operand of the circuit, layers in both backends, prices."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, needs
from onnx import ModelProto, TensorProto, helper, numpy_helper
from test_whole_windows import assert_exact

import qcompile as qc
from qcompile import parts
from qcompile.assets import asset
from qcompile.cost import primitives as hw
from qcompile.cost.devices import device
from qcompile.cost.price import in_digits, price
from qcompile.formats import FixedPoint

sys.path.insert(0, str(ROOT / "hw" / "calibration"))
import grid  # noqa: E402

BENCH = """
module chain ({ports});
{body}
endmodule
module bench;
  integer i, t, sum, fails = 0;
  reg [{terms}*({w}+{a})-1:0] at;
  wire [{terms}*{w}-1:0] weights = at[{terms}*{w}-1:0];
  wire [{terms}*{a}-1:0] numbers = at[{terms}*({w}+{a})-1:{terms}*{w}];
  wire [{terms}*({a}+2)-1:0] triple;
  wire signed [{y}-1:0] y;
  triples #(.COUNT({terms}), .A({a}), .SIGNED({x_signed})) triples (.x(numbers), .y(triple));
  chain dut (.w(weights), .x(numbers), .triple(triple), .y(y));
  function automatic integer number(input integer code, input integer bits, input integer sign);
    number = sign != 0 && code >= (1 << (bits - 1)) ? code - (1 << bits) : code;
  endfunction
  initial begin
    for (i = 0; i < (1 << {terms}*({w}+{a})); i = i + 1) begin
      at = i;
      sum = 0;
      #1;
      for (t = 0; t < {terms}; t = t + 1)
        sum = sum + number(weights[t*{w}+:{w}], {w}, 1) * number(numbers[t*{a}+:{a}], {a}, {x_signed});
      if (y !== {y}'(sum)) fails = fails + 1;
    end
    $display("fails %0d", fails);
    $finish;
  end
endmodule
"""


@pytest.mark.parametrize(("terms", "w", "a", "signed"), [(2, 4, 4, 1), (2, 5, 3, 2), (3, 3, 2, 1), (4, 2, 2, 2)])
def test_the_circuit_with_all_operands(terms: int, w: int, a: int, signed: int, tmp_path: Path) -> None:
    needs("iverilog")
    p = {"terms": terms, "w": w, "a": a, "signed": signed}
    chain = grid.digit_chain(p)
    low, high = chain.ends
    (ports, body), y = grid.PRIMITIVES["digit_sum"].wrap(p), chain.sums[-1][0] + 2 * (chain.digits - 1)
    assert -(1 << y - 1) <= low and high < 1 << y - 1
    (tmp_path / "bench.sv").write_text(BENCH.format(**p, ports=ports, body=body, y=y, x_signed=int(signed == 1)))
    sources = [str(tmp_path / "bench.sv"), *(str(asset(f"hw/rtl/{n}.sv")) for n in ("digit_sum", "triples"))]
    subprocess.run(["iverilog", "-g2012", "-s", "bench", "-o", str(tmp_path / "sim"), *sources], check=True)
    out = subprocess.run(["vvp", str(tmp_path / "sim")], capture_output=True, text=True, check=True).stdout
    assert "fails 0" in out


def network(data: FixedPoint, weights: tuple[int, int], depthwise: bool = False) -> ModelProto:
    """A layer of 6 rows of 10 products, or of 6 channels with a window of 3 x 3; the ends of the weights are in it."""
    rng = np.random.default_rng(weights[1])
    shape = (6, 1, 3, 3) if depthwise else (10, 6)
    w = rng.integers(weights[0], weights[1] + 1, shape)
    w.flat[:2] = weights
    held = {"w": w.astype(np.float32), "s": np.float32(1), "big": np.float32(64), "z": np.float32(0)}
    held |= {"n": np.float32(data.width), "eight": np.float32(8)}
    quant = {"domain": "qonnx.custom_op.general", "narrow": 0}
    op, sizes = ("Conv", [1, 6, 4, 4]) if depthwise else ("MatMul", [2, 10])
    more = {"group": 6, "kernel_shape": [3, 3]} if depthwise else {}
    nodes = [
        helper.make_node("Quant", ["x", "s", "z", "n"], ["q"], **quant, signed=int(data.signed)),
        helper.make_node(op, ["q", "w"], ["c"], "layer", **more),
        helper.make_node("Quant", ["c", "big", "z", "eight"], ["y"], **quant, signed=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", sizes), ("y", None))]
    inner = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], inner)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(quant["domain"], 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


CASES = [
    (FixedPoint(8, 0, False), (-128, 127), {"pe": 3, "simd": 10}),
    (FixedPoint(8, 0), (-128, 127), {"pe": 6, "simd": 5}),
    (FixedPoint(5, 0), (-16, 15), {"pe": 2, "simd": 2}),
    (FixedPoint(7, 0, False), (0, 31), {"pe": 2, "simd": 10}),
    (FixedPoint(9, 0), (-2, 1), {"pe": 2, "simd": 5}),
]


@pytest.mark.parametrize("backend", ["hls", "rtl"])
@pytest.mark.parametrize(("data", "weights", "fold"), CASES, ids=lambda v: str(v) if isinstance(v, tuple) else "")
def test_layers(data: FixedPoint, weights: tuple[int, int], fold: dict[str, int], backend: str, tmp_path: Path) -> None:
    needs("iverilog")
    options = {"arch": "dataflow", "part": "xc7z020", "backend": backend, "fold": json.dumps({"layer": fold})}
    design = qc.compile(network(data, weights), **options)
    design.write(tmp_path / "p")
    files = [f for f in (tmp_path / "p").rglob("*") if f.suffix in (".cpp", ".sv") and f.name != "digit_sum.sv"]
    text = "\n".join(f.read_text() for f in files)
    assert ("digit_sum" if backend == "rtl" else "digit_multiply_add") in text
    assert [r.differing for r in qc.verify(tmp_path / "p", samples=16, float32=False).rows if r.differing] == []


@pytest.mark.parametrize("backend", ["hls", "rtl"])
def test_every_row_with_its_own_numbers(backend: str, tmp_path: Path) -> None:
    needs("iverilog")
    fold = json.dumps({"layer": {"pe": 3, "simd": 9}})
    made = network(FixedPoint(8, 0, False), (-128, 127), depthwise=True)
    assert_exact(qc.compile(made, arch="dataflow", backend=backend, fold=fold), tmp_path)


@pytest.mark.parametrize("backend", ["hls", "rtl"])
@pytest.mark.parametrize("dsp", [False, True], ids=["in LUTs", "in DSP blocks"])
@pytest.mark.parametrize(("lead", "pe"), [((), 4), ((1,), 2)], ids=["second kept", "first kept"])
def test_two_tensors(lead: tuple[int, ...], pe: int, dsp: bool, backend: str, tmp_path: Path) -> None:
    """Of unlike formats, whichever of them is the matrix that stays; two of the second one in a block where both are
    multiplied by the same.
    """
    needs("iverilog")
    sizes = {"a": (*lead, 2, 6), "b": (*lead, 6, 4), "y": None}
    held = {"s": np.float32(1), "big": np.float32(64), "z": np.float32(0), "n": np.float32(8), "five": np.float32(5)}
    quant = {"domain": "qonnx.custom_op.general", "narrow": 0}
    nodes = [
        helper.make_node("Quant", ["a", "s", "z", "n"], ["qa"], **quant, signed=0),
        helper.make_node("Quant", ["b", "s", "z", "five"], ["qb"], **quant, signed=1),
        helper.make_node("MatMul", ["qa", "qb"], ["c"], "layer"),
        helper.make_node("Quant", ["c", "big", "z", "n"], ["y"], **quant, signed=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()]
    inner = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(quant["domain"], 1)]
    graph = helper.make_graph(nodes, "net", ends[:2], ends[2:], inner)
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    fold = json.dumps({"layer": {"pe": pe, "simd": 3, "dsp": dsp}})
    design = qc.compile(made, arch="dataflow", backend=backend, fold=fold)
    assert "dynamic" in [s.unit.name for s in design.network.stages]
    assert design.estimate().total.dsp == (0 if not dsp else 3 * pe if lead else 3 * pe // 2)
    assert_exact(design, tmp_path)


def test_where_digits_are_cheaper() -> None:
    """Where a LUT takes the choice of a multiple in front of the adder, and products are no table."""
    byte, four, two = (FixedPoint(n, 0) for n in (8, 4, 2))
    xc7, ecp5 = hw.fabric(device("xc7z020")), hw.fabric(device("lfe5u-25f-6bg256c"))
    assert in_digits(xc7, byte, byte) and in_digits(xc7, four, four) and not in_digits(xc7, two, two)
    assert not in_digits(ecp5, byte, byte)
    for fmt, share in ((byte, 0.6), (four, 0.7)):
        whole, digits = (price(parts.SummedProducts(12, fmt, fmt, d), xc7).lut for d in (False, True))
        assert digits < share * whole


def test_chains_share_the_products_evenly() -> None:
    assert [parts.digit_sums(n) for n in (1, 4, 5, 9, 12)] == [[1], [4], [3, 2], [3, 3, 3], [4, 4, 4]]
