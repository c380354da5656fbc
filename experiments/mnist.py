"""MNIST: 28x28 grey handwritten digits.

    jaxcnn train --config experiments/mnist.py

Measured: not measured (no copy of the data was at hand).
"""

from jaxcnn import default_config


def get_config():
    config = default_config()
    config.num_epochs = 6
    config.batch_size = 128

    config.data.source = "tfds"
    config.data.name = "mnist"
    config.data.image_size = 28
    config.data.channels = 1
    config.augment = (("crop", 2),)

    config.model.name = "cnn"
    config.model.filters = (32, 64, 128)
    config.model.pool_first = True
    config.model.dropout = 0.2

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 4e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.name = "triangular"
    return config
