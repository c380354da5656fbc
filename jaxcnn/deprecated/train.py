"""Deprecated: `from jaxcnn import finish, train`."""

import sys
import warnings
from functools import partial

from jaxcnn.training.train import finish, train

message = "jaxcnn.train goes with 0.3: from jaxcnn import finish, train"
warnings.warn(message, DeprecationWarning, stacklevel=2)

# Python makes what is imported an attribute of `jaxcnn`, whose `train` is a function.
sys.modules[__name__] = partial(train)  # type: ignore[assignment]
vars(sys.modules[__name__]).update(train=train, finish=finish)
