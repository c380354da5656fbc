"""MobileNetV3 in torchvision, which counts the blocks through all stages."""

from jaxcnn.pretrained.convert import Rules


def _rules(blocks_per_stage: tuple[int, ...]) -> Rules:
    blocks = [
        f"stage{stage}_block{position}"
        for stage, number in enumerate(blocks_per_stage, start=1)
        for position in range(number)
    ]
    first = (
        # The first block does not expand.
        (r"0\.0", "depthwise_conv"),
        (r"0\.1", "depthwise_norm"),
        (r"1\.fc1", "squeeze_excite/squeeze"),
        (r"1\.fc2", "squeeze_excite/excite"),
        (r"[12]\.0", "project_conv"),
        (r"[12]\.1", "project_norm"),
    )
    others = (
        (r"0\.0", "expand_conv"),
        (r"0\.1", "expand_norm"),
        (r"1\.0", "depthwise_conv"),
        (r"1\.1", "depthwise_norm"),
        (r"2\.fc1", "squeeze_excite/squeeze"),
        (r"2\.fc2", "squeeze_excite/excite"),
        # Without squeeze-and-excitation this is one earlier.
        (r"[23]\.0", "project_conv"),
        (r"[23]\.1", "project_norm"),
    )
    return (
        (r"features\.0\.0", "stem_conv"),
        (r"features\.0\.1", "stem_norm"),
        *(
            (rf"features\.{number}\.block\.{theirs}", f"{block}/{ours}")
            for number, block in enumerate(blocks, start=1)
            for theirs, ours in (first if number == 1 else others)
        ),
        (rf"features\.{len(blocks) + 1}\.0", "last_conv"),
        (rf"features\.{len(blocks) + 1}\.1", "last_norm"),
        (r"classifier\.0", "dense"),
        (r"classifier\.3", "head"),
    )


# torchvision numbers the blocks through, so each size has rules of its own.
RULES = {
    "mobilenet_v3_large": _rules((1, 2, 3, 4, 2, 3)),
    "mobilenet_v3_small": _rules((1, 2, 3, 2, 3)),
}
