"""Any folder of images: ROOT/<class>/*.jpg, or the same below train/, val/ and test/.

    python -m jaxcnn.main --config experiments/folder.py --config.data.dir=FOLDER

Looks at the data and the device, chooses image size, model, augmentation and length, and says what
it chose; whatever else you give on the command line stays as you say.

Measured: not measured.
"""

from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.auto = True
    config.data.source = "folder"
    return config
