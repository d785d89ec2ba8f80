"""C++ of the HLS backend stands in templates, one per unit and kernel; Python decides numbers and names of types."""

import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from jinja2.bccache import Bucket

from qcompile import templating
from qcompile.backends.hls import units
from qcompile.backends.hls.kernels import Kernel
from qcompile.backends.hls.units.context import View

HLS = ROOT / "qcompile" / "backends" / "hls"
TEMPLATES = ROOT / "templates" / "hls"
# Statements, blocks, directives; qualified names and types, of which only types.py has any.
STATEMENT = re.compile(r";|#\s*(pragma|if|endif|include|define)|\{\s|\{$|^\s*\}|\b(static|const|void|for|while) ")
TYPE = re.compile(r"::|\b(ap_u?int|uint|int)\w*<")


def literals(path: Path) -> list[str]:
    """Texts in a file, parts of f-strings too; not docstrings."""
    tree = ast.parse(path.read_text())
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in said]
    texts = [n.value.decode("latin-1") if isinstance(n.value, bytes) else n.value for n in found]
    return [t for t in texts if isinstance(t, str)]


@pytest.mark.parametrize("path", sorted(HLS.rglob("*.py")), ids=lambda p: str(p.relative_to(HLS)))
def test_no_cpp_in_python(path: Path) -> None:
    """names.py lists words that are not to be names."""
    if path.name == "names.py":
        return
    texts = [t for t in literals(path) if not re.fullmatch(r"src/\{top\}\.[ch]pp", t)]
    assert [t for t in texts if STATEMENT.search(t)] == []
    if path.name != "types.py":
        assert [t for t in texts if TYPE.search(t)] == []


def test_cpp_is_recognised() -> None:
    for text in ("x = 1;", "#pragma HLS unroll", "if (reload) {", "}", "static int x", "#ifdef X", "b\n{\n"):
        assert STATEMENT.search(text), text
    for text in ("qc::wire<", "ap_uint<", "ap_int<8>", "::word"):
        assert TYPE.search(text), text


def records(kind: type) -> list[type]:
    """Records of a kind that say how they are printed."""
    found = [s for c in kind.__subclasses__() for s in (c, *records(c))]
    return [s for s in found if "template" in vars(s)]


def test_every_unit_and_kernel_has_its_template() -> None:
    assert len(units.VIEWS) > 12
    for kind, folder in ((View, "units"), (Kernel, "kernels")):
        for record in records(kind):
            assert (TEMPLATES / folder / record.template).is_file(), f"{record.__name__}: {folder}/{record.template}"


def test_every_template_is_printed() -> None:
    """By a record, or by another template."""
    texts = "".join(p.read_text() for p in TEMPLATES.rglob("*.j2"))
    printed = {f"units/{r.template}" for r in records(View)} | {f"kernels/{r.template}" for r in records(Kernel)}
    for folder in ("units", "kernels"):
        for path in (TEMPLATES / folder).glob("*.j2"):
            name = f"{folder}/{path.name}"
            assert name in printed or f'include "hls/{name}"' in texts, name


def test_byte_code_of_templates_stands_where_python_keeps_it(tmp_path: Path) -> None:
    """As for modules: none where PYTHONDONTWRITEBYTECODE is set, and one that is damaged is made again."""
    code = "from qcompile.templating import templates; templates().get_template('hls/Makefile.j2')"

    def kept(**settings: str) -> list[Path]:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path / "code"), **settings}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        return list(tmp_path.rglob("Makefile.*.pyc"))

    assert kept(PYTHONDONTWRITEBYTECODE="1") == []
    (path,) = kept()
    good = path.read_bytes()
    path.write_bytes(good[:-40])
    assert kept() == [path] and path.read_bytes() == good


def test_byte_code_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Bucket, "write_bytecode", full)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    place = tmp_path / "code" / "template.pyc"
    templating._ByteCode().dump_bytecode(Bucket(templating.templates(), str(place), ""))
    assert list(tmp_path.rglob("*")) == [place.parent]
