"""qcompile methods."""

from __future__ import annotations

import json

import click

from qcompile.cli.options import json_option
from qcompile.cli.terminal import echo, show_next, show_table


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """Published methods: which are in the code, and which are planned."""
    from qcompile.methods import methods as listed

    rows = listed()
    if as_json:
        echo(json.dumps({"methods": rows}, indent=1))
        return
    columns = ("name", "kind", "what", "paper", "where")
    show_table("methods", columns, [[_number_of(row[c]) if c == "paper" else row[c] for c in columns] for row in rows])
    show_next("qcompile inspect MODEL.onnx shows what of it a model of yours needs")


def _number_of(paper: str) -> str:
    """The number that finds a paper, its title where it has none; --json has both."""
    return paper[paper.index("arXiv") :] if "arXiv" in paper else paper
