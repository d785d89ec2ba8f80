"""The SystemVerilog of a project in Icarus Verilog or Verilator."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qcompile.backends.rtl.parallel import NetworkView
from qcompile.backends.rtl.vectors import hex_file, read_hex
from qcompile.errors import QCompileError, VerificationError
from qcompile.ir import Graph
from qcompile.processes import run

# Vectors from which on Verilator is faster: a network of 27,000 LUTs builds in 35 CPU s, Icarus Verilog takes 11 ms a
# cycle of it, and both grow with the network.
MANY = 2000
# Bare code: optimizing it takes longer than it saves.
_OPTIONS = [f"OPT_{part}=-O0" for part in ("FAST", "SLOW", "GLOBAL")]


def simulator(vectors: int) -> str:
    """ "Icarus Verilog" or "Verilator", whichever is faster on so many vectors of those that are there. QCompileError
    where neither is.
    """
    there = {name for name, tool in (("Icarus Verilog", "iverilog"), ("Verilator", "verilator")) if shutil.which(tool)}
    if not there:
        raise QCompileError(
            "neither iverilog nor verilator was found, so the SystemVerilog cannot be checked",
            hint="install iverilog, or verilator for thousands of vectors",
        )
    best = "Verilator" if vectors >= MANY else "Icarus Verilog"
    return best if best in there else there.pop()


class Simulation:
    """The sources in a folder, compiled in it by `simulator`. VerificationError where it refuses them."""

    def __init__(self, folder: Path, graph: Graph, view: NetworkView, by: str) -> None:
        self.folder, self.graph, self.view, self.by = folder, graph, view, by
        sources = [*folder.glob("rtl/*.sv"), *folder.glob("rtl/qc/*.sv"), folder / "tb" / f"{view.top}_tb.sv"]
        names = sorted(p.relative_to(folder).as_posix() for p in sources)
        if by == "Verilator":
            quiet = (
                "--cc",
                "--exe",
                "--build",
                "-Wno-fatal",
                "-Wno-lint",
                "-Wno-style",
                "-MAKEFLAGS",
                " ".join(_OPTIONS),
            )
            made = ("--Mdir", "build", "--prefix", "Vbench", "--top-module", f"{view.top}_bench", "-o", "bench")
            command = ["verilator", *quiet, *made, *names, "tb/verilator.cpp"]
            self.command = ["build/bench"]
        else:
            command = ["iverilog", "-g2012", "-s", f"{view.top}_tb", "-o", "build.vvp", *names]
            self.command = ["vvp", "-n", "build.vvp"]
        _run(command, folder, "does not compile")

    def __call__(self, bits: Sequence[np.ndarray], pauses: bool) -> list[np.ndarray]:
        """Bit patterns (N, size) of the outputs. pauses: cycles without inputs, at random. VerificationError where
        results come at other times than the view says.
        """
        (self.folder / "in.hex").write_bytes(hex_file(self.graph.inputs, bits))
        arguments = ["+in=in.hex", "+out=out.hex", f"+paused={int(pauses)}"]
        said = _run([*self.command, *arguments], self.folder, "fails")
        found = re.search(r"(\d+) results, latency (-?\d+)", said)
        if found is None or (int(found[1]), int(found[2])) != (len(bits[0]), self.view.latency):
            wanted = f"{len(bits[0])} results, latency {self.view.latency}"
            raise VerificationError(f"the SystemVerilog says '{said.strip()[-60:]}' instead of '{wanted}'")
        return read_hex(self.graph.outputs, (self.folder / "out.hex").read_bytes())


def _run(command: list[str], folder: Path, problem: str) -> str:
    done = run(command, cwd=folder)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise VerificationError(f"the SystemVerilog {problem}: {tail}")
    return done.stdout
