"""Weights that others have trained on CIFAR-10 do here what they do in PyTorch."""

from functools import partial

import numpy as np

from jaxcnn import MODELS, normalize
from jaxcnn.pretrained.names import CIFAR_RESNET
from tests.core.models.parity import REFERENCES, all_converted, compiled_fast

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_published_weights_reach_their_accuracy_and_pytorchs_logits(shared):
    with np.load(shared / "weights/resnet20-cifar10.npz") as weights:
        state = dict(weights)
    with np.load(shared / "cifar10_lossless_1000.npz") as data:
        image, label = data["image"], data["label"]
    model = MODELS["resnet20_cifar"](num_classes=10)
    converted = all_converted(state, CIFAR_RESNET, model, (32, 32, 3))
    assert len(converted.loaded) == len(state)
    apply = compiled_fast(partial(model.apply, converted.variables, train=False))
    parts = np.split(normalize(image, mean=MEAN, std=STD), 4)
    logits = np.concatenate([apply(part) for part in parts])
    assert (logits.argmax(1) == label).mean() == 0.999
    with np.load(REFERENCES / "resnet20_cifar10.npz") as reference:
        np.testing.assert_allclose(logits[:8], reference["logits"], rtol=0, atol=1e-4)
