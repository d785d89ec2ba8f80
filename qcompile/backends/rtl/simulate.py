"""The SystemVerilog of a project in Icarus Verilog or Verilator."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from qcompile.assets import private_cache
from qcompile.backends.rtl.dataflow import StreamView
from qcompile.backends.rtl.parallel import NetworkView
from qcompile.backends.rtl.vectors import hex_file, read_hex, read_stream, stream_file
from qcompile.errors import QCompileError, VerificationError
from qcompile.ir import Graph
from qcompile.native import program
from qcompile.processes import run

# Vectors from which on Verilator is faster: a network of 27,000 LUTs builds in 35 CPU s, Icarus Verilog takes 11 ms a
# cycle of it, and both grow with the network.
MANY = 2000
# Clock cycles of a network of processes, of which few work in a cycle: Icarus Verilog takes some thousands a second,
# Verilator builds in 4 s.
MANY_CYCLES = 10**4
# The same times LUTs, of which Icarus Verilog takes some 300,000 a second where many of the units work in a cycle.
MANY_LUT_CYCLES = 4 * 10**6
# Bare code: optimizing it takes longer than it saves.
_OPTIONS = [f"OPT_{part}=-O0" for part in ("FAST", "SLOW", "GLOBAL")]


def simulator(many: bool) -> str:
    """ "Icarus Verilog", or "Verilator", which is faster on `many`, of those that are there. QCompileError where
    neither is.
    """
    there = {name for name, tool in (("Icarus Verilog", "iverilog"), ("Verilator", "verilator")) if shutil.which(tool)}
    if not there:
        raise QCompileError(
            "neither iverilog nor verilator was found, so the SystemVerilog cannot be checked",
            hint="install iverilog, or verilator for thousands of vectors",
        )
    best = "Verilator" if many else "Icarus Verilog"
    return best if best in there else there.pop()


class Simulation:
    """The sources in a folder, compiled in it by `simulator`. VerificationError where it refuses them."""

    def __init__(self, folder: Path, graph: Graph, view: NetworkView | StreamView, by: str) -> None:
        self.folder, self.graph, self.view, self.by = folder, graph, view, by
        sources = [*folder.glob("rtl/*.sv"), *folder.glob("rtl/qc/*.sv"), folder / "tb" / f"{view.top}_tb.sv"]
        names = sorted(p.relative_to(folder).as_posix() for p in sources)
        if by == "Verilator":
            _verilated(folder, f"{view.top}_bench", [*names, "tb/verilator.cpp"])
            self.command = ["build/bench"]
        else:
            command = ["iverilog", "-g2012", "-s", f"{view.top}_tb", "-o", "build.vvp", *names]
            _run(command, folder, "does not compile")
            self.command = ["vvp", "-n", "build.vvp"]

    def __call__(
        self, bits: Sequence[np.ndarray], pauses: bool, others: tuple[int, bytes] | None = None
    ) -> list[np.ndarray]:
        """Bit patterns (N, size) of the outputs. pauses: cycles without inputs, and for streams cycles in which outputs
        are not taken, at random. others: the frame from which on other weights are loaded, and these.
        VerificationError where results come at other times than the view says.
        """
        if isinstance(self.view, StreamView):
            return self._streamed(self.view, bits, pauses, others)
        (self.folder / "in.hex").write_bytes(hex_file(self.graph.in_ports, bits))
        said = self._simulate("+in=in.hex", "+out=out.hex", f"+paused={int(pauses)}")
        found = re.search(r"(\d+) results, latency (-?\d+)", said)
        if found is None or (int(found[1]), int(found[2])) != (len(bits[0]), self.view.latency):
            wanted = f"{len(bits[0])} results, latency {self.view.latency}"
            raise VerificationError(f"the SystemVerilog says '{said.strip()[-60:]}' instead of '{wanted}'")
        return read_hex(self.graph.out_ports, (self.folder / "out.hex").read_bytes())

    def _streamed(
        self, view: StreamView, bits: Sequence[np.ndarray], stalls: bool, others: tuple[int, bytes] | None
    ) -> list[np.ndarray]:
        """Without stalls a frame comes every interval, and must leave when the schedule says; those that wait for other
        weights leave later.
        """
        for i, (port, codes) in enumerate(zip(view.network.inputs, bits, strict=True)):
            (self.folder / f"in_x{i}.hex").write_bytes(stream_file(port, codes))
        plan, frames = view.schedule, len(bits[0])
        pace = "+stalls=1" if stalls else f"+interval={plan.interval}"
        loads = list[str]()
        if others is not None:
            (self.folder / "weights.bin").write_bytes(view.weights + others[1])
            loads = ["+weights=weights.bin", f"+others={others[0]}"]
        said = self._simulate("+in=in_", "+out=out_", f"+frames={frames}", pace, *loads)
        ends: dict[int, int] = {}
        for _, frame, at in re.findall(r"frame (\d+) (\d+) ends (-?\d+)", said):
            ends[int(frame)] = max(ends.get(int(frame), 0), int(at))
        wanted = {k: plan.end(k) for k in range(frames)}
        if len(ends) < frames or " 0 wrong marks" not in said:
            raise VerificationError(f"the SystemVerilog makes {len(ends)} of {frames} frames: '{said.strip()[-60:]}'")
        late = next((k for k in range(others[0] if others else frames) if ends[k] != wanted[k]), None)
        if late is not None and not stalls:
            raise VerificationError(
                f"frame {late} of the SystemVerilog ends in cycle {ends[late]}, the schedule says {wanted[late]}"
            )
        outputs = enumerate(view.network.outputs)
        return [read_stream(p, (self.folder / f"out_y{i}.hex").read_bytes()) for i, p in outputs]

    def _simulate(self, *arguments: str) -> str:
        return _run([*self.command, *arguments], self.folder, "fails")


def _verilated(folder: Path, top: str, names: list[str]) -> None:
    """build/bench in a folder. What Verilator adds to every network, two thirds of the compiler's time, is kept in the
    user's cache.
    """
    quiet = ("--cc", "--exe", "-Wno-fatal", "-Wno-lint", "-Wno-style")
    made = ("--Mdir", "build", "--prefix", "Vbench", "--top-module", top, "-o", "bench")
    _run(["verilator", *quiet, *made, *names], folder, "does not compile")
    kept, compile_it = _kept(), ["make", "-C", "build", "-f", "Vbench.mk", *_OPTIONS]
    if kept is not None and kept.is_dir():
        for file in kept.iterdir():
            shutil.copyfile(file, folder / "build" / file.name)  # newer than what it was made of
    _run(compile_it, folder, "does not compile")
    if kept is not None and not kept.exists():
        with suppress(OSError), tempfile.TemporaryDirectory(prefix=".new-", dir=kept.parent) as new:
            whole = Path(new) / "objects"
            whole.mkdir(mode=0o700)
            for file in folder.glob("build/verilated*.o"):
                shutil.copyfile(file, whole / file.name)
            os.replace(whole, kept)


def _kept() -> Path | None:
    """Folder of the compiled runtime of this Verilator; None where the cache cannot be written."""
    cache = private_cache()
    if cache is None:
        return None
    try:
        told = (*program("verilator"), *program("g++"), *_OPTIONS)
    except OSError:
        return None
    version = run(["verilator", "--version"]).stdout
    return cache / f"verilator-{hashlib.sha256(repr((told, version)).encode()).hexdigest()[:24]}"


def _run(command: list[str], folder: Path, problem: str) -> str:
    done = run(command, cwd=folder)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise VerificationError(f"the SystemVerilog {problem}: {tail}")
    return done.stdout
