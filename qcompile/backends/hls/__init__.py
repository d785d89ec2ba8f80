"""HLS C++ for Vitis HLS and PandA-Bambu; C simulation with g++."""

from qcompile.backends.hls.emit import emit
from qcompile.backends.hls.names import identifier, remark
from qcompile.backends.hls.ports import PortLayout, layout, stream_layout
from qcompile.backends.hls.trace import read_trace, trace_file, trace_words, traced_values
from qcompile.backends.hls.vectors import read_vectors, vector_file

__all__ = [
    "PortLayout",
    "emit",
    "identifier",
    "layout",
    "read_trace",
    "read_vectors",
    "remark",
    "stream_layout",
    "trace_file",
    "trace_words",
    "traced_values",
    "vector_file",
]
