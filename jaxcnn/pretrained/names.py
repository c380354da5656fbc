r"""What PyTorch libraries and Keras call the layers of a model family, and what we call them.

Rules are pairs (regular expression of the other's module name, our module path); the first whole
match counts that names an array of the model; `\1` in a path is the first group of the match.
"""

from collections.abc import Sequence

Rules = Sequence[tuple[str, str]]

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
    (r"classifier\.6", "head"),
    # Without dense layers.
    (r"classifier", "head"),
)

# Torchvision's names of ResNet, ResNeXt and wide ResNet; timm's of ResNet-D and SE-ResNet.
_LAYER = r"layer(\d+)\.(\d+)\."

RESNET = (
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_norm"),
    # The three convolutions of a deep stem; the norm of the last is bn1.
    (r"conv1\.0", "stem_conv1"),
    (r"conv1\.1", "stem_norm1"),
    (r"conv1\.3", "stem_conv2"),
    (r"conv1\.4", "stem_norm2"),
    (r"conv1\.6", "stem_conv"),
    (_LAYER + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_LAYER + r"bn(\d)", r"stage\1_block\2/norm\3"),
    (_LAYER + r"se\.fc1", r"stage\1_block\2/se/reduce"),
    (_LAYER + r"se\.fc2", r"stage\1_block\2/se/expand"),
    (_LAYER + r"downsample\.0", r"stage\1_block\2/shortcut_conv"),
    # After a pooling (ResNet-D) the convolution is number 1, else the norm.
    (_LAYER + r"downsample\.1", r"stage\1_block\2/pooled_shortcut_conv"),
    (_LAYER + r"downsample\.[12]", r"stage\1_block\2/shortcut_norm"),
    (r"fc", "head"),
)

# Akamaster's names of the ResNets for CIFAR (github.com/akamaster/pytorch_resnet_cifar10).
CIFAR_RESNET = (
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_norm"),
    (_LAYER + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_LAYER + r"bn(\d)", r"stage\1_block\2/norm\3"),
    # Of option B alone: option A's have no parameters.
    (_LAYER + r"shortcut\.0", r"stage\1_block\2/shortcut_conv"),
    (_LAYER + r"shortcut\.1", r"stage\1_block\2/shortcut_norm"),
    (r"linear", "head"),
)

# The names of a wide ResNet for CIFAR in github.com/xternalz/WideResNet-pytorch.
_WIDE_BLOCK = r"block(\d+)\.layer\.(\d+)\."

WIDE_RESNET = (
    (r"conv1", "stem_conv"),
    (_WIDE_BLOCK + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_WIDE_BLOCK + r"bn(\d)", r"stage\1_block\2/norm\3"),
    (_WIDE_BLOCK + r"convShortcut", r"stage\1_block\2/shortcut_conv"),
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
    (r"features\.conv0", "stem_conv"),
    (r"features\.norm0", "stem_norm"),
    (
        r"features\.denseblock(\d)\.denselayer(\d+)\.(conv|norm)\.?(\d)",
        r"stage\1_layer\2/\3\4",
    ),
    (r"features\.transition(\d)\.(conv|norm)", r"transition\1_\2"),
    (r"features\.norm5", "head_norm"),
    (r"classifier", "head"),
)


# ConvNeXt: the names of torchvision and those of timm, which no name has in common.
def _blocks(theirs: str, ours: str, layers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The rules of a stage's blocks: of their layers, and of what is the block's own."""
    named = [(rf"{theirs}\.{name}", rf"{ours}/{layer}") for name, layer in layers.items()]
    return (*named, (theirs, ours))


_CONVNEXT_TORCHVISION_BLOCK = {
    r"block\.0": "depthwise",
    r"block\.2": "norm",
    r"block\.3": "expand",
    r"block\.5": "project",
}
_CONVNEXT_TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    *_blocks(r"features\.1\.(\d+)", r"stage1_block\1", _CONVNEXT_TORCHVISION_BLOCK),
    (r"features\.2\.0", "stage2_norm"),
    (r"features\.2\.1", "stage2_conv"),
    *_blocks(r"features\.3\.(\d+)", r"stage2_block\1", _CONVNEXT_TORCHVISION_BLOCK),
    (r"features\.4\.0", "stage3_norm"),
    (r"features\.4\.1", "stage3_conv"),
    *_blocks(r"features\.5\.(\d+)", r"stage3_block\1", _CONVNEXT_TORCHVISION_BLOCK),
    (r"features\.6\.0", "stage4_norm"),
    (r"features\.6\.1", "stage4_conv"),
    *_blocks(r"features\.7\.(\d+)", r"stage4_block\1", _CONVNEXT_TORCHVISION_BLOCK),
    (r"classifier\.0", "head_norm"),
    (r"classifier\.2", "head"),
)

_TIMM_BLOCK = {
    "conv_dw": "depthwise",
    "norm": "norm",
    r"mlp\.fc1": "expand",
    r"mlp\.fc2": "project",
}
_CONVNEXT_TIMM = (
    (r"stem\.0", "stem_conv"),
    (r"stem\.1", "stem_norm"),
    *_blocks(r"stages\.0\.blocks\.(\d+)", r"stage1_block\1", _TIMM_BLOCK),
    (r"stages\.1\.downsample\.0", "stage2_norm"),
    (r"stages\.1\.downsample\.1", "stage2_conv"),
    *_blocks(r"stages\.1\.blocks\.(\d+)", r"stage2_block\1", _TIMM_BLOCK),
    (r"stages\.2\.downsample\.0", "stage3_norm"),
    (r"stages\.2\.downsample\.1", "stage3_conv"),
    *_blocks(r"stages\.2\.blocks\.(\d+)", r"stage3_block\1", _TIMM_BLOCK),
    (r"stages\.3\.downsample\.0", "stage4_norm"),
    (r"stages\.3\.downsample\.1", "stage4_conv"),
    *_blocks(r"stages\.3\.blocks\.(\d+)", r"stage4_block\1", _TIMM_BLOCK),
    (r"head\.norm", "head_norm"),
    (r"head\.fc", "head"),
)

CONVNEXT = (*_CONVNEXT_TORCHVISION, *_CONVNEXT_TIMM)


# What timm calls the blocks of MobileNets and EfficientNets.
def timm_stages(stages: int) -> Rules:
    """The rules for a net whose first stage does not expand; timm counts its stages from 0."""
    return (
        ("conv_stem", "stem_conv"),
        ("bn1", "stem_norm"),
        (r"blocks\.0\.(\d+)\.bn1", r"stage1_block\1/depthwise_norm"),
        (r"blocks\.0\.(\d+)\.conv_pw", r"stage1_block\1/project_conv"),
        (r"blocks\.0\.(\d+)\.bn2", r"stage1_block\1/project_norm"),
        *(
            (rf"blocks\.{stage - 1}\.(\d+)\.{theirs}", rf"stage{stage}_block\1/{ours}")
            for stage in range(1, stages + 1)
            for theirs, ours in (
                ("conv_pw", "expand_conv"),
                ("bn1", "expand_norm"),
                ("conv_dw", "depthwise_conv"),
                ("bn2", "depthwise_norm"),
                (r"se\.conv_reduce", "squeeze_excite/squeeze"),
                (r"se\.conv_expand", "squeeze_excite/excite"),
                ("conv_pwl", "project_conv"),
                ("bn3", "project_norm"),
            )
        ),
        ("conv_head", "last_conv"),
        ("bn2", "last_norm"),
        ("classifier", "head"),
    )


# MobileNetV2 in torchvision and timm.
# torchvision counts the blocks through all stages.
_MOBILENET_V2_BLOCKS = (
    *("stage1_block0", "stage2_block0", "stage2_block1"),
    *("stage3_block0", "stage3_block1", "stage3_block2"),
    *("stage4_block0", "stage4_block1", "stage4_block2", "stage4_block3"),
    *("stage5_block0", "stage5_block1", "stage5_block2"),
    *("stage6_block0", "stage6_block1", "stage6_block2", "stage7_block0"),
)

_MOBILENET_V2_TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    # The first block does not expand.
    (r"features\.1\.conv\.0\.0", "stage1_block0/depthwise_conv"),
    (r"features\.1\.conv\.0\.1", "stage1_block0/depthwise_norm"),
    (r"features\.1\.conv\.1", "stage1_block0/project_conv"),
    (r"features\.1\.conv\.2", "stage1_block0/project_norm"),
    *(
        (rf"features\.{number}\.conv\.{theirs}", f"{block}/{ours}")
        for number, block in enumerate(_MOBILENET_V2_BLOCKS, start=1)
        for theirs, ours in (
            (r"0\.0", "expand_conv"),
            (r"0\.1", "expand_norm"),
            (r"1\.0", "depthwise_conv"),
            (r"1\.1", "depthwise_norm"),
            ("2", "project_conv"),
            ("3", "project_norm"),
        )
    ),
    (r"features\.18\.0", "last_conv"),
    (r"features\.18\.1", "last_norm"),
    (r"classifier\.1", "head"),
)

MOBILENET_V2 = (*_MOBILENET_V2_TORCHVISION, *timm_stages(7))


# MobileNetV3 in torchvision, which counts the blocks through all stages.
def _mobilenet_v3_rules(blocks_per_stage: tuple[int, ...]) -> Rules:
    blocks = [
        f"stage{stage}_block{position}"
        for stage, number in enumerate(blocks_per_stage, start=1)
        for position in range(number)
    ]
    first = (
        # The first block does not expand.
        (r"0\.0", "depthwise_conv"),
        (r"0\.1", "depthwise_norm"),
        (r"1\.fc1", "squeeze_excite/squeeze"),
        (r"1\.fc2", "squeeze_excite/excite"),
        (r"[12]\.0", "project_conv"),
        (r"[12]\.1", "project_norm"),
    )
    others = (
        (r"0\.0", "expand_conv"),
        (r"0\.1", "expand_norm"),
        (r"1\.0", "depthwise_conv"),
        (r"1\.1", "depthwise_norm"),
        (r"2\.fc1", "squeeze_excite/squeeze"),
        (r"2\.fc2", "squeeze_excite/excite"),
        # Without squeeze-and-excitation this is one earlier.
        (r"[23]\.0", "project_conv"),
        (r"[23]\.1", "project_norm"),
    )
    return (
        (r"features\.0\.0", "stem_conv"),
        (r"features\.0\.1", "stem_norm"),
        *(
            (rf"features\.{number}\.block\.{theirs}", f"{block}/{ours}")
            for number, block in enumerate(blocks, start=1)
            for theirs, ours in (first if number == 1 else others)
        ),
        (rf"features\.{len(blocks) + 1}\.0", "last_conv"),
        (rf"features\.{len(blocks) + 1}\.1", "last_norm"),
        (r"classifier\.0", "dense"),
        (r"classifier\.3", "head"),
    )


# torchvision numbers the blocks through, so each size has rules of its own.
MOBILENET_V3 = {
    "mobilenet_v3_large": _mobilenet_v3_rules((1, 2, 3, 4, 2, 3)),
    "mobilenet_v3_small": _mobilenet_v3_rules((1, 2, 3, 2, 3)),
}

# EfficientNet B0 to B4 and Lite0 in torchvision (which has no Lite0) and timm.
_EFFICIENTNET_TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    # The blocks of the first stage do not expand.
    (r"features\.1\.(\d+)\.block\.0\.0", r"stage1_block\1/depthwise_conv"),
    (r"features\.1\.(\d+)\.block\.0\.1", r"stage1_block\1/depthwise_norm"),
    (r"features\.1\.(\d+)\.block\.1\.fc1", r"stage1_block\1/squeeze_excite/squeeze"),
    (r"features\.1\.(\d+)\.block\.1\.fc2", r"stage1_block\1/squeeze_excite/excite"),
    (r"features\.1\.(\d+)\.block\.2\.0", r"stage1_block\1/project_conv"),
    (r"features\.1\.(\d+)\.block\.2\.1", r"stage1_block\1/project_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.0\.0", r"stage\1_block\2/expand_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.0\.1", r"stage\1_block\2/expand_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.1\.0", r"stage\1_block\2/depthwise_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.1\.1", r"stage\1_block\2/depthwise_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.2\.fc1", r"stage\1_block\2/squeeze_excite/squeeze"),
    (r"features\.(\d+)\.(\d+)\.block\.2\.fc2", r"stage\1_block\2/squeeze_excite/excite"),
    (r"features\.(\d+)\.(\d+)\.block\.3\.0", r"stage\1_block\2/project_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.3\.1", r"stage\1_block\2/project_norm"),
    (r"features\.8\.0", "last_conv"),
    (r"features\.8\.1", "last_norm"),
    (r"classifier\.1", "head"),
)

EFFICIENTNET = (*_EFFICIENTNET_TORCHVISION, *timm_stages(7))

# EfficientNetV2-S in torchvision.
EFFICIENTNET_V2 = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    (r"features\.([123])\.(\d+)\.block\.0\.0", r"stage\1_block\2/fused_conv"),
    (r"features\.([123])\.(\d+)\.block\.0\.1", r"stage\1_block\2/fused_norm"),
    (r"features\.([23])\.(\d+)\.block\.1\.0", r"stage\1_block\2/project_conv"),
    (r"features\.([23])\.(\d+)\.block\.1\.1", r"stage\1_block\2/project_norm"),
    (r"features\.([456])\.(\d+)\.block\.0\.0", r"stage\1_block\2/expand_conv"),
    (r"features\.([456])\.(\d+)\.block\.0\.1", r"stage\1_block\2/expand_norm"),
    (r"features\.([456])\.(\d+)\.block\.1\.0", r"stage\1_block\2/depthwise_conv"),
    (r"features\.([456])\.(\d+)\.block\.1\.1", r"stage\1_block\2/depthwise_norm"),
    (r"features\.([456])\.(\d+)\.block\.2\.fc1", r"stage\1_block\2/squeeze_excite/squeeze"),
    (r"features\.([456])\.(\d+)\.block\.2\.fc2", r"stage\1_block\2/squeeze_excite/excite"),
    (r"features\.([456])\.(\d+)\.block\.3\.0", r"stage\1_block\2/project_conv"),
    (r"features\.([456])\.(\d+)\.block\.3\.1", r"stage\1_block\2/project_norm"),
    (r"features\.7\.0", "last_conv"),
    (r"features\.7\.1", "last_norm"),
    (r"classifier\.1", "head"),
)

# What Keras Applications calls the layers of the families that compute the same there.
#
# Keras's ResNets stride elsewhere (on the first 1x1 convolution), and its MobileNets and
# EfficientNets pad strided convolutions on one side only, with another epsilon: their weights would
# be loaded and be wrong, so that they have no rules.
KERAS_CONVNEXT = (
    (r"\w+_stem_conv", "stem_conv"),
    (r"\w+_stem_layernorm", "stem_norm"),
    *(
        rule
        for stage in range(4)
        for rule in (
            # Numbered from the second stage's, which is number 2 here.
            (rf"\w+_downsampling_layernorm_{stage}", f"stage{stage + 2}_norm"),
            (rf"\w+_downsampling_conv_{stage}", f"stage{stage + 2}_conv"),
            (
                rf"\w+_stage_{stage}_block_(\d+)_depthwise_conv",
                rf"stage{stage + 1}_block\1/depthwise",
            ),
            (rf"\w+_stage_{stage}_block_(\d+)_layernorm", rf"stage{stage + 1}_block\1/norm"),
            (
                rf"\w+_stage_{stage}_block_(\d+)_pointwise_conv_1",
                rf"stage{stage + 1}_block\1/expand",
            ),
            (
                rf"\w+_stage_{stage}_block_(\d+)_pointwise_conv_2",
                rf"stage{stage + 1}_block\1/project",
            ),
            (rf"\w+_stage_{stage}_block_(\d+)_layer_scale", rf"stage{stage + 1}_block\1"),
        )
    ),
    (r"\w+_head_layernorm", "head_norm"),
    (r"\w+_head_dense", "head"),
)

# By the name of the family's file in `jaxcnn.core.models`, or by the model's where sizes differ.
TORCH: dict[str, Rules] = {
    "airbench": AIRBENCH,
    "cifar_resnet": CIFAR_RESNET,
    "convnext": CONVNEXT,
    "densenet": DENSENET,
    "efficientnet": EFFICIENTNET,
    "efficientnet_v2": EFFICIENTNET_V2,
    "lenet": LENET,
    "mobilenet_v2": MOBILENET_V2,
    **MOBILENET_V3,
    "resnet": RESNET,
    "vgg": VGG,
    "wide_resnet": WIDE_RESNET,
}
KERAS: dict[str, Rules] = {"convnext": KERAS_CONVNEXT}
