"""Frozen dataclasses that load sooner.

The library compiles the text of every method of every class, 0.6 ms for each of some 250 classes: a fifth of what
`compile` took of a small network. Equality, hash and text differ between classes in nothing but the names of fields,
so here they are closures. They mean the same: `fields`, `replace`, type checkers and classes that the library derives
from these see no difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, eq: bool = True, repr: bool = True, **options: Any) -> Any:
        """As that of the library; those that can change or have an order are left to it."""
        if not options.get("frozen") or options.get("order"):
            return dataclasses.dataclass(cls, eq=eq, repr=repr, **options)

        def decorated(cls: type) -> type:
            own = {name for name, value in vars(cls).items() if value is not None}  # no hash beside an own __eq__: None
            made = dataclasses.dataclass(eq=False, repr=False, **options)(cls)
            for method in (_comparing(made) if eq else ()) + (_telling(made) if repr else ()):
                if method.__name__ not in own:
                    setattr(made, method.__name__, method)
            return made

        return decorated


def _values(names: tuple[str, ...]) -> Callable[[object], tuple]:
    """Of an object, the tuple of its attributes of these names."""
    if not names:
        return lambda x: ()
    values = attrgetter(*names)  # of one name it is no tuple
    return values if len(names) > 1 else lambda x: (values(x),)


def _comparing(cls: Any) -> tuple[Callable, ...]:
    values = _values(tuple(f.name for f in dataclasses.fields(cls) if f.compare))

    def __eq__(self: object, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(values(self))

    return __eq__, __hash__


def _telling(cls: Any) -> tuple[Callable, ...]:
    names = [f.name for f in dataclasses.fields(cls) if f.repr]

    @recursive_repr()
    def __repr__(self: object) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return (__repr__,)
