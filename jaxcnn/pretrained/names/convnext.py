"""ConvNeXt: the names of torchvision and those of timm, which no name has in common."""


def _blocks(theirs: str, ours: str, layers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The rules of a stage's blocks: of their layers, and of what is the block's own."""
    named = [(rf"{theirs}\.{name}", rf"{ours}/{layer}") for name, layer in layers.items()]
    return (*named, (theirs, ours))


_TORCHVISION_BLOCK = {
    r"block\.0": "depthwise",
    r"block\.2": "norm",
    r"block\.3": "expand",
    r"block\.5": "project",
}
TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    *_blocks(r"features\.1\.(\d+)", r"stage1_block\1", _TORCHVISION_BLOCK),
    (r"features\.2\.0", "stage2_norm"),
    (r"features\.2\.1", "stage2_conv"),
    *_blocks(r"features\.3\.(\d+)", r"stage2_block\1", _TORCHVISION_BLOCK),
    (r"features\.4\.0", "stage3_norm"),
    (r"features\.4\.1", "stage3_conv"),
    *_blocks(r"features\.5\.(\d+)", r"stage3_block\1", _TORCHVISION_BLOCK),
    (r"features\.6\.0", "stage4_norm"),
    (r"features\.6\.1", "stage4_conv"),
    *_blocks(r"features\.7\.(\d+)", r"stage4_block\1", _TORCHVISION_BLOCK),
    (r"classifier\.0", "head_norm"),
    (r"classifier\.2", "head"),
)

_TIMM_BLOCK = {
    "conv_dw": "depthwise",
    "norm": "norm",
    r"mlp\.fc1": "expand",
    r"mlp\.fc2": "project",
}
TIMM = (
    (r"stem\.0", "stem_conv"),
    (r"stem\.1", "stem_norm"),
    *_blocks(r"stages\.0\.blocks\.(\d+)", r"stage1_block\1", _TIMM_BLOCK),
    (r"stages\.1\.downsample\.0", "stage2_norm"),
    (r"stages\.1\.downsample\.1", "stage2_conv"),
    *_blocks(r"stages\.1\.blocks\.(\d+)", r"stage2_block\1", _TIMM_BLOCK),
    (r"stages\.2\.downsample\.0", "stage3_norm"),
    (r"stages\.2\.downsample\.1", "stage3_conv"),
    *_blocks(r"stages\.2\.blocks\.(\d+)", r"stage3_block\1", _TIMM_BLOCK),
    (r"stages\.3\.downsample\.0", "stage4_norm"),
    (r"stages\.3\.downsample\.1", "stage4_conv"),
    *_blocks(r"stages\.3\.blocks\.(\d+)", r"stage4_block\1", _TIMM_BLOCK),
    (r"head\.norm", "head_norm"),
    (r"head\.fc", "head"),
)

RULES = (*TORCHVISION, *TIMM)
