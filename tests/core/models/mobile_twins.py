"""MobileNets and EfficientNets in plain PyTorch, in torchvision's and in timm's names.

blocks: how many of each stage; fewer stages than published end early.
"""

from collections import OrderedDict

from torch import nn


def rounded(width):
    """To multiples of 8, as both libraries do."""
    whole = max(8, int(width + 4) // 8 * 8)
    return whole + 8 if whole < 0.9 * width else whole


def conv_bn(before, width, size=1, stride=1, groups=1, activation=None, eps=1e-5):
    conv = nn.Conv2d(before, width, size, stride, (size - 1) // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(width, eps)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class V2Block(nn.Module):
    def __init__(self, before, width, expansion, stride):
        super().__init__()
        wide = before * expansion
        layers = [conv_bn(before, wide, activation=nn.ReLU6)] if expansion > 1 else []
        layers += [conv_bn(wide, wide, 3, stride, wide, nn.ReLU6)]
        self.conv = nn.Sequential(*layers, *conv_bn(wide, width))
        self.shortcut = stride == 1 and before == width

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class HardSigmoid(nn.Module):
    """The gradient of PyTorch's own is exact to float32 only, also in float64."""

    def forward(self, x):
        return nn.functional.relu6(x + 3) / 6


class SqueezeExcite(nn.Module):
    def __init__(self, width, squeezed, activation, gate, names=("fc1", "fc2")):
        super().__init__()
        self.names, self.activation, self.gate = names, activation(), gate()
        self.add_module(names[0], nn.Conv2d(width, squeezed, 1))
        self.add_module(names[1], nn.Conv2d(squeezed, width, 1))

    def forward(self, x):
        reduce, expand = (getattr(self, name) for name in self.names)
        return x * self.gate(expand(self.activation(reduce(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """torchvision's block of EfficientNet and of MobileNetV3. squeezed: 0 for no attention."""

    def __init__(self, before, wide, width, size, stride, squeezed, activation, eps, small=False):
        super().__init__()
        layers = []
        if wide != before:
            layers.append(conv_bn(before, wide, activation=activation, eps=eps))
        layers.append(conv_bn(wide, wide, size, stride, wide, activation, eps))
        if squeezed:
            parts = (nn.ReLU, HardSigmoid) if small else (activation, nn.Sigmoid)
            layers.append(SqueezeExcite(wide, squeezed, *parts))
        self.block = nn.Sequential(*layers, conv_bn(wide, width, eps=eps))
        self.shortcut = stride == 1 and before == width

    def forward(self, x):
        return x + self.block(x) if self.shortcut else self.block(x)


class FusedBlock(nn.Module):
    def __init__(self, before, width, expansion, stride, eps):
        super().__init__()
        wide = before * expansion
        layers = [conv_bn(before, wide, 3, stride, activation=nn.SiLU, eps=eps)]
        if expansion > 1:
            layers.append(conv_bn(wide, width, eps=eps))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and before == width

    def forward(self, x):
        return x + self.block(x) if self.shortcut else self.block(x)


class Net(nn.Module):
    """features: (name, module)s; the classifier sees their average."""

    def __init__(self, features, *classifier):
        super().__init__()
        self.features = nn.Sequential(OrderedDict(features))
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2(num_classes, blocks, width=1.0, last=1280):
    table = [(1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1)]
    before = rounded(32 * width)
    features = [("0", conv_bn(3, before, 3, 2, activation=nn.ReLU6))]
    for (expansion, channels, stride), number in zip(table, blocks, strict=False):
        for position in range(number):
            after = rounded(channels * width)
            block = V2Block(before, after, expansion, 1 if position else stride)
            features.append((str(len(features)), block))
            before = after
    features.append(("18", conv_bn(before, last, activation=nn.ReLU6)))
    return Net(features, nn.Identity(), nn.Linear(last, num_classes))


# Expansion, channels, stride, kernel size.
EFFICIENTNET = [(1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 2, 3), (6, 112, 1, 5)]
EFFICIENTNET += [(6, 192, 2, 5), (6, 320, 1, 3)]


def efficientnet(num_classes, blocks, width=1.0, last=1280):
    before = rounded(32 * width)
    features = [("0", conv_bn(3, before, 3, 2, activation=nn.SiLU))]
    rows = zip(EFFICIENTNET, blocks, strict=False)
    for stage, ((expansion, channels, stride, size), number) in enumerate(rows, start=1):
        layers, after = [], rounded(channels * width)
        for position in range(number):
            sizes = (before * expansion, after, size, 1 if position else stride, before // 4)
            layers.append(Block(before, *sizes, nn.SiLU, 1e-5))
            before = after
        features.append((str(stage), nn.Sequential(*layers)))
    features.append(("8", conv_bn(before, last, activation=nn.SiLU)))
    return Net(features, nn.Identity(), nn.Linear(last, num_classes))


def efficientnet_v2(num_classes, blocks, last=1280):
    table = [(1, 24, 1), (4, 48, 2), (4, 64, 2), (4, 128, 2), (6, 160, 1), (6, 256, 2)]
    before, eps = 24, 1e-3
    features = [("0", conv_bn(3, before, 3, 2, activation=nn.SiLU, eps=eps))]
    for stage, ((expansion, after, stride), number) in enumerate(
        zip(table, blocks, strict=False), start=1
    ):
        layers = []
        for position in range(number):
            step = 1 if position else stride
            if stage <= 3:
                layers.append(FusedBlock(before, after, expansion, step, eps))
            else:
                sizes = (before * expansion, after, 3, step, before // 4)
                layers.append(Block(before, *sizes, nn.SiLU, eps))
            before = after
        features.append((str(stage), nn.Sequential(*layers)))
    features.append(("7", conv_bn(before, last, activation=nn.SiLU, eps=eps)))
    return Net(features, nn.Identity(), nn.Linear(last, num_classes))


# Kernel size, hidden and given channels, attention, hard swish, stride.
V3_SMALL = [(3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2)]
V3_SMALL += [(5, 240, 40, 1, 1, 1)] * 2 + [(5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)]
V3_SMALL += [(5, 288, 96, 1, 1, 2)] + [(5, 576, 96, 1, 1, 1)] * 2
V3_LARGE = [(3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)]
V3_LARGE += [(5, 120, 40, 1, 0, 1)] * 2 + [(3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1)]
V3_LARGE += [(3, 184, 80, 0, 1, 1)] * 2 + [(3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)]
V3_LARGE += [(5, 672, 160, 1, 1, 2)] + [(5, 960, 160, 1, 1, 1)] * 2


def mobilenet_v3(num_classes, large, number=15, last=None, dense=None):
    """number: of blocks."""
    table, eps, before = V3_LARGE if large else V3_SMALL, 1e-3, 16
    features = [("0", conv_bn(3, before, 3, 2, activation=nn.Hardswish, eps=eps))]
    for size, wide, after, attention, swish, stride in table[:number]:
        squeezed = rounded(wide // 4) if attention else 0
        activation = nn.Hardswish if swish else nn.ReLU
        block = Block(before, wide, after, size, stride, squeezed, activation, eps, small=True)
        features.append((str(len(features)), block))
        before = after
    last, dense = last or 6 * before, dense or (1280 if large else 1024)
    name = str(len(table) + 1)
    features.append((name, conv_bn(before, last, activation=nn.Hardswish, eps=eps)))
    layers = nn.Linear(last, dense), nn.Hardswish(), nn.Identity(), nn.Linear(dense, num_classes)
    return Net(features, *layers)


class TimmBlock(nn.Module):
    """timm's; one that does not expand calls its last convolution otherwise."""

    def __init__(self, before, width, expansion, size, stride, squeezed, activation):
        super().__init__()
        wide = before * expansion
        depthwise = nn.Conv2d(wide, wide, size, stride, size // 2, groups=wide, bias=False)
        names = ("conv_reduce", "conv_expand")
        parts = (wide, squeezed, activation, nn.Sigmoid, names)
        se = SqueezeExcite(*parts) if squeezed else nn.Identity()
        layers = [("conv_dw", depthwise), ("bn", wide), ("se", se)]
        if expansion > 1:
            expand = nn.Conv2d(before, wide, 1, bias=False)
            layers = [("conv_pw", expand), ("bn", wide), *layers]
        name = "conv_pwl" if expansion > 1 else "conv_pw"
        layers += [(name, nn.Conv2d(wide, width, 1, bias=False)), ("bn", width)]
        self.order, norms = [], 0
        for name, layer in layers:
            if name == "bn":
                norms += 1
                name, layer = f"bn{norms}", nn.BatchNorm2d(layer)
            self.add_module(name, layer)
            self.order.append(name)
        self.last = f"bn{norms}"
        self.activation, self.shortcut = activation(), stride == 1 and before == width

    def forward(self, x):
        y = x
        for name in self.order:
            y = getattr(self, name)(y)
            if name.startswith("bn") and name != self.last:
                y = self.activation(y)
        return x + y if self.shortcut else y


class TimmNet(nn.Module):
    def __init__(self, num_classes, table, blocks, attention, activation, last):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1, self.activation, before = nn.BatchNorm2d(32), activation(), 32
        stages = []
        for (expansion, after, stride, size), number in zip(table, blocks, strict=False):
            layers = []
            for position in range(number):
                squeezed = before // 4 if attention else 0
                sizes = (after, expansion, size, 1 if position else stride, squeezed)
                layers.append(TimmBlock(before, *sizes, activation))
                before = after
            stages.append(nn.Sequential(*layers))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(before, last, 1, bias=False)
        self.bn2, self.classifier = nn.BatchNorm2d(last), nn.Linear(last, num_classes)

    def forward(self, x):
        x = self.blocks(self.activation(self.bn1(self.conv_stem(x))))
        x = self.activation(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))


def timm_efficientnet(num_classes, blocks, last=1280, lite=False):
    activation = nn.ReLU6 if lite else nn.SiLU
    return TimmNet(num_classes, EFFICIENTNET, blocks, not lite, activation, last)
