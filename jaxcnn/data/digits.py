"""1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from importlib.metadata import version

import numpy as np

from jaxcnn.data.source import Content, Source

NUM_EXAMPLES = 1797


def load_digits() -> dict[str, Source]:
    """The UCI optical digits' test set (Alpaydin & Kaynak 1998), grey; there is no split."""

    def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
        from sklearn.datasets import load_digits as sklearn_digits  # over a second to import

        digits = sklearn_digits()
        # 0..16 -> 0..255
        image = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return list(image[index]), digits.target[index].astype(np.int32)

    names = tuple(str(digit) for digit in range(10))
    identity = f"digits of scikit-learn {version('scikit-learn')}"
    return {"train": Source(NUM_EXAMPLES, names, read, identity)}
