"""The layers that native code computes, as an interceptor for `flax.linen.intercept_methods`."""

from typing import Any

import flax.linen as nn

from jaxcnn.core.cpu import cpu_formulations, interceptor
from jaxcnn.native import batch_norm, convolution
from jaxcnn.native.library import available

_convolutions = interceptor(convolution.convolve, depthwise=True)


def native_formulations(next_call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
    """Calls native code for convolutions and, while they train, batch norms that have it; others,
    and max-poolings, are as in `jaxcnn.core.cpu`, and all where native code cannot be built.
    """
    if not available():
        return cpu_formulations(next_call, arguments, keywords, context)
    layer = context.module
    if type(layer) is nn.BatchNorm and len(arguments) == 1 and not keywords:
        (x,) = arguments
        if context.method_name == "__call__" and batch_norm.takes(layer, x):
            return batch_norm.apply_layer(layer, x)
    return _convolutions(next_call, arguments, keywords, context)
