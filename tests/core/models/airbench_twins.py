"""The airbench nets in PyTorch, with the paper's code's names."""

import torch
from torch import nn


class Norm(nn.BatchNorm2d):
    """With a bias and no scale."""

    def __init__(self, width):
        super().__init__(width, eps=1e-12, momentum=0.4)
        del self.weight
        self.register_buffer("weight", torch.ones(width), persistent=False)


class ConvGroup(nn.Module):
    def __init__(self, width_in, width, convs, shortcut):
        super().__init__()
        self.convs, self.shortcut = convs, shortcut
        for number in range(1, convs + 1):
            conv = nn.Conv2d(width_in if number == 1 else width, width, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"norm{number}", Norm(width))

    def forward(self, x):
        first = None
        for number in range(1, self.convs + 1):
            x = getattr(self, f"conv{number}")(x)
            x = nn.functional.max_pool2d(x, 2) if number == 1 else x
            x = getattr(self, f"norm{number}")(x)
            if self.shortcut and number == self.convs:
                x = x + first
            x = nn.functional.gelu(x)
            first = x if number == 1 else first
        return x


class Head(nn.Linear):
    def forward(self, x):
        return super().forward(x.amax((2, 3))) / 9


def airbench(widths, convs_per_stage, shortcut, num_classes):
    groups = [
        ConvGroup(width_in, width, convs_per_stage, shortcut)
        for width_in, width in zip((24, *widths), widths, strict=False)
    ]
    whitening = nn.Conv2d(3, 24, 2)
    whitening.weight.requires_grad = False
    names = {"0": whitening, "1": nn.GELU()}
    names |= {str(number): group for number, group in enumerate(groups, start=2)}
    net = nn.Sequential()
    for name, module in names.items():
        net.add_module(name, module)
    net.add_module("7", Head(widths[-1], num_classes, bias=False))
    return net
