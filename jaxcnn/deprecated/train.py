"""Deprecated: `from jaxcnn import finish, train`."""

import sys
import warnings

from jaxcnn.training.train import finish, train

message = "jaxcnn.train goes with 0.3: from jaxcnn import finish, train"
warnings.warn(message, DeprecationWarning, stacklevel=2)

# Python makes what is imported an attribute of `jaxcnn`, whose `train` is a function and stays it.
vars(train).update(train=train, finish=finish)
sys.modules[__name__] = train  # type: ignore[assignment]
