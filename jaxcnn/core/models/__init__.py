"""The models a config can name.

Each entry makes a linen module from keywords; `num_classes`, `dtype` and `axis_name` are set by
`build_model`, all others by `config.model.*`. What these mean in every model that has them:

    num_classes: K, the number of logits
    activation: a name in `layers.ACTIVATIONS`
    norm: "batch", "group", "layer" or "none", see `layers.norm_layer`
    stochastic_depth: chance of the last block to be left out of a training step; blocks before it
      are left out less often, see `layers.depth_rates`
    dropout: share of values set to 0 before the logits
    dtype: of the computation; parameters and logits are float32
    axis_name: of a mapped axis, see `layers.norm_layer`

A module is called as `module(image, train=bool)` with float[B, H, W, C] and returns logits
float32[B, K]; with `features=True` it returns `(logits, stages)`, the outputs of its stages in
their order, in the dtype of the computation: "stem" (where there is one) and "stage1" to "stageN",
float[B, h, w, c], before the pooling that ends them; "penultimate", float[B, D], which the last
dense layer sees. See `layers.keep`. Only explanations ask for stages: a module of your own trains,
evaluates and predicts without.

A model whose first variables depend on the training images has a pure method
`init_from_data(variables, images) -> variables`, with images float[N, H, W, C] as the model sees
them; a run calls it once, before its first step.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxcnn.core.models.airbench import Airbench
from jaxcnn.core.models.cnn import CNN
from jaxcnn.core.models.convnext import ConvNeXt
from jaxcnn.core.models.densenet import DenseNet
from jaxcnn.core.models.efficientnet import EfficientNet, EfficientNetLite0, EfficientNetV2S
from jaxcnn.core.models.lenet import LeNet
from jaxcnn.core.models.mobilenet import MobileNetV2, MobileNetV3
from jaxcnn.core.models.resnet import BasicBlock, BottleneckBlock, CifarResNet, ResNet
from jaxcnn.core.models.vgg import VGG
from jaxcnn.core.models.wide_resnet import WideResNet

_basic = partial(ResNet, block=BasicBlock)
_bottleneck = partial(ResNet, block=BottleneckBlock)
_cifar = partial(CifarResNet, block=BasicBlock, stem="cifar")

MODELS: dict[str, Callable[..., nn.Module]] = {
    "airbench94": Airbench,
    "airbench95": partial(Airbench, widths=(128, 384, 384)),
    "airbench96": partial(Airbench, widths=(128, 512, 512), convs_per_stage=3, shortcut=True),
    "cnn": CNN,
    "convnext": ConvNeXt,
    "convnext_cifar": partial(ConvNeXt, depths=(3, 3, 3), widths=(64, 128, 256), patch_size=2),
    "convnext_tiny": partial(ConvNeXt, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)),
    "convnext_small": partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(96, 192, 384, 768)),
    "convnext_base": partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024)),
    "convnext_large": partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536)),
    "densenet100_cifar": partial(
        DenseNet, depths=(16, 16, 16), growth=12, stem_width=24, stem="cifar"
    ),
    "densenet121": partial(DenseNet, depths=(6, 12, 24, 16)),
    "densenet161": partial(DenseNet, depths=(6, 12, 36, 24), growth=48, stem_width=96),
    "densenet169": partial(DenseNet, depths=(6, 12, 32, 32)),
    "densenet201": partial(DenseNet, depths=(6, 12, 48, 32)),
    "resnet18": partial(_basic, stage_sizes=(2, 2, 2, 2)),
    "resnet34": partial(_basic, stage_sizes=(3, 4, 6, 3)),
    "resnet50": partial(_bottleneck, stage_sizes=(3, 4, 6, 3)),
    "resnet101": partial(_bottleneck, stage_sizes=(3, 4, 23, 3)),
    "resnet152": partial(_bottleneck, stage_sizes=(3, 8, 36, 3)),
    "resnet50d": partial(_bottleneck, stage_sizes=(3, 4, 6, 3), stem="deep", shortcut="pool"),
    "resnext50_32x4d": partial(_bottleneck, stage_sizes=(3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x8d": partial(_bottleneck, stage_sizes=(3, 4, 23, 3), groups=32, group_width=8),
    "wide_resnet50_2": partial(_bottleneck, stage_sizes=(3, 4, 6, 3), group_width=128),
    "seresnet50": partial(_bottleneck, stage_sizes=(3, 4, 6, 3), se_ratio=1 / 16),
    "resnet20_cifar": partial(_cifar, stage_sizes=(3, 3, 3)),
    "resnet32_cifar": partial(_cifar, stage_sizes=(5, 5, 5)),
    "resnet44_cifar": partial(_cifar, stage_sizes=(7, 7, 7)),
    "resnet56_cifar": partial(_cifar, stage_sizes=(9, 9, 9)),
    "resnet110_cifar": partial(_cifar, stage_sizes=(18, 18, 18)),
    "wide_resnet16_4": partial(WideResNet, stage_sizes=(2, 2, 2), widen=4),
    "wide_resnet28_10": partial(WideResNet, stage_sizes=(4, 4, 4), widen=10),
    "vgg11": partial(VGG, stage_sizes=(1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, stage_sizes=(2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, stage_sizes=(2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, stage_sizes=(2, 2, 4, 4, 4)),
    "vgg11_bn": partial(VGG, stage_sizes=(1, 1, 2, 2, 2), norm="batch"),
    "vgg13_bn": partial(VGG, stage_sizes=(2, 2, 2, 2, 2), norm="batch"),
    "vgg16_bn": partial(VGG, stage_sizes=(2, 2, 3, 3, 3), norm="batch"),
    "vgg19_bn": partial(VGG, stage_sizes=(2, 2, 4, 4, 4), norm="batch"),
    "lenet5": LeNet,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": partial(MobileNetV3, size="large"),
    "mobilenet_v3_small": partial(MobileNetV3, size="small"),
    "efficientnet_b0": partial(EfficientNet, scale="b0"),
    "efficientnet_b1": partial(EfficientNet, scale="b1"),
    "efficientnet_b2": partial(EfficientNet, scale="b2"),
    "efficientnet_b3": partial(EfficientNet, scale="b3"),
    "efficientnet_b4": partial(EfficientNet, scale="b4"),
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_v2_s": EfficientNetV2S,
}

# Pixels of a side of the images that models were made for, where those are not 224.
IMAGE_SIZES: dict[str, int] = {
    **dict.fromkeys([name for name in MODELS if name.endswith("_cifar")], 32),
    **dict.fromkeys(["airbench94", "airbench95", "airbench96", "cnn", "lenet5"], 32),
    **dict.fromkeys(["wide_resnet16_4", "wide_resnet28_10"], 32),
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_v2_s": 300,
}
