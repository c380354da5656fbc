"""PyTorch state dicts become our variables, and nothing is lost in silence."""

import flax.linen as nn
import jax
import numpy as np

from jaxcnn.pretrained.convert import convert


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="stem")(x)
        x = nn.BatchNorm(use_running_average=True, name="norm")(x)
        return nn.Dense(2, name="head")(x.mean((1, 2)))


RULES = ((r"conv1", "stem"), (r"bn(\d)", "norm"), (r"fc", "head"))


def state_dict():
    draw = np.random.default_rng(0).normal
    return {
        "conv1.weight": draw(size=(4, 3, 3, 3)),
        "conv1.bias": draw(size=4),
        "bn1.weight": draw(size=4),
        "bn1.bias": draw(size=4),
        "bn1.running_mean": draw(size=4),
        "bn1.running_var": draw(size=4),
        "bn1.num_batches_tracked": np.array(7),
        "fc.weight": draw(size=(2, 4)),
        "fc.bias": draw(size=2),
    }


def variables():
    return Net().init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))


def test_all_tensors_find_their_place_turned_as_linen_keeps_them():
    theirs = state_dict()
    converted = convert(theirs, RULES, variables())
    assert not (converted.missing or converted.left_over or converted.misfits)
    assert len(converted.loaded) == 8
    params = converted.variables["params"]
    expected = theirs["conv1.weight"].transpose(2, 3, 1, 0).astype(np.float32)
    np.testing.assert_array_equal(params["stem"]["kernel"], expected)
    np.testing.assert_array_equal(params["head"]["kernel"], theirs["fc.weight"].T.astype("f4"))
    mean = converted.variables["batch_stats"]["norm"]["mean"]
    np.testing.assert_array_equal(mean, theirs["bn1.running_mean"].astype(np.float32))


def test_what_does_not_fit_is_named_and_ours_stays():
    theirs, ours = state_dict(), variables()
    theirs["fc.weight"] = np.zeros((1000, 4))
    theirs["extra.weight"] = np.zeros(3)
    del theirs["bn1.bias"]
    converted = convert(theirs, RULES, ours)
    assert converted.misfits == [("fc.weight", (4, 1000), "params/head/kernel", (4, 2))]
    assert converted.left_over == ["extra.weight"]
    assert sorted(converted.missing) == ["params/head/kernel", "params/norm/bias"]
    kept = converted.variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kept, ours["params"]["head"]["kernel"])
