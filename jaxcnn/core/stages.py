"""Which stage of a model each parameter belongs to, found by what depends on what."""

import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from jaxcnn.core.models.layers import Stages
from jaxcnn.core.rules import Rule, parameter_paths

HEAD = "head"


def parameter_stages(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, str]:
    """{path of a parameter: its stage}, in the order of the stages, "head" last.

    A parameter belongs to the first of the outputs `features=True` names that depends on it, to
    "head" if the logits alone do. Nothing is computed. Raises ValueError for a model that does not
    take `features`.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def outputs(variables, image):
        logits, stages = model.apply(variables, image, train=False, features=True)
        return Stages(stages, head=logits)

    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, image)
    try:
        traced, shapes = jax.make_jaxpr(outputs, return_shape=True)(variables, image)
    except TypeError as error:
        raise ValueError(f"{type(model).__name__} does not take features=True") from error
    jaxpr = traced.jaxpr

    # For each intermediate value the set of inputs it depends on, as bits.
    known = {variable: 1 << i for i, variable in enumerate(jaxpr.invars)}
    for equation in jaxpr.eqns:
        needed = 0
        for variable in equation.invars:
            if not isinstance(variable, Literal):
                needed |= known.get(variable, 0)  # 0: a constant
        known |= dict.fromkeys(equation.outvars, needed)

    inputs = list(parameter_paths(variables))  # in the order of the jaxpr's inputs
    found: dict[str, str] = {}
    for stage, variable in zip(shapes, jaxpr.outvars, strict=True):
        for i, path in enumerate(inputs):
            collection, _, name = path.partition("/")
            if collection == "params" and known[variable] >> i & 1:
                found.setdefault(name, stage)
    return found


def head_of(stages: Mapping[str, str]) -> frozenset[str]:
    """The paths of the last layer's parameters."""
    return frozenset(path for path, stage in stages.items() if stage == HEAD)


def layer_decay_rules(stages: Mapping[str, str], decay: float) -> tuple[Rule, ...]:
    """Rules under which each stage learns `decay` times as fast as the next one, the last layer at
    the full rate (layer-wise learning-rate decay; Howard & Ruder 2018, arXiv:1801.06146).

    stages: of a model's parameters, see `parameter_stages`. decay: above 0, up to 1.
    """
    order = list(dict.fromkeys(stages.values()))
    rules = []
    for distance, stage in enumerate(reversed(order)):
        modules = dict.fromkeys(_module(path, stages) for path in stages if stages[path] == stage)
        pattern = f"^({'|'.join(map(re.escape, modules))})(/|$)"
        rules.append(Rule(pattern, learning_rate=decay**distance))
    return tuple(reversed(rules))


def _module(path: str, stages: Mapping[str, str]) -> str:
    """The outermost module around a parameter that lies in one stage, or the parameter itself."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        module = "/".join(parts[:depth])
        if len({stage for p, stage in stages.items() if p.startswith(f"{module}/")}) == 1:
            return module
    return path
