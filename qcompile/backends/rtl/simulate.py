"""The SystemVerilog of a project in Icarus Verilog."""

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


class Simulation:
    """The sources in a folder, compiled in it. QCompileError without Icarus Verilog, VerificationError where it refuses
    them.
    """

    def __init__(self, folder: Path, graph: Graph, view: NetworkView) -> None:
        if shutil.which("iverilog") is None:
            raise QCompileError(
                "iverilog was not found, so the SystemVerilog cannot be checked", hint="install iverilog"
            )
        self.folder, self.graph, self.view = folder, graph, view
        sources = [*folder.glob("rtl/*.sv"), *folder.glob("rtl/qc/*.sv"), folder / "tb" / f"{view.top}_tb.sv"]
        names = sorted(p.relative_to(folder).as_posix() for p in sources)
        _run(["iverilog", "-g2012", "-s", f"{view.top}_tb", "-o", "build.vvp", *names], folder, "does not compile")

    def __call__(self, bits: Sequence[np.ndarray], pauses: bool) -> list[np.ndarray]:
        """Bit patterns (N, size) of the outputs. pauses: cycles without inputs, at random. VerificationError where
        results come at other times than the view says.
        """
        (self.folder / "in.hex").write_bytes(hex_file(self.graph.inputs, bits))
        arguments = ["+in=in.hex", "+out=out.hex", f"+paused={int(pauses)}"]
        said = _run(["vvp", "-n", "build.vvp", *arguments], self.folder, "fails")
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
