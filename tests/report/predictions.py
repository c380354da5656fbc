"""Labels, logits and pictures that the tests of reports share."""

import functools

import numpy as np

from jaxcnn.analysis.measure import measure
from jaxcnn.report import Prediction

HOSTILE = ('<img src="http://x">&', "$x_{1", "日本\n\x00 \udcff", "long " * 40, "plain")


def drawn(num_classes, each, seed=0):
    """Labels and logits of a model that is often right."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(num_classes), each).astype(np.int32)
    logits = rng.normal(size=(len(label), num_classes)).astype(np.float32)
    logits[np.arange(len(label)), label] += 3
    return label, logits


@functools.cache
def measured(num_classes, each=20, names=None):
    """What is measured of `drawn`. names: a tuple."""
    label, logits = drawn(num_classes, each)
    names = names or tuple(f"class {k}" for k in range(num_classes))
    return measure(label, logits, names, resamples=50)


@functools.cache
def digits():
    """uint8[1797, 8, 8, 1] and labels of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.images * 255 / 16).astype(np.uint8)[..., None], data.target


def digit_predictions(count=12):
    """Digits of which each third is taken for the next digit, more and more confidently."""
    images, labels = digits()
    return [
        Prediction(
            images[i],
            f"digit/{i}.png",
            str(labels[i]),
            str((labels[i] + (i % 3 == 0)) % 10),
            0.5 + i / 100,
        )
        for i in range(count)
    ]


def decode(png):
    """A PNG's pixels, uint8[h, w, 3] in RGB."""
    import cv2

    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
