"""Any folder of images: ROOT/<class>/*.jpg, or the same below train/, val/ and test/.

    jaxcnn train --config experiments/folder.py --config.data.dir=FOLDER

Looks at the data and the device, chooses image size, model, augmentation and length, and says what
it chose; whatever else you give on the command line stays as you say.

Measured: 71.03 % test accuracy (seed 0, one run) in 4 minutes 2 seconds on 2 CPU cores (AMD EPYC,
jax 0.10.2) on 4,317 flower photos of 128x128 pixels in five classes, of which 863 are the test.
Four runs with other lengths, crops and batch sizes gave 70.2 to 72.3 %: without pretrained weights
a small net learns no more from these in minutes. On an accelerator: not measured.
"""

from jaxcnn import default_config


def get_config():
    config = default_config()
    config.auto = True
    config.data.source = "folder"
    return config
