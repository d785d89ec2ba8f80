"""HLS C++ for Vitis HLS and PandA-Bambu; C simulation with g++."""

from qcompile.backends.hls.emit import emit, read_trace, read_vectors, trace_file, traced_values, vector_file
from qcompile.backends.hls.names import identifier, remark
from qcompile.backends.hls.ports import PortLayout
from qcompile.backends.hls.view import layout, multiplications, parallel_too_big, rolled, trace_words

__all__ = [
    "PortLayout",
    "emit",
    "identifier",
    "layout",
    "multiplications",
    "parallel_too_big",
    "read_trace",
    "read_vectors",
    "remark",
    "rolled",
    "trace_file",
    "trace_words",
    "traced_values",
    "vector_file",
]
