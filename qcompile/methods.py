"""The published methods that qcompile has: those of the room `assignment/methods`, of other packages, and what of
formats, import and arithmetic is somebody's.
"""

from __future__ import annotations

from qcompile.assignment import methods as room
from qcompile.errors import QCompileError
from qcompile.formats.text import FAMILIES
from qcompile.records import dataclass


@dataclass(frozen=True)
class Published:
    """One method that nobody chooses by name. home: module:attribute."""

    name: str
    kind: str
    what: str
    paper: str
    home: str

    def row(self) -> dict[str, str]:
        module, _, attribute = self.home.partition(":")
        where = f"{module.replace('.', '/')}.py: {attribute}"
        return _row(self.name, self.kind, self.what, self.paper, where)


_QONNX = "QONNX: Arbitrary-Precision Quantized Neural Networks, arXiv 2206.07527"
_FINN = "FINN: A Framework for Fast, Scalable Binarized Neural Network Inference, arXiv 1612.07119"
_OCP = "OCP 8-bit Floating Point and Microscaling Formats specifications"
_GGUF = "Mind the Gap: A Practical Attack on GGUF Quantization, arXiv 2505.23786"
_IVIT = "I-ViT: Integer-only Quantization for Efficient Vision Transformer Inference, arXiv 2207.01405"

ELSEWHERE = (
    Published(
        "ocp",
        "format",
        "E4M3, E5M2, E3M2, E2M3, E2M1 with their special codes",
        _OCP,
        "qcompile.formats.minifloat:E4M3",
    ),
    Published(
        "quant",
        "import",
        "QONNX quantizers with any scale, zero point and rounding",
        _QONNX,
        "qcompile.frontend.onnx.quantizers:quant",
    ),
    Published(
        "l1_bound",
        "arithmetic",
        "accumulator width proven from the weight codes (the bound of A2Q; weights stay as they are)",
        "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance, arXiv 2308.13504",
        "qcompile.passes.ranges:ranges",
    ),
    Published(
        "thresholds",
        "arithmetic",
        "activation and quantizer as comparisons (streamlining)",
        _FINN,
        "qcompile.ir.ops:Thresholds",
    ),
    Published(
        "multiply_add_shift",
        "arithmetic",
        "requantization by (m * acc + b) >> s, here with the smallest exact m",
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, arXiv"
        " 1712.05877",
        "qcompile.passes.requant:multiply_add_shift",
    ),
    Published(
        "plane_pack",
        "arithmetic",
        "codes of any width in words of memories, without gaps: six bits need no planes of four and two",
        "ZeroQuant(4+2), arXiv 2312.08583",
        "qcompile.hardware.memory:Words",
    ),
    Published(
        "switch",
        "arithmetic",
        "compile --switch: an input chooses at run time how many bits weights have, of one image in planes",
        "Nearly Lossless Adaptive Bit Switching, arXiv 2502.01199",
        "qcompile.passes.switched:with_switched_bits",
    ),
    Published(
        "int_softmax",
        "kernel",
        "softmax on codes as a composition with a proven band: maximum, tables of exp, sum, exact quotient",
        _IVIT,
        "qcompile.passes.rows:lower_softmax",
    ),
    Published(
        "int_layernorm",
        "kernel",
        "normalization on codes: exact sums of squares and a reciprocal root with a proven band",
        _IVIT,
        "qcompile.passes.rows:lower_normalize",
    ),
    Published(
        "ivit",
        "kernel",
        "--kernels ivit: Shiftmax, ShiftGELU and I-LayerNorm to the integer, with an exact root",
        _IVIT,
        "qcompile.passes.ivit:with_integer_kernels",
    ),
    Published(
        "l1_norm",
        "kernel",
        "normalization by the mean magnitude: sums and a division of data, exact, without a root",
        "Towards Accurate and Efficient Sub-8-Bit Integer Training (ShiftQuant), arXiv 2411.10948",
        "qcompile.ir.ops:Divide",
    ),
    Published(
        "dsp_pack",
        "hardware",
        "several narrow products in a DSP block: two of 8 bits, three of 4",
        "AccLLM: Accelerating Long-Context LLM Inference Via Algorithm-Hardware Co-Design, arXiv 2505.03745",
        "qcompile.hardware.packing:packing",
    ),
    Published(
        "float_agreement",
        "check",
        "agreement with the float model by class: `assign` and `evaluate` show the worst",
        _GGUF,
        "qcompile.assignment.agreement:agreement",
    ),
    Published(
        "quant_audit",
        "check",
        "weights that lie between two codes far more often than by chance: `assign` warns of them",
        _GGUF,
        "qcompile.assignment.agreement:edges",
    ),
    Published(
        "bops",
        "cost",
        "bit operations, and those of hardware with widths of 4, 8 and 16 bits: `allocate` of a model",
        "Pareto-Optimal Quantized ResNet Is Mostly 4-bit, arXiv 2105.03536",
        "qcompile.assignment.abstract:abstract_costs",
    ),
    Published(
        "processor",
        "cost",
        "cycles of a processor with its weights in a memory: `allocate --processor`",
        "PulseDL-II, arXiv 2209.00884",
        "qcompile.cost.roofline:Roofline",
    ),
)


def methods() -> tuple[list[dict[str, str]], list[QCompileError]]:
    """What `qcompile methods` shows, and what is wrong with methods of other packages."""
    rows, faults = [*_formats(), *(p.row() for p in ELSEWHERE)], room.misnamed()
    for kind, name in room.every():
        try:
            m = kind.find(name)
        except QCompileError as fault:
            faults.append(fault)
            continue
        where = m.package or f"qcompile/assignment/methods/{kind.kind}/{name}.py"
        rows.append(_row(m.name, m.kind, m.what, m.paper, where, ", ".join(m.needs), m.declares()))
    return rows, faults


def _formats() -> list[dict[str, str]]:
    """The families of number formats, each by the name of its file."""
    rows = []
    for family in FAMILIES:
        name = family.__module__.rpartition(".")[2]
        if family.what:
            published = Published(name, "format", family.what, family.paper, f"{family.__module__}:{family.__name__}")
            rows.append(published.row())
    return rows


def _row(
    name: str, kind: str, what: str, paper: str, where: str, needs: str = "", declares: str = ""
) -> dict[str, str]:
    return {
        "name": name,
        "kind": kind,
        "what": what,
        "paper": paper,
        "needs": needs,
        "declares": declares,
        "where": where,
    }
