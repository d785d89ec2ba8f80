"""What qcompile writes on disk: whole or not at all, and nothing of the user's is lost."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import numpy as np
import pytest
from conftest import ROOT

import qcompile as qc
from qcompile import files, processes
from qcompile.cli import main
from qcompile.files import Folder, sealed

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def project(**contents: str) -> Folder:
    """A folder whose files are named by words: src__top for src/top."""
    made = {name.replace("__", "/"): text.encode() for name, text in contents.items()}
    whole = Folder.recorded(made, "manifest.json", "project")
    return Folder(whole.files, "manifest.json", "project")


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() if p.is_file() else "/" for p in sorted(folder.rglob("*"))}


def mine(folder: Path) -> dict[str, str]:
    """What a user keeps in a project."""
    (folder / "notes.md").write_text("mine")
    (folder / "build" / "syn").mkdir(parents=True)
    (folder / "build" / "syn" / "top.bit").write_text("bits")
    (folder / "empty").mkdir()
    (folder / "src" / "patch.diff").write_text("mine")
    (folder / "latest").symlink_to("build/syn")
    (folder / "lost").symlink_to("nowhere")
    return {"notes.md": "mine", "build/syn/top.bit": "bits", "src/patch.diff": "mine"}


@pytest.fixture(params=["beside", "two steps", "inside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways in which a folder is replaced: exchanged, renamed in two steps, file by file."""
    if request.param == "two steps":
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *args, **more: object())
    if request.param == "inside":
        monkeypatch.setattr(Folder, "_must_stay", lambda self, target: target.is_dir())
    return request.param


def test_a_second_project_leaves_what_is_not_ours(tmp_path: Path, way: str) -> None:
    target = tmp_path / "p"
    project(src__top="1", src__old="1", tb__old="1").write(target)
    kept = mine(target)
    inode = (target / "notes.md").stat().st_ino
    project(src__top="2", sim__new="2").write(target)
    found = tree(target)
    assert found.pop("manifest.json") and found["src/top"] == "2" and found["sim/new"] == "2"
    assert {n: t for n, t in found.items() if n in kept} == kept and (target / "empty").is_dir()
    assert os.readlink(target / "latest") == "build/syn" and os.readlink(target / "lost") == "nowhere"
    assert not {"src/old", "tb/old", "tb"} & set(found)
    assert (target / "notes.md").stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == ["p"] and not [p for p in target.iterdir() if p.name[0] == "."]


def test_edited_files_are_named_and_kept(tmp_path: Path, way: str) -> None:
    target = tmp_path / "p"
    first = project(src__top="1", Makefile="1", src__gone="1")
    first.write(target)
    for name in ("src/top", "src/gone", "manifest.json"):
        before = (target / name).read_text()
        (target / name).write_text(before + " ")
        edited = tree(target)
        with pytest.raises(qc.QCompileError, match=f"{name}: was edited.*(?s:.)*--force"):
            project(src__top="2", Makefile="2").write(target)
        assert tree(target) == edited
        (target / name).write_text(before)
    (target / "src" / "top").write_text("edited")
    (target / "Makefile").unlink()  # what was removed is written again
    project(src__top="2", Makefile="2").write(target, force=True)
    assert sorted(tree(target)) == ["Makefile", "manifest.json", "src", "src/top"]
    assert tree(target)["src/top"] == "2"


def test_what_the_user_put_where_a_file_goes(tmp_path: Path, way: str) -> None:
    target, outside = tmp_path / "p", tmp_path / "outside"
    outside.mkdir()
    (outside / "top").write_text("mine")
    project(Makefile="1").write(target)
    (target / "src").symlink_to(outside)
    before = tree(target)
    with pytest.raises(qc.QCompileError, match="src/top: was not written by qcompile"):
        project(src__top="1").write(target)
    assert tree(target) == before
    project(src__top="1").write(target, force=True)
    assert tree(target)["src/top"] == "1" and tree(outside) == {"top": "mine"}
    (target / "src" / "top").unlink()
    (target / "src" / "top").mkdir()
    (target / "src" / "top" / "notes").write_text("mine")
    for force in (False, True):
        with pytest.raises(qc.QCompileError, match="a folder is where 'src/top' goes"):
            project(src__top="2").write(target, force=force)
    (target / "README.md").write_text("the same")
    shutil.rmtree(target / "src")
    project(README="the same").write(target)  # a file of the same content is no loss


def test_a_manifest_cannot_reach_outside(tmp_path: Path) -> None:
    """A project of somebody else's may list anything as its own."""
    target, secret = tmp_path / "p", tmp_path / "secret"
    secret.write_text("mine")
    project(src__top="1").write(target)
    record = json.loads((target / "manifest.json").read_text())
    del record["sha256_of_this"]
    digest = hashlib.sha256(b"mine").hexdigest()
    (target / "link").symlink_to(tmp_path)
    record["files"] |= {"../secret": digest, str(secret): digest, "link/secret": digest, "a\0b": digest, "n": 3}
    (target / "manifest.json").write_bytes(sealed(record))
    with contextlib.suppress(qc.QCompileError):
        project(src__top="2").write(target)
    project(src__top="2").write(target, force=True)
    assert secret.read_text() == "mine"


def test_projects_of_former_versions(tmp_path: Path) -> None:
    """They have one digest over all files: untouched ones are replaced, of others nothing is lost."""
    names = {"src/top": b"1", "sim/model.py": b"1", "README.md": b"1"}
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(f"{name}\0{len(names[name])}\0".encode() + names[name])
    for edit in (False, True):
        target = tmp_path / f"p{edit}"
        for name, content in names.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content + b" " * (edit and name == "README.md"))
        record = {"tool": {"name": "qcompile"}, "sha256_of_files": total.hexdigest()}
        (target / "manifest.json").write_text(json.dumps(record))
        (target / "build").mkdir()
        (target / "build" / "csim").write_text("mine")
        new = project(src__top="2", Makefile="2")
        if edit:
            with pytest.raises(qc.QCompileError, match="src/top: was not written .* kept no list"):
                new.write(target)
            new.write(target, force=True)
        else:
            new.write(target)
            assert not (target / "sim").exists()
        assert (target / "build" / "csim").read_text() == "mine" and (target / "src" / "top").read_text() == "2"


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    (tmp_path / "link").symlink_to("mine")
    before = tree(tmp_path)
    for place in ("file", "mine", "link", "file/below", "none/\0"):
        for force in (False, True):
            with pytest.raises(qc.QCompileError):
                project(a="1").write(tmp_path / place, force)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("where", ["cwd", "parent"])
def test_a_folder_that_cannot_be_exchanged_keeps_its_place(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "p"
    project(a="1", b="1").write(target)
    if where == "cwd":
        monkeypatch.chdir(target)
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    inode = target.stat().st_ino
    project(a="2").write("." if where == "cwd" else target)
    assert target.stat().st_ino == inode and sorted(tree(target)) == ["a", "manifest.json"] and tree(target)["a"] == "2"


def test_full_disks_and_other_failures_leave_the_old_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "p"
    project(a="1", b="1").write(target)
    before = tree(tmp_path)
    write, count = Path.write_bytes, iter(range(9))

    def full(self: Path, content: bytes) -> int:
        if next(count) == 1:
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(qc.QCompileError, match="the project cannot be written: No space left"):
        project(a="2", b="2").write(target)
    monkeypatch.undo()
    with pytest.raises(qc.QCompileError):
        project(x="2", x__y="2").write(target)
    assert tree(tmp_path) == before


KILLED = """
import sys
from qcompile.files import Folder
from test_files import project
from pathlib import Path
import qcompile.files
if "inside" in sys.argv:
    Folder._must_stay = lambda self, target: target.is_dir()
print("ready", flush=True)
for i in range(1_000_000):
    project(**{f"f{k}__{k}": str(i) * 1000 for k in range(12)}).write(sys.argv[1])
"""


@pytest.mark.parametrize("how", ["beside", "inside"])
def test_killed_at_any_time_the_project_is_whole(tmp_path: Path, how: str) -> None:
    """Exchanged in one step it always is one or the other; file by file it is after the next run."""
    target, rng = tmp_path / "p", random.Random(0)
    project(a="1").write(target)
    (target / "notes").write_text("mine")
    for _ in range(12):
        run = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(target), how],
            stdout=subprocess.PIPE,
            env={**ENVIRONMENT, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )
        assert run.stdout is not None and run.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        run.kill()
        run.wait()
        run.stdout.close()
        if how == "inside":
            files._recover(target)
        listed = json.loads((target / "manifest.json").read_text())["files"]
        assert listed == {n: hashlib.sha256((target / n).read_bytes()).hexdigest() for n in listed}
        assert {p.name.partition("/")[0] for p in target.iterdir()} == {n.split("/")[0] for n in listed} | {
            "manifest.json",
            "notes",
        }
    project(a="2").write(target)
    assert [p.name for p in tmp_path.iterdir()] == ["p"] and sorted(tree(target)) == ["a", "manifest.json", "notes"]


# --- single files


def test_a_named_file_is_replaced_by_its_kind_only(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros(3))
    (tmp_path / "link.npy").symlink_to("y.npy")
    (tmp_path / "thesis.npy").write_text("my thesis")
    (tmp_path / "new").touch()
    npy = (tmp_path / "y.npy").read_bytes()
    for name in ("y.npy", "link.npy", "new", "other.npy"):
        files.write_file(tmp_path / name, npy, "the result", ".npy")
        assert (tmp_path / name).read_bytes() == npy
    assert os.readlink(tmp_path / "link.npy") == "y.npy"
    with pytest.raises(qc.QCompileError, match="no .npy file, so it is not overwritten"):
        files.write_file(tmp_path / "thesis.npy", npy, "the result", ".npy")
    assert not [p for p in tmp_path.iterdir() if p.name[0] == "."]


# --- temporary folders and other programs


def test_folders_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "qcompile-run-abcdefgh"
    left.mkdir()
    (left / "x").write_text("x")
    other = tmp_path / "qcompile-run-of-mine"
    other.mkdir()
    with processes.scratch() as first, processes.scratch() as second:
        assert first.is_dir() and second.is_dir() and not left.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_programs_end_with_the_run_that_started_them(tmp_path: Path) -> None:
    """Killed without a chance to do anything, it leaves no process behind."""
    script = "import sys; from qcompile.processes import run; run(['sh', '-c', 'echo $$ >&2; sleep 300 & wait'])"
    script = script.replace("echo $$ >&2", f"echo $$ > {tmp_path}/pid")
    for how in (signal.SIGKILL, signal.SIGTERM):
        caller = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT)
        pid = waited(lambda: int((tmp_path / "pid").read_text()))
        caller.send_signal(how)
        caller.wait()
        waited(lambda group=pid: not group_exists(group) or 1 / 0)
        (tmp_path / "pid").unlink()


def test_programs_run_as_they_are_called(tmp_path: Path) -> None:
    """With any number of files open, and arguments that a shell would read."""
    opened = [open(tmp_path / str(i), "w") for i in range(20)]
    done = processes.run(["printf", "%s", 'a "$HOME" `b`; c'], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'a "$HOME" `b`; c', "")
    assert processes.run(["sh", "-c", "cat; exit 3"]).returncode == 3
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sleep", "300"], timeout=0.1)
    for file in opened:
        file.close()


def waited(what: object) -> int:
    for _ in range(1000):
        with contextlib.suppress(Exception):
            return what()  # type: ignore[operator]
        time.sleep(0.02)
    raise AssertionError("this does not happen")


def group_exists(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


# --- the commands


def invoke(*arguments: object, code: int = 0) -> str:
    result = click.testing.CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_compile_again(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoke("compile", digits, "-o", "p", "--arch", "dataflow", "--part", "pynq-z2", "--dump", "d")
    kept = mine(tmp_path / "p")
    (tmp_path / "p" / "board" / "digits_mlp.bit").write_text("bits")
    invoke("compile", digits, "-o", "p", "--dump", "d")
    assert not (tmp_path / "p" / "schedule.json").exists() and not (tmp_path / "p" / "src" / "weights").exists()
    assert [f.name for f in (tmp_path / "p" / "board").iterdir()] == ["digits_mlp.bit"]
    assert {n: (tmp_path / "p" / n).read_text() for n in kept} == kept
    (tmp_path / "p" / "src" / "digits_mlp.cpp").write_text("mine")
    assert "src/digits_mlp.cpp: was edited since qcompile wrote" in invoke("compile", digits, "-o", "p", code=1)
    assert (tmp_path / "p" / "src" / "digits_mlp.cpp").read_text() == "mine"
    invoke("compile", digits, "-o", "p", "--force")
    (tmp_path / "d" / "0-import.txt").write_text("mine")
    assert "0-import.txt: was edited" in invoke("compile", digits, "-o", "p", "--dump", "d", code=1)


def test_simulate_does_not_replace_its_input(digits: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 64)))
    words = invoke("simulate", digits, "--input", tmp_path / "x.npy", "--output", tmp_path / "x.npy", code=1)
    assert "would replace the input" in words and np.load(tmp_path / "x.npy").shape == (3, 64)
