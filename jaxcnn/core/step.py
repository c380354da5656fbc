"""The train, evaluation and prediction steps: pure functions of (state, batch).

The same function object runs under `jit`, `jit` over sharded arrays, `pmap`, `shard_map`, `vmap`
over seeds, and `lax.scan`. A batch is a dict of arrays with a common leading axis B:

    image: uint8[B, H, W, C]
    label: int32[B]
    mask:  bool[B], False for padding: such an example counts in no loss, gradient or metric
    index: int32[B], each example's position in the data set

    epoch: int32[B], how often each example was seen before; optional, all 0

Augmentation draws from the key folded with step, index and epoch, per example: neither the number
of devices nor an example's place in the batch changes it. Draws that must not change with the step
use "key", which the step adds to the batch: the run's key folded with the example's index.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcnn.core.augment import to_float
from jaxcnn.core.average import Average
from jaxcnn.core.losses import cross_entropy
from jaxcnn.core.metrics import confusion_matrix, correct_in_top_k
from jaxcnn.core.rules import Rule, keeping_statistics
from jaxcnn.core.state import PyTree, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Augment = Callable[[jax.Array, Batch], Batch]
Normalize = Callable[[jax.Array], jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]
Interceptor = Callable[..., Any]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, Batch], Metrics]
PredictStep = Callable[[TrainState, Batch], dict[str, jax.Array]]


# Folded into the run's key for the examples' own keys: the last step number there is.
_EXAMPLES = 2**31 - 1


def no_augment(keys: jax.Array, batch: Batch) -> Batch:
    """The augmentation that changes nothing."""
    return batch


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    *,
    augment: Augment = no_augment,
    normalize: Normalize = to_float,
    loss_fn: Loss = cross_entropy,
    axis_name: str | None = None,
    rules: Sequence[Rule] = (),
    average: Average | None = None,
    interceptor: Interceptor | None = None,
) -> TrainStep:
    """Returns a pure `train_step(state, batch) -> (state, metrics)`.

    model: called as `model.apply(variables, image, train=True)`; gives logits float32[B, K].
    augment: (keys[B], batch) -> batch, see `jaxcnn.core.augment`. Images stay in 0..255; labels may
      become soft, float32[B, K].
    normalize: image in 0..255 -> float32, what the model sees.
    loss_fn: (logits[B, K], label) -> float32[B], one loss an example; label int32[B], or
      float32[B, K] after an augmentation that mixes examples.
    axis_name: name of the `pmap` or `shard_map` axis the batch is split over, or None where the
      batch is whole (`jit`, also over many devices). A model with BatchNorm needs the same name.
    rules: those given to the optimiser, for the statistics of BatchNorm that they freeze.
    average: state -> state with its new average, see `jaxcnn.core.average`, if it keeps one.
    interceptor: what layers are called through, as `flax.linen.intercept_methods` takes it, such as
      `jaxcnn.core.cpu.cpu_formulations`; None: nothing.

    `metrics` are sums over the (global) batch, so that they add: {"loss", "correct", "count"}.
    The right class of a soft label is its largest.

    >>> import jax, numpy as np, optax
    >>> from jaxcnn import MODELS, create_train_state, make_train_step
    >>> model, tx = MODELS["lenet5"](num_classes=10), optax.sgd(0.1)
    >>> state = create_train_state(model, tx, jax.random.key(0), image_shape=(32, 32, 1))
    >>> batch = {"image": np.zeros((4, 32, 32, 1), np.uint8), "label": np.arange(4),
    ...          "mask": np.ones(4, bool), "index": np.arange(4)}
    >>> state, metrics = make_train_step(model, tx)(state, batch)
    >>> int(state.step), float(metrics["count"])
    (1, 4.0)
    """
    gradients = make_gradients(
        model,
        augment=augment,
        normalize=normalize,
        loss_fn=loss_fn,
        axis_name=axis_name,
        rules=rules,
        interceptor=interceptor,
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, batch_stats, metrics = gradients(state, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if average is not None:
            state = average(state)
        return state, metrics

    return train_step


def make_gradients(
    model: nn.Module,
    *,
    augment: Augment = no_augment,
    normalize: Normalize = to_float,
    loss_fn: Loss = cross_entropy,
    axis_name: str | None = None,
    rules: Sequence[Rule] = (),
    interceptor: Interceptor | None = None,
) -> Callable[[TrainState, Batch], tuple[PyTree, PyTree, Metrics]]:
    """Returns the first half of a train step, a pure `gradients(state, batch) -> (gradients of the
    mean loss, new batch statistics, metrics)`; see `make_train_step`.

    >>> import jax, numpy as np, optax
    >>> from jaxcnn import MODELS, create_train_state, make_gradients
    >>> model = MODELS["lenet5"](num_classes=10)
    >>> state = create_train_state(model, optax.sgd(0.1), jax.random.key(0), (32, 32, 1))
    >>> batch = {"image": np.zeros((4, 32, 32, 1), np.uint8), "label": np.arange(4),
    ...          "mask": np.ones(4, bool), "index": np.arange(4)}
    >>> grads, batch_stats, metrics = make_gradients(model)(state, batch)
    >>> jax.tree.structure(grads) == jax.tree.structure(state.params)
    True
    """
    # The rules have their say first: what is entered first is called first.
    apply = keeping_statistics(_through(interceptor, model.apply), rules)

    def gradients(state: TrainState, batch: Batch) -> tuple[PyTree, PyTree, Metrics]:
        batch = augmented(augment, state.key, state.step, batch)
        image, label, mask = normalize(batch["image"]), batch["label"], batch["mask"]
        count = _sum_over(axis_name, mask.sum().astype(jnp.float32))

        # ~step is negative: no other step's number. Under `jit` dropout draws for the whole batch;
        # where each device sees only its share, the key must differ or all would drop alike.
        dropout_key = jax.random.fold_in(state.key, ~state.step)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))

        def mean_loss(params):
            logits, updates = apply(
                {"params": params, "batch_stats": state.batch_stats},
                image,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            total = _sum_over(axis_name, jnp.where(mask, loss_fn(logits, label), 0.0).sum())
            batch_stats = updates.get("batch_stats", {})
            return total / jnp.maximum(count, 1), (total, logits, batch_stats)

        grad_fn = jax.value_and_grad(mean_loss, has_aux=True)
        (_, (total, logits, batch_stats)), grads = grad_fn(state.params)
        if axis_name is not None:
            # The loss above is already the global one, so the devices' gradients are averaged.
            # This is right whether differentiating `psum` sums (pmap) or not (shard_map's vma).
            grads = jax.lax.pmean(grads, axis_name)

        right = label if label.ndim == 1 else label.argmax(-1)
        correct = ((logits.argmax(-1) == right) & mask).sum()
        metrics = {
            "loss": total,
            "correct": _sum_over(axis_name, correct),
            "count": count,
        }
        return grads, batch_stats, metrics

    return gradients


def augmented(augment: Augment, key: jax.Array, step: int | jax.Array, batch: Batch) -> Batch:
    """The batch as update `step` of a run with this key sees it."""
    with_keys = {
        "epoch": jnp.zeros_like(batch["index"]),
        **batch,
        "key": _example_keys(key, _EXAMPLES, batch),
    }
    # An example that comes twice in a batch, in two epochs of its own, is drawn for twice.
    keys = jax.vmap(jax.random.fold_in)(_example_keys(key, step, batch), with_keys["epoch"])
    return augment(keys, with_keys)


def make_eval_step(
    model: nn.Module,
    *,
    normalize: Normalize = to_float,
    loss_fn: Loss = cross_entropy,
    axis_name: str | None = None,
    interceptor: Interceptor | None = None,
) -> EvalStep:
    """Returns a pure `eval_step(state, batch) -> sums`; see `make_train_step` for the arguments.

    `sums` add over batches; `jaxcnn.core.metrics.summarize` divides them once, at the end:
    {"loss": float32[], "top5": int32[], "confusion": int32[K, K] (rows: label, columns:
    prediction)}.

    >>> import jax, numpy as np, optax
    >>> from jaxcnn import MODELS, create_train_state, make_eval_step, summarize
    >>> model = MODELS["lenet5"](num_classes=10)
    >>> state = create_train_state(model, optax.sgd(0.1), jax.random.key(0), (32, 32, 1))
    >>> batch = {"image": np.zeros((4, 32, 32, 1), np.uint8), "label": np.arange(4),
    ...          "mask": np.array([True, True, True, False])}  # the last one is padding
    >>> summarize(make_eval_step(model)(state, batch))["num_examples"]
    3
    """
    apply = _through(interceptor, model.apply)

    def eval_step(state: TrainState, batch: Batch) -> Metrics:
        label, mask = batch["label"], batch["mask"]
        logits = jnp.asarray(apply(state.variables, normalize(batch["image"]), train=False))
        sums = {
            "loss": jnp.where(mask, loss_fn(logits, label), 0.0).sum(),
            "top5": (correct_in_top_k(logits, label, 5) & mask).sum(),
            "confusion": confusion_matrix(label, logits.argmax(-1), mask, logits.shape[-1]),
        }
        return {name: _sum_over(axis_name, value) for name, value in sums.items()}

    return eval_step


def make_predict_step(
    model: nn.Module,
    *,
    normalize: Normalize = to_float,
    features: bool = False,
    axis_name: str | None = None,
    interceptor: Interceptor | None = None,
) -> PredictStep:
    """Returns a pure `predict_step(state, batch) -> outputs`; see `make_train_step`.

    `outputs` are those of the whole (global) batch in its order, padding too, the same on all
    devices: {"logits": float32[B, K]} and with `features` {"penultimate": float32[B, D]}, what the
    last dense layer sees, from a model that takes `features`. Of a batch only "image" is needed.

    >>> import jax, numpy as np, optax
    >>> from jaxcnn import MODELS, create_train_state, make_predict_step
    >>> model = MODELS["lenet5"](num_classes=10)
    >>> state = create_train_state(model, optax.sgd(0.1), jax.random.key(0), (32, 32, 1))
    >>> batch = {"image": np.zeros((4, 32, 32, 1), np.uint8)}
    >>> make_predict_step(model)(state, batch)["logits"].shape
    (4, 10)
    """
    apply = _through(interceptor, model.apply)

    def predict_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        image = normalize(batch["image"])
        if features:
            logits, stages = apply(state.variables, image, train=False, features=True)
            outputs = {"logits": logits, "penultimate": stages["penultimate"]}
        else:
            outputs = {"logits": jnp.asarray(apply(state.variables, image, train=False))}
        return {
            name: _gather_over(axis_name, value.astype(jnp.float32))
            for name, value in outputs.items()
        }

    return predict_step


def _through(interceptor: Interceptor | None, apply: Callable[..., Any]) -> Callable[..., Any]:
    """`apply` of a model, with its layers called through an interceptor."""
    if interceptor is None:
        return apply

    def intercepted(*arguments: Any, **keywords: Any) -> Any:
        with nn.intercept_methods(interceptor):
            return apply(*arguments, **keywords)

    return intercepted


def _example_keys(key: jax.Array, number: int | jax.Array, batch: Batch) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, number)))(batch["index"])


def _sum_over(axis_name: str | None, value: jax.Array) -> jax.Array:
    return value if axis_name is None else jax.lax.psum(value, axis_name)


def _gather_over(axis_name: str | None, value: jax.Array) -> jax.Array:
    return value if axis_name is None else jax.lax.all_gather(value, axis_name, tiled=True)
