"""ImageNet with ResNet-50, for many accelerators.

    jaxcnn train --config experiments/imagenet_resnet50.py --config.data.dir=FOLDER

The schedule of Goyal et al. 2017 (arXiv:1706.02677): 0.1 for each 256 images, 5 epochs of warm-up.
Images are streamed: random crops of the originals for training (Szegedy et al. 2015,
arXiv:1409.4842), the centre 224 of 256 pixels for evaluation. The first start decodes every image
once, to know its label and that it is whole.

Measured: not measured.
"""

from jaxcnn import default_config


def get_config():
    config = default_config()
    config.num_epochs = 90
    config.batch_size = 1024
    config.dtype = "bfloat16"

    config.data.source = "tfds"
    config.data.name = "imagenet2012"
    config.data.image_size = 224
    config.data.channels = 3
    config.data.holdout = 0.01
    config.data.test_split = "validation"  # the labels of the original test data are secret
    config.data.crop_scale = (0.08, 1.0)
    config.data.crop_fraction = 0.875
    config.augment = ("flip",)

    config.model.name = "resnet50"

    config.loss.label_smoothing = 0.1
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.4
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 5
    config.checkpoint_every_epochs = 1
    return config
