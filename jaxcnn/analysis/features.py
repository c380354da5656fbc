"""Features before the last layer: which images are alike to a model, and maps of them."""

from collections.abc import Callable

import numpy as np


def nearest(features: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows of `features` nearest to each query, the nearest first: int64[M, count]; and
    their distances, float64[M, count]: 1 minus the cosine of the angle between them, 0 to 2.

    features: float[N, D]; queries: float[M, D].
    """
    from scipy.spatial.distance import cdist

    # A vector of zeros has no direction: it is as far from all.
    distance = np.nan_to_num(cdist(queries, features, "cosine"), nan=1.0)
    rows = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(distance, rows, axis=1)


def pca(features: np.ndarray) -> np.ndarray:
    """float64[N, 2]: the two directions in which features float[N, D] differ most."""
    centred = np.asarray(features, np.float64) - features.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is arbitrary; this one is the same on every machine.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    points = centred @ (directions * signs[:, None])[:2].T
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def tsne(features: np.ndarray) -> np.ndarray:
    """float64[N, 2]: neighbours stay neighbours (van der Maaten & Hinton 2008); distances between
    far points mean nothing. Fewer than four examples are too few for it: `pca`.
    """
    if len(features) < 4:
        return pca(features)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    start = pca(features)
    start *= 1e-4 / (start[:, 0].std() or 1.0)  # small, as the algorithm wants its start
    points = TSNE(perplexity=perplexity, init=start, random_state=0).fit_transform(features)
    return np.asarray(points, np.float64)


PROJECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pca": pca, "tsne": tsne}
