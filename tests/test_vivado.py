"""The Vivado script of a SystemVerilog project: in a Tcl where Vivado's commands are stand-ins."""

from pathlib import Path

import generate
import pytest
from conftest import needs

import qcompile as qc

STAND_INS = """
foreach name {create_project add_files set_property update_compile_order close_project read_verilog read_xdc
  synth_design report_utilization report_timing_summary write_checkpoint opt_design place_design phys_opt_design
  route_design} { proc $name {args} "log $name {*}\\$args" }
namespace eval ipx {
  foreach name {package_project infer_bus_interface add_bus_parameter create_xgui_files update_checksums
    check_integrity save_core} { proc $name {args} "log $name {*}\\$args" }
  foreach name {current_core get_bus_interfaces get_bus_parameters} { proc $name {args} "return $name" }
}
proc current_fileset {} { return sources_1 }
proc get_timing_paths {args} { return path }
proc get_property {name object} { return $::mock_slack }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("vivado") / "p"
    qc.compile(generate.seeded_mlp(4004), backend="rtl", part="xc7z020clg400-1", clock_ns=4.0).write(made)
    return made


def run(folder: Path, *arguments: str, slack: str = "0.1") -> tuple[list[tuple[str, ...]], str]:
    """The calls, and the error that ended them."""
    needs("tkinter")
    import tkinter

    tcl, calls, error = tkinter.Tcl(), list[tuple[str, ...]](), ""
    tcl.createcommand("log", lambda *call: calls.append(call))
    tcl.createcommand("said", lambda *text: calls.append(("puts", *text)))
    tcl.eval(
        "rename puts file_puts; proc puts {args} {if {[llength $args] > 1} {file_puts {*}$args} else {said {*}$args}}"
    )
    tcl.eval(
        f"set mock_slack {{{slack}}}; {STAND_INS}; info script {folder}/vivado.tcl; set argv {{{' '.join(arguments)}}}"
    )
    try:
        tcl.eval(f"source {folder}/vivado.tcl")
    except tkinter.TclError as found:
        error = str(found)
    return calls, error


def test_implementation(folder: Path) -> None:
    calls, error = run(folder)
    names = [c[0] for c in calls]
    assert error == "" and names[:3] == ["read_verilog", "read_xdc", "synth_design"]
    assert names.index("place_design") < names.index("route_design") < names.index("puts")
    sources = calls[0][2].split()
    assert set(sources) == {p.relative_to(folder).as_posix() for p in folder.glob("rtl/**/*.sv")}
    assert calls[2][1:5] == ("-top", "net_mlp", "-part", "xc7z020clg400-1")
    assert (folder / "build_vivado" / "clock.xdc").read_text() == "create_clock -name clk -period 4 [get_ports clk]\n"


def test_a_missed_clock_is_an_error(folder: Path) -> None:
    assert "missed by 0.5 ns" in run(folder, slack="-0.5")[1] and "--clock 4.7" in run(folder, slack="-0.5")[1]


def test_synthesis_and_ip(folder: Path) -> None:
    calls, error = run(folder, "synth")
    assert error == "" and "place_design" not in [c[0] for c in calls]
    calls, error = run(folder, "ip")
    names = [c[0] for c in calls]
    assert error == "" and names[0] == "create_project" and "synth_design" not in names
    assert ("infer_bus_interface", "clk", "xilinx.com:signal:clock_rtl:1.0", "current_core") in calls
    assert names.index("package_project") < names.index("save_core")
    assert "the step is synth, impl or ip, not place" in run(folder, "place")[1]


def test_other_vendors_have_no_such_script() -> None:
    design = qc.compile(generate.seeded_mlp(4000), backend="rtl", part="ulx3s", clock_ns=20.0)
    assert "vivado.tcl" not in design.files().files
