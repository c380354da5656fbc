"""The models in plain PyTorch, in torchvision's names or their authors'. Needs PyTorch."""

import torch
from torch import nn


def conv(features_in, features, size, stride=1, groups=1):
    return nn.Conv2d(features_in, features, size, stride, size // 2, groups=groups, bias=False)


class SqueezeExcite(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.fc1 = nn.Conv2d(features, features // 16, 1)
        self.fc2 = nn.Conv2d(features // 16, features, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """Of a ResNet; kernel sizes (3, 3) make it basic, (1, 3, 1) a bottleneck."""

    def __init__(self, features_in, widths, sizes, stride, *, groups, se, shortcut):
        super().__init__()
        self.number = len(sizes)
        strided = sizes.index(3)
        for n, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            last = features_in if n == 0 else widths[n - 1]
            given = (stride if n == strided else 1, groups if size == 3 else 1)
            self.add_module(f"conv{n + 1}", conv(last, width, size, *given))
            self.add_module(f"bn{n + 1}", nn.BatchNorm2d(width))
        if se:
            self.se = SqueezeExcite(widths[-1])
        self.shortcut_kind, self.added = shortcut, widths[-1] - features_in
        if stride == 1 and self.added == 0:
            return
        if shortcut == "conv":
            layers = [conv(features_in, widths[-1], 1, stride), nn.BatchNorm2d(widths[-1])]
            self.downsample = nn.Sequential(*layers)
        if shortcut == "named":
            layers = [conv(features_in, widths[-1], 1, stride), nn.BatchNorm2d(widths[-1])]
            self.shortcut = nn.Sequential(*layers)
        if shortcut == "pool":
            pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            layers = [conv(features_in, widths[-1], 1), nn.BatchNorm2d(widths[-1])]
            self.downsample = nn.Sequential(nn.Identity() if stride == 1 else pool, *layers)

    def forward(self, x):
        y = x
        for n in range(1, self.number + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = torch.relu(y) if n < self.number else y
        y = self.se(y) if hasattr(self, "se") else y
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif hasattr(self, "shortcut"):
            x = self.shortcut(x)
        elif self.added:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added // 2))
        return torch.relu(x + y)


class ResNet(nn.Module):
    """head: the name of the last layer."""

    def __init__(self, num_classes, stage_sizes, width, stem, bottleneck, head, **block):
        super().__init__()
        self.imagenet, self.head = stem != "cifar", head
        half = width // 2
        if stem == "deep":
            self.conv1 = nn.Sequential(
                *(conv(3, half, 3, 2), nn.BatchNorm2d(half), nn.ReLU()),
                *(conv(half, half, 3), nn.BatchNorm2d(half), nn.ReLU()),
                conv(half, width, 3),
            )
        else:
            self.conv1 = conv(3, width, 7, 2) if stem == "imagenet" else conv(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = len(stage_sizes)
        group_width, last = block.pop("group_width", 64), width
        for stage, blocks in enumerate(stage_sizes):
            narrow = width * 2**stage
            inner = narrow * group_width // 64 * block["groups"]
            widths = (inner, inner, narrow * 4) if bottleneck else (narrow, narrow)
            sizes = (1, 3, 1) if bottleneck else (3, 3)
            layers = []
            for position in range(blocks):
                stride = 2 if stage > 0 and position == 0 else 1
                layers.append(Block(last, widths, sizes, stride, **block))
                last = widths[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.add_module(head, nn.Linear(last, num_classes))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1) if self.imagenet else x
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))


def resnet(stem="imagenet", bottleneck=False, shortcut="conv", groups=1, se=False, **keywords):
    given = {"stem": stem, "bottleneck": bottleneck, "shortcut": shortcut, "groups": groups}
    return ResNet(**given, se=se, head="fc", **keywords)


def cifar_resnet(shortcut, **keywords):
    kind = {"pad": "pad", "conv": "named"}[shortcut]
    given = {"stem": "cifar", "bottleneck": False, "groups": 1, "se": False}
    return ResNet(**given, shortcut=kind, head="linear", **keywords)


class WideBlock(nn.Module):
    def __init__(self, features_in, features, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(features_in), conv(features_in, features, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(features), conv(features, features, 3)
        if features_in != features:
            self.convShortcut = conv(features_in, features, 1, stride)

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        x = self.convShortcut(y) if hasattr(self, "convShortcut") else x
        return x + self.conv2(torch.relu(self.bn2(self.conv1(y))))


class WideResNet(nn.Module):
    def __init__(self, num_classes, stage_sizes, width, widen):
        super().__init__()
        self.conv1, last = conv(3, width, 3), width
        self.stages = len(stage_sizes)
        for stage, blocks in enumerate(stage_sizes):
            block, layers = nn.Module(), []
            for position in range(blocks):
                features = width * widen * 2**stage
                layers.append(WideBlock(last, features, 2 if stage and not position else 1))
                last = features
            block.layer = nn.Sequential(*layers)
            self.add_module(f"block{stage + 1}", block)
        self.bn1, self.fc = nn.BatchNorm2d(last), nn.Linear(last, num_classes)

    def forward(self, x):
        x = self.conv1(x)
        for stage in range(self.stages):
            x = getattr(self, f"block{stage + 1}").layer(x)
        return self.fc(torch.relu(self.bn1(x)).mean((2, 3)))


wide_resnet = WideResNet


def vgg(num_classes, stage_sizes, width, grid, dense, norm="none"):
    features, last = [], 3
    for stage, blocks in enumerate(stage_sizes):
        for _ in range(blocks):
            features.append(nn.Conv2d(last, width * 2**stage, 3, padding=1))
            last = width * 2**stage
            features += [nn.BatchNorm2d(last)] if norm == "batch" else []
            features.append(nn.ReLU())
        features.append(nn.MaxPool2d(2))
    twin = nn.Sequential()
    twin.features = nn.Sequential(*features)
    twin.avgpool, twin.flat = nn.AdaptiveAvgPool2d(grid), nn.Flatten()
    first, second = dense
    twin.classifier = nn.Sequential(
        *(nn.Linear(last * grid**2, first), nn.ReLU(), nn.Dropout(0)),
        *(nn.Linear(first, second), nn.ReLU(), nn.Dropout(0)),
        nn.Linear(second, num_classes),
    )
    return twin


class LeNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x):
        for layer in (self.conv1, self.conv2):
            x = nn.functional.avg_pool2d(torch.tanh(layer(x)), 2)
        x = torch.tanh(self.fc2(torch.tanh(self.fc1(x.flatten(1)))))
        return self.fc3(x)


lenet = LeNet
