"""Learning-rate schedules and the Optax chain."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxcnn.core.rules import REST, PyTree, Rule, by_rule, path_name


def constant(peak: float, num_steps: int, *, warmup_steps: int = 0) -> optax.Schedule:
    """`peak` all along, after a linear warm-up from 0."""
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
    peak: float,
    num_steps: int,
    *,
    warmup_steps: int | None = None,
    rise: float = 0.2,
    initial: float = 0.0,
    final: float = 0.0,
) -> optax.Schedule:
    """Linear from `initial * peak` up to `peak` (over the share `rise` of the run unless
    `warmup_steps` says otherwise) and linear down to `final * peak` at the end.
    """
    _check_shares(rise=rise, initial=initial, final=final)
    warmup_steps = round(rise * num_steps) if warmup_steps is None else warmup_steps
    decay = optax.linear_schedule(peak, final * peak, max(num_steps - warmup_steps, 1))
    return _with_warmup(decay, peak, warmup_steps, initial)


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


def kernel_dimensions(params: Any) -> Any:
    """The axes by which Muon takes kernels for matrices: the last one (O of HWIO) is output, those
    before it are input; None for leaves with one axis.
    """
    numbers = optax.contrib.MuonDimensionNumbers
    return jax.tree.map(
        lambda leaf: numbers((*range(leaf.ndim - 1),), leaf.ndim - 1) if leaf.ndim > 1 else None,
        params,
    )


def optimizers() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """Optax's optimisers by name: its functions of a `learning_rate` that fit a plain step.

    lars: biases and norms' scales have no trust ratio, as in the paper's experiments (You et al.
      2017, arXiv:1708.03888).
    muon: kernels by Muon (Jordan et al. 2024), leaves of one axis by AdamW at the same rate. Its
      updates have the size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so AdamW's rates suit.
    """
    functions = {
        name: function
        for name, function in inspect.getmembers(optax)
        if inspect.isfunction(getattr(function, "func", function))  # a function or a partial of one
        and name not in _UNFIT
        and not name.startswith(("_", "scale_by_"))
        and next(iter(inspect.signature(function).parameters), None) == "learning_rate"
    }
    return functions | {
        "lars": partial(optax.lars, trust_ratio_mask=decay_mask),
        "muon": partial(
            optax.contrib.muon,
            muon_weight_dimension_numbers=kernel_dimensions,
            consistent_rms=0.2,
            adam_learning_rate=None,  # a number would not follow the schedule
        ),
    }


def decay_mask(params: Any) -> Any:
    """True for kernels, which weight decay shrinks; False for leaves of one axis, biases and norms'
    scales.
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def make_optimizer(
    name: str | Callable[..., optax.GradientTransformation],
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    decay_biases: bool = False,
    clip_value: float | None = None,
    clip_adaptive: float | None = None,
    clip_norm: float | None = None,
    head: Collection[str] = (),
    rules: Sequence[Rule] = (),
    lookahead_steps: int | None = None,
    lookahead_share: float = 0.5,
    accumulate: int = 1,
    **keywords: Any,
) -> optax.GradientTransformation:
    """Builds the chain: clip the gradient, then the optimiser with its decay.

    name: of one of `optimizers`, or a function such as they are.
    learning_rate: a number or a function of the train step, from 0.
    weight_decay: handed to optimisers that have it (adamw, lamb, lion, ...: decoupled, Loshchilov &
      Hutter 2019, arXiv:1711.05101); for the others (sgd, adam, ...) added to the gradient before
      the optimiser sees it (L2 regularisation, as PyTorch's SGD and Adam do). Of kernels only.
    decay_biases: whether biases and norms' scales decay, too.
    clip_value: the largest absolute value of the gradient. clip_adaptive: the largest norm of each
      unit's gradient as a share of its parameters' norm, for all parameters but those in `head`
      (their paths; Brock et al. 2021, arXiv:2102.06171). clip_norm: the largest global norm of the
      gradient, without what a rule freezes. In this order; None for no clipping.
    rules: what differs between parameters, see `jaxcnn.core.rules`. Each rule has an optimiser of
      its own, whose rate is the schedule's at the same step, also where it thaws later.
    lookahead_steps, lookahead_share: see `jaxcnn.core.optim`; None for none.
    accumulate: train steps whose gradients are averaged for one update. The learning rate of an
      update is that of the first of its steps.
    keywords: the optimiser's own.

    >>> from jaxcnn import SCHEDULES, make_optimizer
    >>> rate = SCHEDULES["cosine"](0.1, num_steps=1000, warmup_steps=50)
    >>> tx = make_optimizer("sgd", rate, momentum=0.9, weight_decay=5e-4, clip_norm=1.0)
    >>> float(rate(1000))
    0.0
    """
    if accumulate > 1:
        rules = [
            rule._replace(frozen=rule.frozen is True or -(-rule.frozen // accumulate))
            for rule in rules
        ]
    clipping = [] if clip_value is None else [optax.clip(clip_value)]
    if clip_adaptive is not None:
        body = partial(jax.tree.map_with_path, lambda path, _: path_name(path) not in head)
        clipping.append(optax.masked(optax.adaptive_grad_clip(clip_adaptive), body))
    if clip_norm is not None:
        if any(rule.frozen for rule in rules):
            clipping.append(by_rule(rules, lambda rule: optax.identity()))
        clipping.append(optax.clip_by_global_norm(clip_norm))
    rate = at_updates(learning_rate, accumulate)
    make = partial(_decaying, name, rate, weight_decay, decay_biases, keywords)
    if rules:
        tx = optax.chain(*clipping, by_rule(rules, lambda rule: optax.chain(*make(rule))))
    else:
        tx = optax.chain(*clipping, *make(Rule(REST)))
    if lookahead_steps is not None:
        tx = lookahead(tx, lookahead_steps, lookahead_share)
    if accumulate > 1:
        tx = optax.MultiSteps(tx, accumulate).gradient_transformation()
    return tx


def at_updates(learning_rate: float | optax.Schedule, accumulate: int) -> float | optax.Schedule:
    """The learning rate by updates, each of `accumulate` train steps, of one by train steps."""
    if accumulate == 1 or not callable(learning_rate):
        return learning_rate
    return lambda count: learning_rate(count * accumulate)


def _decaying(
    name: str | Callable[..., optax.GradientTransformation],
    learning_rate: float | optax.Schedule,
    weight_decay: float,
    decay_biases: bool,
    keywords: Mapping[str, Any],
    rule: Rule,
) -> list[optax.GradientTransformation]:
    """The optimiser, with its decay before it or in it, for the parameters of a rule."""
    optimizer = optimizers()[name] if isinstance(name, str) else name
    parameters = inspect.signature(optimizer).parameters
    decay = weight_decay * rule.weight_decay
    mask = partial(jax.tree.map, lambda leaf: True) if decay_biases else decay_mask
    rate = _rate_of(learning_rate, rule)
    mask_name = next((m for m in ("mask", "weight_decay_mask") if m in parameters), None)
    if "adam_weight_decay" in parameters and decay_biases:  # Muon's, of what has one axis
        keywords = {"adam_weight_decay": decay, **keywords}
    if "weight_decay" in parameters and mask_name:
        # Always passed: some of Optax's defaults are not zero.
        return [optimizer(rate, **keywords, weight_decay=decay, **{mask_name: mask})]
    # A member's own decay is an array, and none is 0 (see jaxcnn.training.population).
    without = isinstance(decay, int | float) and decay == 0
    decays = [] if without else [optax.add_decayed_weights(decay, mask)]
    return [*decays, optimizer(rate, **keywords)]


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


def _with_warmup(
    schedule: optax.Schedule, peak: float, warmup_steps: int, initial: float = 0.0
) -> optax.Schedule:
    if not warmup_steps:
        return schedule
    rise = optax.linear_schedule(initial * peak, peak, warmup_steps)
    return optax.join_schedules([rise, schedule], [warmup_steps])


class LookaheadState(NamedTuple):
    """slow: the slow weights. inner: the state of `optax.lookahead`."""

    slow: PyTree
    inner: optax.OptState


def lookahead(
    fast: optax.GradientTransformation, steps: int, share: float
) -> optax.GradientTransformation:
    """Moves the slow weights `share` of the way to the fast ones every `steps` updates of `fast`,
    which goes on from there.

    The same as `optax.lookahead`, which takes both sets of weights as parameters; here the slow
    ones are in the state. The parameters that are evaluated are the fast ones.
    """
    both = optax.lookahead(fast, sync_period=steps, slow_step_size=share)

    def init(params: PyTree) -> LookaheadState:
        slow = jax.tree.map(jnp.copy, params)
        return LookaheadState(slow, both.init(optax.LookaheadParams(params, slow)))

    def update(
        updates: PyTree, state: LookaheadState, params: PyTree = None
    ) -> tuple[PyTree, LookaheadState]:
        pair = optax.LookaheadParams(params, state.slow)
        updates, inner = both.update(updates, state.inner, pair)
        return updates.fast, LookaheadState(optax.apply_updates(state.slow, updates.slow), inner)

    return optax.GradientTransformation(init, update)
