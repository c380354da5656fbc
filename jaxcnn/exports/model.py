"""What the writers of formats take: a classifier without its config."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from jaxcnn.exports.graph import Node, trace
from jaxcnn.exports.simplify import simplify


@dataclass(frozen=True)
class Model:
    """A trained classifier to be exported.

    apply: pure `(variables, uint8[B, H, W, C]) -> float32[B, K]`, see
      `jaxcnn.inference.classifier.make_probabilities`.
    card: the content of `model.json`, see `jaxcnn.inference.classifier.model_card`.
    batch: B; None where files shall take any.
    """

    apply: Callable[[Any, jax.Array], jax.Array]
    variables: Any
    image_shape: tuple[int, int, int]
    card: dict[str, Any]
    batch: int | None = None

    def probabilities(self, image: jax.Array) -> jax.Array:
        """uint8[B, H, W, C] -> float32[B, K]."""
        return self.apply(self.variables, image)

    @cached_property
    def graph(self) -> Node:
        """The model as operations; raises Unsupported."""
        return simplify(trace(self.probabilities, self.image_shape))
