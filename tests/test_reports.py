"""Reports of other tools set beside the estimate: Yosys, nextpnr, Vivado, Vitis HLS."""

import json
from pathlib import Path

import generate
import pytest
from click.testing import CliRunner

import qcompile as qc
from qcompile.cli import main
from qcompile.cost.devices import device
from qcompile.estimation import outcome
from qcompile.reports import ToolReport, read

UTILIZATION = """Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981
| Command      : report_utilization -file utilization.rpt

1. Slice Logic
+-------------------------+------+-------+------------+-----------+-------+
|        Site Type        | Used | Fixed | Prohibited | Available | Util% |
+-------------------------+------+-------+------------+-----------+-------+
| Slice LUTs*             | 1,234 |     0 |          0 |     53200 |  2.32 |
|   LUT as Logic          | 1200 |     0 |          0 |     53200 |  2.25 |
| Slice Registers         |  567 |     0 |          0 |    106400 |  0.53 |
| Block RAM Tile |  3.5 |     0 |          0 |       140 |  2.50 |
| DSPs           |    4 |     0 |          0 |       220 |  1.82 |
"""
HIERARCHICAL = """| Tool Version : Vivado v.2022.2 (lin64) Build 3671981
+----------+--------+------------+------------+---------+------+-----+--------+--------+------------+
| Instance | Module | Total LUTs | Logic LUTs | LUTRAMs | SRLs | FFs | RAMB36 | RAMB18 | DSP Blocks |
+----------+--------+------------+------------+---------+------+-----+--------+--------+------------+
| net      |  (top) |        900 |        880 |       0 |   20 | 300 |      1 |      3 |          2 |
|   inner  |  inner |        800 |        780 |       0 |   20 | 200 |      0 |      0 |          0 |
+----------+--------+------------+------------+---------+------+-----+--------+--------+------------+
"""
TIMING = """| Tool Version : Vivado v.2022.2 (lin64) Build 3671981
    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
     -1.250      -10.000                     12                 1234        0.045

Clock  Waveform(ns)       Period(ns)      Frequency(MHz)
-----  ------------       ----------      --------------
clk    {0.000 2.500}      5.000           200.000
"""
CSYNTH = """<?xml version="1.0"?><profile>
<UserAssignments><TopModelName>net_mlp</TopModelName><TargetClockPeriod>5.00</TargetClockPeriod></UserAssignments>
<PerformanceEstimates><SummaryOfTimingAnalysis><EstimatedClockPeriod>4.000</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfOverallLatency><Worst-caseLatency>12</Worst-caseLatency><Interval-max>1</Interval-max></SummaryOfOverallLatency>
</PerformanceEstimates><AreaEstimates><Resources><BRAM_18K>2</BRAM_18K><DSP>1</DSP><FF>30</FF><LUT>400</LUT><URAM>0</URAM>
</Resources></AreaEstimates></profile>"""
YOSYS = {
    "creator": "Yosys 0.70",
    "modules": {
        "\\top": {"num_cells_by_type": {"LUT4": 10, "TRELLIS_FF": 3, "CCU2C": 2, "inner": 2, "DP16KD": 1}},
        "\\inner": {"num_cells_by_type": {"LUT4": 5, "PFUMX": 1}},
    },
}
NEXTPNR = {
    "critical_paths": [],
    "fmax": {"clk": {"achieved": 61.5, "constraint": 50.0}, "slow": {"achieved": 55.0, "constraint": 25.0}},
    "utilization": {"TRELLIS_COMB": {"used": 99, "available": 1}, "DP16KD": {"used": 2, "available": 1}},
}


@pytest.mark.parametrize(
    "name, text, part, wanted",
    [
        ("a.rpt", UTILIZATION, "xc7z020", {"lut": 1234, "ff": 567, "bram18": 7, "dsp": 4}),
        ("a.txt", HIERARCHICAL, "xc7z020", {"lut": 900, "ff": 300, "bram18": 5, "dsp": 2}),
        ("a.rpt", TIMING, "xc7z020", {"mhz": 160}),
        (
            "net_mlp_csynth.xml",
            CSYNTH,
            "xc7z020",
            {"lut": 400, "ff": 30, "dsp": 1, "bram18": 2, "uram": 0, "mhz": 250, "latency": 12, "interval": 1},
        ),
        ("y.json", json.dumps(YOSYS), "ecp5-25f", {"lut": 24, "ff": 3, "dsp": 0, "bram18": 1}),
        ("n.json", json.dumps(NEXTPNR), "ecp5-25f", {"lut": 99, "bram18": 2, "mhz": 61.5}),
    ],
)
def test_a_report(name: str, text: str, part: str, wanted: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_text(text)
    (found,) = read(tmp_path, device(part), "net_mlp")
    assert found.counts == pytest.approx(wanted) and found.file == f"deep/{name}"


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    for name, text in (
        ("a.json", "{"),
        ("b.json", "[]"),
        ("c.json", '{"creator": "Yosys", "modules": {"m": {}}}'),
        ("d.json", '{"fmax": [], "utilization": {}}'),
        ("e.rpt", "Tool Version Vivado"),
        ("net_csynth.xml", "<profile>"),
        ("other_csynth.xml", CSYNTH),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "f.txt").write_bytes(b"\xff\xfe")
    assert read(tmp_path, device("xc7z020"), "net") == []


def test_a_clock_that_is_missed() -> None:
    assert ToolReport("Vivado", "a", {"mhz": 160.0}, 200.0).misses
    assert not ToolReport("Vivado", "a", {"mhz": 199.999}, 200.0).misses
    assert not ToolReport("Yosys", "a", {"lut": 1.0}).misses


def test_the_command(tmp_path: Path) -> None:
    qc.compile(generate.seeded_mlp(4000), backend="rtl", part="ulx3s", clock_ns=20.0).write(tmp_path / "p")
    said = CliRunner().invoke(main, ["report", str(tmp_path / "p")]).stdout
    assert "estimate" in said and f"next: make -C {tmp_path}/p bitstream" in said
    (tmp_path / "p" / "build").mkdir()
    (tmp_path / "p" / "build" / "nextpnr.json").write_text(json.dumps(NEXTPNR))
    said = CliRunner().invoke(main, ["report", str(tmp_path / "p")]).stdout
    assert "build/nextpnr.json" in said and "MISSES" not in said and "driver.py" in said
    slow = json.dumps(NEXTPNR).replace("61.5", "40.0")
    (tmp_path / "p" / "build" / "nextpnr.json").write_text(slow)
    said = CliRunner().invoke(main, ["report", str(tmp_path / "p")]).stdout
    assert "nextpnr MISSES THE CLOCK: 40.0 MHz of 50" in said and "--clock 27.5" in said
    record = json.loads(CliRunner().invoke(main, ["report", str(tmp_path / "p"), "--json"]).stdout)
    assert record["reports"][0]["lut"] == 99 and record["estimate"]["lut"] > 0


def test_a_clock_that_the_estimate_does_not_reach() -> None:
    for clock, said in ((40.0, " MHz; fits"), (2.0, "LESS THAN THE CLOCK of 500: --clock ")):
        design = qc.compile(generate.seeded_mlp(4004), backend="rtl", part="ulx3s", clock_ns=clock)
        assert said in outcome(design).line()


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code and "manifest.json" in done.output
