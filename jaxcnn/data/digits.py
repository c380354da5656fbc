"""1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from functools import cache
from importlib.metadata import version

import numpy as np

from jaxcnn.data.source import Content, Source

NUM_EXAMPLES = 1797


def load_digits() -> dict[str, Source]:
    """The UCI optical digits' test set (Alpaydin & Kaynak 1998), grey; there is no split."""

    @cache  # scikit-learn parses a text file each time
    def arrays() -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits as sklearn_digits  # over a second to import

        digits = sklearn_digits()
        # 0..16 -> 0..255
        image = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return image, digits.target.astype(np.int32)

    def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
        image, label = arrays()
        return list(image[index]), label[index]

    names = tuple(str(digit) for digit in range(10))
    identity = f"digits of scikit-learn {version('scikit-learn')}"
    return {"train": Source(NUM_EXAMPLES, names, read, identity)}
