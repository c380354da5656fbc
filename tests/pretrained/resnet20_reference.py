"""Writes resnet20_logits.npy: what PyTorch makes of the weights and images in ../shared/data.

    python -m tests.pretrained.resnet20_reference

float32[16, 10], of the first 16 images. Written with PyTorch 2.13.0 on a CPU. The net is that of
github.com/akamaster/pytorch_resnet_cifar10 (ResNet-20, shortcuts of option A), as functions.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("resnet20_logits.npy")
IMAGES = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    import torch
    import torch.nn.functional as F  # noqa: N812

    from tests.conftest import SHARED

    with np.load(SHARED / "weights" / "resnet20-cifar10.npz") as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files}
    with np.load(SHARED / "cifar10_lossless_1000.npz") as file:
        image = torch.from_numpy(file["image"][:IMAGES]).permute(0, 3, 1, 2) / 255

    def norm(x, name):
        arrays = (weights[f"{name}.{a}"] for a in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *arrays, eps=1e-5)

    def conv(x, name, stride=1):
        return F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)

    x = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    x = F.relu(norm(conv(x, "conv1"), "bn1"))
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = norm(conv(y, f"{name}.conv2"), f"{name}.bn2")
            added = (y.shape[1] - x.shape[1]) // 2
            x = F.relu(y + F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, added, added)))
    logits = F.linear(x.mean((2, 3)), weights["linear.weight"], weights["linear.bias"])
    np.save(FILE, logits.numpy())


if __name__ == "__main__":
    main()
