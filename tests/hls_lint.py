"""The rules for emitted C++ that text can show: what both Vitis HLS and an open HLS compiler accept."""

import re
from pathlib import Path

FORBIDDEN = {
    r"hls_math\.h|ap_axi_sdata\.h|hls_vector\.h": "a header that the open compiler lacks",
    r"\b_Pragma\b": "_Pragma breaks at function scope",
    r"\.empty\(\)|\.read_nb\(|\.write_nb\(": "a stream call that is not read() or write()",
    r"\bvirtual\b|\bnew\b|\bmalloc\b|\bthrow\b|\bdelete\b": "dynamic allocation or dispatch",
    r"\bap_u?fixed<": "fixed-point types round and saturate on their own: codes are integers",
    r"\bfloat\b|\bdouble\b": "floating point",
    r"\bgoto\b|\bwhile\b": "a loop without a static bound",
    r"^(extern \"C\" )?ap_u?int<\d+>\s+\w+\(": "an ap_ type returned by value",
    r"\.range\([^;]*\)\s*=[^=]": "a range on the left of an assignment",
    r"\.range\([^;]*\b[st] \*": "a range at a place that follows the token: a shift register is what it means",
    r"\w+ sum = \w+ \?": "products added behind the accumulator, not before it",
    r"factor=1$": "a partition that means nothing",
    r"#pragma HLS stream .*depth=[01]$": "a stream of one place takes a token every other cycle",
    r"#pragma (HLS )?UNROLL|#pragma HLS pipeline(?! II=1$)": (
        "a pragma in another spelling than the open compiler reads"
    ),
}


def lint_project(folder: Path) -> list[str]:
    """Violations in the sources of a project, file and line each."""
    found = []
    streams = (folder / "src" / "qc" / "dataflow.hpp").exists()
    for path in sorted((folder / "src").rglob("*.[ch]pp")):
        if path.name in ("native.hpp", "simulation.hpp"):
            continue  # of C simulation alone
        # What only C simulation compiles is no hardware, and what the vendor's tool alone reads may use its headers.
        text = path.read_text().split("#ifdef QC_TRACE_ENABLED")[0]
        lines = text.replace("#ifdef QC_VENDOR\n#include <ap_axi_sdata.h>", "#ifdef QC_VENDOR\n").splitlines()
        for number, line in enumerate(lines, 1):
            where = f"{path.relative_to(folder)}:{number}"
            code = line.split("//")[0]
            found += [f"{where}: {why}" for pattern, why in FORBIDDEN.items() if re.search(pattern, code)]
            found += _pragmas(lines, number - 1, where, streams)
        name = str(path.relative_to(folder))
        text = "\n".join(line.split("//")[0] for line in lines)
        found += _widths(path, folder) + _streams(name, text) + _recursions(name, text) + _pipelines(name, lines)
        found += _kernels(name, lines) if path.parent.name == "qc" else []
    return found + _top(folder, streams) + (_buffered(folder) + _processes(folder) + _words(folder) if streams else [])


def _kernels(name: str, lines: list[str]) -> list[str]:
    """Every function of our headers is inlined where it is called: constants fold there, and no two calls share it."""
    heads = [i for i, line in enumerate(lines) if re.search(r"\b(inline|static) .*\) \{$", line)]
    return [f"{name}:{i + 1}: a kernel that is not inlined" for i in heads if lines[i + 1] != "#pragma HLS inline"]


def _words(folder: Path) -> list[str]:
    """A memory of which a step reads several elements has all of them in one word."""
    found = []
    for source in (folder / "src").glob("*.cpp"):
        text = source.read_text()
        for codes, together, name in re.findall(r"qc::(?:sparse_)?weights<(\d+), \d+, (\d+), .*?>\((\w+),", text):
            parts = int(codes) // int(together)
            if parts > 1 and f"#pragma HLS array_reshape variable={name} cyclic factor={parts}\n" not in text:
                found.append(f"{source.name}: {name} is read {parts} times a cycle")
    return found


def _processes(folder: Path) -> list[str]:
    """No two processes have the same body: every one has a number of its own."""
    found = []
    for source in (folder / "src").glob("*.cpp"):
        bodies = re.findall(r"^static void \w+\(.*?\{\n(.*?)^\}", source.read_text(), re.M | re.S)
        numbers = [re.findall(r"^  QC_DISTINCT\((\d+)\);$", body, re.M) for body in bodies]
        if any(len(n) != 1 for n in numbers) or len({n[0] for n in numbers}) != len(numbers):
            found.append(f"{source.name}: processes without a number of their own")
    return found


def _buffered(folder: Path) -> list[str]:
    """Loops over whole tensors in memories are never unrolled: not in the processes, nor in the kernels that they call
    with more than one element.
    """
    found = []
    loops = (folder / "src" / "qc" / "buffered.hpp").read_text()
    if re.search(r"#pragma (HLS )?unroll", loops):
        found.append("src/qc/buffered.hpp: an unrolled loop over a tensor in a memory")
    for source in (folder / "src").glob("*.cpp"):
        for name, body in re.findall(r"^static void (p\d+_whole)\(.*?\{\n(.*?)^\}", source.read_text(), re.M | re.S):
            calls = re.findall(r"qc::([a-z]\w*)<(\d+),", body)
            wide = [f"{kernel}<{n}" for kernel, n in calls if int(n) > 1]
            if re.search(r"#pragma (HLS )?unroll", body) or wide:
                found.append(f"{source.name}: {name} unrolls a loop over a tensor in a memory {' '.join(wide)}")
    return found


def _streams(name: str, text: str) -> list[str]:
    """Operators on streams: only read() and write() are understood; and one template argument."""
    found = []
    for inner, stream in sorted(set(_declared(text))):
        if re.search(rf"\b{stream}\s*(<<|>>)|>>\s*{stream}\b", text):
            found.append(f"{name}: << or >> on the stream {stream}")
        if "," in re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", inner)):
            found.append(f"{name}: the stream {stream} has more than one template argument")
    return found


def _declared(text: str) -> list[tuple[str, str]]:
    """(template arguments, name) of every stream that is declared."""
    found = []
    for match in re.finditer(r"hls::stream<", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            end += 1
        if declared := re.match(r"\s*&?\s*(\w+)", text[end:]):
            found.append((text[match.end() : end - 1], declared[1]))
    return found


def _recursions(name: str, text: str) -> list[str]:
    """Functions whose body calls their own name."""
    found = []
    for match in re.finditer(
        r"^(?:static |inline |template.*?> )*[\w:<>]+[ &*]+(\w+)\([^;{]*\)\s*\{\n(.*?)^\}", text, re.M | re.S
    ):
        if re.search(rf"(?<![\w.]){match[1]}\s*(<[^;]*?>)?\(", match[2]):
            found.append(f"{name}: {match[1]} seems to call itself")
    return found


def _pipelines(name: str, lines: list[str]) -> list[str]:
    """The open compiler refuses a pipeline pragma in a loop: it must be guarded."""
    found, loops, depth = [], [], 0
    for i, line in enumerate(lines):
        code = line.split("//")[0]
        if re.search(r"\bfor \(", code) and code.rstrip().endswith("{"):
            loops.append(depth)
        depth += code.count("{") - code.count("}")
        loops = [d for d in loops if d < depth]
        if "#pragma HLS pipeline" in code and loops and lines[i - 1].strip() != "#ifndef __BAMBU__":
            found.append(f"{name}:{i + 1}: a pipeline pragma inside a loop, not guarded")
    return found


def _pragmas(lines: list[str], i: int, where: str, streams: bool) -> list[str]:
    line = lines[i].strip()
    before, after = ([x.strip() for x in part] for part in (lines[max(0, i - 3) : i], lines[i + 1 : i + 4]))
    if re.search(r"\bfor \(", line):
        kept, spread = (["#ifdef __BAMBU__", f"#pragma {word}", "#endif"] for word in ("nounroll", "unroll"))
        if before not in (kept, spread):
            return [f"{where}: a loop of which the open compiler does not know whether it is unrolled"]
        if (before == spread) != (after == ["#ifndef __BAMBU__", "#pragma HLS unroll", "#endif"]):
            return [f"{where}: a loop that is unrolled for one tool alone"]
        if not streams and before != spread:
            return [f"{where}: a loop that is not unrolled"]
    if "port=return" in line and (lines[i - 1].strip() != "#ifndef __BAMBU__" or lines[i + 1].strip() != "#endif"):
        return [f"{where}: `port=return` is not for the open compiler: guard it"]
    return []


def _widths(path: Path, folder: Path) -> list[str]:
    """Ports of at most 140 bits (the open compiler), nothing above 1024 (ap_types)."""
    if path.name.startswith("constants") or path.parent.name == "qc":
        return []
    name, text = path.relative_to(folder), path.read_text()
    wide = [w for w in re.findall(r"ap_u?int<(\d+)> &?[xy]\d", text) if int(w) > 140]
    huge = [w for w in re.findall(r"ap_u?int<(\d+)>", text) if int(w) > 1024]
    return [f"{name}: a port of {w} bits" for w in wide] + [f"{name}: a number of {w} bits" for w in huge]


def _top(folder: Path, streams: bool) -> list[str]:
    tops = [p for p in (folder / "src").glob("*.cpp")]
    text = tops[0].read_text() if len(tops) == 1 else ""
    problems = (
        [] if re.search(r'^extern "C" void \w+\($', text, re.M) else ['the top is not one extern "C" void function']
    )
    body = text.split("{\n", 1)[1] if "{\n" in text else ""
    if streams:
        top = text[text.index('extern "C" void') :] if not problems else ""
        ports = len(re.findall(r"^    hls::stream<", top, re.M))
        if top.count("#pragma HLS interface mode=axis") != ports or top.count("#pragma HLS dataflow") != 1:
            problems.append("the top is no dataflow region with a stream for every port")
        return problems
    if not body.startswith("#pragma HLS pipeline II=1"):
        problems.append("the pipeline pragma is not at function scope")
    if text.count("#pragma HLS pipeline") != 1:
        problems.append("more than one pipeline pragma")
    return problems
