"""PyTorch: channels_last, autocast below float32, and `torch.compile` where TORCH_COMPILE=1.

The data lie on the device as one tensor, and batches are augmented there at once, which a
DataLoader's workers with an image each could not keep up with.
"""

import os
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from peers.task import (
    LEARNING_RATE,
    MOMENTUM,
    NUM_CLASSES,
    PADDING,
    WEIGHT_DECAY,
    WIDTHS,
    Task,
    weights,
)
from torch import nn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def conv(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)


class CNN(nn.Sequential):
    def __init__(self):
        parts, channels = [], 3
        for width in WIDTHS["cnn"]:
            parts += [conv(channels, width), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU(True)]
            parts += [conv(width, width), nn.BatchNorm2d(width), nn.ReLU(True)]
            channels = width
        super().__init__(
            *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, NUM_CLASSES)
        )


class Block(nn.Module):
    def __init__(self, channels: int, width: int):
        super().__init__()
        self.added = width - channels
        self.stride = 2 if self.added else 1
        self.conv1, self.norm1 = conv(channels, width, self.stride), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        if self.added:
            half = self.added // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return F.relu(x + y, inplace=True)


class ResNet20(nn.Sequential):
    def __init__(self):
        channels = WIDTHS["resnet20_cifar"][0]
        parts = [conv(3, channels), nn.BatchNorm2d(channels), nn.ReLU(True)]
        for width in WIDTHS["resnet20_cifar"]:
            for _ in range(3):
                parts.append(Block(channels, width))
                channels = width
        super().__init__(
            *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, NUM_CLASSES)
        )


def make_model(network: str) -> nn.Module:
    model = {"cnn": CNN, "resnet20_cifar": ResNet20}[network]()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights(network), strict=True):
            # HWIO -> OIHW, and [in, out] -> [out, in]
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
            parameter.copy_(torch.from_numpy(value.transpose(axes).copy()))
    return model.to(DEVICE, memory_format=torch.channels_last)


def augment(image: torch.Tensor) -> torch.Tensor:
    """Crops and flips uint8[B, 32, 32, 3], each image its own way."""
    size = len(image)
    padded = F.pad(image, (0, 0, PADDING, PADDING, PADDING, PADDING))
    top, left = torch.randint(0, 2 * PADDING + 1, (2, size, 1), device=DEVICE)
    pixels = torch.arange(32, device=DEVICE)
    flip = torch.rand(size, 1, device=DEVICE) < 0.5
    rows, columns = top + pixels, left + torch.where(flip, 31 - pixels, pixels)
    return padded[
        torch.arange(size, device=DEVICE)[:, None, None], rows[:, :, None], columns[:, None]
    ]


def to_float(image: torch.Tensor) -> torch.Tensor:
    """uint8[B, H, W, C] -> float32[B, C, H, W], in the same order in memory: channels last."""
    return image.permute(0, 3, 1, 2).float().div_(255)


def build(task: Task) -> dict[str, Callable]:
    torch.backends.cudnn.benchmark = True
    model = make_model(task.network).train()
    forward = torch.compile(model) if os.environ.get("TORCH_COMPILE") == "1" else model
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others}]
    optimizer = torch.optim.SGD(groups, LEARNING_RATE, MOMENTUM, nesterov=True)
    lower = task.dtype == "bfloat16"

    def train_step(image, label):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=lower):
            logits = forward(to_float(image))
            loss = F.cross_entropy(logits.float(), label)
        loss.backward()
        optimizer.step()
        return loss.detach(), (logits.argmax(-1) == label).sum()

    images, labels = (torch.from_numpy(x).to(DEVICE) for x in task.data())
    labels = labels.long()
    image, label = images[: task.batch_size].clone(), labels[: task.batch_size].clone()
    order = iter(())

    def check():
        with torch.no_grad():
            logits = model(to_float(image))
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "logits": logits.cpu().numpy(),
            "losses": [train_step(image, label)[0].item() for _ in range(3)],
            "platform": "gpu" if DEVICE.type == "cuda" else "cpu",
        }

    def step(n):
        for _ in range(n):
            loss, _ = train_step(image, label)
        loss.item()

    def loop():
        nonlocal order
        found = []
        for _ in range(task.steps):
            if (rows := next(order, None)) is None:
                whole = len(images) // task.batch_size * task.batch_size
                order = iter(
                    torch.randperm(len(images), device=DEVICE)[:whole].split(task.batch_size)
                )
                rows = next(order)
            found.append(train_step(augment(images[rows]), labels[rows]))
        loss, correct = (
            torch.stack(values).float().mean().item() for values in zip(*found, strict=True)
        )
        return {"loss": loss, "accuracy": correct / task.batch_size}

    return {"check": check, "step": step, "loop": loop}
