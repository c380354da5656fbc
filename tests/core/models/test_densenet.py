"""DenseNets have the published sizes, and the names in torchvision's files."""

import jax.numpy as jnp
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.pretrained.names import DENSENET
from tests.core.models.convnext_cases import CASES
from tests.core.models.parity import all_converted, kept_shapes, seeded
from tests.core.models.training import assert_learns
from tests.core.test_models import count, shapes

# torchvision.models.densenet*: "num_params" of the weights IMAGENET1K_V1.
PUBLISHED = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_densenet_has_as_many_parameters_as_torchvision_publishes(name, parameters):
    assert count(shapes(MODELS[name](num_classes=1000), size=224)["params"]) == parameters


def test_the_densenet_for_cifar_has_the_parameters_known_from_pytorch():
    # The paper's table 2 says 0.8M; github.com/bamos/densenet.pytorch counts them.
    assert count(shapes(MODELS["densenet100_cifar"](num_classes=10), size=32)["params"]) == 769_162


def test_names_in_older_files_find_their_place():
    case = next(case for case in CASES if case.name == "densenet-imagenet")
    names = kept_shapes(case)
    older = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): shape
        for name, shape in names.items()
    }
    assert older.keys() != names.keys()
    all_converted(seeded(older), DENSENET, case.build(dtype=jnp.float32), case.shape)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_two_steps_lower_the_loss(dtype):
    model = MODELS["densenet121"](
        num_classes=10, depths=(1, 2), growth=8, stem_width=16, layer_dropout=0.1
    )
    assert_learns(model, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("name", "size"), [("densenet100_cifar", 32), ("densenet121", 224)])
def test_two_steps_lower_the_loss_of_a_whole_network(name, size, dtype):
    assert_learns(MODELS[name](num_classes=10), dtype, size)


WRONG = [
    ({"stem": "cifr"}, r"stem='cifr': expected one of cifar, imagenet"),
    ({"growth": 0}, r"growth=0: expected whole numbers from 1"),
    ({"compression": 0.0}, r"compression=0.0: expected a share above 0"),
    ({"layer_dropout": 1.0}, r"layer_dropout=1.0: expected a share"),
    ({"depths": (1,) * 3}, r"stem='imagenet': 3 stages need an image of 13x13 pixels, it has 8x8"),
    ({"depths": (1,) * 5, "stem": "cifar"}, r"stem='cifar': 5 stages need an image of 16x16"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG, ids=str)
def test_a_wrong_value_is_quoted_with_its_key(keywords, message):
    with pytest.raises(ValueError, match=message):
        shapes(MODELS["densenet121"](num_classes=10, **keywords))


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_the_smallest_image_it_takes_reaches_the_last_stage(stem):
    model = MODELS["densenet121"](num_classes=10, depths=(1, 1, 1), stem=stem)
    size = {"imagenet": 13, "cifar": 4}[stem]
    shapes(model, size=size)
    with pytest.raises(ValueError, match="need an image"):
        shapes(model, size=size - 1)
