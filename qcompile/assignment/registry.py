"""The extension points: small tables of named functions, and the error for a name that is not in them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from qcompile.errors import QCompileError

F = TypeVar("F", bound=Callable[..., Any])


class Registry(dict[str, Any]):
    """Name -> function of one extension point ("metric", "search", ...)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def add(self, name: str) -> Callable[[F], F]:
        """Decorator: the function under that name."""

        def register(fn: F) -> F:
            self[name] = fn
            return fn

        return register

    def find(self, name: str) -> Any:
        """The function of that name. QCompileError offers the nearest names."""
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]


def unknown(kind: str, name: str, known: Iterable[str]) -> QCompileError:
    """The error for a name that does not exist, with those that are near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    shown = ", ".join(names[:24]) + (", ..." if len(names) > 24 else "")
    return QCompileError(
        f"'{name}' is no {kind}" + (f"; did you mean {' or '.join(near)}?" if near else ""), hint=f"known: {shown}"
    )
