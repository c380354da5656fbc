"""The names of a wide ResNet for CIFAR in github.com/xternalz/WideResNet-pytorch."""

_BLOCK = r"block(\d+)\.layer\.(\d+)\."

RULES = (
    (r"conv1", "stem_conv"),
    (_BLOCK + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_BLOCK + r"bn(\d)", r"stage\1_block\2/norm\3"),
    (_BLOCK + r"convShortcut", r"stage\1_block\2/shortcut_conv"),
    (r"bn1", "last_norm"),
    (r"fc", "head"),
)
