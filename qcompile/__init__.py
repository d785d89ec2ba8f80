"""qcompile: quantized neural networks to FPGA projects, exact code for code.

import qcompile as qc
design = qc.compile("model.onnx", part="xc7z020clg400-1")  # a path, a torch module's qc.load(module, example), ...
y = design.simulate(x)
design.write("build")
qc.verify("build", x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcompile.assignment.plan import Plan
    from qcompile.cost.budget import Budget
    from qcompile.cost.resources import Estimate
    from qcompile.errors import QCompileError, UnsupportedError, VerificationError
    from qcompile.evaluation import evaluate
    from qcompile.frontend import Model, load
    from qcompile.ir import print_graph
    from qcompile.options import Options
    from qcompile.pipeline import Design, Goal, compile, open_project
    from qcompile.planning import assign
    from qcompile.verification import Report, verify

__version__ = "0.1.0"

# Imported on first use, so that `qcompile --help` answers at once.
_HOMES = {
    "load": "qcompile.frontend",
    "Model": "qcompile.frontend",
    "compile": "qcompile.pipeline",
    "Design": "qcompile.pipeline",
    "Options": "qcompile.options",
    "open_project": "qcompile.pipeline",
    "Goal": "qcompile.pipeline",
    "print_graph": "qcompile.ir",
    "Estimate": "qcompile.cost.resources",
    "Report": "qcompile.verification",
    "evaluate": "qcompile.evaluation",
    "assign": "qcompile.planning",
    "Plan": "qcompile.assignment.plan",
    "Budget": "qcompile.cost.budget",
    "verify": "qcompile.verification",
    "QCompileError": "qcompile.errors",
    "UnsupportedError": "qcompile.errors",
    "VerificationError": "qcompile.errors",
}
__all__ = [
    "Budget",
    "Design",
    "Estimate",
    "Goal",
    "Model",
    "Options",
    "Plan",
    "QCompileError",
    "Report",
    "UnsupportedError",
    "VerificationError",
    "assign",
    "compile",
    "evaluate",
    "load",
    "open_project",
    "print_graph",
    "verify",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qcompile' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
