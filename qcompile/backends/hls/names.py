"""What is emitted of texts that are not to be trusted: C identifiers, and remarks in comments and pages."""

from __future__ import annotations

import re

_RESERVED = frozenset(
    """alignas alignof and and_eq asm atomic_cancel auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class compl concept const consteval constexpr constinit const_cast continue co_await co_return
    co_yield decltype default delete do double dynamic_cast else enum explicit export extern false float for
    friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public register reinterpret_cast requires return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename union unsigned
    using virtual void volatile wchar_t while xor xor_eq main std qc linux unix ap_int ap_uint ap_fixed
    ap_ufixed hls int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t input output""".split()
)


_GENERATED = re.compile(
    r"[xy]\d+_\d+|(read|write)_(file|word)|trace_file|run_main|pthread_.*|posix_.*|sched_.*|clock_.*|qc_.*|ap_.*|hls_.*"
)


def identifier(text: str) -> str:
    """A lowercase C identifier of at most 40 characters."""
    # Words joined by an underscore meet neither the C library (`read`, `exit`) nor the names that templates make
    # (`x0_1`, `v0`, `run`).
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_").lower()[:40].strip("_")
    if not name:
        return "network"
    plain = (
        "_" not in name
        or _GENERATED.fullmatch(name)
        or name in _RESERVED
        or name[0].isdigit()
        or name.startswith("str")
    )
    return f"net_{name}"[:40].rstrip("_") if plain else name


def remark(text: object, most: int = 60) -> str:
    """At most `most` characters that end no comment, quote, line or word of C, Tcl, make, shell, Markdown or HTML, and
    that lead to no other folder.
    """
    kept = "".join(c if c.isascii() and (c.isalnum() or c in " _.-#:/") else "_" for c in str(text)[:most])
    return re.sub(r"\.\.+|//+", "_", kept)
