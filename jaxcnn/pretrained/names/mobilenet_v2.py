"""MobileNetV2 in torchvision and timm."""

from jaxcnn.pretrained.names.timm_blocks import stage_rules

# torchvision counts the blocks through all stages.
BLOCKS = (
    *("stage1_block0", "stage2_block0", "stage2_block1"),
    *("stage3_block0", "stage3_block1", "stage3_block2"),
    *("stage4_block0", "stage4_block1", "stage4_block2", "stage4_block3"),
    *("stage5_block0", "stage5_block1", "stage5_block2"),
    *("stage6_block0", "stage6_block1", "stage6_block2", "stage7_block0"),
)

TORCHVISION = (
    (r"features\.0\.0", "stem_conv"),
    (r"features\.0\.1", "stem_norm"),
    # The first block does not expand.
    (r"features\.1\.conv\.0\.0", "stage1_block0/depthwise_conv"),
    (r"features\.1\.conv\.0\.1", "stage1_block0/depthwise_norm"),
    (r"features\.1\.conv\.1", "stage1_block0/project_conv"),
    (r"features\.1\.conv\.2", "stage1_block0/project_norm"),
    *(
        (rf"features\.{number}\.conv\.{theirs}", f"{block}/{ours}")
        for number, block in enumerate(BLOCKS, start=1)
        for theirs, ours in (
            (r"0\.0", "expand_conv"),
            (r"0\.1", "expand_norm"),
            (r"1\.0", "depthwise_conv"),
            (r"1\.1", "depthwise_norm"),
            ("2", "project_conv"),
            ("3", "project_norm"),
        )
    ),
    (r"features\.18\.0", "last_conv"),
    (r"features\.18\.1", "last_norm"),
    (r"classifier\.1", "head"),
)

RULES = (*TORCHVISION, *stage_rules(7))
