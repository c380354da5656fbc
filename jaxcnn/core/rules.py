"""Rules for parameters: which are frozen, which learn slower or decay less.

    rules = (Rule("stem|stage1", frozen=True), Rule("stage2", learning_rate=0.1), Rule("rest"))
    tx = make_optimizer("sgd", 0.1, momentum=0.9, rules=rules)

Each parameter belongs to exactly one rule.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.extend.core import Literal

from jaxcnn.core.models.layers import Stages

PyTree = Any
REST = "rest"


class Rule(NamedTuple):
    """A rule for the parameters whose paths match a pattern.

    pattern: a regular expression, searched in paths such as "stage1_block0/conv1/kernel"; or
      "rest", for all parameters that no other rule fits.
    learning_rate, weight_decay: factors of the optimiser's.
    frozen: True: never changed. A number: not changed by that many first updates.
    freeze_statistics: their BatchNorm layers normalise with the running statistics, as in
      evaluation, and leave them as they are, in all steps (see `keeping_statistics`).

    >>> from jaxcnn import Rule, make_optimizer
    >>> rules = [Rule("head"), Rule("rest", learning_rate=0.1, frozen=100)]  # thaws later
    >>> tx = make_optimizer("adam", 1e-3, rules=rules)
    """

    pattern: str
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    frozen: bool | int = False
    freeze_statistics: bool = False


class RuleMismatch(ValueError):
    """Rules that do not fit a model: a parameter with none or two, a rule for none."""


def path_name(path: Any) -> str:
    """A path of `jax.tree_util` as "stage1_block0/conv1/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def parameter_paths(params: PyTree) -> dict[str, Any]:
    """{"stage1_block0/conv1/kernel": leaf} of a tree of parameters."""
    flat, _ = jax.tree.flatten_with_path(params)
    return {path_name(path): leaf for path, leaf in flat}


def assign(rules: Sequence[Rule], paths: Iterable[str]) -> dict[str, int]:
    """{path: number of its rule}; raises RuleMismatch."""
    assigned: dict[str, int] = {}
    for path in paths:
        fitting = _fitting(rules, path)
        if len(fitting) > 1:
            first, second, *_ = (rules[i].pattern for i in fitting)
            raise RuleMismatch(f"{path} fits two rules, {first!r} and {second!r}; leave it to one")
        if not fitting:
            raise RuleMismatch(f"{path} fits no rule; add one for it, or a last ({REST!r}, {{}})")
        assigned[path] = fitting[0]
    for i, rule in enumerate(rules):
        if rule.pattern != REST and i not in assigned.values():
            raise RuleMismatch(
                f"{rule.pattern!r} fits none of the {len(assigned)} parameters "
                f"({', '.join(list(assigned)[:3])}, ...)"
            )
    return assigned


def by_rule(
    rules: Sequence[Rule], make: Callable[[Rule], optax.GradientTransformation]
) -> optax.GradientTransformation:
    """Applies the transformation `make(rule)` to the parameters of each rule.

    Frozen parameters do not change, neither by decay nor by momentum. If they thaw later, moments
    and the transformation's count of updates begin then.
    """

    def guarded(rule: Rule) -> optax.GradientTransformation:
        if rule.frozen is True:
            return optax.set_to_zero()
        if rule.frozen:
            return optax.conditionally_mask(make(rule), lambda count: count >= rule.frozen)
        return make(rule)

    def labels(params: PyTree) -> PyTree:
        assigned = assign(rules, parameter_paths(params))
        return jax.tree.map_with_path(lambda path, _: assigned[path_name(path)], params)

    return optax.partition({i: guarded(rule) for i, rule in enumerate(rules)}, labels)


def keeping_statistics(apply: Callable[..., Any], rules: Sequence[Rule]) -> Callable[..., Any]:
    """`apply` of a model, with BatchNorm layers in evaluation mode if the rules of all their
    parameters have `freeze_statistics` (for a layer without parameters: the rule of its path).
    """
    if not any(rule.freeze_statistics for rule in rules):
        return apply

    def keeping(variables: dict[str, PyTree], *arguments: Any, **keywords: Any) -> Any:
        fixed = _fixed_layers(rules, variables)

        def call(next_call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
            layer = context.module
            if isinstance(layer, nn.BatchNorm) and "/".join(layer.path) in fixed:
                evaluating = layer.clone(use_running_average=True, parent=None)
                return evaluating.apply(layer.variables, *arguments, **keywords)
            return next_call(*arguments, **keywords)

        with nn.intercept_methods(call):
            return apply(variables, *arguments, **keywords)

    return keeping


def _fixed_layers(rules: Sequence[Rule], variables: dict[str, PyTree]) -> set[str]:
    """The paths of the BatchNorm layers whose statistics stay."""
    of_layer: dict[str, set[int]] = {}
    for path, i in assign(rules, parameter_paths(variables["params"])).items():
        of_layer.setdefault(path.rpartition("/")[0], set()).add(i)
    layers = {path.rpartition("/")[0] for path in parameter_paths(variables["batch_stats"])}
    return {
        layer
        for layer in layers
        if all(rules[i].freeze_statistics for i in of_layer.get(layer) or _fitting(rules, layer))
    }


def rule_table(rules: Sequence[Rule], params: PyTree) -> str:
    """The rules, with the numbers of their arrays and parameters, as lines of text; raises
    RuleMismatch. params: arrays or `jax.ShapeDtypeStruct`.
    """
    paths = parameter_paths(params)
    assigned = assign(rules, paths)
    table: list[list[str]] = [["rule", "arrays", "parameters", "learning rate", "weight decay", ""]]
    for i, rule in enumerate(rules):
        leaves = [paths[path] for path, j in assigned.items() if i == j]
        factors = [f"x {rule.learning_rate:g}", f"x {rule.weight_decay:g}"]
        details = ["statistics kept"] if rule.freeze_statistics else []
        if rule.frozen is True:
            factors, details = ["-", "-"], ["frozen", *details]
        elif rule.frozen:
            details = [f"frozen for {rule.frozen} updates", *details]
        pattern = rule.pattern if len(rule.pattern) <= 40 else f"{rule.pattern[:39]}…"
        size = sum(leaf.size for leaf in leaves)
        table.append([pattern, f"{len(leaves):,}", f"{size:,}", *factors, ", ".join(details)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *cells, details_text in table:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned, details_text]).rstrip())
    return "\n".join(lines)


def _fitting(rules: Sequence[Rule], path: str) -> list[int]:
    """The numbers of the rules that a path fits; that of the rest if it fits no other."""
    named = [i for i, r in enumerate(rules) if r.pattern != REST and re.search(r.pattern, path)]
    return named or [i for i, rule in enumerate(rules) if rule.pattern == REST]


HEAD = "head"


def parameter_stages(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, str]:
    """{path of a parameter: its stage}, in the order of the stages, "head" last.

    A parameter belongs to the first stage whose output depends on it, and to "head" if only the
    logits do. Nothing is computed. Raises ValueError for a model that does not take `features`.

    >>> from jaxcnn import MODELS, parameter_stages
    >>> stages = parameter_stages(MODELS["cnn"](num_classes=10), image_shape=(8, 8, 1))
    >>> list(dict.fromkeys(stages.values()))
    ['stage1', 'stage2', 'stage3', 'head']
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
    stage_of: dict[str, str] = {}
    for stage, variable in zip(shapes, jaxpr.outvars, strict=True):
        for i, path in enumerate(inputs):
            collection, _, name = path.partition("/")
            if collection == "params" and known[variable] >> i & 1:
                stage_of.setdefault(name, stage)
    return stage_of


def head_of(stages: Mapping[str, str]) -> frozenset[str]:
    """The paths of the last layer's parameters."""
    return frozenset(path for path, stage in stages.items() if stage == HEAD)


def layer_decay_rules(stages: Mapping[str, str], decay: float) -> tuple[Rule, ...]:
    """Rules under which each stage learns `decay` times as fast as the next one, the last layer at
    the full rate (layer-wise learning-rate decay; Howard & Ruder 2018, arXiv:1801.06146).

    stages: of a model's parameters, see `parameter_stages`. decay: above 0, up to 1.

    >>> from jaxcnn import layer_decay_rules
    >>> rules = layer_decay_rules({"conv/kernel": "stage1", "dense/kernel": "head"}, 0.5)
    >>> [(rule.pattern, rule.learning_rate) for rule in rules]
    [('^(conv)(/|$)', 0.5), ('^(dense)(/|$)', 1.0)]
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
