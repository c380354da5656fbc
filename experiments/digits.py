"""Handwritten digits, 8x8 pixels: the smallest real run there is, with no network and no files.

    python -m jaxcnn.main --config experiments/digits.py

Measured: 99.55 % ± 0.19 test accuracy (--seeds 5, 95 % interval of the mean; on 359 images, of
which each seed has 1 or 2 wrong), a seed in about 20 seconds on 2 CPU cores (AMD EPYC, jax 0.10.2).
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.num_epochs = 25
    config.batch_size = 64

    config.data.source = "digits"
    config.augment = (("crop", 1),)

    config.model.name = "cnn"
    config.model.filters = (64, 128)
    config.model.dropout = 0.5

    config.loss.label_smoothing = 0.1
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.name = "triangular"
    return config
