"""Measurements in a file, a row each, beside what the rules of now predict."""

from __future__ import annotations

import csv
import dataclasses
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import HERE

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Of points, records that have a `key`, in <name>.csv and as a page in <name>.md. row: of a point, measurements
    and the digest of its circuit; size: small ones are synthesised first; there: whether its network is; head: comments
    of the file; said: of a row, while it is measured.
    """

    name: str
    points: Sequence[Any]
    row: Callable[[Any, dict[str, Any], str], Row]
    circuit: Callable[[Any], str]
    measured: Callable[[Any], dict[str, int]]
    size: Callable[[Any], float]
    there: Callable[[Any], bool]
    page: Callable[[list[Row]], str]
    head: Callable[[], str]
    said: Callable[[Row], str]

    @property
    def report(self) -> Path:
        return HERE / f"{self.name}.md"

    @property
    def file(self) -> Path:
        return HERE / f"{self.name}.csv"

    def stored(self) -> dict[tuple[str, ...], Row]:
        """Rows of the file by the keys of their points."""
        if not self.file.exists():
            return {}
        lines = [line for line in self.file.read_text().splitlines() if not line.startswith("#")]
        names = [f.name for f in dataclasses.fields(self.points[0])]
        return {tuple(row[n] for n in names): row for row in csv.DictReader(lines)}

    def write(self, rows: list[Row]) -> None:
        out = io.StringIO()
        out.write(self.head())
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.file.write_text(out.getvalue())
        self.report.write_text(self.page(rows))

    def measure(self) -> None:
        """Synthesises points that are new or whose circuit changed, small ones first; writes after each."""
        old, done = self.stored(), {}
        for p in sorted(self.points, key=self.size):
            digest, before = self.circuit(p), old.get(p.key)
            known = before is not None and before["circuit"] == digest
            done[p.key] = self.row(p, before if known and before else self.measured(p), digest)
            current = {**old, **done}
            self.write([current[q.key] for q in self.points if q.key in current])
            print(*p.key, self.said(done[p.key]), flush=True)

    def predict(self) -> None:
        """The predictions of now beside the stored measurements."""
        old = self.stored()
        self.write([self.row(p, old[p.key], old[p.key]["circuit"]) for p in self.points if p.key in old])

    def check(self) -> int:
        """Number of stored rows that the rules, or the circuits, of now contradict. Networks that are not there are
        passed over.
        """
        wrong, old = 0, self.stored()
        for p in self.points:
            if not self.there(p):
                print(f"{p.network} is not there")
            elif (row := old.get(p.key)) is None or row != self.row(p, row, self.circuit(p)):
                print(f"differs: {' '.join(p.key)}")
                wrong += 1
        print(self.page(list(old.values())))
        return wrong

    def main(self) -> None:
        if "--check" in sys.argv:
            sys.exit(self.check() > 0)
        self.predict() if "--predict" in sys.argv else self.measure()
