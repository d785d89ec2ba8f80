"""From files and modules to the model graph."""

from qcompile.frontend.load import Model, load, loaded

__all__ = ["Model", "load", "loaded"]
