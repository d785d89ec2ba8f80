"""Names of modules: those of the ONNX nodes, as identifiers that Verilog has no other meaning for."""

from __future__ import annotations

import re

from qcompile.ir import Graph

_RESERVED = frozenset(
    """always and assign automatic begin bind bit break buf byte case cell chandle checker class clocking config const
    constraint context continue cover cross deassign default design disable dist do edge else end endcase enum event
    expect export extends extern final first_match for force foreach forever fork function generate genvar global highz0
    if iff ifnone import incdir include initial inout input inside instance int integer interface intersect join large
    liblist library local localparam logic longint macromodule matches medium modport module nand negedge new nmos nor
    not null or output package packed parameter pmos posedge primitive priority program property protected pulldown
    pullup pure rand randc randcase real realtime ref reg release repeat restrict return rpmos sequence shortint signed
    small solve specify static string strong0 struct super supply0 table tagged task this throughout time timeprecision
    timeunit tran tri type typedef union unique unsigned use uwire var vectored virtual void wait wand weak0 while
    wildcard wire with within wor xnor xor""".split()
)


def identifier(text: str) -> str:
    """A lowercase identifier of at most 40 characters."""
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_").lower()[:40].strip("_")
    return f"n_{name}" if not name or name[0].isdigit() or name in _RESERVED else name


def module_names(graph: Graph, top: str) -> dict[str, str]:
    """By the results of nodes; each but once, the circuits of hw/rtl and the top module have others."""
    taken, out = {top, f"{top}_tb", f"{top}_axi"}, {}
    for result, text in graph.layers.items():
        base = f"layer_{identifier(text)}"
        name, k = base, 2
        while name in taken:
            name, k = f"{base}_{k}", k + 1
        taken.add(name)
        out[result] = name
    return out
