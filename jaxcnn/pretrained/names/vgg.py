"""Torchvision's names of VGG."""

RULES = (
    (r"features\.(\d+)", r"features_\1"),
    (r"classifier\.0", "dense1"),
    (r"classifier\.3", "dense2"),
    (r"classifier\.6", "head"),
    # Without dense layers.
    (r"classifier", "head"),
)
