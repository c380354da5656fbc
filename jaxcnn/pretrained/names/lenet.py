"""The names of LeNet-5 in PyTorch's tutorials: conv1, conv2, fc1, fc2, fc3."""

RULES = (
    (r"conv(\d)", r"conv\1"),
    (r"fc3", "head"),
    (r"fc(\d)", r"dense\1"),
)
