"""Small ConvNeXts, airbench nets and DenseNets, with the keywords of their twins."""

from functools import partial

from jaxcnn.core.models import MODELS
from jaxcnn.pretrained.names import convnext
from tests.core.models.parity import NUM_CLASSES, Case


def convnext_case():
    """A stage with several blocks; sizes that the strides do not divide."""
    shared = {"depths": (1, 2), "widths": (8, 12), "patch_size": 2}
    build = partial(MODELS["convnext"], num_classes=NUM_CLASSES, stochastic_depth=0.0, **shared)
    return Case(
        "convnext", "convnext", build, convnext.RULES, shared, (11, 10, 3), "convnext_twins"
    )


CASES = [convnext_case()]
