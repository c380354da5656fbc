"""EfficientNet B0 to B4 and Lite0 in torchvision (which has no Lite0) and timm."""

from jaxcnn.pretrained.names.timm_blocks import stage_rules

TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    # The blocks of the first stage do not expand.
    (r"features\.1\.(\d+)\.block\.0\.0", r"stage1_block\1/depthwise_conv"),
    (r"features\.1\.(\d+)\.block\.0\.1", r"stage1_block\1/depthwise_norm"),
    (r"features\.1\.(\d+)\.block\.1\.fc1", r"stage1_block\1/squeeze_excite/squeeze"),
    (r"features\.1\.(\d+)\.block\.1\.fc2", r"stage1_block\1/squeeze_excite/excite"),
    (r"features\.1\.(\d+)\.block\.2\.0", r"stage1_block\1/project_conv"),
    (r"features\.1\.(\d+)\.block\.2\.1", r"stage1_block\1/project_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.0\.0", r"stage\1_block\2/expand_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.0\.1", r"stage\1_block\2/expand_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.1\.0", r"stage\1_block\2/depthwise_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.1\.1", r"stage\1_block\2/depthwise_norm"),
    (r"features\.(\d+)\.(\d+)\.block\.2\.fc1", r"stage\1_block\2/squeeze_excite/squeeze"),
    (r"features\.(\d+)\.(\d+)\.block\.2\.fc2", r"stage\1_block\2/squeeze_excite/excite"),
    (r"features\.(\d+)\.(\d+)\.block\.3\.0", r"stage\1_block\2/project_conv"),
    (r"features\.(\d+)\.(\d+)\.block\.3\.1", r"stage\1_block\2/project_norm"),
    (r"features\.8\.0", "last_conv"),
    (r"features\.8\.1", "last_norm"),
    (r"classifier\.1", "head"),
)

RULES = (*TORCHVISION, *stage_rules(7))
