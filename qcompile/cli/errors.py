"""How a command ends: errors as one message and exit code 1, wrong usage as click's message and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from qcompile.cli.terminal import echo
from qcompile.errors import QCompileError, visible


class Commands(click.Group):
    """Turns errors into one message and exit code 1, wrong usage into click's message and exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _visible_usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        from qcompile.processes import ending_on_signals

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # characters that the terminal's encoding lacks are escaped
                stream.reconfigure(errors="backslashreplace")
        try:
            with _visible_usage(), ending_on_signals():
                return super().invoke(ctx)
        except QCompileError as error:
            echo(f"error: {error}", err=True)
            sys.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            sys.exit(1)
        except Exception as error:  # noqa: BLE001 - the last net; whatever is caught here is to be mended
            if os.environ.get("QCOMPILE_TRACEBACK"):
                raise
            fault = f"this is a fault of qcompile: {type(error).__name__}: {error}"
            hint = "please report it with the file; QCOMPILE_TRACEBACK=1 in the environment shows where it is"
            echo(f"error: {QCompileError(fault, hint=hint)}", err=True)
            sys.exit(1)


@contextlib.contextmanager
def _visible_usage() -> Iterator[None]:
    """click shows arguments in its messages as they are."""
    try:
        yield
    except click.ClickException as error:
        error.message = visible(error.message)  # type: ignore[misc]  # the message alone changes, not what it says
        raise
