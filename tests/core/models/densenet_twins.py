"""DenseNet in PyTorch, with torchvision's names; the stem for CIFAR has no norm."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional


class DenseLayer(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(y)))], 1)


class Transition(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, x):
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, depths, growth, stem_width, stem, num_classes):
        super().__init__()
        width, layers = stem_width, OrderedDict()
        if stem == "imagenet":
            layers["conv0"] = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
            layers["norm0"] = nn.BatchNorm2d(width)
            layers["relu0"] = nn.ReLU()
            layers["pool0"] = nn.MaxPool2d(3, 2, padding=1)
        else:
            layers["conv0"] = nn.Conv2d(3, width, 3, padding=1, bias=False)
        for stage, depth in enumerate(depths, start=1):
            block = OrderedDict()
            for number in range(1, depth + 1):
                block[f"denselayer{number}"] = DenseLayer(width, growth)
                width += growth
            layers[f"denseblock{stage}"] = nn.Sequential(block)
            if stage < len(depths):
                layers[f"transition{stage}"] = Transition(width)
                width //= 2
        layers["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(functional.relu(self.features(x)).mean((2, 3)))


densenet = DenseNet
