"""The airbench nets: names as in github.com/KellerJordan/cifar10-airbench, where the layers of the
paper's networks have numbers, and those of later ones names.

The scales of the norms are all 1 there; we have none, and they are left over.
"""

RULES = (
    (r"0|whiten", "whitening"),
    (r"(?:2|layers\.1)\.(conv|norm)(\d)", r"stage1_\1\2"),
    (r"(?:3|layers\.2)\.(conv|norm)(\d)", r"stage2_\1\2"),
    (r"(?:4|layers\.3)\.(conv|norm)(\d)", r"stage3_\1\2"),
    (r"7|head", "head"),
)
