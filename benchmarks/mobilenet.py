"""MobileNet-V1 at 224 x 224 with 4 bits (Brevitas' own definition, seeded weights): seconds and memory from QONNX to a
written project.

Every step beside Brevitas' (torch) evaluation of one image in the same run; the simulator's scores must equal those of
torch up to its rounding.

    python benchmarks/mobilenet.py [--fold min|full] [--part zcu102] [--image 224]
"""

from __future__ import annotations

import argparse
import configparser
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brevitas_examples.imagenet_classification.models as definitions
import numpy as np
import torch
from brevitas.export import export_qonnx
from brevitas_examples.imagenet_classification.models.mobilenetv1 import quant_mobilenet_v1

import qcompile as qc

INPUT = "s12f8"


def exported(image: int, path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """(input, torch's scores, seconds of torch); the network as QONNX at `path`, its ranges from random images."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = configparser.ConfigParser()
    config.read(Path(definitions.__file__).parent / "cfg" / "quant_mobilenet_v1_4b.ini")
    module = quant_mobilenet_v1(config)
    with torch.no_grad():
        for _ in range(2):
            module(torch.randn(2, 3, image, image))
        module.eval()
        x = torch.round(torch.randn(1, 3, image, image).clamp(-7, 7) * 256) / 256  # what INPUT holds
        start = time.perf_counter()
        y = module(x)
        seconds = time.perf_counter() - start
    export_qonnx(module, x, str(path))
    return x.numpy(), np.asarray(getattr(y, "value", y)), seconds


def timed(name: str, step: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    out = step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:30} {time.perf_counter() - start:8.2f} s   peak so far {peak:.2f} GB (with torch)")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", default="min")
    parser.add_argument("--part", default="zcu102")
    parser.add_argument("--image", type=int, default=224)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "mobilenet_v1.onnx"
        x, expected, seconds = exported(args.image, model)
        print(f"{'torch, one image':30} {seconds:8.2f} s")
        options = {"part": args.part, "input_formats": (INPUT,)}
        design = timed(
            f"compile --fold {args.fold}", lambda: qc.compile(model, arch="dataflow", fold=args.fold, **options)
        )
        timed("write (with schedule)", lambda: design.write(Path(folder) / "build"))
        size = sum(f.stat().st_size for f in (Path(folder) / "build").rglob("*") if f.is_file())
        print(f"{'size of the project':30} {size / 2**20:8.1f} MB; {design.estimate().total.interval:,} cycles a frame")
        y = timed("simulate, one image", lambda: design.simulate(x))
        print(
            f"{'class':30} {int(np.argmax(y))} (torch: {int(np.argmax(expected))}); scores differ by"
            f" {np.abs(y.ravel() - expected.ravel()).max():.1g} at most"
        )
        fitted = timed(f"compile --fit {args.part}", lambda: qc.compile(model, fit=True, **options))
        print(f"{'fitted':30} {fitted.fitted.interval:,} cycles a frame; {fitted.fitted.binding} binds")


if __name__ == "__main__":
    main()
