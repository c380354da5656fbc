"""What timm calls the blocks of MobileNets and EfficientNets."""

from jaxcnn.pretrained.convert import Rules


def stage_rules(stages: int) -> Rules:
    """The rules for a net whose first stage does not expand; timm counts its stages from 0."""
    return (
        ("conv_stem", "stem_conv"),
        ("bn1", "stem_norm"),
        (r"blocks\.0\.(\d+)\.bn1", r"stage1_block\1/depthwise_norm"),
        (r"blocks\.0\.(\d+)\.conv_pw", r"stage1_block\1/project_conv"),
        (r"blocks\.0\.(\d+)\.bn2", r"stage1_block\1/project_norm"),
        *(
            (rf"blocks\.{stage - 1}\.(\d+)\.{theirs}", rf"stage{stage}_block\1/{ours}")
            for stage in range(1, stages + 1)
            for theirs, ours in (
                ("conv_pw", "expand_conv"),
                ("bn1", "expand_norm"),
                ("conv_dw", "depthwise_conv"),
                ("bn2", "depthwise_norm"),
                (r"se\.conv_reduce", "squeeze_excite/squeeze"),
                (r"se\.conv_expand", "squeeze_excite/excite"),
                ("conv_pwl", "project_conv"),
                ("bn3", "project_norm"),
            )
        ),
        ("conv_head", "last_conv"),
        ("bn2", "last_norm"),
        ("classifier", "head"),
    )
