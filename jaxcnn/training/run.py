"""A run put together, or several of one shape: their steps, for a data set, on some devices."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcnn.config.durations import Plan
from jaxcnn.core.rules import Rule
from jaxcnn.core.state import TrainState
from jaxcnn.core.step_wrappers import StepInput
from jaxcnn.data.pipeline import Batch, Sampling, eval_batches, train_batches, train_rows
from jaxcnn.data.source import Dataset
from jaxcnn.inference.passes import evaluate, predict
from jaxcnn.runtime.mesh import Parallel
from jaxcnn.runtime.preemption import StopRequest
from jaxcnn.training.first_state import StateMaker


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
        """The placed inputs of the updates from `start` (from 0) to the end, for `train_step`."""
        inputs = self._train_inputs(start, None)
        return (self._place(one, "train", self.values) for one in inputs)

    def dispatches(
        self, start: int, stop: StopRequest | None = None
    ) -> Iterator[tuple[int, StepInput]]:
        """The same as (number of updates, input): for `train_step`, or several `train_steps`.

        stop: what other processes, if there are any, learn of with each batch.
        """
        step, inputs = start, self._train_inputs(start, stop)
        while step < self.plan.num_steps:
            count = self.plan.steps_per_dispatch(step, self.steps_per_dispatch)
            yield count, self._place_steps(list(islice(inputs, count)))
            step += count

    def _train_inputs(self, start: int, stop: StopRequest | None) -> Iterator[StepInput]:
        """Those inputs on the host; batches that members have of their own are stacked."""
        steps = range(start, self.plan.num_steps)
        streams = [
            train_batches(
                self.dataset.splits["train"],
                sampling,
                config.seed,
                steps,
                config.batch_size,
                self.parallel.share(config.batch_size),
                with_images=self.dataset.mode != "device",
            )
            for config, sampling in self._with_batches_of_their_own()
        ]
        return (_joined(of_members, stop) for of_members in zip(*streams, strict=True))

    def example_batch(self, role: str, own: bool) -> StepInput:
        """A placed input with a batch of black images, to compile for.

        own: for training, where members may have batches and values of their own.
        """
        split, batch_size = self.dataset.splits["train"], self.config.batch_size
        samplings = [sampling for _, sampling in self._with_batches_of_their_own()]
        share = self.parallel.share(batch_size)
        batches = [train_rows(split, sampling, 0, batch_size, share) for sampling in samplings]
        if self.dataset.mode != "device":
            for batch in batches:
                batch["image"] = np.zeros((len(batch["label"]), *split.images.shape), np.uint8)
        if own:
            return self._place(_joined(batches, None), role, self.values)
        return self._place(StepInput(batches[0]), role)

    def example_batches(self) -> StepInput:
        """The placed input of several updates, to compile for; of images on the devices."""
        return self._place_steps(list(islice(self._train_inputs(0, None), self.steps_per_dispatch)))

    def _with_batches_of_their_own(self) -> list[tuple[ConfigDict, Sampling]]:
        """(config, sampling) of the members, of one if all see the same batches."""
        members = list(zip(self.configs, self.samplings, strict=True))
        return members if len({config.seed for config in self.configs}) > 1 else members[:1]

    def _place_steps(self, inputs: Sequence[StepInput]) -> StepInput:
        """The inputs of updates that are one program, or that of one by itself."""
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
        """How often each training example has been seen after `step` updates (on
        average, with balanced sampling).
        """
        return step * self.config.batch_size / len(self.dataset.splits["train"])

    def histograms(self, state: TrainState, inputs: StepInput) -> list[dict[str, np.ndarray]]:
        """The parameters of each member, and the gradients that a placed input gives them."""
        grads, *_ = self.gradients(state, inputs)
        both = self.parallel.each({"params": state.params, "gradients": grads})
        leaves = {
            "/".join(str(key.key) for key in path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(both)
        }
        return [{name: leaf[i] for name, leaf in leaves.items()} for i in range(len(self.configs))]

    def evaluate(self, state: TrainState, role: str) -> list[dict[str, float]]:
        """Metrics of each member on the examples of a role, of sums that the devices make."""
        return evaluate(self.eval_steps[role], state, self._eval_inputs(role), self.parallel)

    def predict(self, step: Callable[..., Any], state: TrainState, role: str) -> dict[str, Any]:
        """What a step says of each example of a role: {name: array[members, N, ...]}, in all
        processes; see `jaxcnn.inference.passes.predict`.
        """
        num_examples = len(self.dataset.splits[role])
        return predict(step, state, self._eval_inputs(role), num_examples, self.parallel)

    def _eval_inputs(self, role: str) -> Iterator[StepInput]:
        """The placed inputs of all examples of a role, in order."""
        on_host = self.dataset.mode != "device"
        batch_size = self.config.batch_size
        share = self.parallel.share(batch_size)
        batches = eval_batches(self.dataset.splits[role], batch_size, on_host, share)
        return (self._place(StepInput(batch), role) for batch in batches)


def _joined(batches: Sequence[Batch], stop: StopRequest | None) -> StepInput:
    """The input of one step. batches: those that members have of their own, or the one for all.

    stop: what the other processes, if there are any, learn of.
    """
    batch = batches[0]
    if len(batches) > 1:
        batch = {name: np.stack([own[name] for own in batches]) for name in batch}
    if jax.process_count() == 1:
        return StepInput(batch)
    number = stop.signal or 0 if stop else 0
    return StepInput(batch, signal=np.full(jax.local_device_count(), number, np.int32))
