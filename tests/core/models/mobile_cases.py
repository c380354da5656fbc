"""MobileNets and EfficientNets beside their twins, whole and cut short after a few blocks."""

from functools import partial

from jaxcnn.core.models.efficientnet import EfficientNet, EfficientNetLite0, EfficientNetV2S
from jaxcnn.core.models.mobilenet import MobileNetV2, MobileNetV3
from jaxcnn.pretrained.names import EFFICIENTNET, EFFICIENTNET_V2, MOBILENET_V2, MOBILENET_V3
from tests.core.models.parity import NUM_CLASSES, Case


def shortened(model, blocks):
    """The model with so many blocks in each of its first stages, and little after them."""

    class Short(model):
        def plan(self):
            plan = super().plan()
            stages = zip(plan.stages, blocks, strict=False)
            stages = tuple(stage[:number] for stage, number in stages)
            dense_width = min(plan.dense_width, 12)
            return plan._replace(stages=stages, last_width=24, dense_width=dense_width)

    return Short


def case(family, name, model, rules, twin, **keywords):
    """Without dropout and stochastic depth, of which no two draws are alike."""
    keywords |= {"dropout": 0.0, "stochastic_depth": 0.0, "num_classes": NUM_CLASSES}
    build, shape = partial(model, **keywords), (33, 32, 3)
    return Case(family, name, build, rules, twin, shape, "mobile_twins")


def short(family, name, model, blocks, rules, **keywords):
    twin = {"blocks": blocks, "last": 24}
    return case(family, name, shortened(model, blocks), rules, twin, **keywords)


def short_v3(size, rules):
    model = shortened(MobileNetV3, (1, 2, 1))
    twin = {"large": size == "large", "number": 4, "last": 24, "dense": 12}
    return case("mobilenet_v3", f"short_{size}", model, rules, twin, size=size)


SHORT = [
    short("mobilenet_v2", "short", MobileNetV2, (1, 2), MOBILENET_V2),
    short("efficientnet", "short", EfficientNet, (1, 2), EFFICIENTNET),
    short("efficientnet_v2", "short", EfficientNetV2S, (1, 1, 1, 2), EFFICIENTNET_V2),
    short_v3("small", MOBILENET_V3["mobilenet_v3_small"]),
]

WHOLE = [
    case(
        *("mobilenet_v2", "whole", MobileNetV2, MOBILENET_V2),
        {"blocks": (1, 2, 3, 4, 3, 3, 1), "width": 0.35},
        width_multiplier=0.35,
    ),
    case(
        *("efficientnet", "whole", EfficientNet, EFFICIENTNET),
        {"blocks": (1, 2, 2, 3, 3, 4, 1)},
    ),
    case(
        *("timm_efficientnet", "whole", EfficientNetLite0, EFFICIENTNET),
        {"blocks": (1, 2, 2, 3, 3, 4, 1), "lite": True},
    ),
    case(
        *("efficientnet_v2", "whole", EfficientNetV2S, EFFICIENTNET_V2),
        {"blocks": (2, 4, 4, 6, 9, 15)},
    ),
    case(
        *("mobilenet_v3", "small", MobileNetV3, MOBILENET_V3["mobilenet_v3_small"]),
        {"large": False},
        size="small",
    ),
    case(
        *("mobilenet_v3", "large", MobileNetV3, MOBILENET_V3["mobilenet_v3_large"]),
        {"large": True},
        size="large",
    ),
]

# A net that another case has proved, in other names.
RENAMED = [short("timm_efficientnet", "short", EfficientNet, (1, 1, 2), EFFICIENTNET)]

CASES = [*SHORT, *RENAMED, *WHOLE]
