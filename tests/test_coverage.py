"""Every operator of the newest ONNX that is installed: supported, supported in part, or refused with a way out; and the
page that says so.
"""

import onnx
import onnx.defs
import pytest
from conftest import ROOT
from onnx import TensorProto, helper

import qcompile as qc
from qcompile.frontend.onnx import RULES
from qcompile.frontend.onnx.coverage import CONSTANT, PARTLY, REFUSED, operators, way_out
from qcompile.frontend.unroll import UNROLLERS

PAGE = ROOT / "docs" / "operators.md"
HEAD = """# Operators of ONNX

Every operator of operator set {opset} (onnx {version}), from the tables that errors use: made by
`pytest tests/test_coverage.py --update-golden`. Any operator may stand among constants: it is folded by ONNX' own
evaluator. Operators of other domains (QONNX, onnxruntime, AMD) are in [models.md](models.md).

| operator | | limits, or the way out |
|---|---|---|
"""


def row(name: str) -> tuple[str, str]:
    if name in REFUSED:
        return "refused", REFUSED[name]
    if name in CONSTANT:
        return "partly", "constants only"
    return ("partly", PARTLY[name]) if name in PARTLY else ("supported", "")


@pytest.mark.parametrize("name", operators())
def test_every_operator_has_a_place(name: str) -> None:
    kinds = [name in REFUSED, name in CONSTANT, name in RULES and name not in REFUSED or name in {"If", *UNROLLERS}]
    assert sum(kinds) == 1, "state its limits in PARTLY, or the way out in REFUSED (frontend/onnx/coverage.py)"


NEWEST = (1, 19)  # of onnx, whose operators the page has
newest = pytest.mark.skipif(
    tuple(map(int, onnx.__version__.split(".")[:2])) < NEWEST, reason="needs onnx 1.19, which Python 3.10 has not"
)


@newest
def test_tables_name_operators_of_onnx() -> None:
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert {*REFUSED, *CONSTANT, *PARTLY} <= known
    assert not set(PARTLY) & (set(REFUSED) | CONSTANT)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_operators_say_the_way_out(name: str) -> None:
    node = helper.make_node(name, ["q"], ["y"], "it")
    quantize = helper.make_node("QuantizeLinear", ["x", "c"], ["codes"])
    back = helper.make_node("DequantizeLinear", ["codes", "c"], ["q"])
    scale = helper.make_tensor("c", TensorProto.FLOAT, [], [1.0])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, 4, 4]) for n in "xy")
    graph = helper.make_graph([quantize, back, node], "net", [x], [y], [scale])
    with pytest.raises(qc.UnsupportedError) as caught:
        qc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert way_out(name, "").split(";")[0] in str(caught.value)


@newest
def test_page_of_operators(request: pytest.FixtureRequest) -> None:
    text = HEAD.format(opset=onnx.defs.onnx_opset_version(), version=onnx.__version__)
    text += "".join(f"| `{n}` | {kind} | {words} |\n" for n in operators() for kind, words in [row(n)])
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "pytest tests/test_coverage.py --update-golden"
