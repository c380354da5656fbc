"""Galleries of images and of what the model says about them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.report.gallery import Gallery, Group, Tile


class Prediction(NamedTuple):
    """An image, its label, and the model's answer. image: uint8[h, w, 1 or 3] of any size."""

    image: np.ndarray
    name: str
    label: str
    prediction: str
    probability: float

    @property
    def right(self) -> bool:
        return self.label == self.prediction


class Neighbour(NamedTuple):
    """An image near another one. distance: between their features."""

    image: np.ndarray
    name: str
    label: str
    distance: float


def confidently_wrong(
    label: np.ndarray, probabilities: np.ndarray, at_most: int = 24
) -> np.ndarray:
    """Positions int64[n] of the misclassified, the most confident first.

    label: int[N]; probabilities: float[N, K].
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != label)
    confidence = probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")[:at_most]]


def sample_predictions(predictions: Iterable[Prediction]) -> Gallery:
    """Images as they are given, each marked as right or wrong."""
    return Gallery("Predictions", [Group([_tile(one) for one in predictions])])


def misclassified(predictions: Iterable[Prediction]) -> Gallery:
    """The wrong ones among the given, the most confident first."""
    wrong = sorted((p for p in predictions if not p.right), key=lambda p: -p.probability)
    return Gallery(
        "Misclassified, the most confidently wrong first",
        [Group([_tile(one) for one in wrong])],
        empty="No image was misclassified.",
    )


def likely_label_errors(predictions: Iterable[Prediction]) -> Gallery:
    """Images whose label may be a mistake. prediction: the label that the model suggests."""
    tiles = [
        Tile([one.image], [f"label {one.label}", f"perhaps {one.prediction}"], one.name)
        for one in predictions
    ]
    return Gallery("Likely label errors", [Group(tiles)], empty="No label looks like a mistake.")


def nearest_neighbours(
    queries: Sequence[Prediction], neighbours: Sequence[Sequence[Neighbour]]
) -> Gallery:
    """A row for each image: itself, then what is nearest to it in the model's features.

    A neighbour counts as right where it has the image's label.
    """
    rows = [
        Group(
            [
                _tile(query),
                *(
                    Tile(
                        [near.image],
                        [near.label, f"distance {near.distance:.3g}"],
                        near.name,
                        near.label == query.label,
                    )
                    for near in found
                ),
            ]
        )
        for query, found in zip(queries, neighbours, strict=True)
    ]
    return Gallery("Nearest neighbours: the image first, then those most like it", rows)


def _tile(one: Prediction) -> Tile:
    lines = [f"{one.prediction} ({100 * one.probability:.0f} %)", f"label {one.label}"]
    return Tile([one.image], lines, one.name, one.right)
