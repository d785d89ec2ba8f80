"""Tables of rules, one per op: what an op means to a pass stands in the table of that pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R", bound=Callable[..., Any])


def adding_to(table: dict[type, R]) -> Callable[..., Callable[[R], R]]:
    """A decorator that enters a rule into a table for some ops: `@_rule(ops.Conv, ops.MatMul)`."""

    def rule(*kinds: type) -> Callable[[R], R]:
        def register(fn: R) -> R:
            table.update(dict.fromkeys(kinds, fn))
            return fn

        return register

    return rule
