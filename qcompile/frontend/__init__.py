"""From files and modules to the model graph."""

from qcompile.frontend.load import Model, load

__all__ = ["Model", "load"]
