"""Training runs: the loop, what a run begins with and goes on from, seeds and populations.

`train.py` is the story of a run; read it first.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "Training":
        raise AttributeError(f"module 'jaxcnn.training' has no attribute {name!r}")
    import warnings

    from jaxcnn.training.loop import Training

    message = "jaxcnn.training.Training goes with 0.3: from jaxcnn import Training"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return Training
