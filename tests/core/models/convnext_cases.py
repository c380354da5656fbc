"""Small ConvNeXts, airbench nets and DenseNets, with the keywords of their twins."""

from functools import partial

from jaxcnn.core.models import MODELS
from jaxcnn.pretrained.names import AIRBENCH, CONVNEXT, DENSENET
from tests.core.models.parity import NUM_CLASSES, Case


def convnext_case():
    """A stage with several blocks; sizes that the strides do not divide."""
    shared = {"depths": (1, 2), "widths": (8, 12), "patch_size": 2}
    build = partial(MODELS["convnext"], num_classes=NUM_CLASSES, stochastic_depth=0.0, **shared)
    return Case("convnext", "convnext", build, CONVNEXT, shared, (11, 10, 3), "convnext_twins")


def airbench_case(name, **twin):
    build = partial(MODELS["airbench94"], num_classes=NUM_CLASSES, **twin)
    shape = (19, 18, 3)
    return Case("airbench", name, build, AIRBENCH, twin, shape, "airbench_twins")


def densenet_case(stem):
    """An odd number of channels before a transition."""
    shared = {"depths": (1, 2), "growth": 3, "stem_width": 6, "stem": stem}
    build = partial(MODELS["densenet121"], num_classes=NUM_CLASSES, **shared)
    shape = (19, 18, 3)
    return Case("densenet", f"densenet-{stem}", build, DENSENET, shared, shape, "densenet_twins")


CASES = [
    convnext_case(),
    airbench_case("airbench94", widths=(6, 7, 8), convs_per_stage=2, shortcut=False),
    airbench_case("airbench96", widths=(30, 7), convs_per_stage=3, shortcut=True),
    densenet_case("imagenet"),
    densenet_case("cifar"),
]
