"""DenseNet: torchvision's names, those of its models and those in its files ("norm.1")."""

RULES = (
    (r"features\.conv0", "stem_conv"),
    (r"features\.norm0", "stem_norm"),
    (
        r"features\.denseblock(\d)\.denselayer(\d+)\.(conv|norm)\.?(\d)",
        r"stage\1_layer\2/\3\4",
    ),
    (r"features\.transition(\d)\.(conv|norm)", r"transition\1_\2"),
    (r"features\.norm5", "head_norm"),
    (r"classifier", "head"),
)
