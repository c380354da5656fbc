"""A run, or several of one shape: their steps, built and compiled for a data set and devices."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_augment, build_loss, build_model, build_sampling
from jaxcnn.builders.devices import build_interceptor, build_parallel, steps_per_dispatch
from jaxcnn.builders.optimizer import build_average, build_optimizer, build_rules, build_schedule
from jaxcnn.config.durations import Plan, make_plan
from jaxcnn.config.keys import flatten
from jaxcnn.core.augment import normalize
from jaxcnn.core.rules import Rule
from jaxcnn.core.state import TrainState
from jaxcnn.core.step import TrainStep, make_eval_step, make_gradients, make_train_step
from jaxcnn.core.step_wrappers import ON_NONFINITE, StepInput, scan_steps, with_input, with_signal
from jaxcnn.data.pipeline import Batch, Sampling, eval_batches, train_batches, train_rows
from jaxcnn.data.source import Dataset, Images, Split
from jaxcnn.errors import UserError
from jaxcnn.inference.passes import evaluate, predict
from jaxcnn.runtime.compile import compile_lowered
from jaxcnn.runtime.memory import peak_flops, step_flops
from jaxcnn.runtime.mesh import Parallel
from jaxcnn.runtime.preemption import StopRequest
from jaxcnn.training.first_state import StateMaker, from_images, state_makers
from jaxcnn.training.member import describe_data
from jaxcnn.training.population import differing_values, step_of_members

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the loop needs: the steps of the members, for a data set, on some devices.

    configs: of the members; one, for a run by itself. They differ in
      `jaxcnn.training.population.TOGETHER`.
    samplings, schedules, make_states: a member's own.
    stores: by role, the images on the devices where the data set's mode is "device".
    eval_steps: by role, too: a compiled step is for a store of one size.
    values: what the members' steps differ in, on the devices: {key: float32[members]}.
    from_data: first variables -> those with what the model takes from the training images.
    train_steps: `steps_per_dispatch` of them in one program.
    least_step_ms: a train step's arithmetic at the devices' peak, where that is known.
    """

    configs: tuple[ConfigDict, ...]
    dataset: Dataset
    samplings: tuple[Sampling, ...]
    stores: dict[str, Any]
    values: dict[str, jax.Array]
    plan: Plan
    parallel: Parallel
    schedules: tuple[optax.Schedule, ...]
    rules: tuple[Rule, ...]
    make_states: tuple[StateMaker, ...]
    from_data: Callable[[dict[str, Any]], dict[str, Any]]
    train_step: Any
    train_steps: Any
    steps_per_dispatch: int
    eval_steps: dict[str, Any]
    gradients: Callable[..., Any]
    least_step_ms: float | None = None

    @property
    def config(self) -> ConfigDict:
        """That of the first member, for what all have in common."""
        return self.configs[0]

    def train_batches(self, start: int) -> Iterator[StepInput]:
        """Gives the placed inputs of the updates from `start` (from 0) on, for `train_step`."""
        inputs = self._train_inputs(start, None)
        return (self._place(one, "train", self.values) for one in inputs)

    def dispatches(
        self, start: int, stop: StopRequest | None = None
    ) -> Iterator[tuple[int, StepInput]]:
        """Gives the same as (number of updates, input): for `train_step`, or several `train_steps`.

        stop: what other processes, if there are any, learn of with each batch.
        """
        step, inputs = start, self._train_inputs(start, stop)
        while step < self.plan.num_steps:
            count = self.plan.steps_per_dispatch(step, self.steps_per_dispatch)
            yield count, self._place_steps(list(islice(inputs, count)))
            step += count

    def _train_inputs(self, start: int, stop: StopRequest | None) -> Iterator[StepInput]:
        """Gives those inputs on the host; batches that members have of their own are stacked."""
        split, size, steps = self._train, self.config.batch_size, range(start, self.plan.num_steps)
        share, with_images = self.parallel.share(size), self.dataset.mode != "device"
        streams = [
            train_batches(split, sampling, seed, steps, size, share, with_images=with_images)
            for seed, sampling in self._orders()
        ]
        return (_join(of_members, stop) for of_members in zip(*streams, strict=True))

    @property
    def _train(self) -> Split:
        return self.dataset.splits["train"]

    def example_batch(self, role: str, own: bool) -> StepInput:
        """Returns a placed input with a batch of black images, to compile for.

        own: for training, where members may have batches and values of their own.
        """
        size = self.config.batch_size
        share = self.parallel.share(size)
        batches = [train_rows(self._train, one, 0, size, share) for _, one in self._orders()]
        if self.dataset.mode != "device":
            for batch in batches:
                shape = len(batch["label"]), *self._train.images.shape
                batch["image"] = np.zeros(shape, np.uint8)
        if own:
            return self._place(_join(batches, None), role, self.values)
        return self._place(StepInput(batches[0]), role)

    def example_batches(self) -> StepInput:
        """Returns the placed input of several updates, to compile for; of images on the devices."""
        return self._place_steps(list(islice(self._train_inputs(0, None), self.steps_per_dispatch)))

    def _orders(self) -> list[tuple[int, Sampling]]:
        """Returns (seed, sampling) of each member, or of one if all see the same batches."""
        orders = [(one.seed, own) for one, own in zip(self.configs, self.samplings, strict=True)]
        return orders if len({seed for seed, _ in orders}) > 1 else orders[:1]

    def _place_steps(self, inputs: Sequence[StepInput]) -> StepInput:
        """Places the inputs of updates that are one program, or that of one by itself."""
        if len(inputs) == 1:
            return self._place(inputs[0], "train", self.values)
        assert self.parallel.place_batches is not None  # `steps_per_dispatch` has seen to it
        return self.parallel.place_batches(inputs)._replace(store=self.stores["train"])

    def _place(
        self, inputs: StepInput, role: str, values: dict[str, jax.Array] | None = None
    ) -> StepInput:
        placed = self.parallel.place_batch(inputs)
        return placed._replace(store=self.stores.get(role), values=values or None)

    def epoch(self, step: int) -> float:
        """Returns how often, on average, a training example has been seen after `step` updates."""
        return step * self.config.batch_size / len(self._train)

    def histograms(self, state: TrainState, inputs: StepInput) -> list[dict[str, np.ndarray]]:
        """Returns each member's parameters, and the gradients that a placed input gives them."""
        grads, *_ = self.gradients(state, inputs)
        both = self.parallel.each({"params": state.params, "gradients": grads})
        leaves = {
            "/".join(str(key.key) for key in path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(both)
        }
        return [{name: leaf[i] for name, leaf in leaves.items()} for i in range(len(self.configs))]

    def evaluate(self, state: TrainState, role: str) -> list[dict[str, float]]:
        """Returns the metrics of each member on a role's examples, from sums on the devices."""
        return evaluate(self.eval_steps[role], state, self._eval_inputs(role), self.parallel)

    def predict(self, step: Callable[..., Any], state: TrainState, role: str) -> dict[str, Any]:
        """Returns the outputs of a step for each example of a role: {name: array[members, N, ...]},
        in all processes; see `jaxcnn.inference.passes.predict`.
        """
        num_examples = len(self.dataset.splits[role])
        return predict(step, state, self._eval_inputs(role), num_examples, self.parallel)

    def _eval_inputs(self, role: str) -> Iterator[StepInput]:
        """Gives the placed inputs of all examples of a role, in order."""
        on_host, size = self.dataset.mode != "device", self.config.batch_size
        share = self.parallel.share(size)
        batches = eval_batches(self.dataset.splits[role], size, on_host, share)
        return (self._place(StepInput(batch), role) for batch in batches)


def _join(batches: Sequence[Batch], stop: StopRequest | None) -> StepInput:
    """Returns the input of one step. batches: of each member, or the one for all.

    stop: what the other processes, if there are any, learn of.
    """
    batch = batches[0]
    if len(batches) > 1:
        batch = {name: np.stack([own[name] for own in batches]) for name in batch}
    if jax.process_count() == 1:
        return StepInput(batch)
    number = stop.signal or 0 if stop else 0
    return StepInput(batch, signal=np.full(jax.local_device_count(), number, np.int32))


def build_run(
    configs: Sequence[ConfigDict],
    dataset: Dataset,
    facts: dict[str, Any] | None = None,
    parallel: Parallel | None = None,
    schedule_of: Callable[[ConfigDict, Plan], optax.Schedule] = build_schedule,
) -> Run:
    """Builds all that the members' configs name.

    facts: the content of `dataset.json`, parallel: how the members lie on the devices; None: those
      of a new run. schedule_of: what gives a config's learning rate, where that is not its own.
    """
    config = configs[0]
    facts = describe_data(config, dataset, None) if facts is None else facts
    parallel = build_parallel(configs) if parallel is None else parallel
    num_train = len(dataset.splits["train"])
    if config.batch_size > num_train:
        raise UserError(
            f"config.batch_size={config.batch_size}: there are {num_train:,} training images; give "
            "at most as many"
        )
    plan = make_plan(flatten(config), num_train)
    num_classes = len(dataset.class_names)
    counts = np.bincount(dataset.splits["train"].label, minlength=num_classes)
    _check_plan(plan, config.optimizer.accumulate, dataset)
    model = build_model(config, num_classes, parallel.axis_name)
    rules = build_rules(config, plan, model, dataset.image_shape)
    average = build_average(config, plan)
    preprocess = partial(normalize, mean=facts["mean"], std=facts["std"])
    # Under `pmap` a step sees its device's share of a batch.
    seen_at_once = config.batch_size // (parallel.num_devices if parallel.axis_name else 1)
    options: dict[str, Any] = {
        "augment": build_augment(config, num_classes, dataset.image_shape, seen_at_once),
        "normalize": preprocess,
        "axis_name": parallel.axis_name,
        "rules": rules,
        "interceptor": build_interceptor(config),
    }

    def tx_of(config: ConfigDict) -> optax.GradientTransformation:
        schedule = schedule_of(config, plan)
        return build_optimizer(config, schedule, rules, model, dataset.image_shape)

    def train_step_of(config: ConfigDict) -> TrainStep:
        loss_fn = build_loss(config, counts)
        step = make_train_step(model, tx_of(config), average=average, loss_fn=loss_fn, **options)
        return ON_NONFINITE[config.on_nonfinite](step)

    def gradients_of(config: ConfigDict) -> Callable[..., Any]:
        return make_gradients(model, loss_fn=build_loss(config, counts), **options)

    values = differing_values(configs)
    train_step, gradients = (
        step_of_members(make, config, values) for make in (train_step_of, gradients_of)
    )
    train_step = with_signal(train_step, parallel.axis_name)
    axis_name, interceptor = parallel.axis_name, build_interceptor(config, training=False)
    eval_step = with_input(
        make_eval_step(model, normalize=preprocess, axis_name=axis_name, interceptor=interceptor)
    )
    # Parameters do not depend on how a step is mapped over devices: this model has no axis.
    bare, averaged = build_model(config, num_classes), average is not None
    seeds, shape = [one.seed for one in configs], dataset.image_shape
    pixels = math.prod(shape[:2])
    return Run(
        configs=tuple(configs),
        dataset=dataset,
        samplings=tuple(build_sampling(one, dataset.splits["train"]) for one in configs),
        stores=_place_images(dataset, parallel),
        values=parallel.place_states(values) if any(values) else {},
        plan=plan,
        parallel=parallel,
        schedules=tuple(_rate(schedule_of(one, plan), one) for one in configs),
        rules=rules,
        make_states=state_makers(seeds, bare, tx_of(config), averaged, shape),
        from_data=partial(from_images, model, preprocess, dataset.splits["train"]),
        train_step=parallel.transform(train_step, donate=True),
        train_steps=parallel.transform(scan_steps(train_step), donate=True),
        steps_per_dispatch=steps_per_dispatch(config, plan, parallel, dataset.mode, pixels),
        eval_steps=dict.fromkeys(dataset.splits, parallel.transform(eval_step, donate=False)),
        gradients=parallel.transform(gradients, donate=False),
    )


def _rate(schedule: optax.Schedule, config: ConfigDict) -> optax.Schedule:
    """Returns a schedule in which an update's rate is that of the first of its steps."""
    return lambda step: schedule(step - step % config.optimizer.accumulate)


def _check_plan(plan: Plan, accumulate: int, dataset: Dataset) -> None:
    """Raises UserError for what the data do not allow; warns of what comes to nothing."""
    if (plan.warmup_steps or 0) >= plan.num_steps:
        message = "the warm-up of %d steps does not end within the %d steps of the run"
        logger.warning(message, plan.warmup_steps, plan.num_steps)
    if plan.patience is not None and "validation" not in dataset.splits:
        raise UserError(
            "config.early_stop.patience: there are no validation images to decide by; give a "
            "config.data.holdout"
        )
    if unused := plan.num_steps % accumulate:
        message = "config.optimizer.accumulate=%d: the last %d of %d steps make no whole update"
        logger.warning(message, accumulate, unused, plan.num_steps)


def _place_images(dataset: Dataset, parallel: Parallel) -> dict[str, Any]:
    """Puts the images on the devices, once where roles share them."""
    if dataset.mode != "device":
        return {}
    placed: dict[int, Any] = {}
    for split in dataset.splits.values():
        if isinstance(split.images, Images) and id(split.images) not in placed:
            placed[id(split.images)] = parallel.place_state(split.images.image)
    return {role: placed[id(split.images)] for role, split in dataset.splits.items()}


def compile_run(run: Run, state: TrainState) -> Run:
    """Returns the run with its steps compiled for states like this one."""
    if run.parallel.axis_name is not None and jax.process_count() > 1:
        return run  # compiled ahead, `pmap` would not take what is a process' own part
    clock = time.perf_counter()
    batch = run.example_batch("train", own=True)
    steps = {"train_step": run.train_step.lower(state, batch)}
    if run.steps_per_dispatch > 1:
        steps["train_steps"] = run.train_steps.lower(state, run.example_batches())
    for role, step in run.eval_steps.items():
        if (name := f"eval {id(run.stores.get(role))}") not in steps:
            steps[name] = step.lower(state, run.example_batch(role, own=False))
    least_step_ms = _least_step_ms(run, steps["train_step"])
    # Python traces one after the other; XLA compiles without it.
    with ThreadPoolExecutor() as pool:
        compiled = dict(zip(steps, pool.map(compile_lowered, steps.values()), strict=True))
    run = dataclasses.replace(
        run,
        least_step_ms=least_step_ms,
        train_step=compiled["train_step"],
        train_steps=compiled.get("train_steps", run.train_steps),
        eval_steps={role: compiled[f"eval {id(run.stores.get(role))}"] for role in run.eval_steps},
    )
    count, platform, seconds = (
        jax.device_count(),
        jax.default_backend(),
        time.perf_counter() - clock,
    )
    logger.info("compiled for %d %s device%s (%.1f s)", count, platform, "s" * (count > 1), seconds)
    return run


def _least_step_ms(run: Run, train_step: Any) -> float | None:
    """Returns the time of a lowered train step at the devices' peak; None where that is unknown."""
    peak = peak_flops(jax.devices())
    flops = None if peak is None else step_flops(train_step)
    if peak is None or flops is None:
        return None
    shares = run.parallel.num_devices if run.parallel.axis_name else 1  # `pmap` counts one
    return 1e3 * flops * shares / peak
