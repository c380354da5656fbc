"""EfficientNetV2-S in torchvision."""

RULES = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    (r"features\.([123])\.(\d+)\.block\.0\.0", r"stage\1_block\2/fused_conv"),
    (r"features\.([123])\.(\d+)\.block\.0\.1", r"stage\1_block\2/fused_norm"),
    (r"features\.([23])\.(\d+)\.block\.1\.0", r"stage\1_block\2/project_conv"),
    (r"features\.([23])\.(\d+)\.block\.1\.1", r"stage\1_block\2/project_norm"),
    (r"features\.([456])\.(\d+)\.block\.0\.0", r"stage\1_block\2/expand_conv"),
    (r"features\.([456])\.(\d+)\.block\.0\.1", r"stage\1_block\2/expand_norm"),
    (r"features\.([456])\.(\d+)\.block\.1\.0", r"stage\1_block\2/depthwise_conv"),
    (r"features\.([456])\.(\d+)\.block\.1\.1", r"stage\1_block\2/depthwise_norm"),
    (r"features\.([456])\.(\d+)\.block\.2\.fc1", r"stage\1_block\2/squeeze_excite/squeeze"),
    (r"features\.([456])\.(\d+)\.block\.2\.fc2", r"stage\1_block\2/squeeze_excite/excite"),
    (r"features\.([456])\.(\d+)\.block\.3\.0", r"stage\1_block\2/project_conv"),
    (r"features\.([456])\.(\d+)\.block\.3\.1", r"stage\1_block\2/project_norm"),
    (r"features\.7\.0", "last_conv"),
    (r"features\.7\.1", "last_norm"),
    (r"classifier\.1", "head"),
)
