"""The models a config can name.

Each entry makes a linen module from keywords; `num_classes`, `dtype` and `axis_name` are set by
`jaxcnn.build`, all others by `config.model.*`. A module is called as `module(image, train=bool)`
with float[B, H, W, C] and gives logits float32[B, num_classes].

With `features=True` it gives `(logits, stages)`, the outputs of its stages in their order, in the
dtype of the computation: "stem" (where there is one) and "stage1" to "stageN", float[B, h, w, c],
before the pooling that ends them; "penultimate", float[B, D], which the last dense layer sees. See
`jaxcnn.core.models.layers.keep`. Only what explains a model asks for them: a module of your own
trains, evaluates and predicts without.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxcnn.core.models.cnn import CNN
from jaxcnn.core.models.efficientnet import EfficientNet, EfficientNetLite0
from jaxcnn.core.models.efficientnet_v2 import EfficientNetV2S
from jaxcnn.core.models.mobilenet_v2 import MobileNetV2
from jaxcnn.core.models.mobilenet_v3 import MobileNetV3
from jaxcnn.core.models.resnet import BasicBlock, BottleneckBlock, ResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "resnet18": partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock),
    "resnet34": partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock),
    "resnet50": partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock),
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
