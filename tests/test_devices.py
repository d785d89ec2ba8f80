"""The catalogue of parts and boards: plausible numbers, every spelling resolves, unknown names get near ones; `parts`
and `methods`.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import GROUND_TRUTH, ROOT, needs_results

import qcompile as qc
from qcompile.assets import asset
from qcompile.cli import main
from qcompile.cost import devices, exchange, fabrics, primitives
from qcompile.cost.devices import Board, Device, board, catalogue, device, max_clock_mhz, part_number, search
from qcompile.cost.resources import Basis

DEVICES = catalogue().devices
BOARDS = catalogue().boards

# What issue 5 wants to find, as (LUT, FF, DSP, BRAM36, URAM) where reports of the vendor tools say so too.
REPORTED = {
    "xc7z007s": (14400, 28800, 66, 50, 0),
    "xc7z010": (17600, 35200, 80, 60, 0),
    "xc7z020": (53200, 106400, 220, 140, 0),
    "xc7z045": (218600, 437200, 900, 545, 0),
    "xc7z100": (277400, 554800, 2020, 755, 0),
    "xc7a35t": (20800, 41600, 90, 50, 0),
    "xc7a100t": (63400, 126800, 240, 135, 0),
    "xc7k325t": (203800, 407600, 840, 445, 0),
    "xczu3eg": (70560, 141120, 360, 216, 0),
    "xczu5ev": (117120, 234240, 1248, 144, 64),
    "xczu7ev": (230400, 460800, 1728, 312, 96),
    "xczu9eg": (274080, 548160, 2520, 912, 0),
    "xczu48dr": (425280, 850560, 4272, 1080, 80),
    "xcku5p": (216960, 433920, 1824, 480, 64),
    "xcku115": (663360, 1326720, 5520, 2160, 0),
    "xcvu9p": (1182240, 2364480, 6840, 2160, 960),
    "xcvu13p": (1728000, 3456000, 12288, 2688, 1280),
    "xcu55c": (1303680, 2607360, 9024, 2016, 960),
    "xcvc1902": (899840, 1799680, 1968, 967, 463),
}


def command(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("part", DEVICES, ids=lambda d: d.name)
def test_resources(part: Device) -> None:
    assert min(part.lut, part.ff, part.bram) > 0 and part.uram >= 0
    assert part.dsp > 0 or part.family == "iCE40 HX"
    assert (part.uram_kind is not None) == (part.uram > 0)
    assert part.ff == part.lut * (2 if part.vendor == "AMD" else 1)
    assert part.lut % 4 == 0  # of a slice
    assert part.lut_inputs in (4, 6) and part.source and bool(part.clock_source) == bool(part.max_clock_mhz)
    assert all(200 < mhz < 1500 for _, mhz in part.max_clock_mhz)


@pytest.mark.parametrize("part", DEVICES, ids=lambda d: d.name)
def test_kinds(part: Device) -> None:
    dsp = part.dsp_kind
    assert dsp.a >= dsp.b and dsp.accumulator >= dsp.a + dsp.b - 1 and dsp.source
    for ram in (part.bram_kind, part.uram_kind):
        if ram is not None:
            assert ram.source and all(
                0 <= ram.bits - width * depth <= ram.bits // 8 for width, depth in (*ram.shapes, *ram.simple_dual)
            )
    assert dsp.holds(dsp.b, dsp.a) and not dsp.holds(dsp.a + 1, dsp.b)
    assert dsp.holds(dsp.a, dsp.b, signed=False) != dsp.signed_only


@pytest.mark.parametrize("name", REPORTED)
def test_reported(name: str) -> None:
    part = device(name)
    assert (part.lut, part.ff, part.dsp, part.bram36, part.uram) == REPORTED[name]
    assert part.bram18 == 2 * part.bram36


def test_dies() -> None:
    """The same die under two names."""
    for one, other in (
        ("xcu200", "xcvu9p"),
        ("xcu250", "xcvu13p"),
        ("xcu280", "xcvu37p"),
        ("xcu50", "xcvu35p"),
        ("xck26", "xczu5ev"),
        ("xczu9eg", "xcku9p"),
        ("xczu11eg", "xcku11p"),
        ("xczu15eg", "xcku13p"),
        ("xczu19eg", "xcku15p"),
    ):
        a, b = device(one), device(other)
        assert (a.lut, a.ff, a.dsp, a.bram, a.uram) == (b.lut, b.ff, b.dsp, b.bram, b.uram)


def test_wanted_parts_are_there() -> None:
    wanted = """7z010 7z020 7z045 7z100 7a35t 7a100t 7a200t 7k325t 7vx690t zu2eg zu3eg zu5ev zu7ev zu9eg zu17eg
        zu28dr zu48dr zu49dr vu9p vu13p u50 u200 u250 u280 u55c xck26 vck190 ve2302 ecp5-45f
        ecp5-85f ice40up5k pynq-z1 pynq-z2 ultra96 zcu102 zcu104 zcu111 kv260 arty-a7-35
        nexys-a7-100t ulx3s"""
    assert {device(n).dsp_kind.name for n in wanted.split()} == {
        "DSP48E1",
        "DSP48E2",
        "DSP58",
        "MULT18X18D",
        "SB_MAC16",
    }


def test_names_are_unique() -> None:
    names = [n for thing in (*DEVICES, *BOARDS) for n in (thing.name, *thing.aliases)]
    # The short name of an Alveo card is that of its part, without the xc.
    assert len(names) == len(set(names))
    assert all(n == n.lower() for n in names)


@pytest.mark.parametrize("part", DEVICES, ids=lambda d: d.name)
def test_every_spelling_resolves(part: Device) -> None:
    numbers = (part.number, part.number.lower(), part.number.upper(), part.number.replace(f"{part.name}-", part.name))
    for name in (part.name, part.name.removeprefix("xc"), *part.aliases, *numbers):
        assert device(name) == part, name
    assert part_number(part.name) == part.number and part_number(part.number) == part.number


@pytest.mark.parametrize("entry", BOARDS, ids=lambda b: b.name)
def test_boards(entry: Board) -> None:
    part = device(entry.part)
    assert part.name == entry.device and entry in catalogue().boards_of(part)
    assert 1 < entry.clock_ns < 100 and 1e3 / entry.clock_ns < (max_clock_mhz(entry.part) or 1000)
    for name in (entry.name, entry.name.upper(), entry.name.replace("-", "_"), *entry.aliases):
        assert board(name) == entry and device(name) == part and part_number(name) == entry.part


@pytest.mark.parametrize(
    ("name", "found", "number"),
    [
        ("xc7z020clg400-1", "xc7z020", "xc7z020clg400-1"),
        ("xc7z020-clg484-1", "xc7z020", "xc7z020-clg484-1"),
        ("7z020", "xc7z020", "xc7z020clg400-1"),
        ("zynq7020", "xc7z020", "xc7z020clg400-1"),
        ("xc7z007sclg225-1", "xc7z007s", "xc7z007sclg225-1"),
        ("xc7a200tl-ffg1156-2L", "xc7a200t", "xc7a200tl-ffg1156-2L"),
        ("xc7a35ticsg324-1L", "xc7a35t", "xc7a35ticsg324-1L"),
        ("zu3cg", "xczu3eg", "xczu3cg-sbva484-1-e"),
        ("zu9", "xczu9eg", "xczu9eg-ffvb1156-2-e"),
        ("pynq", "xc7z020", "xc7z020clg400-1"),
        ("VU13P", "xcvu13p", "xcvu13p-flga2577-2-e"),
        ("xcve2302-sfva784-1MP-i-S", "xcve2302", "xcve2302-sfva784-1MP-i-S"),
        ("LFE5UM5G-85F-8BG381C", "lfe5u-85f", "LFE5UM5G-85F-8BG381C"),
        (" ice40up5k ", "ice40up5k", "iCE40UP5K-SG48I"),
    ],
)
def test_names(name: str, found: str, number: str) -> None:
    assert device(name).name == found and part_number(name) == number


def test_clock_limits() -> None:
    assert [max_clock_mhz(n) for n in ("7z020", "xc7z020clg400-2", "kv260", "zcu104", "xcve2802-vsvh1760-2MP-e-S")] == [
        464,
        628,
        725,
        775,
        1070,
    ]
    assert max_clock_mhz("vu9p") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "xc7z021clg400-1",
            "the part 'xc7z021clg400-1' is not in the catalogue; nearest: xc7z020, xc7z010, xc7z015, xc7z030, xc7z035",
        ),
        ("pynqz2", "the part 'pynqz2' is not in the catalogue; nearest: pynq-z2, pynq-z1"),
        ("stratix", "the part 'stratix' is not in the catalogue"),
        ("", "the part '' is not in the catalogue"),
        ("zu1", "'zu1' may be any of xczu1cg, xczu11eg, xczu15eg, xczu17eg, xczu19eg"),
        ("xc7z020clg400-1; rm", "the part 'xc7z020clg400-1; rm' is not in the catalogue; nearest: xc7z020"),
    ],
)
def test_unknown(name: str, message: str) -> None:
    with pytest.raises(qc.QCompileError) as caught:
        device(name)
    assert caught.value.what.startswith(message) and caught.value.hint


def test_unknown_board() -> None:
    with pytest.raises(qc.QCompileError, match="the board 'zcu103' is not in the catalogue; nearest: zcu1"):
        board("zcu103")


def test_search() -> None:
    assert {d.name for d in search("zu4*")} == {"xczu4ev", "xczu48dr", "xczu49dr"}
    assert {d.family for d in search("lattice")} == {"ECP5", "iCE40 UltraPlus", "iCE40 HX"}
    assert [d.name for d in search("xc7z020clg484-1")] == ["xc7z020"]
    assert {d.name for d in search("nexys")} == {"xc7a50t", "xc7a100t", "xc7a200t"}


def published_parts() -> set[str]:
    """Every part that the published results name."""
    names = set()
    for path in GROUND_TRUTH.glob("*.csv"):
        with path.open(newline="") as file:
            names |= {row[c] for row in csv.DictReader(file) for c in ("part", "device", "vs_device") if row.get(c)}
    for path in GROUND_TRUTH.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        names |= {row[c] for row in rows for c in ("part", "cfg_Part", "cfg_XilinxPart") if row.get(c)}
    return names


@needs_results
def test_published_parts() -> None:
    names = published_parts()
    assert len(names) >= 20
    for name in names:
        for word in re.sub(r"\(.*\)", "", name).split():  # "ZU3EG (Ultra96 def)", "PYNQ-Z2 xc7z020 (see build.yaml)"
            assert device(word).lut > 0


def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that someone adds wrongly is named, with its file."""
    (tmp_path / "hw" / "boards").mkdir(parents=True)
    (tmp_path / "hw" / "devices").mkdir()
    (tmp_path / "hw" / "devices" / "kinds.toml").write_bytes(asset("hw/devices/kinds.toml").read_bytes())
    monkeypatch.setattr(devices, "asset", lambda relative: tmp_path / relative)
    part = 'vendor="X"\nfamily="F"\nfabric="xc7"\nbram_kind="RAMB36"\nsource="s"\n'
    part += '[part.p1]\nlut=8\nff=8\ndsp=1\nbram=1\nnumber="p1"\n'
    for text, message in (
        (part, "new.toml: the entry 'p1' is wrong: .*dsp_kind"),
        ('dsp_kind="DSP99"\n' + part, "new.toml: the entry 'p1' is wrong: 'DSP99'"),
        ('dsp_kind="DSP58"\n' + part + "lutt=3\n", "new.toml: the entry 'p1' is wrong: .*'lutt'"),
        ("lut = =", "new.toml: this is no TOML"),
    ):
        (tmp_path / "hw" / "devices" / "new.toml").write_text(text)
        with pytest.raises(qc.QCompileError, match=message):
            devices.catalogue.__wrapped__()
    (tmp_path / "hw" / "devices" / "new.toml").write_text('dsp_kind="DSP58"\n' + part)
    assert [d.name for d in devices.catalogue.__wrapped__().devices] == ["p1"]
    (tmp_path / "hw" / "boards" / "b.toml").write_text('[board.b]\npart="q1"\nclock_ns=1.0\n')
    with pytest.raises(qc.QCompileError, match="b.toml: the entry 'b' is wrong: its part q1 is of no device"):
        devices.catalogue.__wrapped__()


NEW_FABRIC = """like = "ecp5"
source = "made up"
lut_inputs = 5
lut_ns = 2.2
add_ns = 3.0
prefix = "zz"
order = '-[a-z]{2}\\d+-(?P<grade>\\d)'
"""
NEW_DEVICE = """vendor = "Nobody"
family = "New"
fabric = "new"
dsp_kind = "M20"
bram_kind = "B4"
source = "made up"
max_clock_mhz = { "7" = 500 }

[dsp.M20]
a = 20
b = 20
accumulator = 48
signed_only = true
source = "made up"

[ram.B4]
bits = 4096
shapes = [[1, 4096], [8, 512]]
source = "made up"

[part.zzn1]
lut = 100_000
ff = 100_000
dsp = 64
bram = 64
number = "zzn1-fg256-7"
"""


@pytest.fixture
def catalogue_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """hw/ as it is shipped, in a folder where a test adds to it."""
    from qcompile import assets

    shutil.copytree(asset("hw"), tmp_path / "hw")
    (tmp_path / "templates").symlink_to(asset("templates"))
    caches = [
        f for m in (fabrics, devices, primitives, exchange) for f in vars(m).values() if hasattr(f, "cache_clear")
    ]
    monkeypatch.setattr(assets, "_root", lambda: tmp_path)
    for kept in caches:
        kept.cache_clear()
    yield tmp_path / "hw"
    for kept in caches:
        kept.cache_clear()


def test_a_family_is_two_files(catalogue_of: Path) -> None:
    """A made-up family, by TOML alone: found, compiled for, priced by its own facts and its relative's coefficients."""
    (catalogue_of / "fabrics" / "new.toml").write_text(NEW_FABRIC)
    (catalogue_of / "devices" / "new.toml").write_text(NEW_DEVICE)
    found = device("n1")
    assert (found.name, found.lut_inputs, part_number("n1")) == ("zzn1", 5, "zzn1-fg256-7")
    assert device("zzn1-fg484-7") == found and max_clock_mhz("zzn1-fg484-7") == 500
    logic, relative = primitives.fabric(found), primitives.fabric(device("ecp5-85f"))
    assert (logic.name, logic.lut_ns, logic.carry_ns) == ("ecp5", 2.2, relative.carry_ns)
    assert (logic.traits.lut_inputs, logic.traits.dsp, logic.traits.signed_only) == (5, (20, 20, 20), True)
    for arch in ("parallel", "dataflow"):
        design = qc.compile(ROOT / "examples" / "digits_mlp.onnx", part="zzn1", arch=arch, clock_ns=30.0)
        total, other = design.estimate().total, design.estimate(part="ecp5-85f").total
        assert design.options.part == "zzn1-fg256-7" and total.basis is Basis.EXTRAPOLATED
        assert total.lut > 0 and total.delay_ns > other.delay_ns  # its LUTs are slower
        assert b"zzn1-fg256-7" in design.files().files["build.tcl"]
    # A number that the catalogue lacks goes to the tool as it is, as those of other vendors with a prefix.
    assert qc.compile(ROOT / "examples" / "digits_mlp.onnx", part="zzn9-fg256-7").options.part == "zzn9-fg256-7"


@pytest.mark.parametrize("signed_only", ["true", "false"])
@pytest.mark.parametrize("absorbs", ["true", "false"])
@pytest.mark.parametrize("like", ["xc7", "ecp5"])
def test_a_family_may_differ_from_its_relative(catalogue_of: Path, like: str, absorbs: str, signed_only: str) -> None:
    (catalogue_of / "fabrics" / "new.toml").write_text(f"like = '{like}'\nsource = 's'\nabsorbs = {absorbs}\n")
    text = NEW_DEVICE.replace("signed_only = true", f"signed_only = {signed_only}")
    (catalogue_of / "devices" / "new.toml").write_text(text)
    f, w = primitives.fabric(device("zzn1")), np.array([[3, -5, 7], [1, 0, -2]])
    for cost in (
        *(primitives.multiplier(f, bits, 24, signed, dsp=True) for bits in (8, 24, 40) for signed in (False, True)),
        primitives.multiplier(f, 8, 8),
        *(primitives.constant_rows(f, w, 0, (1 << bits) - 1) for bits in (2, 8)),
        primitives.constant_multipliers(f, w, 8),
        primitives.thresholds(f, np.arange(15), 12),
        primitives.minifloat_product(f, 4, 3),
    ):
        assert cost.lut + cost.dsp > 0 and cost.basis is Basis.EXTRAPOLATED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("like = =", "new.toml: this is no TOML"),
        ("like = 'nothing'", "new.toml: like = 'nothing' leads to no other fabric"),
        ("like = 'new'", "new.toml: like = 'new' leads to no other fabric"),
        (
            "source = 's'",
            "new.toml: it is wrong: FabricData.__init__() missing 8 required positional arguments: 'lut_inputs'",
        ),
        (
            "like = 'ecp5'\nsource = 's'\nluts = 3",
            "new.toml: it is wrong: FabricData.__init__() got an unexpected keyword argument 'luts'",
        ),
        ("like = 'ecp5'\nsource = 's'\nlut_ns = 'fast'", "new.toml: it is wrong: lut_ns is 'fast', which is no float"),
        ("like = 'ecp5'\nsource = 's'\norder = '('", "new.toml: it is wrong: missing ), unterminated subpattern"),
        ("like = 'ecp5'\nsource = 's'\nlutram = [[4, 4]]", "new.toml: it is wrong: not enough values to unpack"),
        ("like = 'ecp5'\nsource = 's'\nabsorbs = 1", "new.toml: it is wrong: absorbs is 1, which is no bool"),
    ],
)
def test_a_wrong_fabric_is_named(catalogue_of: Path, text: str, message: str) -> None:
    (catalogue_of / "fabrics" / "new.toml").write_text(text)
    with pytest.raises(qc.QCompileError, match=re.escape(message)):
        device("xc7z020")


def test_a_family_says_its_fabric(catalogue_of: Path) -> None:
    (catalogue_of / "devices" / "new.toml").write_text(NEW_DEVICE)
    with pytest.raises(qc.QCompileError, match="new.toml: the entry 'zzn1' is wrong: no fabric 'new' among .*ecp5"):
        device("xc7z020")


def test_a_fabric_without_coefficients_says_what_to_do(catalogue_of: Path) -> None:
    whole = (catalogue_of / "fabrics" / "ecp5.toml").read_text()
    (catalogue_of / "fabrics" / "new.toml").write_text(whole)
    (catalogue_of / "devices" / "new.toml").write_text(NEW_DEVICE)
    with pytest.raises(qc.QCompileError, match="the fabric new of zzn1 has no cost model") as error:
        primitives.fabric(device("zzn1"))
    assert "make calibrate" in str(error.value)


def test_parts_json() -> None:
    code, out, err = command("parts", "--json")
    listed = json.loads(out)["parts"]
    assert code == 0 and not err and [p["part"] for p in listed] == [d.name for d in DEVICES]
    (part,) = json.loads(command("parts", "zcu104", "--json")[1])["parts"]
    assert (part["part"], part["lut"], part["dsp_kind"]["name"], part["bram18"], part["bram36"], part["uram"]) == (
        "xczu7ev",
        230400,
        "DSP48E2",
        624,
        312,
        96,
    )
    assert part["uram_kind"]["shapes"] == [[72, 4096]] and part["max_clock_mhz"]["2"] == 775
    assert {"board": "zcu104", "part": "xczu7ev-ffvc1156-2-e", "clock_ns": 10.0} in part["boards"]


def test_parts_table() -> None:
    code, out, err = command("parts", "xc7z020", "ecp5-85f")
    assert code == 0 and not err
    assert re.search(r"xc7z020 .* 53,200 .* 106,400 .* 220  DSP48E1 .* 140 .* pynq-z1", out) and re.search(
        r"lfe5u-85f .* 104 ", out
    )
    assert out.splitlines()[-1] == "next: qcompile compile MODEL.onnx --part xc7z020clg400-1 -o build"
    assert "--part xczu48dr-fsvg1517-2-e" in command("parts", "zcu208")[1].splitlines()[-1]
    code, out, err = command("parts", "xc7z021")
    assert (code, out) == (1, "") and err.startswith(
        "error: the part 'xc7z021' is not in the catalogue; nearest: xc7z020"
    )


def test_methods() -> None:
    code, out, err = command("methods", "--json")
    listed = json.loads(out)["methods"]
    assert code == 0 and not err
    fields = {"name", "kind", "what", "paper", "needs", "declares", "where"}
    assert all(set(m) == fields and all(m[k] for k in fields - {"needs", "declares"}) for m in listed)
    assert {"fixed", "thresholds", "multiply_add_shift", "gptq", "ilp"} <= {m["name"] for m in listed}
    assert command("methods")[1].splitlines()[-1].startswith("next: qcompile inspect")


def test_catalogue_needs_nothing_heavy() -> None:
    script = (
        "import sys; from qcompile.cost.devices import device; device('7z020'); print([m for m in ('numpy', 'onnx') if"
        " m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
