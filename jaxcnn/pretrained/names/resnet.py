"""Torchvision's names of ResNet, ResNeXt and wide ResNet; timm's of ResNet-D and SE-ResNet."""

_BLOCK = r"layer(\d+)\.(\d+)\."

RULES = (
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_norm"),
    # The three convolutions of a deep stem; the norm of the last is bn1.
    (r"conv1\.0", "stem_conv1"),
    (r"conv1\.1", "stem_norm1"),
    (r"conv1\.3", "stem_conv2"),
    (r"conv1\.4", "stem_norm2"),
    (r"conv1\.6", "stem_conv"),
    (_BLOCK + r"conv(\d)", r"stage\1_block\2/conv\3"),
    (_BLOCK + r"bn(\d)", r"stage\1_block\2/norm\3"),
    (_BLOCK + r"se\.fc1", r"stage\1_block\2/se/reduce"),
    (_BLOCK + r"se\.fc2", r"stage\1_block\2/se/expand"),
    (_BLOCK + r"downsample\.0", r"stage\1_block\2/shortcut_conv"),
    # After a pooling (ResNet-D) the convolution is number 1, else the norm.
    (_BLOCK + r"downsample\.1", r"stage\1_block\2/pooled_shortcut_conv"),
    (_BLOCK + r"downsample\.[12]", r"stage\1_block\2/shortcut_norm"),
    (r"fc", "head"),
)
