"""Errors that are written for the user: what, where, what is allowed, what to do."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from qcompile.records import dataclass

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 2000  # characters of one part of a message; names in a file may have millions


def visible(text: object, kept: str = "") -> str:
    """Text of a model file, an argument or another program with everything escaped that a terminal would obey or hide:
    control characters, line and direction marks, halves of characters. kept: characters that are meant.
    """
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in str(text))


def _part(text: str) -> str:
    """One part of a message: one line, of a bearable length."""
    text = str(text)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return visible(text)


class QCompileError(Exception):
    """A problem that the user can mend.

    what: the problem and what is allowed, in one sentence; where: file, node, tensor; hint: the way out. Each is one
    line that a terminal can show, whatever the names in it.
    """

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = _part(what), _part(where), _part(hint)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


@dataclass(frozen=True)
class Finding:
    """One node that cannot be compiled: where it is, why, and the way out."""

    where: str
    op: str
    reason: str
    hint: str = ""


class UnsupportedError(QCompileError):
    """All unsupported nodes of a model, reported together. rest: what can be imported, where that is enough to look
    at.
    """

    def __init__(self, findings: tuple[Finding, ...], file: str = "", rest: object | None = None) -> None:
        self.findings, self.rest = findings, rest
        lines = [f"{f.where} ({f.op}): {f.reason}" + (f"; {f.hint}" if f.hint else "") for f in findings]
        self.count = f"{len(findings)} node{'s' if len(findings) > 1 else ''} cannot be compiled"
        super().__init__(self.count, file)
        self.what = "\n  - ".join([self.count, *map(_part, lines)])
        self.args = (str(self),)


class ArgumentError(QCompileError, TypeError):
    """A keyword argument that a function does not have."""


def nearest(name: str, known: Iterable[str], most: int = 1, least: float = 0.6) -> list[str]:
    """At most so many of the known names that are meant with this one, the likeliest first. least: of likeness, 1 where
    they are the same.
    """
    import difflib  # only what is wrong needs it

    return difflib.get_close_matches(name, known, most, least)


def keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which answers a keyword argument that it lacks with the nearest that it has. ArgumentError."""
    known = [n for n in inspect.signature(function).parameters if n != "self"]

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = nearest(name, known, least=0.5)
                raise ArgumentError(
                    f"{function.__name__}() has no argument '{name}'"
                    + (f"; did you mean '{near[0]}'?" if near else ""),
                    hint=f"known: {', '.join(known)}",
                )
        return function(*args, **kwargs)

    return called


def unknown(kind: str, name: str, known: Iterable[str]) -> QCompileError:
    """The error for a name that does not exist, with those that are near."""
    names = list(known)
    near = nearest(name, names, 3, 0.5)
    shown = ", ".join(names[:24]) + (", ..." if len(names) > 24 else "")
    return QCompileError(
        f"'{name}' is no {kind}" + (f"; did you mean {' or '.join(near)}?" if near else ""), hint=f"known: {shown}"
    )


class VerificationError(QCompileError):
    """Two executions of one design disagree, or an invariant of the graph is broken."""
