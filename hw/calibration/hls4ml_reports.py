"""Published reports of hls4ml designs as rows: the layers that a design has, and what the tools said of it."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qcompile.cost.devices import catalogue, device
from qcompile.cost.hls4ml.graph import TRAINED
from qcompile.cost.hls4ml.layers import Hls4mlLayer, usual_constants
from qcompile.cost.hls4ml.network import Hls4mlTarget
from qcompile.cost.hls4ml.rules import RULES

Number = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A report: the layers it is of, what it says; `group` stays together when data are split."""

    group: str
    layers: tuple[Hls4mlLayer, ...]
    target: Hls4mlTarget
    truth: Number
    weight: float = 1.0
    name: str = ""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str | None) -> float | None:
    return float(text) if text not in (None, "") else None


def of_part(part: str | None, clock: float, stage: str) -> Hls4mlTarget:
    """Parts that the catalogue lacks are taken as the nearest of the family."""
    relatives = {"xcu250": "xcvu9p", "xczu49dr": "xczu9eg", "xczu5ev": "xczu9eg", "xcku15p": "xcvu9p"}
    key = re.split(r"-|(?<=\d)(?:sclg|clg|flg|ff)", (part or "xcvu9p").lower())[0]
    names = {d.name for d in catalogue().devices}
    for wanted in (
        key,
        "xc" + key,
        relatives.get(key, ""),
        "xc7z020" if "xc7" in key or key.startswith("7") else "xcvu9p",
    ):
        if wanted in names:
            return Hls4mlTarget(device(wanted), clock, stage)
    return Hls4mlTarget(catalogue().devices[0], clock, stage)


# --- multi-layer perceptrons

INITIAL = 1.0
"""Spread of weights as initialised: single layers are reported untrained."""


def width(text: str) -> tuple[int, int]:
    """Width and bits behind the point of fixed<W,I>."""
    found = re.search(r"fixed<(\d+),\s*(-?\d+)", text)
    return (int(found[1]), int(found[1]) - int(found[2])) if found else (16, 10)


def mlp(dims: Sequence[int], weight: tuple[int, int], strategy: str, reuse: int) -> tuple[Hls4mlLayer, ...]:
    layers = []
    for place, (n_in, n_out) in enumerate(zip(dims, dims[1:], strict=False)):
        layers.append(
            Hls4mlLayer(
                f"dense{place}",
                "MatMul",
                "dot",
                n_in,
                n_out,
                w=weight[0],
                strategy=strategy,
                reuse=reuse,
                inner=place < len(dims) - 2,
                weights=usual_constants(n_in, n_out, *weight, INITIAL, n_in * n_out),
            )
        )
    return tuple(layers)


def synthesised_mlps(data: Path) -> list[Row]:
    """Resource strategy after logic synthesis: plain stacks of dense layers."""
    rows = []
    for r in read(data / "wa_hls4ml_vsynth_sample.csv"):
        if r["strategy"] == "resource" and r["layers"].startswith("dense "):
            dims = [int(n) for n in r["layers"].split()[1].split("-")]
            layers = mlp(dims, width(r["weight_t"]), "resource", int(r["rf_requested"]))
            truth = {
                "lut": float(r["vs_LUT"]),
                "ff": float(r["vs_FF"]),
                "dsp": float(r["vs_DSP"]),
                "bram18": 2 * float(r["vs_BRAM36"]),
            }
            truth |= {"latency": float(r["lat_max_cs"]), "best": float(r["lat_min_cs"])}
            rows.append(
                Row(
                    r["layers"],
                    layers,
                    of_part(r["part"], float(r["clk_target_ns"]), "synthesis"),
                    truth,
                    name=r["name"],
                )
            )
    return rows


def group_of(layer: Hls4mlLayer) -> str:
    return RULES[layer.kind].group(layer)


def single_layers(data: Path) -> list[Row]:
    """HLS reports of one dense layer."""
    rows = []
    for r in read(data / "wa_hls4ml_dense1_csynth.csv"):
        if r["success"] == "True":
            bits = int(r["weight_bits"])
            layers = mlp([int(r["d_in"]), int(r["d_out"])], (bits, bits - 1), r["strategy"], int(r["rf_requested"]))
            truth = {
                "lut": float(r["LUT"]),
                "ff": float(r["FF"]),
                "dsp": float(r["DSP"]),
                "bram18": float(r["BRAM_18K"]),
            }
            truth |= {"latency": float(r["lat_max"]), "interval": float(r["ii_max"])}
            target = of_part(r["part"], float(r["clk_target_ns"]), "hls")
            if layers[0].weights.nonzero < 0.3 * layers[0].products and group_of(layers[0]) == "latency":
                continue  # how 2-bit weights were initialised is not told, and decides everything
            rows.append(
                Row(
                    f"single {r['d_in']}x{r['d_out']}",
                    layers,
                    target,
                    truth,
                    weight=0.15 if r["strategy"] == "resource" else 0.3,
                )
            )
    return rows


ACTIVATIONS = {
    "relu": "relu",
    "qrelu": "relu",
    "sigmoid": "table",
    "qsigmoid": "table",
    "tanh": "table",
    "qtanh": "table",
    "softmax": "softmax",
}


def described(text: str, weight: tuple[int, int], acc: int, strategy: str, reuse: int) -> tuple[Hls4mlLayer, ...]:
    """Layers of a stack such as `16-64 relu-5 softmax`; a number behind an activation is its width."""
    parts = [re.sub(r"\([^)]*\)", "", part).split() for part in text.split("-") if not part.startswith("(")]
    sizes = [int(part[0]) for part in parts]
    layers: list[Hls4mlLayer] = []
    x = acc
    for place, part in enumerate(parts[1:]):
        n_in, n_out = sizes[place], sizes[place + 1]
        weights = usual_constants(n_in, n_out, *weight, TRAINED, n_in * n_out)
        inner = place < len(parts) - 2
        layers.append(
            Hls4mlLayer(
                f"dense{place}",
                "Gemm",
                "dot",
                n_in,
                n_out,
                x=x,
                y=acc,
                acc=acc,
                w=weight[0],
                strategy=strategy,
                reuse=reuse,
                weights=weights,
                inner=inner,
            )
        )
        x = acc
        if len(part) > 1:
            found = re.fullmatch(r"([a-z]+)(\d*)", part[1])
            assert found
            y = int(found[2] or acc)
            layers.append(
                Hls4mlLayer(f"act{place}", found[1], ACTIVATIONS[found[1]], n_out, n_out, x=acc, y=y, rounds=y < acc)
            )
            x = y
    return tuple(layers)


def other_designs(data: Path) -> list[Row]:
    """Single networks that others published: HLS reports, logic synthesis, one family after routing (fabric as after
    synthesis).
    """
    rows = []
    for r in read(data / "wa_hls4ml_vsynth_sample.csv"):
        if r["set"] in ("exemplar", "resource", "latency"):
            weight = width(r["weight_t"])
            layers = described(
                r["layers"],
                weight,
                weight[0] if r["set"] == "exemplar" else 16,
                r["strategy"].lower(),
                int(r["rf_requested"]),
            )
            truth = {
                "lut": float(r["vs_LUT"]),
                "ff": float(r["vs_FF"]),
                "dsp": float(r["vs_DSP"]),
                "latency": float(r["lat_max_cs"]),
            }
            rows.append(
                Row(
                    r["layers"],
                    layers,
                    of_part(r["part"], float(r["clk_target_ns"]), "synthesis"),
                    truth,
                    name="exemplar " + r["layers"],
                )
            )
    jet = "16-64 relu-32 relu-32 relu-5 softmax"
    liu = read(data / "liu_pynqz2.csv")[0]
    truth = {w: float(liu[w.upper()]) for w in ("lut", "ff", "dsp")} | {
        "latency": float(liu["latency"]),
        "interval": float(liu["ii"]),
    }
    rows.append(
        Row(
            "jet",
            described(jet, (16, 10), 16, "latency", 1),
            of_part(liu["part"], 5.0, "hls"),
            truth,
            name="jet tagger, HLS report",
        )
    )
    for r in read(data / "uwacme_jettag_routed.csv"):
        if r["flow"] == "hls4ml" and r["variant"] == "final":
            w, i = int(r["W"]), int(r["I"])
            truth = {"lut": float(r["LUT"]), "ff": float(r["FF"]), "dsp": float(r["DSP"])}
            rows.append(
                Row(
                    "jet",
                    described(jet, (w, w - i), w, "latency", 1),
                    of_part(r["device"][:7], 5.0, "synthesis"),
                    truth,
                    name=f"jet tagger <{w},{i}>, routed",
                )
            )
    for r in read(data / "hls4ml_pytest_baselines.csv"):
        found = re.match(r"Dense\(1->64\) \+ (relu|sigmoid)", r["model"])
        if found:
            layers = described(f"1-64 {found[1]}", (16, 10), 16, "latency", 1)
            layers = tuple(replace(n, stream=r["io_type"] == "io_stream") for n in layers)
            truth = {w: float(r[w.upper()]) for w in ("lut", "ff", "dsp")} | {
                "latency": float(r["lat_max"]),
                "interval": float(r["ii_max"]),
            }
            rows.append(
                Row("pytest", layers, of_part("xcu250", 5.0, "hls"), truth, name=f"{r['case']} {r['tool_version']}")
            )
    return rows


# --- whole projects


def bits(text: str | None) -> tuple[int, int] | None:
    """Width and bits behind the point of an ap_ type, also within nnet::array."""
    found = re.search(r"ap_u?fixed<(\d+),\s*(-?\d+)", text or "")
    if found:
        return int(found[1]), int(found[1]) - int(found[2])
    found = re.search(r"ap_u?int<(\d+)", text or "")
    return (int(found[1]), 0) if found else None


def value(text: Any, dims: dict[str, Any], config: dict[str, Any]) -> int | None:
    """A size that may be written as an expression of names."""
    if text is None or isinstance(text, int):
        return text
    for _ in range(6):
        text = re.sub(r"[A-Za-z_]\w*", lambda m: str(dims.get(m[0], config.get(m[0], m[0]))), str(text))
    parts = re.findall(r"\d+", text)
    return math.prod(int(p) for p in parts) if parts and not re.search(r"[A-Za-z]", text) else None


@dataclass
class Reader:
    """The layers of one project, in order, from its configurations."""

    project: dict[str, Any]

    def __post_init__(self) -> None:
        self.types = self.project.get("types") or {}
        self.dims = self.project.get("dims") or {}
        self.configs = self.project.get("layer_configs") or {}
        self.default = bits(self.types.get("model_default_t")) or (16, 10)
        self.signature = {}
        for _, args, _ in self.project.get("graph") or []:
            names = args.split(",")
            self.signature[names[-1].strip()] = [n.strip() for n in names[:-1]]
        kinds = str(self.project.get("hls4ml_config_yml")) + str(self.project.get("cfg_IOType")) + str(self.types)
        told = {c.get("io_type", "").removeprefix("nnet::") for c in self.configs.values()} & {
            "io_parallel",
            "io_stream",
        }
        self.stream = "nnet::array" in kinds or (told or {self.project.get("cfg_IOType")}) == {"io_stream"}

    def type_of(self, name: str | None) -> tuple[int, int] | None:
        return bits(self.types.get(name or "", name))

    def layers(self, parts: bool = False) -> list[tuple[str, Hls4mlLayer]]:
        """In order; none where a layer is of a kind that we have no rule for. parts: what is known of them
        nevertheless.
        """
        found: list[tuple[str, Hls4mlLayer]] = []
        held = self.type_of("input_t") or self.type_of("input_1_t") or self.default
        places = 1
        for key, config in self.configs.items():
            if config["base"] == "gru_config":
                if not parts:
                    return []
                continue
            if config["base"] == "dense_config" and key.endswith("_mult"):
                continue
            ends = self.signature.get(key, [])
            number_ = re.search(r"config(\d+)", key)
            x = (self.type_of(ends[0]) if ends else None) or held
            named = f"layer{number_[1]}_t" if number_ else ""
            y = (self.type_of(ends[-1]) if ends else None) or self.type_of(named) or held
            layer = self.layer(key, config, x, y, places)
            if layer and config["base"] == "activ_config":
                written = self.types.get(ends[-1] if ends else named) or ""
                layer = replace(layer, rounds=bool(re.search("AP_RND|AP_SAT", written)))
            if layer is None:
                return []
            held, places = y, layer.pixels_out
            found.append((key, layer))
        last = max((i for i, (_, n) in enumerate(found) if n.kind == "dot"), default=0)
        return [(k, replace(n, inner=i < last) if n.kind == "dot" else n) for i, (k, n) in enumerate(found)]

    def size(self, config: dict[str, Any], name: str, default: int = 1) -> int:
        found = value(config.get(name), self.dims, config)
        return default if found is None else found

    def layer(
        self, key: str, config: dict[str, Any], x: tuple[int, int], y: tuple[int, int], places: int
    ) -> Hls4mlLayer | None:
        common = dict(name=key, op=config["base"], x=x[0], y=y[0], stream=self.stream)
        base = config["base"]
        if base == "dense_config":
            return self.dot(config, common, self.size(config, "n_in"), self.size(config, "n_out"), reads=places)
        if base in ("conv1d_config", "conv2d_config"):
            return self.convolution(key, config, common)
        if base == "activ_config":
            return self.activation(key, config, common, places)
        if base in ("pooling1d_config", "pooling2d_config"):
            return self.pool(config, common)
        if base in ("padding1d_config", "padding2d_config"):
            before, after = (self.size(config, f"{s}_height") * self.size(config, f"{s}_width") for s in ("in", "out"))
            channels = self.size(config, "n_chan")
            return Hls4mlLayer(**common, kind="pad", n_in=channels, n_out=channels, pixels_in=before, pixels_out=after)
        if base == "resize_config":
            before = self.size(config, "height") * self.size(config, "width")
            after = self.size(config, "new_height") * self.size(config, "new_width")
            channels = self.size(config, "n_chan")
            row = self.size(config, "width")
            return Hls4mlLayer(
                **common, kind="resize", n_in=channels, n_out=channels, pixels_in=before, pixels_out=after, row=row
            )
        if base == "batchnorm_config":
            total, channels = self.size(config, "n_in"), self.size(config, "n_filt", -1)
            # A flattened stream comes in parts; the scales then change from part to part.
            channels = total // (places if self.stream else 1) if channels < 1 else channels
            scale = self.type_of(config.get("scale_t")) or self.default
            weights = usual_constants(
                1, channels, *scale, INITIAL, total if places > 1 and self.size(config, "n_filt", -1) < 1 else channels
            )
            pixels = max(1, total // channels)
            return Hls4mlLayer(
                **common,
                kind="scale",
                n_in=1,
                n_out=channels,
                w=scale[0],
                pixels_in=pixels,
                pixels_out=pixels,
                weights=weights,
                reuse=self.size(config, "reuse_factor"),
            )
        return None

    def dot(self, config: dict[str, Any], common: dict[str, Any], n_in: int, n_out: int, **more: Any) -> Hls4mlLayer:
        weight = self.type_of(config.get("weight_t")) or self.default
        named = config.get("accum_t")
        acc = self.type_of(named) or self.default
        depthwise = more.get("kind") == "depthwise"
        products = n_in if depthwise else n_in * n_out
        fan = (math.prod(more["kernel"]),) * 2 if depthwise else (n_in, n_out)
        weights = usual_constants(*fan, *weight, TRAINED, products)
        weights = weights.scaled(max(0, products - self.size(config, "n_zeros", 0)))
        strategy = str(config.get("strategy", "nnet::resource")).removeprefix("nnet::")
        rounds = bool(re.search("AP_RND|AP_SAT", str(self.types.get(named, named))))
        more.setdefault("kind", "dot")
        return Hls4mlLayer(
            **common,
            n_in=n_in,
            n_out=n_out,
            w=weight[0],
            acc=acc[0],
            weights=weights,
            strategy=strategy,
            rounds=rounds,
            reuse=self.size(config, "reuse_factor"),
            **more,
        )

    def convolution(self, key: str, config: dict[str, Any], common: dict[str, Any]) -> Hls4mlLayer:
        kernel = (self.size(config, "filt_height"), self.size(config, "filt_width"))
        channels, filters = self.size(config, "n_chan"), self.size(config, "n_filt")
        before, after = (self.size(config, f"{s}_height") * self.size(config, f"{s}_width") for s in ("in", "out"))
        depthwise = key.endswith("_depthwise") or (key == "config7" and "pf_4" in self.project["project"])
        n_in = kernel[0] * kernel[1] * channels
        copies = max(1, after // self.size(config, "n_partitions", after)) if not self.stream else 1
        return self.dot(
            config,
            common,
            n_in,
            filters,
            kind="depthwise" if depthwise else "dot",
            kernel=kernel,
            channels=channels,
            copies=copies,
            pixels_in=before,
            pixels_out=after,
            row=self.size(config, "in_width"),
        )

    def activation(self, key: str, config: dict[str, Any], common: dict[str, Any], places: int) -> Hls4mlLayer:
        total = self.size(config, "n_in")
        places = places if total % places == 0 else 1
        kind = key.split("_config")[0].lower()
        kinds = {
            "relu": "relu",
            "linear": "cast",
            "softmax": "softmax",
            "sigmoid": "table",
            "tanh": "table",
            "leakyrelu": "leaky",
        }
        return Hls4mlLayer(
            **common, kind=kinds[kind], n_in=total // places, n_out=total // places, pixels_in=places, pixels_out=places
        )

    def pool(self, config: dict[str, Any], common: dict[str, Any]) -> Hls4mlLayer:
        channels = self.size(config, "n_filt")
        if config["base"] == "pooling1d_config":
            before, after, row = self.size(config, "n_in"), self.size(config, "n_out", 1), self.size(config, "n_in")
        else:
            before, after = (self.size(config, f"{s}_height") * self.size(config, f"{s}_width") for s in ("in", "out"))
            row = self.size(config, "in_width")
        kernel = (self.size(config, "pool_height"), self.size(config, "pool_width"))
        return Hls4mlLayer(
            **common,
            kind="pool",
            n_in=channels,
            n_out=channels,
            pixels_in=before,
            pixels_out=after,
            channels=channels,
            kernel=kernel,
            row=row,
        )


def projects(data: Path) -> list[dict[str, Any]]:
    with (data / "hls4ml_projects.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def owner(source: str) -> str:
    """Repositories are split apart, not projects: designs of one author resemble each other."""
    return source.split(":")[1].split("@")[0]


FORKS = ("crimson1256/", "YanLunHuang/", "filipemlins/")
"""Their functions (`..._me_...`, serial loops of 2018) are not those of hls4ml: not fitted on, and judged apart. They
were set apart after their errors had been seen, so both tables are printed.
"""


def ours(row: Row) -> bool:
    return not any(fork in row.group for fork in FORKS)


def whole(data: Path, stage: str) -> list[Row]:
    """Projects with known layers: HLS report, or logic synthesis."""
    rows = []
    for project in projects(data):
        layers = tuple(n for _, n in Reader(project).layers())
        report = project.get("csynth") or {}
        if not layers or not report:
            continue
        truth = {k: float(report[v]) for k, v in (("lut", "lut"), ("ff", "ff"), ("dsp", "dsp"), ("bram18", "bram_18k"))}
        if stage == "synthesis":
            later = project.get("vsynth") or project.get("util_synth")
            if not later:
                continue
            both = {"hls_lut": truth["lut"], "hls_ff": truth["ff"]}
            truth = {
                "lut": float(later["lut"]),
                "ff": float(later["ff"]),
                "dsp": float(later["dsp"]),
                "bram18": 2 * float(later["bram36_tiles"]),
            } | both
        truth |= {"latency": float(report["lat_max"]), "interval": float(report["ii_max"])}
        queue = (report.get("area_by_kind") or {}).get("FIFO") or {}
        truth |= {f"fifo_{k}": float(v) for k, v in queue.items()}
        target = of_part(report["part"], float(report["clk_target_ns"]), stage)
        rows.append(
            Row(
                owner(project["source"]),
                layers,
                target,
                truth,
                name=project["source"].split(":", 1)[1].split("@")[0] + " " + project["project"][:30],
            )
        )
    return rows


INSIDE = re.compile(r"shift_line|dense_wrapper|compute_|cnnshift|myproject|softmax_stable_array|softmax_argmax_array")


def modules(data: Path) -> list[Row]:
    """Functions of those projects, one layer each."""
    rows, reports = [], read(data / "hls4ml_modules_csynth.csv")
    for project in projects(data):
        own = [r for r in reports if r["source"].startswith(project["source"]) and not INSIDE.match(r["module"])]
        for key, layer in Reader(project).layers(parts=True):
            for r in own:
                if re.search(rf"(?<![a-z]_){key}(_0|_s$|_\d+$|$)|_{key}(_0|_s$|$)", r["module"]):
                    truth = {
                        "lut": float(r["LUT"]),
                        "ff": float(r["FF"]),
                        "dsp": float(r["DSP"]),
                        "bram18": float(r["BRAM_18K"]),
                    }
                    truth |= {"latency": float(r["lat_max"]), "interval": float(r["ii_max"])}
                    target = of_part(r["part"], float(r["clk_target_ns"]), "hls")
                    rows.append(Row(owner(project["source"]), (layer,), target, truth, name=r["module"][:40]))
                    break
    return rows
