#!/usr/bin/env python3
"""Yosys by its native library (pip install pyosys): `native_yosys.py -q [-l LOG] -p SCRIPT`. It takes a fifth of the
time of the WebAssembly build, which is compiled first on a new machine (over a minute). Netlists are those of the same
version, but for a LUT in a few of them: tables are made by the WebAssembly build, tests run this one.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-q", action="store_true")
    parser.add_argument("-l", type=Path)
    parser.add_argument("-p", required=True)
    given = parser.parse_args()
    from pyosys import libyosys

    said = os.open(given.l or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, sys.stdout.fileno())
    design = libyosys.Design()
    for command in given.p.split("; "):
        libyosys.run_pass(command, design)


if __name__ == "__main__":
    main()
