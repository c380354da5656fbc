r"""What PyTorch libraries and Keras call the layers of a model family, and what we call them.

Rules are pairs (regular expression of the other's module name, our module path); the first whole
match counts that names an array of the model; `\1` in a path is the first group of the match.
"""

from collections.abc import Mapping, Sequence

Rules = Sequence[tuple[str, str]]


def _within(theirs: str, ours: str, layers: Mapping[str, str]) -> Rules:
    """Returns the rules of {their layer: our layer}, with what stands before both names."""
    return tuple((theirs + name, ours + layer) for name, layer in layers.items())


# The names of LeNet-5 in PyTorch's tutorials: conv1, conv2, fc1, fc2, fc3.
LENET = (
    (r"conv(\d)", r"conv\1"),
    (r"fc3", "head"),
    (r"fc(\d)", r"dense\1"),
)

# Torchvision's names of VGG.
VGG = (
    (r"features\.(\d+)", r"features_\1"),
    (r"classifier\.0", "dense1"),
    (r"classifier\.3", "dense2"),
    (r"classifier(?:\.6)?", "head"),  # without dense layers it has no number
)

# Torchvision's names of ResNet, ResNeXt and wide ResNet, and timm's of ResNet-D and SE-ResNet;
# Akamaster's of the ResNets for CIFAR (github.com/akamaster/pytorch_resnet_cifar10), where only
# the shortcuts of option B have parameters.
RESNET = CIFAR_RESNET = (
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_norm"),
    # The three convolutions of a deep stem; the norm of the last is bn1.
    (r"conv1\.0", "stem_conv1"),
    (r"conv1\.1", "stem_norm1"),
    (r"conv1\.3", "stem_conv2"),
    (r"conv1\.4", "stem_norm2"),
    (r"conv1\.6", "stem_conv"),
    *_within(
        r"layer(\d+)\.(\d+)\.",
        r"stage\1_block\2/",
        {
            r"conv(\d)": r"conv\3",
            r"bn(\d)": r"norm\3",
            r"se\.fc1": "se/reduce",
            r"se\.fc2": "se/expand",
            r"(?:downsample|shortcut)\.0": "shortcut_conv",
            # After a pooling (ResNet-D) the convolution is number 1, else the norm.
            r"downsample\.1": "pooled_shortcut_conv",
            r"(?:downsample\.[12]|shortcut\.1)": "shortcut_norm",
        },
    ),
    (r"fc|linear", "head"),
)

# The names of a wide ResNet for CIFAR in github.com/xternalz/WideResNet-pytorch.
WIDE_RESNET = (
    (r"conv1", "stem_conv"),
    *_within(
        r"block(\d+)\.layer\.(\d+)\.",
        r"stage\1_block\2/",
        {r"conv(\d)": r"conv\3", r"bn(\d)": r"norm\3", "convShortcut": "shortcut_conv"},
    ),
    (r"bn1", "last_norm"),
    (r"fc", "head"),
)

# The airbench nets: names as in github.com/KellerJordan/cifar10-airbench, where the layers of the
# paper's networks have numbers, and those of later ones names.
#
# The scales of the norms are all 1 there; we have none, and they are left over.
AIRBENCH = (
    (r"0|whiten", "whitening"),
    (r"(?:2|layers\.1)\.(conv|norm)(\d)", r"stage1_\1\2"),
    (r"(?:3|layers\.2)\.(conv|norm)(\d)", r"stage2_\1\2"),
    (r"(?:4|layers\.3)\.(conv|norm)(\d)", r"stage3_\1\2"),
    (r"7|head", "head"),
)

# DenseNet: torchvision's names, those of its models and those in its files ("norm.1").
DENSENET = (
    (r"features\.(conv|norm)0", r"stem_\1"),
    (
        r"features\.denseblock(\d)\.denselayer(\d+)\.(conv|norm)\.?(\d)",
        r"stage\1_layer\2/\3\4",
    ),
    (r"features\.transition(\d)\.(conv|norm)", r"transition\1_\2"),
    (r"features\.norm5", "head_norm"),
    (r"classifier", "head"),
)


def _convnext_stages(norm: str, conv: str, block: str, layers: Mapping[str, str]) -> Rules:
    """Returns the rules of the four stages of a ConvNeXt.

    norm, conv: their names of what stands before each stage but the first. block: what the names
    of a block's layers begin with. In all three, {stage} is the stage's number from 0, {before}
    one less, {even} and {odd} those of the layers in torchvision. layers: see `_within`.
    """
    rules: list[tuple[str, str]] = []
    for stage in range(4):
        numbers = {"stage": stage, "before": stage - 1, "even": 2 * stage, "odd": 2 * stage + 1}
        if stage:
            rules.append((norm.format(**numbers), f"stage{stage + 1}_norm"))
            rules.append((conv.format(**numbers), f"stage{stage + 1}_conv"))
        rules += _within(block.format(**numbers), rf"stage{stage + 1}_block\1", layers)
    return rules


# ConvNeXt: the names of torchvision and those of timm, which have no name in common.
CONVNEXT = (
    (r"features\.0\.0|stem\.0", "stem_conv"),
    (r"features\.0\.1|stem\.1", "stem_norm"),
    *_convnext_stages(
        r"features\.{even}\.0",
        r"features\.{even}\.1",
        r"features\.{odd}\.(\d+)",
        {
            r"\.block\.0": "/depthwise",
            r"\.block\.2": "/norm",
            r"\.block\.3": "/expand",
            r"\.block\.5": "/project",
            "": "",
        },
    ),
    *_convnext_stages(
        r"stages\.{stage}\.downsample\.0",
        r"stages\.{stage}\.downsample\.1",
        r"stages\.{stage}\.blocks\.(\d+)",
        {
            r"\.conv_dw": "/depthwise",
            r"\.norm": "/norm",
            r"\.mlp\.fc1": "/expand",
            r"\.mlp\.fc2": "/project",
            "": "",
        },
    ),
    (r"classifier\.0|head\.norm", "head_norm"),
    (r"classifier\.2|head\.fc", "head"),
)

# The layers of the blocks of MobileNets and EfficientNets: timm's names, and torchvision's, which
# are numbers. What follows the depthwise convolution is one earlier without squeeze-and-excitation,
# and MobileNetV2's last convolution and norm have a number each.
_TIMM_BLOCK = {
    "conv_pw": "expand_conv",
    "bn1": "expand_norm",
    "conv_dw": "depthwise_conv",
    "bn2": "depthwise_norm",
    r"se\.conv_reduce": "squeeze_excite/squeeze",
    r"se\.conv_expand": "squeeze_excite/excite",
    "conv_pwl": "project_conv",
    "bn3": "project_norm",
}
_TORCHVISION_BLOCK = {
    r"0\.0": "expand_conv",
    r"0\.1": "expand_norm",
    r"1\.0": "depthwise_conv",
    r"1\.1": "depthwise_norm",
    r"2\.fc1": "squeeze_excite/squeeze",
    r"2\.fc2": "squeeze_excite/excite",
    r"(?:2|[23]\.0)": "project_conv",
    r"(?:3|[23]\.1)": "project_norm",
}
# A block that does not expand, as those of the first stage.
_TIMM_FIRST = {"bn1": "depthwise_norm", "conv_pw": "project_conv", "bn2": "project_norm"}
_TORCHVISION_FIRST = {
    r"0\.0": "depthwise_conv",
    r"0\.1": "depthwise_norm",
    r"1\.fc1": "squeeze_excite/squeeze",
    r"1\.fc2": "squeeze_excite/excite",
    r"(?:1|[12]\.0)": "project_conv",
    r"(?:2|[12]\.1)": "project_norm",
}

# timm counts stages from 0.
_TIMM = (
    ("conv_stem", "stem_conv"),
    ("bn1", "stem_norm"),
    *_within(r"blocks\.0\.(\d+)\.", r"stage1_block\1/", _TIMM_FIRST),
    *(
        rule
        for n in range(7)
        for rule in _within(rf"blocks\.{n}\.(\d+)\.", rf"stage{n + 1}_block\1/", _TIMM_BLOCK)
    ),
    ("conv_head", "last_conv"),
    ("bn2", "last_norm"),
    ("classifier", "head"),
)


def _torchvision(last: int, blocks: Rules) -> Rules:
    """Returns the rules of a net with those of its blocks. last: the number of its last layers."""
    return (
        (r"features\.0\.0", "stem_conv"),
        (r"features\.0\.1", "stem_norm"),
        *blocks,
        (rf"features\.{last}\.0", "last_conv"),
        (rf"features\.{last}\.1", "last_norm"),
        (r"classifier\.0", "dense"),
        (r"classifier\.[13]", "head"),
    )


def _mobilenet(*blocks_per_stage: int) -> Rules:
    """Returns the rules of a MobileNet of torchvision, which counts blocks through all stages."""
    blocks = [
        f"stage{stage}_block{position}/"
        for stage, count in enumerate(blocks_per_stage, start=1)
        for position in range(count)
    ]
    rules: list[tuple[str, str]] = []
    for number, ours in enumerate(blocks, start=1):
        layers = _TORCHVISION_FIRST if number == 1 else _TORCHVISION_BLOCK
        rules += _within(rf"features\.{number}\.(?:conv|block)\.", ours, layers)
    return _torchvision(len(blocks) + 1, rules)


MOBILENET_V2 = (*_mobilenet(1, 2, 3, 4, 3, 3, 1), *_TIMM)

# Each size has rules of its own, as blocks are numbered through.
MOBILENET_V3 = {
    "mobilenet_v3_large": _mobilenet(1, 2, 3, 4, 2, 3),
    "mobilenet_v3_small": _mobilenet(1, 2, 3, 2, 3),
}

_TORCHVISION_BLOCKS = _within(
    r"features\.(\d+)\.(\d+)\.block\.", r"stage\1_block\2/", _TORCHVISION_BLOCK
)

# EfficientNet B0 to B4 and Lite0 in torchvision (which has no Lite0) and timm.
EFFICIENTNET = (
    *_torchvision(
        8,
        (
            *_within(r"features\.1\.(\d+)\.block\.", r"stage1_block\1/", _TORCHVISION_FIRST),
            *_TORCHVISION_BLOCKS,
        ),
    ),
    *_TIMM,
)

# EfficientNetV2-S in torchvision.
EFFICIENTNET_V2 = _torchvision(
    7,
    (
        *_within(
            r"features\.([123])\.(\d+)\.block\.",
            r"stage\1_block\2/",
            {
                r"0\.0": "fused_conv",
                r"0\.1": "fused_norm",
                r"1\.0": "project_conv",
                r"1\.1": "project_norm",
            },
        ),
        *_TORCHVISION_BLOCKS,
    ),
)

# What Keras Applications calls the layers of the families that compute the same there.
#
# Keras's ResNets stride elsewhere (on the first 1x1 convolution), and its MobileNets and
# EfficientNets pad strided convolutions on one side only, with another epsilon: their weights would
# be loaded and be wrong, so that they have no rules.
KERAS_CONVNEXT = (
    (r"\w+_stem_conv", "stem_conv"),
    (r"\w+_stem_layernorm", "stem_norm"),
    *_convnext_stages(
        r"\w+_downsampling_layernorm_{before}",
        r"\w+_downsampling_conv_{before}",
        r"\w+_stage_{stage}_block_(\d+)_",
        {
            "depthwise_conv": "/depthwise",
            "layernorm": "/norm",
            "pointwise_conv_1": "/expand",
            "pointwise_conv_2": "/project",
            "layer_scale": "",
        },
    ),
    (r"\w+_head_layernorm", "head_norm"),
    (r"\w+_head_dense", "head"),
)

# By the name of the model, or of the file of its family in `jaxcnn.core.models`.
TORCH: dict[str, Rules] = {
    "airbench": AIRBENCH,
    **dict.fromkeys([f"resnet{n}_cifar" for n in (20, 32, 44, 56, 110)], CIFAR_RESNET),
    "convnext": CONVNEXT,
    "densenet": DENSENET,
    "efficientnet": EFFICIENTNET,
    "efficientnet_v2_s": EFFICIENTNET_V2,
    "lenet": LENET,
    "mobilenet_v2": MOBILENET_V2,
    **MOBILENET_V3,
    "resnet": RESNET,
    "vgg": VGG,
    "wide_resnet": WIDE_RESNET,
}
KERAS: dict[str, Rules] = {"convnext": KERAS_CONVNEXT}
