"""The names of weights' layers are found for every model, wherever its file lies."""

import re
from pathlib import Path

import pytest

from jaxcnn import MODELS
from jaxcnn.pretrained.transfer import rules_of

# A name that only this family's rules know in this way, what it is with us, and the models.
FAMILIES = {
    "airbench": ("layers.2.conv1", "stage2_conv1", "airbench94 airbench95 airbench96"),
    "cifar_resnet": (
        "layer1.0.shortcut.0",
        "stage1_block0/shortcut_conv",
        "resnet20_cifar resnet32_cifar resnet44_cifar resnet56_cifar resnet110_cifar",
    ),
    "convnext": (
        "features.3.1.block.0",
        "stage2_block1/depthwise",
        "convnext convnext_cifar convnext_tiny convnext_small convnext_base convnext_large",
    ),
    "densenet": (
        "features.transition2.norm",
        "transition2_norm",
        "densenet100_cifar densenet121 densenet161 densenet169 densenet201",
    ),
    "efficientnet": (
        "features.1.0.block.1.fc1",
        "stage1_block0/squeeze_excite/squeeze",
        "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 "
        "efficientnet_lite0",
    ),
    "efficientnet_v2": (
        "features.1.0.block.0.0",
        "stage1_block0/fused_conv",
        "efficientnet_v2_s",
    ),
    "lenet": ("fc3", "head", "lenet5"),
    "mobilenet_v2": ("features.2.conv.3", "stage2_block0/project_norm", "mobilenet_v2"),
    "mobilenet_v3": (
        "features.2.block.0.0",
        "stage2_block0/expand_conv",
        "mobilenet_v3_large mobilenet_v3_small",
    ),
    "resnet": (
        "layer2.0.se.fc1",
        "stage2_block0/se/reduce",
        "resnet18 resnet34 resnet50 resnet101 resnet152 resnet50d resnext50_32x4d "
        "resnext101_32x8d wide_resnet50_2 seresnet50",
    ),
    "vgg": (
        "classifier.3",
        "dense2",
        "vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn",
    ),
    "wide_resnet": (
        "block1.layer.0.convShortcut",
        "stage1_block0/shortcut_conv",
        "wide_resnet16_4 wide_resnet28_10",
    ),
}
FAMILY_OF = {model: name for name, row in FAMILIES.items() for model in row[2].split()}
HDF5 = {model for model, family in FAMILY_OF.items() if family == "convnext"}


def ours(rules, theirs):
    """All that rules make of a name."""
    return {match.expand(path) for rule, path in rules if (match := re.fullmatch(rule, theirs))}


@pytest.mark.parametrize("model", MODELS)
def test_the_names_are_those_of_the_models_family(model):
    rules = rules_of(model, Path("weights.safetensors"))
    if model == "cnn":  # our own, which nobody else has weights of
        assert rules == ()
    else:
        theirs, path, _ = FAMILIES[FAMILY_OF[model]]
        assert path in ours(rules, theirs)


@pytest.mark.parametrize("model", MODELS)
def test_keras_names_are_known_for_the_families_that_compute_the_same_there(model):
    rules = rules_of(model, Path("weights.h5"))
    assert ours(rules, "convnext_head_dense") == ({"head"} if model in HDF5 else set())


OWN = """
import flax.linen as nn
import numpy as np
from safetensors.numpy import save_file

from jaxcnn import MODELS
from jaxcnn.config import default_config


class Mine(nn.Module):
    num_classes: int
    dtype: object = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape((len(x), -1))
        return nn.Dense(self.num_classes, name="head")(nn.relu(nn.Dense(8, name="body")(x)))


MODELS["mine"] = Mine
arrays = {{"first.weight": (8, 64), "first.bias": (8,), "head.weight": (10, 8), "head.bias": (10,)}}
save_file({{name: np.ones(shape, np.float32) for name, shape in arrays.items()}}, {weights!r})


def get_config():
    config = default_config()
    config.model.name = "mine"
    config.num_steps, config.batch_size = 1, 32
    config.data.mean, config.data.std = (0.3,), (0.38,)
    config.pretrained.path = {weights!r}
    config.pretrained.names = (("first", "body"), ("head", "head"))
    return config
"""


def test_a_model_of_the_users_own_takes_weights_by_the_configs_names(command, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(weights=str(tmp_path / "w.safetensors")))
    done = command("--config", file, "--workdir", tmp_path / "run", check=0)
    assert "4 arrays taken, 0 new" in done.stderr
    assert "taken    params/body/kernel <- first.weight" in done.stderr
