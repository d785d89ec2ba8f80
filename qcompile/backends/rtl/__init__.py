"""SystemVerilog projects: `view` says what is printed, `chip` what open tools put around it, `emit` prints both;
`hex_file`, `read_hex` are its vectors.
"""

from qcompile.backends.rtl.bitstream import chip
from qcompile.backends.rtl.dataflow import StreamView
from qcompile.backends.rtl.emit import emit, view
from qcompile.backends.rtl.parallel import NetworkView
from qcompile.backends.rtl.vectors import hex_file, read_hex, vector_files

__all__ = ["NetworkView", "StreamView", "chip", "emit", "hex_file", "read_hex", "vector_files", "view"]
