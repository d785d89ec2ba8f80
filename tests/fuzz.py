"""A mutation fuzzer: mutated models, plans, foldings, projects and arrays through the command line, in both
architectures.

    python tests/fuzz.py --cases 10000 --seed 7        any number; failures are kept in ./fuzz-failures
    python tests/fuzz.py --case 123 --seed 7           one case again, here, with its traceback

A case is right when it gives a result or one error: exit code 0, 1 or 2, no traceback, no signal, at most SECONDS of
processor time and MEMORY of address space, no control character printed, and no file opened for writing outside its
folder. Cases follow from the seed, their number and the corpus: generated models, the shipped examples, and
../shared/field and ../shared/models where they are.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import click.testing
import mutate
import numpy as np
import onnx
from conftest import CORPUS, ROOT
from generate import seeded_mlp
from generate_cnn import seeded_cnn
from generate_float import seeded_float
from onnx import TensorProto, helper, numpy_helper

import qcompile as qc
from qcompile import isolated
from qcompile.assignment.tensors import tensors
from qcompile.cli import main as qcompile
from qcompile.frontend import importer
from qcompile.sim import compiled

SECONDS = 20  # of processor time for one command
WALL = 600  # after which a worker that does nothing is stopped
MEMORY = 2 * 2**30
LARGEST = 20_000  # bytes of a model of the corpus
CASES_OF_WORKER = 250  # then a new process: what caches hold must not add up
FORMAT = "s8f4"


# --- what is mutated


@dataclass(frozen=True)
class Seed:
    """A model that compiles, or nearly: its bytes, shapes of its inputs, and how many formats the user has to give."""

    name: str
    data: bytes
    shapes: list[tuple[int, ...]]


def _shapes(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    known = {t.name for t in model.graph.initializer}
    return [
        tuple(max(1, d.dim_value) for d in v.type.tensor_type.shape.dim)[1:]
        for v in model.graph.input
        if v.name not in known
    ]


@cache
def seeds() -> list[Seed]:
    """The corpus, small files only."""
    made = {f"mlp{i}": seeded_mlp(i) for i in range(12)} | {f"cnn{i}": seeded_cnn(i) for i in range(12)}
    made |= {f"float{i}": seeded_float(i) for i in range(4)}
    found = [Seed(name, m.SerializeToString(deterministic=True), _shapes(m)) for name, m in made.items()]
    paths = sorted((ROOT / "examples").glob("*.onnx")) + sorted((CORPUS.parent / "field").rglob("*.onnx"))
    paths += sorted(CORPUS.rglob("*.onnx"))
    for path in paths:
        if path.stat().st_size <= LARGEST:
            data = path.read_bytes()
            with contextlib.suppress(Exception):  # some files of the corpus are no models on purpose
                found.append(Seed(path.stem, data, _shapes(onnx.ModelProto.FromString(data))))
    return [s for s in found if len(s.data) <= LARGEST]


def _float_mlp() -> onnx.ModelProto:
    """Gemm, Relu, Gemm of float32."""
    rng = np.random.default_rng(0)
    weights = {"w1": (4, 3), "b1": (3,), "w2": (3, 2), "b2": (2,)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size]) for n, size in (("x", 4), ("y", 2))]
    constants = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


@cache
def _whole() -> dict[str, Any]:
    """Documents and projects that are right: plan and model, folding and model, projects as their files."""
    model = _float_mlp()
    data = model.SerializeToString(deterministic=True)
    graph = qc.load(data).graph
    plan: dict[str, Any] = {"schema": 1, "model": {"name": "m", "sha256": ""}, "transforms": ["fold_bn"], "free": False}
    plan |= {"tensors": {t.name: {"format": "s6f3"} for t in tensors(graph)}, "settings": {"a": [1]}, "result": {}}
    weight = next(t for t in tensors(graph) if t.kind == "weight")
    from qcompile.assignment.plan import Packed

    packed = Packed.of(np.zeros(weight.shape, np.int64))
    plan["tensors"][weight.name] |= {
        "scale": [0.5] * weight.shape[weight.axis],
        "axis": weight.axis,
        "units": {"shape": list(packed.shape), "zlib_base85": packed.text},
        "why": {"loss": 0.5},
    }
    quantized = seeded_mlp(0)
    options = {"input_formats": (FORMAT,) * len(_shapes(quantized))} if _needs_formats(quantized) else {}
    bytes_ = quantized.SerializeToString(deterministic=True)
    projects = [
        qc.compile(bytes_, **options).files().files,
        qc.compile(bytes_, arch="dataflow", part="pynq-z2", **options).files().files,
        qc.compile(data, qc.Plan.parse(json.dumps(plan))).files().files,
    ]
    folding = {n.origin.node or n.output.name: {"pe": 1, "simd": 1} for n in qc.compile(bytes_, **options).graph.nodes}
    return {
        "plan": (json.dumps(plan), data, _shapes(model)),
        "folding": (json.dumps(folding), bytes_, ["--input-format", FORMAT] * len(options.get("input_formats", ()))),
        "projects": [{n: p[n] for n in ("manifest.json", "model.onnx", "plan.json") if n in p} for p in projects],
        "shapes": [_shapes(quantized), _shapes(quantized), _shapes(model)],
    }


def _needs_formats(model: onnx.ModelProto) -> bool:
    try:
        qc.compile(model)
    except qc.QCompileError as error:
        return "--input-format" in str(error)
    return False


# --- cases


Command = list[str]


def make(seed: int, number: int, box: Path) -> list[Command]:
    """Writes the files of a case; what is to be run on them."""
    rng = random.Random(f"{seed}:{number}")
    kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    return KINDS[kind][1](rng, box)


def _on_model(rng: random.Random, box: Path, shapes: list[tuple[int, ...]]) -> list[Command]:
    """Two commands on m.onnx."""
    formats = ["--input-format", FORMAT] * len(shapes) if rng.random() < 0.4 else []
    arch = ["--arch", "dataflow"] if rng.random() < 0.5 else []
    arch += ["--fold", "full"] if arch and rng.random() < 0.3 else []
    x = [np.random.default_rng(0).normal(size=(2, *s)).astype(np.float32) for s in shapes if np.prod(s) < 1e6]
    np.savez(box / "x.npz", *x)
    commands = [
        ["inspect", "m.onnx", *formats],
        ["inspect", "m.onnx", "--json", *formats],
        ["compile", "m.onnx", "-o", "out", *formats],
        ["compile", "m.onnx", "-o", "out", "--arch", "dataflow", *formats],
        ["simulate", "m.onnx", "--input", "x.npz", "--output", "y.npz", *formats],
        ["estimate", "m.onnx", *arch, *formats],
        ["estimate", "m.onnx", *arch, "--json", *formats],
    ]
    return rng.sample(commands, 2)


def _bytes(rng: random.Random, box: Path) -> list[Command]:
    seed = rng.choice(seeds())
    (box / "m.onnx").write_bytes(mutate.damaged(rng, seed.data, [s.data for s in seeds()]))
    return _on_model(rng, box, seed.shapes)


def _structure(rng: random.Random, box: Path) -> list[Command]:
    seed = rng.choice(seeds())
    (box / "m.onnx").write_bytes(mutate.mutated_model(rng, seed.data))
    (box / "w.bin").write_bytes(bytes(range(256)) * 4)
    return _on_model(rng, box, seed.shapes)


def _plan(rng: random.Random, box: Path) -> list[Command]:
    text, data, _ = _whole()["plan"]
    (box / "m.onnx").write_bytes(data)
    (box / "plan.json").write_bytes(mutate.mutated_json(rng, text))
    return [["compile", "m.onnx", "-o", "out", "--plan", "plan.json", "--arch", rng.choice(("parallel", "dataflow"))]]


def _folding(rng: random.Random, box: Path) -> list[Command]:
    text, data, formats = _whole()["folding"]
    (box / "m.onnx").write_bytes(data)
    (box / "fold.json").write_bytes(mutate.mutated_json(rng, text))
    command = rng.choice((["compile", "m.onnx", "-o", "out"], ["estimate", "m.onnx"]))
    return [[*command, "--arch", "dataflow", "--fold", "fold.json", *formats]]


def _project(rng: random.Random, box: Path) -> list[Command]:
    """Files of a project changed, lost or exchanged."""
    place = rng.randrange(len(_whole()["projects"]))
    files = dict(_whole()["projects"][place])
    name = rng.choice(list(files))
    kind = rng.randrange(8)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[name] = rng.choice(list(files.values()))
    elif name == "model.onnx":
        files[name] = mutate.mutated_model(rng, files[name])
    else:
        files[name] = mutate.mutated_json(rng, files[name].decode())
    (box / "p").mkdir()
    for key, content in files.items():
        (box / "p" / key).write_bytes(content)
    np.savez(box / "x.npz", *(np.zeros((2, *s), np.float32) for s in _whole()["shapes"][place]))
    commands = [["estimate", "p"], ["simulate", "p", "--input", "x.npz", "--output", "y.npz"]]
    commands += [["estimate", "p", "--part", "zcu104", "--json"]]
    return rng.sample(commands, 1)


def _array(rng: random.Random, box: Path) -> list[Command]:
    place = rng.randrange(len(_whole()["projects"]))
    (box / "p").mkdir()
    for key, content in _whole()["projects"][place].items():
        (box / "p" / key).write_bytes(content)
    name, data = mutate.arrays_file(rng, _whole()["shapes"][place])
    (box / name).write_bytes(data)
    if rng.random() < 0.3:
        label, data = mutate.arrays_file(rng, [()])
        (box / f"labels{label}").write_bytes(data)
        return [["evaluate", "p", "--input", name, "--labels", f"labels{label}"]]
    return [["simulate", "p", "--input", name, "--output", rng.choice(("y.npz", "y.npy"))]]


def _options(rng: random.Random, box: Path) -> list[Command]:
    """Options with values that nobody meant."""
    seed = rng.choice(seeds())
    (box / "m.onnx").write_bytes(seed.data)
    formats = "s8f4 u8 s1 u1 s64 u64 s64f-500 s8f2147483648 e8m23 e4m3b7 e2m1 s99 s0 bipolar u16f16 s8n s8f-3".split()
    values = [str(number) for number in (*mutate.INTS, *mutate.FLOATS, 1e300, 1e-300)] + formats
    values += [t for t in mutate.TEXTS if "\0" not in t]
    command = rng.choice(("compile", "estimate", "inspect"))
    line = [command, "m.onnx", *(["-o", "out"] if command == "compile" else [])]
    names = "--clock --accumulator-bits --part --softmax --weights --fold --arch".split()
    names += "--target-fps --max-utilization --budget".split() * (command != "inspect")
    for name in rng.sample(names, rng.choice((0, 1, 1, 2))):
        line += [f"{name}={rng.choice(values)}"]
    if rng.random() < 0.6:
        line += [f"--input-format={rng.choice(formats)}" for _ in range(rng.choice((1, len(seed.shapes), 3)))]
    if rng.random() < 0.3:
        line += ["--arch=dataflow", f"--weights={rng.choice(('rom', 'port'))}"]
    if command != "inspect" and rng.random() < 0.2:
        line += ["--fit"]
    return [line]


def _tflite(rng: random.Random, box: Path) -> list[Command]:
    """Flatbuffers with bytes and numbers changed."""
    (box / "m.tflite").write_bytes(mutate.flatbuffer(rng, rng.choice(_flatbuffers())))
    commands = [["inspect", "m.tflite"], ["inspect", "m.tflite", "--json"], ["compile", "m.tflite", "-o", "out"]]
    return [rng.choice(commands)]


@cache
def _flatbuffers() -> list[bytes]:
    import test_tflite

    return [test_tflite.one(*case[:4], **case[4]) for case in test_tflite.CASES.values()]


KINDS = {
    "tflite": (8, _tflite),
    "bytes": (20, _bytes),
    "structure": (50, _structure),
    "plan": (8, _plan),
    "folding": (4, _folding),
    "project": (7, _project),
    "array": (6, _array),
    "options": (5, _options),
}


# --- running one


def judge(command: Command) -> str | None:
    """What is wrong with a run of the command line; None if nothing is."""
    runner = click.testing.CliRunner(env={"QCOMPILE_TRACEBACK": "1"})  # no last net under what is to be found
    found = runner.invoke(qcompile, command, prog_name="qcompile")
    error = found.exception
    if error is not None and not isinstance(error, SystemExit):
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        return "".join(lines)
    if found.exit_code not in (0, 1, 2):
        return f"exit code {found.exit_code}"
    if control := [c for c in found.output if not (c.isprintable() or c == "\n")]:
        return f"a control character was printed: {control[0]!r}"
    errors = found.output.count("\nerror: ") + found.output.startswith("error: ") + found.output.count("Error: ")
    if found.exit_code and errors != 1 and command[0] != "inspect":
        return f"{found.output[-2000:]}\nexit code {found.exit_code} and {errors} errors"
    return None


class Outside(BaseException):
    """Something was to be written where nothing may be, or unpickled."""


# Audit events that change files: how many of their arguments are paths. The last argument is the folder that they are
# relative to; what is relative to an open folder was opened by its own path.
_WRITES = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.symlink": 2, "os.link": 2}


def _guard(box: Path) -> None:
    """From now on this process writes below `box` only."""
    allowed = (str(box), "/dev/null", "/dev/tty", "/proc/self/")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            raise Outside(f"{event} {arguments}")
        if event == "open":
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            paths = arguments[:1] if writes else ()
        else:
            paths = arguments[: _WRITES.get(event, 0)]
        for path in paths:
            if isinstance(path, (str, bytes)) and (event == "open" or arguments[-1] == -1 or os.path.isabs(path)):
                real = os.path.realpath(os.fsdecode(path))
                if not real.startswith(allowed):
                    raise Outside(f"{event} {real}")

    sys.dont_write_bytecode = True  # of modules that the first command to need them loads
    sys.addaudithook(hook)


def run_case(seed: int, number: int, box: Path) -> tuple[list[Command], str | None]:
    """The commands of a case and what went wrong, in a folder that is empty afterwards."""
    for path in box.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    commands = make(seed, number, box)
    inputs = {p.name for p in box.iterdir()}
    for command in commands:
        if problem := judge(command):
            return [command], problem
        new = {p.name for p in box.iterdir()} - inputs - {"out", "y.npy", "y.npz"}
        if new:
            return [command], f"files beside the output: {sorted(new)}"
    return commands, None


def _limits() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + 2 * SECONDS, hard))


def _forked(target: str, *arrays: np.ndarray, timeout: float, modules: Sequence[str] = ()) -> list[np.ndarray]:
    """`isolated.call` by a fork: the same answers without the start of another interpreter, which takes longer than all
    the rest of a case.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), os.fdopen(write, "wb") as file:
            module, function = target.split(":")
            file.write(isolated._packed(getattr(importlib.import_module(module), function)(*arrays)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    if not data:
        raise isolated.Failed("it was killed, or raised")
    return isolated._unpacked(data)


def _received(pipe: Connection) -> int | None:
    """The next number; None where there is none, or nobody left who could send one."""
    parent = os.getppid()
    while not pipe.poll(5):
        if os.getppid() != parent:
            return None
    found: int | None = pipe.recv()
    return found


def _serve(pipe: Connection, seed: int) -> None:
    """A worker: numbers of cases in, problems out."""
    os.setsid()
    importer.call = _forked
    compiled.build()  # into the user's cache, which the guard below would refuse
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="qcompile-fuzz-") as folder:
        box = Path(folder).resolve() / "box"
        box.mkdir()
        os.chdir(box)
        tempfile.tempdir = str(box.parent)
        _guard(box.parent)
        while (number := _received(pipe)) is not None:
            _limits()
            begin = time.process_time()
            try:
                problem = run_case(seed, number, box)[1]
            except Outside as outside:
                problem = f"outside of the output: {outside}"
            except Exception:
                problem = "the fuzzer itself: " + traceback.format_exc()
            seconds = time.process_time() - begin
            if problem is None and seconds > SECONDS:
                problem = f"a hang: {seconds:.0f} s"
            pipe.send((number, problem, seconds))
        os.chdir("/")


# --- running many


@dataclass
class Worker:
    """A process that runs cases, and what it is doing."""

    seed: int
    number: int | None = None
    since: float = 0.0
    done: int = 0
    pipe: Connection = field(init=False)
    process: Any = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()
        self.done = 0

    def give(self, number: int) -> None:
        if self.done >= CASES_OF_WORKER:
            self.stop()
            self.start()
        self.number, self.since = number, time.monotonic()
        self.pipe.send(number)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()

    def answer(self) -> tuple[str | None, float]:
        """The problem and the seconds of the case that is done, or that ended the process."""
        self.done += 1
        try:
            _, problem, seconds = self.pipe.recv()
            return problem, seconds
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            self.kill()
            self.start()
            name = signal.Signals(-code).name if code and code < 0 else f"exit {code}"
            return (
                f"a hang: {name}" if name in ("SIGXCPU", "SIGKILL") else f"the process ended: {name}"
            ), time.monotonic() - self.since


@dataclass
class Result:
    """problems: by number of the case."""

    cases: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)
    problems: dict[int, str] = field(default_factory=dict)


def fuzz(seed: int, numbers: range, workers: int, keep: Path | None = None) -> Result:
    """Runs the cases; keep: folder for the files of those that fail."""
    seeds(), _whole()
    result, todo = Result(), iter(numbers)
    pool = [Worker(seed) for _ in range(workers)]
    busy: dict[Connection, Worker] = {}
    idle = list(pool)
    try:
        while True:
            while idle and (number := next(todo, None)) is not None:
                worker = idle.pop()
                worker.give(number)
                busy[worker.pipe] = worker
            if not busy:
                return result
            ready = wait(list(busy), timeout=5)
            late = [w for w in busy.values() if time.monotonic() - w.since > WALL and w.pipe not in ready]
            for worker in late:
                worker.kill()
            for pipe in {*ready, *(w.pipe for w in late)}:
                worker = busy.pop(pipe)
                assert worker.number is not None
                problem, seconds = worker.answer()
                idle.append(worker)
                result.cases += 1
                if result.cases % 250 == 0:
                    print(f"{result.cases} cases, {len(result.problems)} failures", file=sys.stderr, flush=True)
                result.seconds += seconds
                result.slowest = max(result.slowest, (seconds, worker.number))
                if problem:
                    result.problems[worker.number] = problem
                    if keep is not None:
                        _keep(seed, worker.number, problem, keep)
    finally:
        for worker in pool:
            worker.stop()


def _keep(seed: int, number: int, problem: str, keep: Path) -> None:
    """The files of a case beside the lines that run it again."""
    box = keep / f"{seed}-{number}"
    shutil.rmtree(box, ignore_errors=True)
    box.mkdir(parents=True)
    commands = make(seed, number, box)
    lines = [f"python tests/fuzz.py --seed {seed} --case {number}", *(json.dumps(["qcompile", *c]) for c in commands)]
    (box / "README.txt").write_text("\n".join([*lines, "", problem]), encoding="utf-8", errors="replace")


def signature(problem: str) -> str:
    """Failures with the same one are likely to be the same."""
    lines = [line.strip() for line in problem.strip().splitlines()]
    frames = [line for line in lines if line.startswith("File ") and "qcompile/" in line]
    where = frames[-1].split("qcompile/", 1)[1].replace('"', "") if frames else ""
    return f"{lines[-1][:140]}  [{where}]" if lines else ""


def show(result: Result, seed: int) -> str:
    """What a run found, the same failures together."""
    each = 1000 * result.seconds / max(result.cases, 1)
    head = f"seed {seed}: {result.cases} cases, {len(result.problems)} failures; {each:.0f} s of a processor for 1,000;"
    head += f" slowest {result.slowest[0]:.1f} s (case {result.slowest[1]})"
    groups = Counter(signature(p) for p in result.problems.values())
    first = {signature(p): n for n, p in reversed(sorted(result.problems.items()))}
    return "\n".join(
        [head, *(f"  {count} x {s}: --seed {seed} --case {first[s]}" for s, count in groups.most_common())]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one, in this process")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    if options.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            commands, problem = run_case(options.seed, options.case, Path(folder))
            print(*(json.dumps(["qcompile", *c]) for c in commands), problem or "nothing is wrong", sep="\n")
            os.chdir("/")
        sys.exit(problem is not None)
    numbers = range(options.first, options.first + options.cases)
    result = fuzz(options.seed, numbers, options.workers, options.keep)
    print(show(result, options.seed))
    sys.exit(bool(result.problems))


if __name__ == "__main__":
    main()
