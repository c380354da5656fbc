"""CIFAR-10 with a ResNet-18 for small images: the plain strong recipe, for an accelerator.

    jaxcnn train --config experiments/cifar10_resnet18.py

The network of He et al. 2016 (arXiv:1512.03385) with the stem for 32 pixels; SGD with a warm-up and
a cosine, label smoothing, crops, flips and cutout (DeVries & Taylor 2017, arXiv:1708.04552).

Measured: not measured. What measures it, the interval too, is the command above with `--seeds 5`.
"""

from jaxcnn import default_config


def get_config():
    config = default_config()
    config.num_epochs = 50
    config.batch_size = 512
    config.dtype = "bfloat16"

    config.data.source = "tfds"
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.data.channels = 3
    config.augment = (("crop", 4), "flip", ("cutout", 8))

    config.model.name = "resnet18"
    config.model.stem = "cifar"

    config.loss.label_smoothing = 0.1
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.4
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5
    return config
