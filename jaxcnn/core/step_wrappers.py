"""Step wrappers: a step in, a step out.

A step is a pure function of (state, batch). What it needs beside the batch travels with it in a
`StepInput`, each thing in a field of its own; the wrappers unpack it, and the step never sees it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.core.state import PyTree, TrainState, finite
from jaxcnn.core.step import Batch, Metrics, TrainStep

Step = Callable[[TrainState, Batch], Any]


class StepInput(NamedTuple):
    """What a compiled step takes beside the state.

    batch: the arrays of the examples, see `jaxcnn.core.step`; without "image" if there is a store.
    store: uint8[N, H, W, C], all images of a data set that lie on the device.
    values: {name: float32[]}, numbers of the config that differ between members of a population.
    signal: int32[devices], the number of a signal that a process was sent, 0 for none.

    Arrays of NumPy or JAX, or what stands for them (shapes, axes). None is not in the program.
    """

    batch: Any
    store: Any = None
    values: Any = None
    signal: Any = None


InputStep = Callable[[TrainState, StepInput], Any]


def with_input(step: Step) -> InputStep:
    """A step of (state, StepInput). From a store, if there is one, it gathers the images that the
    batch's "index" names.
    """

    def step_with_input(state: TrainState, inputs: StepInput) -> Any:
        batch, store = inputs.batch, inputs.store
        return step(state, batch if store is None else batch | {"image": store[batch["index"]]})

    return step_with_input


def with_values(make_step: Callable[[dict[str, jax.Array]], Step]) -> InputStep:
    """A step of (state, StepInput) that depends on the input's values.

    make_step: values -> the step for them. It runs while the step is traced, so that a learning
      rate, a decay or a schedule's peak is the member's own wherever it is used.
    """

    def step_with_values(state: TrainState, inputs: StepInput) -> Any:
        return with_input(make_step(inputs.values or {}))(state, inputs)

    return step_with_values


def with_signal(step: InputStep, axis_name: str | None) -> InputStep:
    """A train step whose metrics have the largest "signal" of all devices, int32[], if its input
    has signals (see `jaxcnn.runtime.preemption`).
    """

    def step_with_signal(state: TrainState, inputs: StepInput) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, inputs)
        if inputs.signal is None:
            return state, metrics
        largest = jnp.max(inputs.signal)
        if axis_name is not None:
            largest = jax.lax.pmax(largest, axis_name)
        return state, metrics | {"signal": largest}

    return step_with_signal


def scan_steps(step: InputStep) -> InputStep:
    """Several steps as one program: the host does nothing between them.

    The input's batch and signal, and the metrics that are returned, have the steps on a leading
    axis; store and values are there once. State and metrics are those of the steps one by one, up
    to rounding: the compiler sees another program.
    """

    def steps(state: TrainState, inputs: StepInput) -> Any:
        def body(state: TrainState, arrays: tuple[Batch, jax.Array | None]) -> Any:
            batch, signal = arrays
            return step(state, inputs._replace(batch=batch, signal=signal))

        return jax.lax.scan(body, state, (inputs.batch, inputs.signal))

    return steps


def last_of_scan(inputs: StepInput) -> StepInput:
    """The input of the last of several steps."""
    batch, signal = jax.tree.map(lambda leaf: leaf[-1], (inputs.batch, inputs.signal))
    return inputs._replace(batch=batch, signal=signal)


def skip_nonfinite(train_step: TrainStep) -> TrainStep:
    """Returns the step without the updates whose loss or new state has a NaN or an infinity: then
    parameters, statistics, moments and averages stay as they are.

    The state's whole-number scalars go on: `step`, and the optimiser's counts, which decide the
    learning rate, when a rule thaws and which steps make one update. So update k has the same
    batch, keys and learning rate whether updates before it were skipped or not. Adam's correction
    of its bias counts skipped updates too, a difference that decays with its moments. With
    `accumulate` k, a skipped step has a gradient of 0 in the mean over k steps; if it is the last
    of them, there is no update, and the next one begins anew.

    The new state is checked, not the gradients: a gradient that clipping mends, or of a frozen
    parameter, does no harm, an overflow in a moment does; and the step may be any, one of your own
    too. `optax.apply_if_finite` does not see the loss or BatchNorm's statistics, stops the
    schedule's count, and after some errors in a row applies what is not finite.

    `metrics` of a skipped update are 0; all have "skipped", int32[]: 1 if it was skipped, else 0.

    >>> import jax, optax
    >>> from jaxcnn import MODELS, make_train_step, skip_nonfinite
    >>> model, tx = MODELS["cnn"](num_classes=10), optax.adam(1e-3)
    >>> train_step = jax.jit(skip_nonfinite(make_train_step(model, tx)))
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        new, metrics = train_step(state, batch)
        done = finite((new, metrics["loss"]))
        metrics = {name: jnp.where(done, sums, 0) for name, sums in metrics.items()}
        metrics["skipped"] = (~done).astype(jnp.int32)
        return jax.tree.map(partial(_all_kept, done), state, new, is_leaf=_accumulates), metrics

    return step


# `config.on_nonfinite`: what becomes of a train step. A run that stops sees it in the metrics.
ON_NONFINITE: dict[str, Callable[[TrainStep], TrainStep]] = {
    "stop": lambda train_step: train_step,
    "skip": skip_nonfinite,
}


def _accumulates(node: PyTree) -> bool:
    return isinstance(node, optax.MultiStepsState)


def _all_kept(done: jax.Array, old: PyTree, new: PyTree) -> PyTree:
    """`_kept` of all leaves of a node; a mean of gradients has a 0 more, or begins anew."""
    kept = jax.tree.map(partial(_kept, done), old, new)
    if not _accumulates(new):
        return kept
    share = jnp.where(new.mini_step == 0, 0, old.mini_step / (old.mini_step + 1))
    return kept._replace(
        acc_grads=jax.tree.map(
            lambda old, new: jnp.where(done, new, (share * old).astype(old.dtype)),
            old.acc_grads,
            new.acc_grads,
        )
    )


def _kept(done: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    is_clock = new.ndim == 0 and jnp.issubdtype(new.dtype, jnp.integer)
    return new if is_clock else jnp.where(done, new, old)
