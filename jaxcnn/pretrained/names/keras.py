"""What Keras Applications calls the layers of the families that compute the same there.

Keras's ResNets stride elsewhere (on the first 1x1 convolution), and its MobileNets and
EfficientNets pad strided convolutions on one side only, with another epsilon: their weights would
be loaded and be wrong, so that they have no rules.
"""

from jaxcnn.pretrained.convert import Rules

_CONVNEXT = (
    (r"\w+_stem_conv", "stem_conv"),
    (r"\w+_stem_layernorm", "stem_norm"),
    *(
        rule
        for stage in range(4)
        for rule in (
            # Numbered from the second stage's, which is number 2 here.
            (rf"\w+_downsampling_layernorm_{stage}", f"stage{stage + 2}_norm"),
            (rf"\w+_downsampling_conv_{stage}", f"stage{stage + 2}_conv"),
            (
                rf"\w+_stage_{stage}_block_(\d+)_depthwise_conv",
                rf"stage{stage + 1}_block\1/depthwise",
            ),
            (rf"\w+_stage_{stage}_block_(\d+)_layernorm", rf"stage{stage + 1}_block\1/norm"),
            (
                rf"\w+_stage_{stage}_block_(\d+)_pointwise_conv_1",
                rf"stage{stage + 1}_block\1/expand",
            ),
            (
                rf"\w+_stage_{stage}_block_(\d+)_pointwise_conv_2",
                rf"stage{stage + 1}_block\1/project",
            ),
            (rf"\w+_stage_{stage}_block_(\d+)_layer_scale", rf"stage{stage + 1}_block\1"),
        )
    ),
    (r"\w+_head_layernorm", "head_norm"),
    (r"\w+_head_dense", "head"),
)

# By the name of the family's file in `jaxcnn.core.models`.
RULES: dict[str, Rules] = {"convnext": _CONVNEXT}
