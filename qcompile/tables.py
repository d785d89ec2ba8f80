"""Tables of text for people, in which numbers and names stay whole whatever the width."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from qcompile.errors import visible

GAP = "  "
_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?(\.\.[-+]?[\d.,]+|(x\d+)+| ?%)?|exact")  # ranges, shapes, shares too
_LEAST, _LEAST_PROSE = 12, 24  # characters to which names and sentences may shrink
_CUT = ".."
_HELD = "\xa0"  # a blank at which no line ends
LINE, ROWS, ALIKE = 100, 20, 4  # characters, rows of a table, facts of one name that a prompt shows


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None = None) -> str:
    """Lines of a table, each ended; numbers stand right, everything else left.

    width: characters of the terminal, None where nothing is to be shortened (pipes, files). Within it names are
    shortened in the middle, alike ones so that they stay apart; sentences continue on the next line; columns that still
    do not fit follow below, beside the first column again.
    """
    cells = [[visible(c) for c in row] for row in rows]
    held = [_Column(name, [row[i] for row in cells], i == 0) for i, name in enumerate(columns)]
    head = f"{paragraph(visible(title), width)}\n" if title else ""
    if width is not None:
        _shrink(held, width)
    return head + "\n".join(_block(block, len(cells)) for block in _blocks(held, width))


def shape(axes: Iterable[int]) -> str:
    """1x64x3; a scalar's is 1."""
    return "x".join(map(str, axes)) or "1"


def paragraph(text: str, width: int | None = None, between: str = "") -> str:
    """A line for people, broken at blanks only (those behind a character of `between`, where there are any); its other
    lines are indented.
    """
    if width is None:
        return text
    held = re.sub(rf"(?<![{re.escape(between)}]) ", _HELD, text) if between else text
    lines = textwrap.fill(held, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines.replace(_HELD, " ")


def card(title: str, facts: Sequence[tuple[str, Any]]) -> str:
    """A title and some lines below it: what an object looks like at a prompt."""
    facts = _few(facts)
    most = max((len(name) for name, _ in facts), default=0)
    lines = [f"  {name:<{most}}  {shortened([visible(text)], LINE)[0]}" for name, text in facts]
    return "\n".join([visible(title), *lines])


def _few(facts: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The first facts of every name, and how many there are more."""
    count = Counter(name for name, _ in facts)
    kept, seen = [], Counter[str]()
    for name, text in facts:
        seen[name] += 1
        if seen[name] <= ALIKE:
            kept.append((name, text))
        elif seen[name] == count[name]:
            kept.append((name, f"and {count[name] - ALIKE} more"))
    return kept


def html(
    title: str,
    facts: Sequence[tuple[str, Any]],
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[Any]] = (),
) -> str:
    """The same for a notebook, with a table of the first rows below it."""
    from html import escape  # only notebooks need it

    def line(cells: Sequence[Any], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(visible(c))}</{kind}>" for c in cells) + "</tr>"

    text = f"<b>{escape(visible(title))}</b><table>{''.join(line(fact, 'td') for fact in _few(facts))}</table>"
    if rows:
        more = f"<p>and {len(rows) - ROWS} more</p>" if len(rows) > ROWS else ""
        body = "".join(line(row, "td") for row in rows[:ROWS])
        text += f"<table>{line(columns, 'th')}{body}</table>{more}"
    return text


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Names of at most `width` characters, cut in the middle, where different ones stay different if that is possible.

    What is kept of the beginning is the same for all of them, and as near to a third as can be.
    """
    if max(map(len, names), default=0) <= width:
        return list(names)
    room, distinct = width - len(_CUT), sorted(set(names))
    best: dict[str, str] = {}
    for head in sorted(range(room + 1), key=lambda head: abs(head - room // 3)):
        cut = {n: _cut(n, head, width) for n in distinct}
        if len(set(cut.values())) > len(set(best.values())):
            best = cut
        if len(set(best.values())) == len(distinct):
            break
    return [best[n] for n in names]


def _cut(name: str, head: int, width: int) -> str:
    tail = width - len(_CUT) - head
    return name if len(name) <= width else name[:head] + _CUT + (name[-tail:] if tail else "")


class _Column:
    """One column: its header and cells, as lines of at most `width` characters. Names may hold blanks."""

    def __init__(self, name: str, cells: list[str], names: bool) -> None:
        self.name, self.cells = name, cells
        filled = [c for c in cells if c]
        self.numbers = bool(filled) and all(_NUMBER.fullmatch(c) for c in filled)
        self.prose = not self.numbers and not names and any(" " in c for c in filled)
        self.width = max([len(name), *map(len, cells)])

    @cached_property
    def least(self) -> int:
        """The width below which a number, a word or the difference of two names would be lost."""
        if self.numbers:
            return self.width
        if self.prose:
            least = max(_LEAST_PROSE, *(len(word) for c in self.cells for word in c.split(" ")))
        else:
            apart, widths = len(set(self.cells)), range(min(_LEAST, self.width), self.width)
            least = next((w for w in widths if len(set(shortened(self.cells, w))) == apart), self.width)
        return min(self.width, max(len(self.name), least))

    def lines(self, row: int) -> list[str]:
        cell = self.cells[row]
        if len(cell) <= self.width:
            return [cell]
        return textwrap.wrap(cell, self.width, break_long_words=False, break_on_hyphens=False)

    def settle(self, width: int) -> None:
        self.width = width
        if not self.prose:
            self.cells = shortened(self.cells, self.width)

    def set(self, text: str) -> str:
        return text.rjust(self.width) if self.numbers else text.ljust(self.width)


def _shrink(columns: list[_Column], width: int) -> None:
    """Names and sentences give way, the widest first."""
    wanted = [c.width for c in columns]
    for _ in range(sum(wanted) + len(GAP) * (len(columns) - 1) - width):
        loose = [i for i, c in enumerate(columns) if wanted[i] > c.least]
        if not loose:
            break
        wanted[max(loose, key=lambda i: wanted[i])] -= 1
    for column, least in zip(columns, wanted, strict=True):
        column.settle(least)


def _blocks(columns: list[_Column], width: int | None) -> list[list[_Column]]:
    """Columns side by side as far as they fit; the first one is in front of every block."""
    first, *others = columns
    blocks, used = [[first]], first.width
    for column in others:
        if width is not None and used + len(GAP) + column.width > width and len(blocks[-1]) > 1:
            blocks.append([first])
            used = first.width
        blocks[-1].append(column)
        used += len(GAP) + column.width
    return blocks


def _block(columns: list[_Column], count: int) -> str:
    lines = [[c.set(c.name) for c in columns], ["-" * c.width for c in columns]]
    for row in range(count):
        cells = [c.lines(row) for c in columns]
        for i in range(max(map(len, cells))):
            lines.append([c.set(part[i] if i < len(part) else "") for c, part in zip(columns, cells, strict=True)])
    return "".join(GAP.join(line).rstrip() + "\n" for line in lines)
