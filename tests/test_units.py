"""Units of hardware: each has a price, traffic and text; what it says of itself agrees."""

import csv
import inspect
from fractions import Fraction
from pathlib import Path

import generate
import generate_cnn
import numpy as np
import pytest

import qcompile as qc
from qcompile import parts
from qcompile.backends.hls.units import VIEWS
from qcompile.cost import primitives as hw
from qcompile.cost.devices import device
from qcompile.cost.price import PRICES, price
from qcompile.formats import parse_format
from qcompile.hardware.units import UNITS, MatVecUnit, RequantUnit, Unit
from qcompile.ir import Array, ops

ROWS = list(csv.DictReader((Path(__file__).parent / "unit_prices.csv").read_text().splitlines()))
MEANINGS = {
    "price": (lambda unit: unit.parts is not Unit.parts, "parts() in qcompile/hardware/units"),
    "traffic": (lambda unit: unit.traffic is not Unit.traffic, "traffic() in qcompile/hardware/units"),
    "C++": (lambda unit: unit in VIEWS, "a view in qcompile/backends/hls/units"),
}
PARTS = [p for _, p in inspect.getmembers(parts, inspect.isclass) if issubclass(p, parts.Part)]


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.__name__)
def test_every_unit_has_every_meaning(unit: type[Unit], meaning: str) -> None:
    there, where = MEANINGS[meaning]
    assert there(unit), f"{unit.__name__} has no {meaning}: add {where}"


@pytest.mark.parametrize("part", [p for p in PARTS if p not in (parts.Part, parts.Memory)], ids=lambda p: p.__name__)
def test_every_part_has_a_price(part: type[parts.Part]) -> None:
    assert part in PRICES, f"{part.__name__} has no price: add it in qcompile/cost/price.py"


@pytest.mark.parametrize("row", ROWS, ids=[str(i) for i in range(len(ROWS))])
def test_matrix_vector_units_cost_what_they_did(row: dict[str, str]) -> None:
    """Units at random; their prices are those of the rule per operator that parts took the place of."""
    sizes = [int(row[k]) for k in ("rows", "columns", "groups", "places", "pe", "simd")]
    formats = parse_format(row["data"]), parse_format(row["weights"])
    unit = MatVecUnit(*sizes, *formats, int(row["stored"]), int(row["accumulator"]))
    found = price(unit.parts(), hw.fabric(device(row["device"])))
    assert unit.cycles == int(row["cycles"])
    assert [found.lut, found.ff, found.dsp, found.bram18, found.delay_ns] == pytest.approx(
        [float(row[k]) for k in ("lut", "ff", "dsp", "bram18", "delay_ns")], abs=1e-5
    )


@pytest.mark.parametrize("seed", range(4))
def test_traffic_is_that_of_the_streams(seed: int) -> None:
    """Every token of every stream is written and read once, in order, inside the cycles of the unit."""
    model = qc.load(generate_cnn.seeded_cnn(seed))
    formats = ("s8f4",) * len(model.graph.inputs) if generate.input_format(generate_cnn.seeded_cnn(seed)) else ()
    design = qc.compile(model, input_formats=formats, arch="dataflow", fold="full" if seed % 2 else "min")
    assert design.network is not None
    for stage in design.network.stages:
        traffic = stage.unit.traffic()
        sides = [*zip(stage.inputs, traffic.reads, strict=True), *((i, traffic.writes) for i in stage.outputs)]
        for index, at in sides:
            assert len(at) == design.network.streams[index].tokens
            assert (np.diff(at) > 0).all() and 0 <= at[0] and at[-1] < stage.unit.cycles == traffic.iterations


@pytest.mark.parametrize("pe", [2, 4])
def test_elements_side_by_side_cost_so_many_times_as_much(pe: int) -> None:
    """A sum of two scaled accumulators with one row of parameters."""
    one = Array(np.array([3]))
    impl = ops.MulAddShift(*(Array(np.array([[v]])) for v in (5, 1, 4, 0)), Array(np.zeros((1, 0))), *(one, one))
    steps = (ops.Quantize(parse_format("s8"), qc.ir.Param((), (Fraction(1),))),)
    op = ops.Requant(Array(np.zeros((1, 1))), Array(np.array([[3], [5]])), steps, impl)
    alone, several = (
        price(RequantUnit(op, (parse_format("s9"),) * 2, 16, n, None).parts(), hw.fabric(device("xc7z020")))
        for n in (1, pe)
    )
    assert several.lut == pytest.approx(pe * alone.lut)
