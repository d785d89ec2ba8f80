"""Whether Yosys sees what the estimate says that `--rounding digits` saves: the constant layers of two networks, as
SystemVerilog of their adder graphs, of a plan of `digits` at one price and of weights of 4 bits (adaround, corrected
offsets), both in front of activations of 4 bits (networks and splits of `assign.py`, seed 0). It is the ratio of LUTs
by Yosys that is to be that of the estimate; divergences of both are printed.

LUTs of UltraScale+ (synth_xilinx, abc9, as in hw/calibration); a layer with several places is synthesised once.

    python benchmarks/confirm.py [--networks mlp,cnn]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "hw" / "calibration"))
import measure  # noqa: E402
from assign import network  # noqa: E402
from measure import COMMANDS, PREPARE, cells, counts, measured, netlist  # noqa: E402

import qcompile as qc  # noqa: E402
from qcompile.assignment.data import data  # noqa: E402
from qcompile.assignment.jobs import Jobs  # noqa: E402
from qcompile.assignment.losses import loss_of  # noqa: E402
from qcompile.cost.adder_bits import of_rows  # noqa: E402
from qcompile.cost.exchange import fabric_of  # noqa: E402
from qcompile.cost.pairing import verilog  # noqa: E402
from qcompile.cost.price import price  # noqa: E402
from qcompile.hardware.units.unrolled import adder_graphs  # noqa: E402
from qcompile.options import Settings  # noqa: E402
from qcompile.parts import AdderGraph  # noqa: E402
from qcompile.pipeline import Options  # noqa: E402
from qcompile.planning.designs import logits  # noqa: E402
from qcompile.planning.prepare import prepare  # noqa: E402

PART, FABRIC = "xczu7ev", "xcup"
PLANS = (("adaround", "fixed4", ("fold_bn", "bias_correct"), 0.0), ("digits", "fixed6", ("fold_bn",), 5e-6))
ACTIVATIONS = "kind=activation:fixed4"


def designs(kind: str) -> list[tuple[str, qc.Design, float]]:
    """(rounding, design, held-out divergence) of both plans."""
    model, calibration, test, _ = network(kind, 0)
    out = []
    for rounding, weights, transforms, at in PLANS:
        settings = Settings(
            rounding=rounding, candidates=weights, restrict=(ACTIVATIONS,), transforms=transforms, metric="sqnr"
        )
        read = partial(data, calibration[0], model.graph, calibration[1])
        d = prepare(model, settings, Options(part=PART), {"lut": 10**9}, Jobs(), read).designs.at(at)
        design, held = d.design(d.plan((0,) * len(d.study.variables))), data(test[0], d.graph, test[1])
        out.append((rounding, design, loss_of(d.study.evaluation.network, held, "kl")(logits(design, held))))
    return out


def synthesised(graphs: tuple[AdderGraph, ...]) -> int:
    """LUTs of graphs beside one another."""
    texts, instances = [], []
    for i, g in enumerate(graphs):
        low, high = int(g.low[: g.columns].min()), int(g.high[: g.columns].max())
        text = verilog(g, f"t{i}", low, high, int(of_rows(g).max(initial=1)) + 1)
        texts.append(f"(* keep_hierarchy *) {text}")
        instances.append(f"(* keep *) t{i} i{i} ();")
    texts.append(f"module wrap (); {' '.join(instances)} endmodule\n")
    modules = netlist({"graphs.sv": "".join(texts).encode()}, f"{PREPARE}; {COMMANDS[FABRIC]}")
    return sum(counts(cells(modules, f"\\t{i}"), measured()[FABRIC].cells)["lut"] for i in range(len(graphs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="mlp,cnn")
    measure.native = find_spec("pyosys") is not None  # a fifth of the time
    for kind in parser.parse_args().networks.split(","):
        totals: dict[str, list[float]] = {}
        for rounding, design, loss in designs(kind):
            print(
                f"{kind} {rounding}: divergence {loss:.4f}, {design.estimate().total.lut:,.0f} LUTs in all", flush=True
            )
            total = totals.setdefault(rounding, [0.0, 0.0])
            for node in design.graph.nodes:
                graphs = adder_graphs(node, design.graph)
                if graphs:
                    places = node.output.type.size // sum(len(g.node) for g in graphs)
                    found = synthesised(graphs), sum(price(g, fabric_of(PART)).lut for g in graphs)
                    total[0], total[1] = total[0] + places * found[0], total[1] + places * found[1]
                    print(f"  {places} x {found[0]:,} by Yosys, {found[1]:,.0f} estimated", flush=True)
        (a, b), (c, d) = totals["digits"], totals["adaround"]
        print(f"{kind}: {a / c:.2f} of the LUTs by Yosys ({a:,.0f} of {c:,.0f}), {b / d:.2f} estimated", flush=True)


if __name__ == "__main__":
    main()
