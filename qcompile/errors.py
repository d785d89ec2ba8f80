"""Errors that are written for the user: what, where, what is allowed, what to do."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class QCompileError(Exception):
    """A problem that the user can mend.

    what: the problem and what is allowed, in one sentence; where: file, node, tensor; hint: the way out.
    """

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
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
    """All unsupported nodes of a model, reported together."""

    def __init__(self, findings: tuple[Finding, ...], file: str = "") -> None:
        self.findings = findings
        lines = [f"{f.where} ({f.op}): {f.reason}" + (f"; {f.hint}" if f.hint else "") for f in findings]
        count = f"{len(findings)} node{'s' if len(findings) > 1 else ''} cannot be compiled"
        super().__init__(count + "\n  - " + "\n  - ".join(lines), file)


class ArgumentError(QCompileError, TypeError):
    """A keyword argument that a function does not have."""


def keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which answers a keyword argument that it lacks with the nearest that it has. ArgumentError."""
    code = function.__code__
    known = [n for n in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if n != "self"]

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, 0.5)
                raise ArgumentError(
                    f"{function.__name__}() has no argument '{name}'"
                    + (f"; did you mean '{near[0]}'?" if near else ""),
                    hint=f"known: {', '.join(known)}",
                )
        return function(*args, **kwargs)

    return called


class VerificationError(QCompileError):
    """Two executions of one design disagree, or an invariant of the graph is broken."""
