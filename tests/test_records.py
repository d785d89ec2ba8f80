"""Frozen dataclasses that load sooner act as those of the library do."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from qcompile import records


def pair(decorator: Any) -> tuple[type, type]:
    """A class, and one derived from it."""

    @decorator(frozen=True)
    class Base:
        """A field that is compared, one that is not, one that is not shown."""

        a: Any
        note: str = field(default="", compare=False)
        hidden: int = field(default=0, repr=False)

    @decorator(frozen=True, kw_only=True)
    class Derived(Base):
        b: tuple[int, ...] = ()

    return Base, Derived


MADE = {"the library": pair(dataclasses.dataclass), "ours": pair(records.dataclass)}
VALUES: list[dict[str, Any]] = [{"a": 1}, {"a": 1, "note": "x"}, {"a": 1, "hidden": 2}, {"a": 2}, {"a": "1"}]


def test_equality_hash_and_text() -> None:
    def told(base: type, derived: type) -> list[Any]:
        all_of = [base(**v) for v in VALUES] + [derived(**v, b=(1,)) for v in VALUES] + [derived(a=1)]
        equal = [[x == y for y in all_of] for x in all_of]
        hashes = [[hash(x) == hash(y) for y in all_of if x == y] for x in all_of]
        names = [[f.name for f in fields(x)] for x in all_of]
        return [equal, hashes, names, [repr(x) for x in all_of], [repr(replace(x, a=3)) for x in all_of]]

    assert told(*MADE["ours"]) == told(*MADE["the library"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_any_number_of_fields(count: int) -> None:
    made = records.dataclass(frozen=True)(type("Some", (), {"__annotations__": dict.fromkeys("ab"[:count], int)}))
    values = list(range(count))
    assert made(*values) == made(*values) and hash(made(*values)) == hash(made(*values))
    assert made(*values) != values and repr(made(*values)).startswith("Some(")


def test_own_methods_stay() -> None:
    @records.dataclass(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == Own(2) and repr(Own(1)) == "own"
    assert hash(Own(1)) == hash(Own(1))  # as the library: an own __eq__ takes no hash away


def test_the_library_derives_from_ours_and_nothing_changes() -> None:
    @dataclasses.dataclass(frozen=True)
    class Theirs(MADE["ours"][0]):  # type: ignore[misc]
        c: int = 0

    assert Theirs(1, c=2) == Theirs(1, c=2) != Theirs(1)
    with pytest.raises(FrozenInstanceError):
        Theirs(1).c = 2
    with pytest.raises(FrozenInstanceError):
        del MADE["ours"][0](1).a


def test_what_can_change_or_has_an_order_is_left_to_the_library() -> None:
    @records.dataclass
    class Changing:
        a: int

    @records.dataclass(frozen=True, order=True)
    class Ordered:
        a: int

    changing = Changing(1)
    changing.a = 2
    assert changing == Changing(2) and Changing.__hash__ is None and Ordered(1) < Ordered(2)
