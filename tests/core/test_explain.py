"""Maps show what decides: they lie on the object, and change with the weights."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step, normalize
from jaxcnn.core.explain import (
    feature_maps,
    first_layer_filters,
    grad_cam,
    occlusion,
    spatial_stages,
)
from tests.core.test_models import IMAGE, SMALL, build, some_variables

SIZE, OBJECT = 24, 8
SHAPE = (SIZE, SIZE, 1)
LABEL = np.array([0, 3, 3, 9], np.int32)
MODEL = MODELS["cnn"](num_classes=3, filters=(8, 16), convs_per_stage=1, kernel_size=(5, 3))
as_seen = partial(normalize, mean=(0.4,), std=(0.1,))


def scenes(count, seed):
    """Noise with a square somewhere, whose texture is the class; (batch, bool[B, H, W] square)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:OBJECT, :OBJECT] // 2
    textures = np.stack([y % 2, x % 2, (x + y) % 2])
    image = random.normal(100, 12, (count, *SHAPE))
    label = random.integers(0, 3, count)
    inside = np.zeros((count, SIZE, SIZE), bool)
    for n, (top, left) in enumerate(random.integers(0, SIZE - OBJECT + 1, (count, 2))):
        inside[n, top : top + OBJECT, left : left + OBJECT] = True
        image[n, inside[n], 0] += (140 * textures[label[n]] - 40).ravel()
    batch = {
        "image": np.clip(image, 0, 255).astype(np.uint8),
        "label": label.astype(np.int32),
        "mask": np.ones(count, bool),
        "index": np.arange(count, dtype=np.int32),
    }
    return batch, inside


@pytest.fixture(scope="module")
def train():
    tx = make_optimizer("adam", 5e-3)
    step = jax.jit(make_train_step(MODEL, tx, normalize=as_seen))

    def train(seed, steps=120):
        state = create_train_state(MODEL, tx, jax.random.key(seed), SHAPE)
        for k in range(steps):
            state, metrics = step(state, scenes(64, 1000 * seed + k)[0])
        assert steps == 0 or metrics["correct"] >= 60
        return state.variables

    return train


@pytest.fixture(scope="module")
def trained(train):
    return train(1)


@pytest.fixture(scope="module")
def seen():
    """(images as the model sees them, labels, where the squares are)"""
    batch, inside = scenes(48, 999_999)
    return as_seen(jnp.asarray(batch["image"])), batch["label"], inside


def cam(variables, seen, stage=None):
    image, label, _ = seen
    return np.asarray(jax.jit(partial(grad_cam, MODEL, stage=stage))(variables, image, label))


def share_on_object(maps, inside):
    """Of a map's positive values, the share on the square and two pixels around; its area."""
    near = np.asarray(nn.max_pool(inside[..., None], (5, 5), padding="SAME"))[..., 0]
    maps = np.clip(maps, 0, None)
    return maps[near].sum() / maps.sum(), near.mean()


def agreement(one, other):
    """Spearman's rank correlation of two maps, the mean over images."""
    pairs = zip(one, other, strict=True)
    return np.mean([spearmanr(a, b, axis=None).statistic for a, b in pairs])


def test_grad_cam_lies_on_the_object(trained, seen):
    maps, inside = cam(trained, seen), seen[2]
    assert maps.dtype == np.float32 and maps.shape == inside.shape
    np.testing.assert_allclose(maps.max((1, 2)), 1, rtol=1e-6)
    assert maps.min() >= 0 and maps.max() <= 1
    share, area = share_on_object(maps, inside)
    assert area < 0.3 < 0.65 < share
    peaks = maps.reshape(len(maps), -1).argmax(1)
    assert np.take_along_axis(inside.reshape(len(maps), -1), peaks[:, None], 1).mean() > 0.95


def test_grad_cam_changes_with_the_weights(train, trained, seen):
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292.

    A second net trained on other data agrees on the maps; one whose last layer or whose every layer
    is random does not, though its architecture and the images are the same.
    """
    maps, fresh = cam(trained, seen), train(7, steps=0)
    last = {**trained, "params": {**trained["params"], "Dense_0": fresh["params"]["Dense_0"]}}
    equal, random_last, random_all = (
        agreement(maps, cam(variables, seen)) for variables in (train(2), last, fresh)
    )
    assert equal > 0.65
    assert max(random_last, random_all) < equal - 0.3


def test_occlusion_falls_where_the_object_is_covered(trained, seen):
    image, label, inside = seen
    maps = np.asarray(jax.jit(partial(occlusion, MODEL))(trained, image, label))
    assert maps.dtype == np.float32 and maps.shape == inside.shape
    share, area = share_on_object(maps, inside)
    assert area < 0.3 < 0.8 < share


def test_occlusion_is_the_mean_drop_over_the_squares_that_cover_a_pixel(trained, seen):
    """One pixel at a time covers each alone; the chunks must not matter."""
    image, label = seen[0][:2, :4, :5], seen[1][:2]

    @jax.jit
    def probability(image):
        logits = MODEL.apply(trained, image, train=False)
        return jax.nn.softmax(logits)[np.arange(2), label]

    occluded = partial(occlusion, MODEL, patch=2, stride=2, max_images=6)
    maps = jax.jit(occluded)(trained, image, label)
    mean = image.mean((1, 2), keepdims=True)
    drops = {
        (row, column): probability(image)
        - probability(image.at[:, row : row + 2, column : column + 2].set(mean))
        for row in (0, 2)
        for column in (0, 2, 3)
    }
    np.testing.assert_allclose(maps[:, 1, 1], drops[0, 0], atol=1e-6)
    np.testing.assert_allclose(maps[:, 2, 3], (drops[2, 2] + drops[2, 3]) / 2, atol=1e-6)
    np.testing.assert_allclose(maps[:, 0, 4], drops[0, 3], atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_model_can_be_explained(name):
    model = build(name)
    variables = some_variables(model)
    names = spatial_stages(model, variables, IMAGE)

    @jax.jit
    def explained(variables):
        cams = {name: grad_cam(model, variables, IMAGE, LABEL, name) for name in (*names, None)}
        return feature_maps(model, variables, IMAGE), list(cams.values())

    maps, cams = explained(variables)
    assert tuple(maps) == names and all(x.ndim == 4 for x in maps.values())
    np.testing.assert_array_equal(cams[-1], cams[-2])
    for values in cams:
        assert values.shape == (4, 8, 8)
        largest = values.max((1, 2))
        assert values.min() >= 0 and np.all((largest == 0) | (largest > 1 - 1e-6))


def last_stage_model(sign):
    """(model, variables, kernel of its logits): one stage of the image's size, then the average."""
    model = build(filters=(5,), pool="none")
    variables = some_variables(model)
    kernel = sign(variables["params"]["Dense_0"]["kernel"])
    variables["params"]["Dense_0"]["kernel"] = kernel
    return model, variables, kernel


def test_before_a_global_average_grad_cam_is_the_class_activation_map():
    """The features weighted with the class's row of the last layer (Zhou et al. 2016)."""
    model, variables, kernel = last_stage_model(lambda kernel: kernel)
    feature = feature_maps(model, variables, IMAGE)["stage1"]
    expected = np.maximum(np.einsum("bhwc,cb->bhw", feature, kernel[:, LABEL]), 0)
    expected /= expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(model, variables, IMAGE, LABEL), expected, atol=1e-5)


def test_where_nothing_speaks_for_the_class_the_map_is_zero():
    model, variables, _ = last_stage_model(lambda kernel: -np.abs(kernel))
    np.testing.assert_array_equal(grad_cam(model, variables, IMAGE, LABEL), 0)


def test_bfloat16_models_give_float32_maps():
    model = build(dtype=jnp.bfloat16)
    variables = some_variables(model)
    assert grad_cam(model, variables, IMAGE, LABEL).dtype == jnp.float32
    maps = feature_maps(model, variables, IMAGE)
    assert all(x.dtype == jnp.float32 for x in maps.values())


@pytest.mark.parametrize(
    ("name", "keywords", "shape"),
    [
        ("cnn", {"kernel_size": (5, 3)}, (5, 5, 3, 5)),
        ("resnet18", {"stem": "imagenet"}, (7, 7, 3, 4)),
        ("resnet50", {}, (3, 3, 3, 4)),
    ],
)
def test_the_first_filters_are_those_that_see_the_image(name, keywords, shape):
    model = build(name, **keywords)
    assert first_layer_filters(model, some_variables(model), IMAGE).shape == shape


class Named(nn.Module):
    """Two convolutions whose names sort the other way round than they are applied; or none."""

    convolutions: bool

    @nn.compact
    def __call__(self, image, *, train):
        if self.convolutions:
            image = nn.Conv(4, (1, 1), name="a")(nn.Conv(2, (3, 3), name="b")(image))
        return nn.Dense(10)(image.mean((1, 2)))


def test_the_first_convolution_is_found_by_its_place_not_by_its_name():
    model = Named(convolutions=True)
    assert first_layer_filters(model, some_variables(model), IMAGE).shape == (3, 3, 3, 2)
    model = Named(convolutions=False)
    assert first_layer_filters(model, some_variables(model), IMAGE) is None


def test_what_cannot_be_explained_is_named():
    model = build()
    variables = some_variables(model)
    with pytest.raises(ValueError, match=r"stage='stage9': expected one of stage1, stage2"):
        grad_cam(model, variables, IMAGE, LABEL, "stage9")
    with pytest.raises(ValueError, match=r"\(4, 1, 1, 3\): no stage has more than one position"):
        small = build(pool="none")
        grad_cam(small, variables, IMAGE[:, :1, :1], LABEL)
    with pytest.raises(ValueError, match=r"patch=9: expected 1 to 8 pixels"):
        occlusion(model, variables, IMAGE, LABEL, patch=9)
    with pytest.raises(ValueError, match=r"stride=3: expected 1 to 2 pixels"):
        occlusion(model, variables, IMAGE, LABEL, patch=2, stride=3)
