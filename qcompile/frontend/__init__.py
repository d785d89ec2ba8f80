"""From files and modules to the model graph."""

from qcompile.frontend.load import Model, load, loaded, with_real_scales

__all__ = ["Model", "load", "loaded", "with_real_scales"]
