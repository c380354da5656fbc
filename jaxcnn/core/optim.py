"""Learning-rate schedules and the Optax chain."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import optax

from jaxcnn.core.rules import REST, Rule, by_rule


def constant(peak: float, num_steps: int, *, warmup_steps: int = 0) -> optax.Schedule:
    """`peak` all along, after a linear warm-up from 0."""
    del num_steps
    return _with_warmup(optax.constant_schedule(peak), peak, warmup_steps)


def cosine(
    peak: float, num_steps: int, *, warmup_steps: int = 0, final: float = 0.0
) -> optax.Schedule:
    """A linear warm-up from 0 to `peak`, then half a cosine down to `final * peak` at the end
    (Loshchilov & Hutter 2017, arXiv:1608.03983).
    """
    _check_shares(final=final)
    decay = optax.cosine_decay_schedule(peak, max(num_steps - warmup_steps, 1), alpha=final)
    return _with_warmup(decay, peak, warmup_steps)


def step(
    peak: float,
    num_steps: int,
    *,
    warmup_steps: int = 0,
    boundaries: tuple[float, ...] = (0.5, 0.75),
    factor: float = 0.1,
) -> optax.Schedule:
    """Multiplies the rate by `factor` at each of `boundaries`, shares (0..1) of the whole run."""
    _check_shares(factor=factor, boundaries=boundaries)
    if list(boundaries) != sorted(boundaries):
        raise ValueError(f"boundaries={boundaries!r}: expected one after the other")
    drops: dict[int, float] = {}
    for share in boundaries:
        at = round(share * num_steps) - warmup_steps
        drops[at] = drops.get(at, 1.0) * factor
    return _with_warmup(optax.piecewise_constant_schedule(peak, drops), peak, warmup_steps)


def triangular(
    peak: float, num_steps: int, *, warmup_steps: int | None = None, final: float = 0.0
) -> optax.Schedule:
    """Linear from 0 up to `peak` (over the first fifth unless `warmup_steps` says otherwise) and
    linear down to `final * peak` at the end.
    """
    _check_shares(final=final)
    warmup_steps = round(0.2 * num_steps) if warmup_steps is None else warmup_steps
    decay = optax.linear_schedule(peak, final * peak, max(num_steps - warmup_steps, 1))
    return _with_warmup(decay, peak, warmup_steps)


def one_cycle(
    peak: float,
    num_steps: int,
    *,
    warmup_steps: int | None = None,
    initial: float = 0.04,
    final: float = 4e-6,
) -> optax.Schedule:
    """Half a cosine from `initial * peak` up to `peak` (over the first 30 % unless `warmup_steps`
    says otherwise), half a cosine down to `final * peak` (Smith & Topin 2018, arXiv:1708.07120).
    """
    _check_shares(initial=initial, final=final)
    warmup_steps = round(0.3 * num_steps) if warmup_steps is None else warmup_steps
    fall = optax.cosine_decay_schedule(peak, max(num_steps - warmup_steps, 1), alpha=final)
    if not warmup_steps:
        return fall
    missing = optax.cosine_decay_schedule((1 - initial) * peak, warmup_steps)
    return optax.join_schedules([lambda count: peak - missing(count), fall], [warmup_steps])


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
    "triangular": triangular,
    "one_cycle": one_cycle,
}


# Optax functions that do not fit a plain train step: a line search needs the loss as a function;
# these three want a constant rate or a key of their own; the last is deprecated.
_UNFIT = {"lbfgs", "rprop", "sm3", "noisy_sgd", "optimistic_adam"}


def optimizers() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """Optax's optimisers by name: what takes a `learning_rate` first and fits a plain step."""
    return {
        name: function
        for name, function in inspect.getmembers(optax)
        if inspect.isfunction(getattr(function, "func", function))  # a function or a partial of one
        and name not in _UNFIT
        and not name.startswith(("_", "scale_by_"))
        and next(iter(inspect.signature(function).parameters), None) == "learning_rate"
    }


def decay_mask(params: Any) -> Any:
    """True for what weight decay should shrink: kernels, not biases or norms' scales (their
    leaves have one axis).
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def make_optimizer(
    name: str,
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    rules: Sequence[Rule] = (),
    **keywords: Any,
) -> optax.GradientTransformation:
    """Builds the chain: clip by global norm, then the optimiser, decaying kernels only.

    weight_decay: handed to optimisers that have it (adamw, lamb, lion, ...: decoupled, Loshchilov &
      Hutter 2019, arXiv:1711.05101); for the others (sgd, adam, ...) added to the gradient before
      the optimiser sees it (L2 regularisation, as PyTorch's SGD and Adam do).
    clip_norm: the largest global norm of the gradient, or None for no clipping. What a rule freezes
      is no part of it.
    rules: what differs between parameters, see `jaxcnn.core.rules`. Each rule has an optimiser of
      its own, whose rate is the schedule's at the same step, also where it thaws later.
    keywords: the optimiser's own.
    """
    clipping = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    make = partial(_decaying, name, learning_rate, weight_decay, keywords)
    if not rules:
        return optax.chain(*clipping, *make(Rule(REST)))
    if clipping and any(rule.frozen for rule in rules):
        clipping.insert(0, by_rule(rules, lambda rule: optax.identity()))
    return optax.chain(*clipping, by_rule(rules, lambda rule: optax.chain(*make(rule))))


def _decaying(
    name: str,
    learning_rate: float | optax.Schedule,
    weight_decay: float,
    keywords: Mapping[str, Any],
    rule: Rule,
) -> list[optax.GradientTransformation]:
    """The optimiser, with its decay before it or in it, for the parameters of a rule."""
    optimizer = optimizers()[name]
    parameters = inspect.signature(optimizer).parameters
    decay = weight_decay * rule.weight_decay
    rate = _rate_of(learning_rate, rule)
    mask_name = next((m for m in ("mask", "weight_decay_mask") if m in parameters), None)
    if "weight_decay" in parameters and mask_name:
        # Always passed: some of Optax's defaults are not zero.
        return [optimizer(rate, **keywords, weight_decay=decay, **{mask_name: decay_mask})]
    before = [optax.add_decayed_weights(decay, decay_mask)] if decay else []
    return [*before, optimizer(rate, **keywords)]


def _rate_of(learning_rate: float | optax.Schedule, rule: Rule) -> float | optax.Schedule:
    """The learning rate of a rule; its optimiser counts updates from where the rule thaws."""
    if rule.learning_rate == 1 and (not rule.frozen or not callable(learning_rate)):
        return learning_rate
    if not callable(learning_rate):
        return rule.learning_rate * learning_rate
    return lambda count: rule.learning_rate * learning_rate(count + int(rule.frozen))


def _check_shares(**values: float | tuple[float, ...]) -> None:
    for key, value in values.items():
        if not all(0 <= share <= 1 for share in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{key}={value!r}: expected shares from 0 to 1")


def _with_warmup(schedule: optax.Schedule, peak: float, warmup_steps: int) -> optax.Schedule:
    if not warmup_steps:
        return schedule
    rise = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([rise, schedule], [warmup_steps])
