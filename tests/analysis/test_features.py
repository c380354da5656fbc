"""Neighbours and projections of features."""

import numpy as np
import pytest

from jaxcnn.analysis.features import PROJECTIONS, nearest, pca

RANDOM = np.random.default_rng(0)


def two_clouds(size=20, distance=30.0):
    centres = np.repeat([[0.0] * 8, [distance] + [0.0] * 7], size, axis=0)
    return (centres + RANDOM.normal(size=centres.shape)).astype(np.float32)


def test_the_nearest_of_a_query_are_those_of_the_smallest_angle():
    features = np.array([[1.0, 0], [0, 1], [5, 5], [-1, 0]])
    rows, distance = nearest(features, np.array([[2.0, 0.0]]), 4)
    assert rows.tolist() == [[0, 2, 1, 3]]
    assert distance[0] == pytest.approx([0, 1 - 0.5**0.5, 1, 2])
    _, of_nothing = nearest(features, np.zeros((1, 2)), 2)
    assert of_nothing.tolist() == [[1, 1]]  # and no NaN


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_projection_keeps_two_clouds_apart(name):
    points = PROJECTIONS[name](two_clouds())
    assert points.shape == (40, 2) and np.isfinite(points).all()
    first, second = points[:20], points[20:]
    spread = max(np.ptp(first, axis=0).max(), np.ptp(second, axis=0).max())
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 0.5 * spread


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (3, 1), (5, 1)])
def test_few_examples_or_features_still_get_two_coordinates(name, shape):
    points = PROJECTIONS[name](RANDOM.normal(size=shape))
    assert points.shape == (shape[0], 2) and np.isfinite(points).all()


def test_the_first_direction_is_where_features_differ_most():
    points = pca(two_clouds())
    assert np.ptp(points[:, 0]) > 3 * np.ptp(points[:, 1])
