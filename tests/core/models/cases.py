"""Small models of each kind, with the keywords of their twins."""

from functools import partial

from jaxcnn.core.models import MODELS
from jaxcnn.pretrained.names import CIFAR_RESNET, LENET, RESNET, VGG, WIDE_RESNET
from tests.core.models.parity import NUM_CLASSES, Case


def case(family, name, model, rules, twin, shape=(17, 16, 3), **keywords):
    """keywords: of our model alone; what it shares with the twin is in `twin`."""
    build = partial(MODELS[model], num_classes=NUM_CLASSES, **keywords)
    return Case(family, name, build, rules, twin, shape)


def resnet_case(name, model, twin, width=16, stage_sizes=(1, 1), **keywords):
    shared = {"width": width, "stage_sizes": stage_sizes}
    return case("resnet", name, model, RESNET, shared | twin, **shared, **keywords)


def cifar_case(shortcut):
    shared = {"width": 8, "stage_sizes": (1, 1), "shortcut": shortcut}
    rules = CIFAR_RESNET
    return case("cifar_resnet", shortcut, "resnet20_cifar", rules, shared, **shared)


def wide_case():
    shared = {"stage_sizes": (2, 1), "width": 4, "widen": 2}
    return case("wide_resnet", "wide", "wide_resnet16_4", WIDE_RESNET, shared, **shared)


def vgg_case(name, model, grid, **twin):
    shared = {"stage_sizes": (1, 2), "width": 4, "grid": grid, "dense": (6, 7)}
    return case("vgg", name, model, VGG, shared | twin, dropout=0.0, **shared)


CASES = [
    resnet_case("resnet18", "resnet18", {}, width=4, stage_sizes=(2, 2, 2, 2)),
    resnet_case("bottleneck", "resnet50", {"bottleneck": True}, width=4, stage_sizes=(2, 1)),
    resnet_case(
        "resnet-d",
        "resnet50d",
        {"bottleneck": True, "stem": "deep", "shortcut": "pool"},
        width=4,
        stage_sizes=(1, 2),
    ),
    resnet_case(
        "resnext",
        "resnext50_32x4d",
        {"bottleneck": True, "groups": 4, "group_width": 8},
        groups=4,
        group_width=8,
    ),
    resnet_case("se", "resnet18", {"se": True}, se_ratio=1 / 16),
    cifar_case("pad"),
    cifar_case("conv"),
    wide_case(),
    vgg_case("vgg", "vgg11", 3),  # 4x4 pixels give 3x3 cells that overlap
    vgg_case("vgg_bn", "vgg11_bn", 7, norm="batch"),  # and 7x7 that repeat
    case("lenet", "lenet5", "lenet5", LENET, {}, (32, 32, 1)),
]
