"""qcompile methods."""

from __future__ import annotations

import json
import sys

import click

from qcompile.cli.options import json_option
from qcompile.cli.terminal import echo, show_next, show_table

_ROOM = "qcompile/assignment/methods/"


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """Published systems and methods: paper, kind, what each needs, where the code is, and what was measured."""
    from qcompile.methods import methods as listed
    from qcompile.systems import systems

    rows, faults = listed()
    papers = systems(rows)
    if as_json:
        echo(json.dumps({"systems": papers, "methods": rows}, indent=1))
    else:
        own = ("system", "paper", "home", "measured")
        show_table("published systems and what they became", own, [[r[c] for c in own] for r in papers])
        columns = ("kind", "name", "what", "paper", "needs", "where")
        shown = [{**row, "paper": _number_of(row["paper"]), "where": row["where"].removeprefix(_ROOM)} for row in rows]
        show_table(
            f"methods; where nothing else is said, in {_ROOM}", columns, [[r[c] for c in columns] for r in shown]
        )
    for fault in faults:
        echo(f"error: {fault}", err=True)
    if faults:
        sys.exit(1)
    if not as_json:
        show_next("qcompile inspect MODEL.onnx shows what of it a model of yours needs")


def _number_of(paper: str) -> str:
    """The number that finds a paper, its title where it has none; --json has both."""
    return paper[paper.index("arXiv") :] if "arXiv" in paper else paper
