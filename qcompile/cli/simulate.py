"""qcompile simulate."""

from __future__ import annotations

import io
import json
import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from qcompile.cli.options import options_of
from qcompile.cli.terminal import design_of, echo, inputs, show_next, working
from qcompile.errors import QCompileError
from qcompile.options import Cutting, Options

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("target")
@click.option("--input", "source", required=True, help=".npy, or .npz with one array per input; vector index first")
@click.option("--output", "result", required=True, help=".npy (.npz for several outputs)")
@click.option("--codes", is_flag=True, help="codes of the output ports instead of real values")
@options_of(Cutting, Options)
def simulate(target: str, source: str, result: str, codes: bool, **options: Any) -> None:
    """Bit-accurate simulation of a project or model TARGET."""

    if os.path.exists(source) and os.path.exists(result) and os.path.samefile(source, result):
        raise QCompileError("the result would replace the input", result, "name another file")
    with working(f"simulating {target}"):
        design = design_of(target, options)
        arrays = inputs(source, design)
        given = design.at_ports(*arrays)
        outputs = design.simulator.codes(*given) if codes else design.finished(design.simulator(*given))
    if len(outputs) > 1 and not result.endswith(".npz"):
        raise QCompileError(f"the model has {len(outputs)} outputs", result, "write to a .npz file")
    _save_arrays(result, outputs)
    echo(f"{len(outputs[0])} vectors -> {result}, shape {tuple(outputs[0].shape)}")
    show_next(
        shlex.join(["python", "-c", f"import numpy; print(numpy.load({json.dumps(result, ensure_ascii=False)}))"])
    )


def _save_arrays(path: str, arrays: list[np.ndarray]) -> None:
    """One array as .npy, several as .npz; codes of more than 64 bits as decimal text, since no file holds those."""

    import numpy as np

    from qcompile.files import write_file

    held, stored = io.BytesIO(), [a.astype(str) if a.dtype == object else a for a in arrays]
    if path.endswith(".npz"):
        named: dict[str, Any] = {f"y{i}": y for i, y in enumerate(stored)}
        np.savez(held, **named)
    else:
        np.save(held, stored[0])
    write_file(path, held.getvalue(), "the result", ".npz" if path.endswith(".npz") else ".npy")
