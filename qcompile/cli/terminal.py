"""What the commands share: the way to a terminal, and to the files that arguments name."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from qcompile.errors import QCompileError, visible
from qcompile.tables import paragraph, table

if TYPE_CHECKING:
    import numpy as np

    from qcompile.pipeline import Design


def echo(text: str, err: bool = False) -> None:
    """The one way to a terminal: what it would obey or hide is escaped, whatever file or argument it came from."""
    click.echo(visible(text, "\n"), err=err)


def rich_console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def working(text: str) -> Iterator[Any]:
    """One line on stderr that says what takes time, where somebody can see it; it is gone afterwards."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    width = shutil.get_terminal_size().columns - 1

    def show(line: object) -> None:
        click.echo("\r" + visible(line)[:width].ljust(width) + "\r", err=True, nl=False)

    show(f"{text} ...")
    try:
        yield lambda line: show(f"{line} ...")
    finally:
        show("")


def terminal_width() -> int | None:
    """Of the terminal; None where the output goes into a pipe or a file, which has none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    echo(table(title, columns, rows, terminal_width()))


def show_next(command: str, err: bool = False) -> None:
    """What comes next, in one line whatever the width: it is copied."""
    echo(f"next: {visible(command)}", err=err)


def say(text: str) -> None:
    """A line for people: no word of it is broken, no control character of a model file reaches the terminal."""
    echo(paragraph(visible(text), terminal_width()))


def warn(lines: tuple[str, ...]) -> None:
    for line in lines:
        echo(f"warning: {line}", err=True)


def inputs(path: str, design: Design) -> list[np.ndarray]:
    """Arrays of an .npy or .npz file, in order, which are inputs of the design."""
    from qcompile import arrays

    check = len if design.model.before else design.simulator.check  # what is in front may have any inputs
    return list(arrays.read(path, check).values())


def labels_of(path: str) -> np.ndarray:
    """The array of a file of labels. QCompileError where it is not one."""
    from qcompile import arrays

    found = arrays.read(path)
    if len(found) != 1:
        raise QCompileError(f"the file holds {len(found)} arrays, not one of labels", path)
    return next(iter(found.values()))


def is_project(path: str) -> bool:
    return os.path.isdir(path)


def design_of(path: str, options: dict[str, Any] | None = None) -> Design:
    """A written project, or a model compiled on the fly."""
    from qcompile.pipeline import compile, open_project

    return open_project(path) if is_project(path) else compile(path, **(options or {}))
