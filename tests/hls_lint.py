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
}


def lint_project(folder: Path) -> list[str]:
    """Violations in the sources of a project, file and line each."""
    found = []
    for path in sorted((folder / "src").rglob("*.[ch]pp")):
        # What only C simulation compiles is no hardware.
        lines = path.read_text().split("#ifdef QC_TRACE_ENABLED")[0].splitlines()
        for number, line in enumerate(lines, 1):
            where = f"{path.relative_to(folder)}:{number}"
            code = line.split("//")[0]
            found += [f"{where}: {why}" for pattern, why in FORBIDDEN.items() if re.search(pattern, code)]
            found += _pragmas(lines, number - 1, where)
        found += _widths(path, folder)
    return found + _top(folder)


def _pragmas(lines: list[str], i: int, where: str) -> list[str]:
    line = lines[i].strip()
    if line == "#pragma HLS unroll":
        if lines[i - 1].strip() != "#ifndef __BAMBU__" or "for (" not in lines[i - 2]:
            return [f"{where}: `HLS unroll` must be the first line of a loop's body, guarded"]
    if line == "#pragma unroll":
        if lines[i - 1].strip() != "#ifdef __BAMBU__" or lines[i + 1].strip() != "#endif" or "for (" not in lines[i + 2]:
            return [f"{where}: `unroll` must stand right before its loop, guarded"]
    if re.search(r"\bfor \(", line) and "#pragma HLS unroll" not in [x.strip() for x in lines[i + 1 : i + 3]]:
        return [f"{where}: a loop that is not unrolled"]
    return []


def _widths(path: Path, folder: Path) -> list[str]:
    if path.name.startswith("constants") or path.parent.name == "qc":
        return []
    wide = [w for w in re.findall(r"ap_u?int<(\d+)> &?[xy]\d", path.read_text()) if int(w) > 140]
    return [f"{path.relative_to(folder)}: a port of {w} bits" for w in wide]


def _top(folder: Path) -> list[str]:
    tops = [p for p in (folder / "src").glob("*.cpp")]
    text = tops[0].read_text() if len(tops) == 1 else ""
    problems = [] if re.search(r'^extern "C" void \w+\($', text, re.M) else ['the top is not one extern "C" void function']
    body = text.split("{\n", 1)[1] if "{\n" in text else ""
    if not body.startswith("#pragma HLS pipeline II=1"):
        problems.append("the pipeline pragma is not at function scope")
    if text.count("#pragma HLS pipeline") != 1:
        problems.append("more than one pipeline pragma")
    return problems
