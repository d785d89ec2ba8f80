"""2,000 mutated inputs: each gives a result or one error (see fuzz.py, which runs any number by hand), and the fuzzer
notices what it is for.
"""

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from conftest import ROOT

CASES, PARTS = 2000, 4


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_inputs(part: int, tmp_path: Path) -> None:
    """In a process of its own, which forks workers and has no threads."""
    size = CASES // PARTS
    line = ["--seed", "0", "--first", str(part * size), "--cases", str(size), "--workers", "1", "--keep", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "fuzz.py"), *line],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def test_same_seed_same_cases(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> list[object]:
        found: list[object] = []
        for number in range(40):
            box = tmp_path / name / str(number)
            box.mkdir(parents=True)
            commands = fuzz.make(seed, number, box)
            found.append((commands, [(p.name, p.read_bytes()) for p in sorted(box.rglob("*")) if p.is_file()]))
        return found

    assert made("a", 3) == made("b", 3) != made("c", 4)


FAULTS = {
    "crash": ("raise KeyError('x')", "KeyError"),
    "exit code": ("sys.exit(7)", "exit code 7"),
    "no message": ("sys.exit(1)", "exit code 1 and 0 errors"),
    "signal": ("os.kill(os.getpid(), signal.SIGSEGV)", "the process ended: SIGSEGV"),
    "memory": ("bytearray(2 * fuzz.MEMORY)", "MemoryError"),
    "escape": ("print('\\x1b[31m')", "a control character"),
    "file outside": ("open('/tmp/fuzz-outside', 'w')", "outside of the output: open /tmp/fuzz-outside"),
    "file beside": ("open('beside', 'w').close()", "files beside the output: ['beside']"),
    "pickle": ("pickle.loads(pickle.dumps(print))", "outside of the output: pickle.find_class"),
    "hang": ("[0 for _ in iter(int, 1)]", "a hang: SIGXCPU"),
}


def test_faults_are_noticed() -> None:
    """A command line that does what it must not, a case each."""
    script = f"""
import os, pickle, signal, sys
import click, fuzz
FAULTS = {[code for code, _ in FAULTS.values()]}
@click.command()
@click.argument("number", type=int)
def main(number):
    exec(FAULTS[number], globals())
fuzz.qcompile, fuzz.SECONDS, fuzz.seeds, fuzz._whole = main, 1, list, dict
fuzz.make = lambda seed, number, box: [[str(number)]]
for _, problem in sorted(fuzz.fuzz(0, range(len(FAULTS)), 1).problems.items()):
    print(problem.strip().splitlines()[-1])
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert len(lines) == len(FAULTS), done.stdout + done.stderr
    for line, (_, words) in zip(lines, FAULTS.values(), strict=True):
        assert words in line
