"""Akamaster's names of the ResNets for CIFAR (github.com/akamaster/pytorch_resnet_cifar10)."""

_BLOCK = r"layer(\d+)\.(\d+)\."

RULES = (
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_norm"),
    (_BLOCK + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_BLOCK + r"bn(\d)", r"stage\1_block\2/norm\3"),
    # Of option B alone: option A's have no parameters.
    (_BLOCK + r"shortcut\.0", r"stage\1_block\2/shortcut_conv"),
    (_BLOCK + r"shortcut\.1", r"stage\1_block\2/shortcut_norm"),
    (r"linear", "head"),
)
