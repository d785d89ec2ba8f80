"""Errors that are written for the user: what, where, what is allowed, what to do."""

from __future__ import annotations

from dataclasses import dataclass


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


class VerificationError(QCompileError):
    """Two executions of one design disagree, or an invariant of the graph is broken."""
