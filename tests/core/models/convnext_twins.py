"""ConvNeXt in PyTorch, with torchvision's names."""

import torch
from torch import nn


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Move(nn.Module):
    def __init__(self, source, target):
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x):
        return x.movedim(self.source, self.target)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Move(1, -1),
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Move(-1, 1),
        )
        self.layer_scale = nn.Parameter(torch.empty(width, 1, 1))

    def forward(self, x):
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    def __init__(self, depths, widths, patch_size, num_classes):
        super().__init__()
        stem = nn.Conv2d(3, widths[0], patch_size, patch_size)
        layers = [nn.Sequential(stem, LayerNorm2d(widths[0], eps=1e-6))]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            layers.append(nn.Sequential(*(Block(width) for _ in range(depth))))
            if stage + 1 < len(widths):
                down = nn.Conv2d(width, widths[stage + 1], 2, 2)
                layers.append(nn.Sequential(LayerNorm2d(width, eps=1e-6), down))
        self.features = nn.Sequential(*layers)
        norm = LayerNorm2d(widths[-1], eps=1e-6)
        self.classifier = nn.Sequential(norm, nn.Flatten(), nn.Linear(widths[-1], num_classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3), keepdim=True))


convnext = ConvNeXt
