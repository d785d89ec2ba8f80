"""Native integers of the C simulation against ap_types: every operator, the same program on both."""

import itertools
import subprocess
from pathlib import Path

import pytest

import qcompile as qc
from qcompile.assets import ap_types, asset

PROGRAM = """#include "qc/tool.hpp"
#include <cstdio>

static uint64_t state = SEED, hash;
static uint64_t drawn() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state % 8 == 0 ? 0 : state % 8 == 1 ? ~uint64_t(0) : state * 0x2545f4914f6cdd1dULL;
}
template <class T> T draw() {
  ap_uint<320> bits = 0;
  for (int i = 0; i < 5; ++i)
    bits = (bits << 64) | ap_uint<320>(drawn());
  return T(bits);
}
static void add(uint64_t x) { hash = (hash ^ x) * 0x100000001b3ULL; }
static void add(bool x) { add(uint64_t(x)); }
template <class T> void add(const T &x) {
  add(uint64_t(T::width));
  add(T(-1) < 0);
  for (int low = 0; low < T::width; low += 64)
    add(uint64_t(ap_uint<64>(x >> low).to_uint64()));
  add(uint64_t(x.to_int()));
}
static void told(const char *what) {
  printf("%s %016llx\\n", what, (unsigned long long)hash);
  hash = 1;
}

// Every operator on two operands of which one is ours. Not what ap_types gets wrong: it converts a negative number to
// unsigned, as C++ does, before it compares it with an unsigned one or divides; and some quotients of several words.
template <class A, class B> bool sound(const A &a, const B &b) {
  return (A(-1) < 0) == (B(-1) < 0) || !(a < 0 || b < 0);
}
template <class A, class B> void divide(const A &a, const B &b) {
  const auto quotient = a / b;
#ifdef QC_AP_TYPES
  const bool right = true;
#else
  const ap_int<500> rest = a - quotient * b, size = rest < 0 ? ap_int<500>(-rest) : rest;
  const bool right = size < (b < 0 ? ap_int<500>(-b) : ap_int<500>(b)) && (rest == 0 || (rest < 0) == (a < 0));
#endif
  add(right);
  if (A::width <= 64 && B::width <= 64)
    add(quotient);
}
template <class A, class B> void both(const A &a, const B &b) {
  add(a + b), add(a - b), add(a * b), add(a & b), add(a | b), add(a ^ b);
  if (sound(a, b))
    add(a == b), add(a != b), add(a < b), add(a > b), add(a <= b), add(a >= b);
}
template <class A, class B> void pair(const A &a, const B &b) {
  both(a, b);
  if (sound(a, b) && b != 0)
    divide(a, b);
  A c = b;
  add(c);
  c = a, c += b, add(c), c = a, c -= b, add(c), c = a, c *= b, add(c);
  c = a, c &= A(b), add(c), c = a, c |= A(b), add(c), c = a, c ^= A(b), add(c);
}
template <class A> void with(const A &a, long long n) {
  const auto all = [&](auto c) {
    both(a, c), both(c, a);
    A made = c;
    add(made), made = a, made += c, add(made), made = c, add(made);
  };
  all(bool(n & 1)), all(int8_t(n)), all(uint16_t(n)), all(int(n)), all(unsigned(n)), all(int64_t(n));
}
template <class A> void alone(const A &a) {
  const int w = A::width;
  add(-a), add(A(~a)), add(!a), add(bool(a != 0)), add(uint64_t(a.to_int64())), add(uint64_t(a.to_uint64()));
  for (int n = 1 - w; n <= w; n += w > 40 ? 13 : 1)
    add(A(a << n)), add(A(a >> n));
  A c = a;
  c <<= w / 2, add(c), c = a, c >>= w / 2, add(c);
  for (int high = 0; high < w; high += w > 40 ? 29 : 1) {
    add(bool(a[high])), add(ap_uint<A::width>(a.range(high, high / 2)));
    c = a, c[high] = !c[high], add(c);
  }
}

template <class A, class B> void exhaustive(const char *what) {
  for (int i = 0; i < 1 << A::width; ++i)
    for (int j = 0; j < 1 << B::width; ++j)
      pair(A(i), B(j));
  told(what);
}
template <class A> void exhaustive_alone(const char *what) {
  for (int i = 0; i < 1 << A::width; ++i) {
    alone(A(i));
    for (int n = -9; n < 10; ++n)
      with(A(i), n);
  }
  told(what);
}
template <class A, class B> void random_pairs(const char *what) {
  for (int i = 0; i < 300; ++i)
    pair(draw<A>(), draw<B>());
  told(what);
}
template <class A> void random_alone(const char *what) {
  for (int i = 0; i < 100; ++i) {
    const A a = draw<A>();
    alone(a), with(a, (long long)drawn());
  }
  told(what);
}

int main() {
CALLS}
"""
SMALL = ["ap_int<1>", "ap_uint<1>", "ap_int<3>", "ap_uint<4>"]
# Around the widths of native integers and of words, and numbers of several words.
WIDE = [("int<8>", "uint<8>"), ("uint<16>", "int<15>"), ("int<31>", "int<33>"), ("uint<63>", "uint<65>")]
WIDE += [("int<64>", "uint<64>"), ("uint<128>", "int<127>"), ("int<200>", "int<129>"), ("uint<192>", "uint<130>")]


def outputs(folder: Path, calls: list[str]) -> list[list[str]]:
    """Lines that the program prints on native integers and on ap_types."""
    text = "".join(f'  {c}("{c}");\n' for c in calls)
    (folder / "all.cpp").write_text(PROGRAM.replace("CALLS", text).replace("SEED", "88172645463325252ULL"))
    command = ["g++", "-std=c++17", "-O0", "-w", "-I", str(asset("hw/include")), "all.cpp"]
    found = []
    for name, extra in (("native", []), ("ap_types", ["-DQC_AP_TYPES", "-isystem", str(ap_types())])):
        subprocess.run([*command, *extra, "-o", name], cwd=folder, check=True)
        done = subprocess.run([f"./{name}"], cwd=folder, check=True, capture_output=True, text=True)
        found.append(done.stdout.splitlines())
    return found


def test_pairs_of_small_numbers_exhaustively(tmp_path: Path) -> None:
    native, wanted = outputs(tmp_path, [f"exhaustive<{a}, {b}>" for a, b in itertools.product(SMALL, SMALL)])
    assert len(native) == len(SMALL) ** 2 and native == wanted


def test_numbers_and_integers_of_the_language(tmp_path: Path) -> None:
    native, wanted = outputs(tmp_path, ["exhaustive_alone<ap_int<3>>", "random_alone<ap_uint<65>>"])
    assert len(native) == 2 and native == wanted


def test_wide_numbers_at_random(tmp_path: Path) -> None:
    native, wanted = outputs(tmp_path, [f"random_pairs<ap_{a}, ap_{b}>" for a, b in WIDE])
    assert len(native) == len(WIDE) and native == wanted


@pytest.mark.parametrize("arch", ["parallel", "dataflow"])
def test_a_project_on_ap_types_writes_the_same_bytes(arch: str, tmp_path: Path, digits: Path) -> None:
    """Outputs and every intermediate tensor; what `make csim` takes is said on the command line alone."""
    folder = qc.compile(digits, arch=arch).write(tmp_path / "p")
    for extra in ([], ["AP_TYPES=1"]):
        done = subprocess.run(["make", "csim", *extra], cwd=folder, capture_output=True, text=True)
        assert "PASS" in done.stdout, done.stdout + done.stderr
    found = []
    for name in ("csim", "csim_ap_types"):
        run = [f"build/{name}", "--trace", "trace.bin", "tb/vectors/input.bin", "out.bin"]
        subprocess.run(run, cwd=folder, check=True)
        found.append([(folder / file).read_bytes() for file in ("trace.bin", "out.bin")])
    assert found[0] == found[1] and min(map(len, found[0])) > 0
