"""Handwritten digits, 8x8 pixels: the smallest real run there is, with no network and no files.

    jaxcnn train --config experiments/digits.py

Measured: 99.55 % ± 0.19 test accuracy (--seeds 5, 95 % interval of the mean; on 359 images, of
which each seed has 1 or 2 wrong), a seed in about 20 seconds on 2 CPU cores (AMD EPYC, jax 0.10.2).
"""

from jaxcnn import default_config


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


def search(trial, config):
    """What jaxcnn tune --config experiments/digits.py tries."""
    learning_rate = trial.suggest_float("optimizer.learning_rate", 1e-4, 1e-1, log=True)
    config.optimizer.learning_rate = learning_rate
    weight_decay = trial.suggest_float("optimizer.weight_decay", 1e-3, 1.0, log=True)
    config.optimizer.weight_decay = weight_decay
    config.model.dropout = trial.suggest_float("model.dropout", 0.0, 0.8)
    config.loss.label_smoothing = trial.suggest_float("loss.label_smoothing", 0.0, 0.3)
