"""Runs circuits of hw/rtl in Icarus Verilog on given inputs: many instances in one simulation."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT, needs

RTL = ROOT / "hw" / "rtl"
Row = dict[str, int | None]


@dataclass(frozen=True)
class Case:
    """One instance. Every vector is one moment (`clocked`: one clock cycle, outputs looked at before its edge): values
    of the inputs, and of the outputs, None where any value is right.
    """

    module: str
    params: dict[str, Any]
    inputs: dict[str, int]
    outputs: dict[str, int]
    vectors: list[tuple[Row, Row]]
    clocked: bool = False


def packed(values: list[int], bits: int) -> int:
    """Value 0 in the low bits, two's complement."""
    return sum((int(v) & ((1 << bits) - 1)) << (i * bits) for i, v in enumerate(values))


def _bench(i: int, case: Case) -> str:
    ins, outs = sum(case.inputs.values()), sum(case.outputs.values())
    declared = "".join(f"  reg [{n - 1}:0] {k};\n" for k, n in case.inputs.items())
    declared += "".join(f"  wire [{n - 1}:0] {k};\n" for k, n in case.outputs.items())
    pins = ", ".join(f".{k}({k})" for k in (*case.inputs, *case.outputs)) + (", .clk(clk)" if case.clocked else "")
    params = ", ".join(f".{k}({v})" for k, v in case.params.items())
    together = "{" + ", ".join(case.outputs) + "}"
    return f"""module bench{i};
{declared}  reg clk = 0;
  reg [{ins - 1}:0] given[0:{len(case.vectors) - 1}];
  reg [{2 * outs - 1}:0] wanted[0:{len(case.vectors) - 1}];
  wire [{outs - 1}:0] got = {together};
  integer k;
  {case.module} #({params}) dut ({pins});
  initial begin
    $readmemh("in{i}.hex", given);
    $readmemh("out{i}.hex", wanted);
    for (k = 0; k < {len(case.vectors)}; k = k + 1) begin
      {{{", ".join(case.inputs)}}} = given[k];
      #1;
      if (((got ^ wanted[k][{outs - 1}:0]) & wanted[k][{2 * outs - 1}:{outs}]) !== 0)
        $display("FAIL {i} {case.module} vector %0d: %h gives %h, not %h", k, given[k], got, wanted[k][{outs - 1}:0]);
      clk = 1;
      #1;
      clk = 0;
    end
    $display("DONE {i}");
  end
endmodule
"""


def _hex(values: list[int]) -> str:
    return "".join(f"{v:x}\n" for v in values)


def _joined(row: Row, widths: dict[str, int]) -> int:
    total = 0
    for name, bits in widths.items():
        total = (total << bits) | ((row[name] or 0) & ((1 << bits) - 1))
    return total


def _mask(row: Row, widths: dict[str, int]) -> int:
    total = 0
    for name, bits in widths.items():
        total = (total << bits) | (0 if row[name] is None else (1 << bits) - 1)
    return total


def run(cases: list[Case], folder: Path, extra: str = "") -> list[str]:
    """Complaints of all cases; `extra`: more modules."""
    needs("iverilog")
    text = [extra]
    for i, case in enumerate(cases):
        outs = sum(case.outputs.values())
        (folder / f"in{i}.hex").write_text(_hex([_joined(a, case.inputs) for a, _ in case.vectors]))
        wanted = [(_mask(b, case.outputs) << outs) | _joined(b, case.outputs) for _, b in case.vectors]
        (folder / f"out{i}.hex").write_text(_hex(wanted))
        text.append(_bench(i, case))
    (folder / "bench.sv").write_text("\n".join(text))
    tops = [argument for i in range(len(cases)) for argument in ("-s", f"bench{i}")]
    files = ["bench.sv", *map(str, sorted(RTL.glob("*.sv")))]
    subprocess.run(["iverilog", "-g2012", "-o", "bench", *tops, *files], cwd=folder, check=True)
    done = subprocess.run(["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    finished = sum(line.startswith("DONE") for line in done)
    return [line for line in done if line.startswith("FAIL")] + [f"{len(cases) - finished} did not finish"] * (
        finished != len(cases)
    )
