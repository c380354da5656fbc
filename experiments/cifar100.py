"""CIFAR-100 with a ResNet-18 for small images: for an accelerator.

    jaxcnn train --config experiments/cifar100.py

The recipe of He et al. 2016 (arXiv:1512.03385) with a cosine schedule and label smoothing.

Measured: not measured.
"""

from jaxcnn import default_config


def get_config():
    config = default_config()
    config.num_epochs = 100
    config.batch_size = 256
    config.dtype = "bfloat16"

    config.data.source = "tfds"
    config.data.name = "cifar100"
    config.data.image_size = 32
    config.data.channels = 3
    config.augment = (("crop", 4), "flip")

    config.model.name = "resnet18"
    config.model.stem = "cifar"

    config.loss.label_smoothing = 0.1
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.2
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5
    return config
