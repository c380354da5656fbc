"""The models a config can name.

Each entry makes a linen module from keywords; `num_classes`, `dtype` and `axis_name` are set by
`jaxcnn.build`, all others by `config.model.*`. A module is called as `module(image, train=bool)`
with float[B, H, W, C] and gives logits float32[B, num_classes].

With `features=True` it gives `(logits, stages)`, the outputs of its stages in their order, in the
dtype of the computation: "stem" (where there is one) and "stage1" to "stageN", float[B, h, w, c],
before the pooling that ends them; "penultimate", float[B, D], which the last dense layer sees. See
`jaxcnn.core.models.layers.keep`. Only what explains a model asks for them: a module of your own
trains, evaluates and predicts without.

A model whose first variables depend on the training images has a method `init_from_data(variables,
images) -> variables`, pure, with images float[N, H, W, C] as the model sees them; a run calls it
once, before its first step.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxcnn.core.models.airbench import Airbench
from jaxcnn.core.models.cnn import CNN
from jaxcnn.core.models.convnext import ConvNeXt
from jaxcnn.core.models.densenet import DenseNet
from jaxcnn.core.models.resnet import BasicBlock, BottleneckBlock, ResNet

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
    "resnet18": partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock),
    "resnet34": partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock),
    "resnet50": partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock),
}
