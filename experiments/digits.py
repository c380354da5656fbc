"""digits."""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.data.source = "digits"
    config.num_epochs = 15
    config.batch_size = 64
    config.model.name = "cnn"
    config.model.filters = (32, 64)
    config.model.dropout = 0.3
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.name = "triangular"
    config.augment = (("crop", 1),)
    return config
