"""SystemVerilog projects: `view` says what is printed, `emit` prints it; `hex_file`, `read_hex` are its vectors."""

from qcompile.backends.rtl.emit import emit, view
from qcompile.backends.rtl.parallel import NetworkView
from qcompile.backends.rtl.vectors import hex_file, read_hex

__all__ = ["NetworkView", "emit", "hex_file", "read_hex", "view"]
