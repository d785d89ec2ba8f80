#!/usr/bin/env python3
"""Train two small float networks on scikit-learn's digits and export them as plain ONNX, batch norms still visible.

`digits_float_mlp.onnx`  64-32-32-10, batch norm and ReLU behind the hidden layers.
`digits_float_cnn.onnx`  two strided 3x3 convolutions (6 and 12 channels) with batch norm and ReLU, one dense layer.

256 images that no network is trained on and that are none of `digits_x.npy` go beside them, for calibration:
`digits_calibration.npz` with `x` and `labels`.

Needs torch and scikit-learn. Runs on one CPU thread in about half a minute, with fixed seeds.
"""

import argparse
import io
import pathlib

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

TEST_ROWS, CALIBRATION_ROWS = 200, 256
EPOCHS, BATCH = 60, 64


class Image(nn.Module):
    """Rows of 64 pixels as images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 8, 8)


def mlp() -> nn.Sequential:
    """64-32-32-10."""
    return nn.Sequential(
        nn.Linear(64, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def cnn() -> nn.Sequential:
    """8x8 -> 6 x 4x4 -> 12 x 2x2 -> 10."""
    return nn.Sequential(
        Image(),
        nn.Conv2d(1, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 10),
    )


def depthwise() -> nn.Sequential:
    """A separable network: 3x3 -> depthwise 3x3 -> 1x1 -> depthwise 3x3 -> 1x1 -> mean -> 10."""
    return nn.Sequential(
        Image(),
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, stride=2, padding=1, groups=24, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip connection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if inputs == outputs else skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.skip(x))


def residual() -> nn.Sequential:
    """ResNet-8 on 8x8: three blocks of 8, 16 and 32 channels."""
    front = [Image(), nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    blocks = [Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2)]
    return nn.Sequential(*front, *blocks, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images and labels; seed 0 is the split of `train_digits.py`."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x = torch.from_numpy((images[order] / 16).astype(np.float32))
    y = torch.from_numpy(labels[order].astype(np.int64))
    return x[TEST_ROWS:], y[TEST_ROWS:], x[:TEST_ROWS], y[:TEST_ROWS]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int = EPOCHS, seed: int = 1) -> None:
    """Adam with a cosine schedule; images are visited in a seeded order."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            if len(rows) > 1:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
        schedule.step()
    model.eval()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the rows of `x` that the model classifies as `y`."""
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def onnx_bytes(model: nn.Module) -> bytes:
    """The model as ONNX with a free batch size; batch norms are not folded."""
    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        (torch.zeros(1, 64),),
        buffer,
        dynamo=False,
        opset_version=17,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
    )
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, help="output folder")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y, test_x, test_y = data()
    np.savez_compressed(
        out / "digits_calibration.npz", x=x[:CALIBRATION_ROWS].numpy(), labels=y[:CALIBRATION_ROWS].numpy()
    )
    x, y = x[CALIBRATION_ROWS:], y[CALIBRATION_ROWS:]
    for name, build in (("digits_float_mlp", mlp), ("digits_float_cnn", cnn)):
        torch.manual_seed(0)
        model = build()
        train(model, x, y)
        (out / f"{name}.onnx").write_bytes(onnx_bytes(model))
        print(f"{name}: test accuracy {accuracy(model, test_x, test_y):.3f}")


if __name__ == "__main__":
    main()
