"""Options of the commands, made from the records that say what a user can choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import click

KINDS: dict[str, Any] = {"float": float, "int": int, "str": str, "tuple[float, float]": (float, float)}

json_option = click.option("--json", "as_json", is_flag=True, help="machine-readable")
force_option = click.option(
    "--force", is_flag=True, help="replace the files that qcompile wrote even where they were edited since"
)


def options_of(*records: type, only: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """A command with an option for every field of the records that has a help, or a place on the command line. only:
    for these fields.
    """
    made = [_option(f) for record in records for f in fields(record) if f.metadata and (not only or f.name in only)]

    def decorated(command: Any) -> Any:
        for one in reversed(made):
            command = one(command)
        return command

    return decorated


def _option(f: Field[Any]) -> Any:
    m = f.metadata
    names = m["flags"] or ("--" + f.name.replace("_", "-"),)
    help = m["help"] or None
    if isinstance(f.default, bool):  # what is on is switched off
        return click.option(*names, f.name, is_flag=True, flag_value=not f.default, default=f.default, help=help)
    default = m.get("shell", f.default)
    return click.option(
        *names,
        f.name,
        cls=_Methods if "method" in m else click.Option,
        **{k: m[k] for k in ("method", "default_text") if k in m},
        type=click.Choice(m["choices"]) if "choices" in m else KINDS.get(str(f.type).removesuffix(" | None")),
        multiple=isinstance(default, tuple),
        default=default,
        show_default=m.get("show_default", default not in ("", None, ())),
        metavar=m.get("metavar"),
        callback=_text_of(m["file"]) if "file" in m else None,
        help=help,
    )


class _Methods(click.Option):
    """An option whose help lists the methods of a kind. They are looked up when the help is shown."""

    def __init__(self, *args: Any, method: str, default_text: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.method, self.default_text = method, default_text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from qcompile.assignment.methods import KINDS

        names = next(k.names() for k in KINDS if k.kind == self.method)
        found = super().get_help_record(ctx)
        assert found is not None
        text, bracket, default = found[1].partition("  [")
        behind = f"  [default: {self.default_text}]" if self.default_text else bracket + default
        return found[0], f"{text}: {', '.join(names)}{behind}"


def _text_of(words: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, str], str]:
    """One of some words, or the text of the file that is named."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str) -> str:
        if text in words:
            return text
        from qcompile.documents import read_text

        return read_text(text, "the folding", f"{', '.join(words)}, or a JSON file")

    return read


def stated(ctx: click.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
