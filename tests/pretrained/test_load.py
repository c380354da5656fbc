"""Which tensors a model takes; everything else is said."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.pretrained.load import load_tensors, load_variables

RULES = ((r"conv1", "stem"), (r"bn1", "norm"), (r"fc", "head"))
HEAD = {"params/head/kernel", "params/head/bias"}


class Net(nn.Module):
    num_classes: int = 2

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="stem")(x)
        x = nn.BatchNorm(use_running_average=True, name="norm")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


def fresh(channels=3, num_classes=2, seed=0):
    image = np.zeros((1, 8, 8, channels), np.float32)
    return Net(num_classes).init(jax.random.key(seed), image)


def state_dict(**changes):
    """The tensors of that net; `__` stands for a dot, None leaves one out."""
    draw = np.random.default_rng(0).normal
    shapes = {"conv1.weight": (4, 3, 3, 3), "conv1.bias": 4, "fc.weight": (2, 4), "fc.bias": 2}
    shapes |= {f"bn1.{leaf}": 4 for leaf in ("weight", "bias", "running_mean", "running_var")}
    tensors = {name: draw(size=shape) for name, shape in shapes.items()}
    tensors |= {name.replace("__", "."): value for name, value in changes.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def load(tensors, variables=None, **how):
    return load_tensors(tensors, RULES, variables or fresh(), head=HEAD, **how)


def refused(*args, **how):
    with pytest.raises(UserError) as error:
        load(*args, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_is_taken_where_all_fits():
    loaded = load(state_dict())
    assert (len(loaded.taken), loaded.new, loaded.ignored) == (8, {}, [])
    kernel = loaded.variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel, state_dict()["fc.weight"].T.astype(np.float32))


def test_a_classifier_of_other_classes_stays_new_and_whole():
    """Also its bias, if that alone would fit."""
    variables = fresh()
    loaded = load(state_dict(fc__weight=np.ones((7, 4))), variables)
    assert loaded.new == {
        "params/head/bias": "as the rest of the classifier",
        "params/head/kernel": "fc.weight is 4x7, this is 4x2",
    }
    for name in ("kernel", "bias"):
        new = loaded.variables["params"]["head"][name]
        np.testing.assert_array_equal(new, variables["params"]["head"][name])
    assert len(loaded.taken) == 6
    assert "new      params/head/kernel: fc.weight is 4x7, this is 4x2" in str(loaded)


def test_a_file_without_a_classifier_is_as_good():
    loaded = load(state_dict(fc__weight=None, fc__bias=None))
    assert loaded.new == dict.fromkeys(HEAD, "none there")


def test_the_classifier_is_left_where_it_is_not_asked_for_and_must_fit_where_it_is():
    loaded = load(state_dict(), take_head=False)
    assert loaded.new == dict.fromkeys(HEAD, "not asked for")
    assert load(state_dict(), take_head=True).new == {}
    assert "fc.weight is 4x7, not 4x2" in refused(
        state_dict(fc__weight=np.ones((7, 4))), take_head=True
    )
    assert "2 of the model's 8 arrays are not there" in refused(
        state_dict(fc__weight=None, fc__bias=None), take_head=True
    )


def test_anything_else_that_is_missing_misshapen_or_too_much_is_an_error():
    assert refused(state_dict(bn1__bias=None)) == (
        "the weights do not fit: 1 of the model's 8 arrays are not there (params/norm/bias); is it "
        "another architecture? Names can be given in config.pretrained.names"
    )
    message = refused(state_dict(conv1__weight=np.ones((4, 3, 5, 5))))
    assert "1 have another shape (conv1.weight is 5x5x3x4, not 3x3x3x4)" in message
    message = refused(state_dict(layer9__weight=np.ones(4)))
    assert "1 tensors have no place in the model (layer9.weight); give the model they" in message
    assert "config.pretrained.ignore" in message
    many = {f"x{n}.weight": np.ones(1) for n in range(9)}
    assert "9 tensors have no place in the model (x0.weight, x1.weight, x2.weight, ...)" in refused(
        state_dict() | many
    )


def test_what_the_user_lists_may_be_left_out_and_is_listed():
    loaded = load(state_dict(aux__weight=np.ones(4)), ignore=(r"aux\..*",))
    assert loaded.ignored == ["aux.weight"]
    assert str(loaded).endswith("ignored  aux.weight")


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_weights_for_colours_on_grey_images_are_told_the_flag(theirs, ours):
    tensors = state_dict(conv1__weight=np.ones((4, theirs, 3, 3)))
    assert refused(tensors, fresh(channels=ours), channels=ours) == (
        f"the weights are for images of {theirs} channels, not of {ours}: "
        f"--config.data.channels={theirs} reads them so"
    )


def test_variables_of_our_own_are_judged_by_the_same_rules():
    trained, variables = fresh(seed=1), fresh(num_classes=5)
    loaded = load_variables(trained, variables, head=HEAD)
    assert (len(loaded.taken), loaded.new.keys()) == (6, HEAD)
    stem, head = (loaded.variables["params"][name]["kernel"] for name in ("stem", "head"))
    np.testing.assert_array_equal(stem, trained["params"]["stem"]["kernel"])
    np.testing.assert_array_equal(head, variables["params"]["head"]["kernel"])
    with pytest.raises(UserError, match="tensors have no place in the model"):
        load_variables({**trained, "more": {"x": np.ones(2)}}, variables, head=HEAD)
