"""What the text of an emitted project of architecture `dataflow` declares: memories and loops that are unrolled."""

import math
import re
from collections.abc import Mapping

ELEMENT = r"(?:ap_u?int<(\d+)>|qc::Lanes<(\d+), (\d+), \w+, \w+>::word)"


def memories(files: Mapping[str, bytes], top: str) -> dict[str, list[int]]:
    """Bits of the arrays that processes keep and of the memories of weights and parameters they read, by process; of
    the streams under "streams".
    """
    source, constants = (files[f"src/{n}"].decode() for n in (f"{top}.cpp", "constants.hpp"))
    weights = {
        name: int(w) * int(n) for w, name, n in re.findall(r"static const ap_uint<(\d+)> ([wk]\d+)\[(\d+)\]", constants)
    }
    found: dict[str, list[int]] = {}
    for name, body in processes(source).items():
        kept = [
            (int(w) if w else int(n) * int(b)) * int(count)
            for w, n, b, count in re.findall(rf"static {ELEMENT} \w+\[(\d+)\];", body)
        ]
        found[name] = kept + [bits for rom, bits in weights.items() if re.search(rf"\b{rom}\b", body)]
    streams = re.findall(r"hls::stream<qc::Lanes<(\d+), (\d+), \w+, \w+>::word> (s\d+);", source)
    depths = dict(re.findall(r"#pragma HLS stream variable=(s\d+) depth=(\d+)", source))
    found["streams"] = [int(n) * int(w) * int(depths[s]) for n, w, s in streams]
    return found


def processes(source: str) -> dict[str, str]:
    """Bodies of the processes, by name."""
    return dict(re.findall(r"^static void (p\d+_\w+)\(.*?\{\n(.*?)^\}", source, re.M | re.S))


UNITS = {
    "multiply_add": 2,
    "sparse_multiply_add": 2,
    "scaled_multiply_add": 2,
    "digit_multiply_add": 2,
    "scaled_digit_multiply_add": 2,
    "sparse_digit_multiply_add": 2,
    "multiply_each": 2,
    "multiply": 1,
    "add_each": 2,
    "largest_each": 2,
}  # sizes that are products


def unrolled(body: str) -> int:
    """Products, sums or elements of an iteration of a process: those of its unit, at all places that it works on; one
    of a loop over memories.
    """
    found, places = [1], re.search(r"ABREAST:\n.*?q < (\d+)", body, re.S)
    for name, sizes in re.findall(r"qc::(\w+)<([^;]*)>\(", body):
        if name in UNITS:
            found.append(math.prod(int(n) for n in sizes.split(", ")[: UNITS[name]]))
    return max(found) * int(places[1] if places else 1)


def unrolled_products(source: str) -> int:
    """Products of the dense layers and convolutions of an unrolled project."""
    found = 0
    for sizes in re.findall(r"qc::matmul<(.*?), (?:true|false),", source):
        found += math.prod(map(int, sizes.split(", ")))
    for sizes in re.findall(r"qc::conv<((?:\d+, )+)", source):
        batch, groups, outs, depth, *plane = map(int, sizes.split(", ")[:12])
        found += batch * groups * outs * depth * plane[2] * plane[3] * _places(*plane)
    return found


def _places(h: int, w: int, kh: int, kw: int, sh: int, sw: int, dh: int, dw: int) -> int:
    return ((h - dh * (kh - 1) - 1) // sh + 1) * ((w - dw * (kw - 1) - 1) // sw + 1)


def additions(source: str, sums: str) -> int:
    """Additions and negations of the layers whose weights are constant: those of a vector, wherever it is computed."""
    _, *parts = re.split(r"^struct (\w+) \{$", sums, flags=re.M)
    each = {
        name: len(re.findall(r"^    const \S+ (?:g\d+)?s\d+_\d+ = .* [-+] ", text, re.M)) + text.count("(0) - (")
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    found = 0
    for batch, rows, _, columns, left, name in re.findall(
        r"qc::matmul_sums<(\d+), (\d+), (\d+), (\d+), (\w+), (\w+)>", source
    ):
        found += int(batch) * int(columns if left == "true" else rows) * each[name]
    for sizes, name in re.findall(r"qc::conv_sums<((?:\d+, )+)(\w+)>", source):
        batch, _, _, _, *plane = map(int, sizes.split(", ")[:12])
        found += batch * _places(*plane) * each[name]
    return found
