#!/usr/bin/env python3
"""Train two small quantized networks on scikit-learn's digits and export them as QONNX.

`digits_mlp.onnx`    64-32-32-10, 4-bit weights with per-channel scales, 4-bit activations, 8-bit input.
`digits_mixed.onnx`  64-48-32-24-10, 2 to 8 bits layer by layer, one ternary and one bipolar weight layer.

Every network also keeps a batch norm behind its hidden layers, as a trained network usually has. The held-out
test images go beside the models: `digits_x.npy` (float32, N x 64, pixels 0..16 divided by 16) and `digits_y.npy`.

Needs torch, brevitas and scikit-learn. Runs on one CPU thread in well under a minute, with fixed seeds.
"""

import argparse
import copy
import pathlib

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    SignedBinaryWeightPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from sklearn.datasets import load_digits
from torch import Tensor, nn

INPUTS = 64
CLASSES = 10
TEST_ROWS = 200
EPOCHS = 60
BATCH = 64


class Bipolar(SignedBinaryWeightPerTensorConst):
    """Weights -0.1 and +0.1."""

    scaling_const = 0.1


class Ternary(SignedTernaryWeightPerTensorConst):
    """Weights -0.125, 0 and +0.125; those below half a step become 0."""

    scaling_const = 0.125
    threshold = 0.5


def dense(inputs: int, outputs: int, bits: int | type, bias: bool = False) -> nn.Module:
    """A linear layer: `bits` is a width for per-channel integer weights, or a Brevitas weight quantizer."""
    if isinstance(bits, int):
        options = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": bits}
    else:
        options = {"weight_quant": bits}
    return qnn.QuantLinear(inputs, outputs, bias=bias, **options)


def relu(bits: int) -> nn.Module:
    """An unsigned activation of `bits` bits whose scale is learned."""
    return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits)


def digits_mlp() -> nn.Module:
    """64-32-32-10 with 4-bit weights and activations."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8),
        dense(INPUTS, 32, 4),
        nn.BatchNorm1d(32),
        relu(4),
        dense(32, 32, 4),
        nn.BatchNorm1d(32),
        relu(4),
        dense(32, CLASSES, 4, bias=True),
    )


def digits_mixed() -> nn.Module:
    """64-48-32-24-10: weights of 6, ternary, bipolar and 8 bits, activations of 5, 3 and 2 bits, 7-bit output."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=6),
        dense(INPUTS, 48, 6),
        nn.BatchNorm1d(48),
        relu(5),
        dense(48, 32, Ternary),
        nn.BatchNorm1d(32),
        relu(3),
        dense(32, 24, Bipolar),
        nn.BatchNorm1d(24),
        relu(2),
        dense(24, CLASSES, 8, bias=True),
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=7),
    )


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images and labels; the split is a fixed permutation."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.from_numpy((images[order] / 16).astype(np.float32))
    y = torch.from_numpy(labels[order].astype(np.int64))
    return x[TEST_ROWS:], y[TEST_ROWS:], x[:TEST_ROWS], y[:TEST_ROWS]


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Adam with a cosine schedule; images are visited in a seeded order."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    generator = torch.Generator().manual_seed(1)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    model.eval()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the rows of `x` that the model classifies as `y`."""
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def unquantized(model: nn.Module) -> nn.Module:
    """The same trained parameters without any quantizer, to show what the quantization costs."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, qnn.QuantLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight, plain.bias = layer.weight, layer.bias
            layers.append(plain)
        elif isinstance(layer, qnn.QuantReLU):
            layers.append(nn.ReLU())
        elif isinstance(layer, nn.BatchNorm1d):
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def export(model: nn.Module, path: pathlib.Path) -> None:
    """Write the model as QONNX with batch 1. A copy is exported: a failed export spoils its module."""
    export_qonnx(
        copy.deepcopy(model),
        torch.zeros(1, INPUTS),
        export_path=str(path),
        dynamo=False,
        input_names=["image"],
        output_names=["scores"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, help="output folder")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y, test_x, test_y = data()
    np.save(out / "digits_x.npy", test_x.numpy())
    np.save(out / "digits_y.npy", test_y.numpy())
    for name, build in (("digits_mlp", digits_mlp), ("digits_mixed", digits_mixed)):
        torch.manual_seed(0)
        model = build()
        train(model, x, y)
        export(model, out / f"{name}.onnx")
        plain = accuracy(unquantized(model), test_x, test_y)
        print(f"{name}: test accuracy {accuracy(model, test_x, test_y):.3f} quantized, {plain:.3f} without quantizers")


if __name__ == "__main__":
    main()
