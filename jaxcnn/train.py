"""The story of a training run.

    from jaxcnn.train import train
    metrics = train(config, "runs/mine")

Resume if there is something to resume; step, log, evaluate, checkpoint; then the final test.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from clu import parameter_overview
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from jaxcnn.build import (
    build_augment,
    build_dataset,
    build_loss,
    build_model,
    build_optimizer,
    build_schedule,
)
from jaxcnn.config import FREE_ON_RESUME, differences, flatten, load_config, resolve, to_json
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import TrainState, create_train_state
from jaxcnn.core.step import make_eval_step, make_train_step
from jaxcnn.data.decode import resize_rule
from jaxcnn.data.pipeline import train_batch
from jaxcnn.data.source import Dataset
from jaxcnn.data.splits import channel_statistics
from jaxcnn.durations import Plan, make_plan
from jaxcnn.errors import UserError
from jaxcnn.evaluation import evaluate
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.compile import compile_step, enable_compile_cache
from jaxcnn.runtime.mesh import Parallel, make_parallel
from jaxcnn.runtime.preemption import Interrupted, catch_signals
from jaxcnn.runtime.progress import Progress, setup_logging
from jaxcnn.runtime.rundir import environment, make_writable, read_json, write_json, write_text
from jaxcnn.runtime.window import MetricWindow, NonFiniteLoss
from jaxcnn.runtime.writers import MetricWriter

logger = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains what `config` describes in `workdir`, or goes on where an earlier start stopped.

    Returns the content of `eval.json`: the metrics of the final test. Raises UserError for what the
    user can mend, and Interrupted after Ctrl-C or SIGTERM, when the state is saved.
    """
    setup_logging()
    enable_compile_cache()
    config, workdir = resolve(config), Path(workdir)
    make_writable(workdir)
    if (finished := _finished(config, workdir)) is not None:
        return finished

    parallel = make_parallel(config.parallel.mode, config.batch_size, jax.devices())
    dataset, facts = _load_data(config, workdir)
    run = _build_run(config, dataset, facts, parallel)
    checkpoints = Checkpoints(workdir / "checkpoints", config.best_metric)
    try:
        state, start = _first_state(run, checkpoints)
        run = _compile(run, state)
        writer = MetricWriter(workdir, start)
        try:
            state = _loop(run, state, start, writer, checkpoints)
        finally:
            writer.close()
        checkpoints.wait()
        metrics = _final_test(run, state, checkpoints)
    finally:
        checkpoints.close()
    write_json(workdir / "eval.json", metrics)
    logger.info("%s", _headline(metrics))
    return metrics


class Run(NamedTuple):
    """What the loop needs: the steps of a config, for a data set, on some devices."""

    config: ConfigDict
    dataset: Dataset
    plan: Plan
    parallel: Parallel
    schedule: optax.Schedule
    make_state: Callable[[], TrainState]
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]

    def batch(self, step: int) -> Any:
        """The placed batch of update `step` (from 0)."""
        config = self.config
        batch = train_batch(self.dataset.splits["train"], config.seed, step, config.batch_size)
        return self.parallel.place_batch(batch)

    def epoch(self, step: int) -> float:
        """How often each training example has been seen after `step` updates."""
        return step * self.config.batch_size / len(self.dataset.splits["train"])

    def evaluate(self, state: TrainState, role: str) -> dict[str, float]:
        split = self.dataset.splits[role]
        return evaluate(self.eval_step, state, split, self.config.batch_size, self.parallel)


def _finished(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """The metrics of a run that has already ended; UserError for a run of another config."""
    if not (workdir / "config.json").exists():
        return None
    changed = differences(load_config(workdir / "config.json"), config)
    free = [key for key in changed if key.startswith(FREE_ON_RESUME)]
    for key in free:
        old, new = changed.pop(key)
        logger.info("config.%s was %r, is %r now", key, old, new)
    metrics = read_json(workdir / "eval.json")
    if changed:
        listed = ", ".join(f"config.{k} was {old!r}, is {new!r}" for k, (old, new) in changed.items())
        why = "another config than the run in it"
        if metrics is not None and all(key.startswith("num_") for key in changed):
            why = "the run in it is finished, and its learning rate was scheduled to end there"
        raise UserError(f"--workdir={workdir}: {why} ({listed}); give a new --workdir")
    if metrics is not None:
        logger.info("%s is finished: %s", workdir, _headline(metrics))
    return metrics


def _load_data(config: ConfigDict, workdir: Path) -> tuple[Dataset, dict[str, Any]]:
    """Reads the data and records what the run is made of in its directory."""
    clock = time.perf_counter()
    dataset = build_dataset(config)
    if not dataset.splits.get("train"):
        raise UserError(f"config.data.holdout={config.data.holdout}: no training example is left")
    mean, std = channel_statistics(dataset.splits["train"])
    facts = {
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "mean": mean,
        "std": std,
        "resize": resize_rule(),
        "splits": {role: len(split) for role, split in dataset.splits.items()},
        "identity": dataset.identity,
    }
    before = read_json(workdir / "dataset.json")
    if before is not None and before["identity"] != facts["identity"]:
        raise UserError(
            f"--workdir={workdir}: the data have changed since the run in it began "
            f"({before['splits']} then, {facts['splits']} now); give a new --workdir"
        )
    write_text(workdir / "config.json", to_json(config))
    write_json(workdir / "dataset.json", facts)
    write_json(workdir / "environment.json", environment())
    logger.info(
        "data: %s pixels, %d classes, %s images (%.1f s)",
        "x".join(map(str, dataset.image_shape)),
        len(dataset.class_names),
        " + ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items()),
        time.perf_counter() - clock,
    )
    return dataset, facts


def _build_run(
    config: ConfigDict, dataset: Dataset, facts: dict[str, Any], parallel: Parallel
) -> Run:
    plan = make_plan(flatten(config), len(dataset.splits["train"]))
    num_classes = len(dataset.class_names)
    schedule = build_schedule(config, plan)
    model = build_model(config, num_classes, parallel.axis_name)
    tx = build_optimizer(config, schedule)
    preprocess = partial(normalize, mean=facts["mean"], std=facts["std"])
    train_step = make_train_step(
        model,
        tx,
        augment=build_augment(config),
        normalize=preprocess,
        loss_fn=build_loss(config),
        axis_name=parallel.axis_name,
    )
    eval_step = make_eval_step(
        model, num_classes, normalize=preprocess, axis_name=parallel.axis_name
    )
    # Parameters do not depend on how a step is mapped over devices.
    one_model = build_model(config, num_classes)

    def make_state() -> TrainState:
        key = jax.random.key(config.seed)
        return create_train_state(one_model, tx, key, dataset.image_shape)

    return Run(
        config=config,
        dataset=dataset,
        plan=plan,
        parallel=parallel,
        schedule=schedule,
        make_state=make_state,
        train_step=parallel.transform(train_step, donate=True),
        eval_step=parallel.transform(eval_step, donate=False),
    )


def _first_state(run: Run, checkpoints: Checkpoints) -> tuple[TrainState, int]:
    """The newest whole checkpoint, or fresh parameters; placed on the devices, with its step."""
    try:
        like = _shapes(run)
    except ValueError as error:  # the model's own, which quote the keyword and its value
        raise UserError(f"config.model: {error}") from error
    logger.info("%s", parameter_overview.get_parameter_overview(like.params, include_stats=False))
    if (found := checkpoints.restore_latest(like)) is not None:
        state, step = found
        logger.info("resuming from step %d of %d", step, run.plan.num_steps)
        return run.parallel.place_state(state), step
    return run.parallel.place_state(jax.jit(run.make_state)()), 0


def _shapes(run: Run) -> TrainState:
    """What a state looks like when one device holds it: how checkpoints are written and read."""
    one_device = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one_device),
        jax.eval_shape(run.make_state),
    )


def _compile(run: Run, state: TrainState) -> Run:
    clock = time.perf_counter()
    batch = run.batch(0)
    run = run._replace(
        train_step=compile_step(run.train_step, state, batch),
        eval_step=compile_step(run.eval_step, state, batch),
    )
    logger.info(
        "compiled for %d %s device%s (%.1f s)",
        run.parallel.num_devices,
        jax.default_backend(),
        "" if run.parallel.num_devices == 1 else "s",
        time.perf_counter() - clock,
    )
    return run


def _loop(
    run: Run, state: TrainState, start: int, writer: MetricWriter, checkpoints: Checkpoints
) -> TrainState:
    """Steps from `start` to the end. The only waits for the device are where a number is needed."""
    plan = run.plan
    window = MetricWindow(run.parallel.one_copy)
    progress = Progress(plan.num_steps, start, run.config.batch_size)
    with catch_signals() as stop, progress:
        for step in range(start + 1, plan.num_steps + 1):
            state, metrics = run.train_step(state, run.batch(step - 1))
            window.add(step, metrics)
            writer.start()  # TensorBoard's slow import, while the device is busy
            first = step == start + 1
            if (first or progress.due()) and (latest := window.latest(wait=first)):
                progress.report(*latest)

            last, stopping = step == plan.num_steps, stop.signal is not None
            evaluating = plan.eval_every.due(step) or last
            saving = plan.checkpoint_every.due(step) or last or stopping
            if not (evaluating or saving or plan.log_every.due(step)):
                continue
            try:
                line = window.collect()
            except NonFiniteLoss as error:
                raise _nonfinite(error, run, checkpoints) from error
            line["learning_rate"] = float(run.schedule(step - 1))
            writer.write(step, run.epoch(step), "train", line)
            validation = None
            if evaluating and "validation" in run.dataset.splits:
                validation = run.evaluate(state, "validation")
                writer.write(step, run.epoch(step), "validation", validation)
            if evaluating:
                progress.note(step, run.epoch(step), line, validation)
            if saving:
                checkpoints.save(step, run.parallel.one_copy(state), validation)
            if stop.signal is not None and stopping:
                checkpoints.wait()
                raise Interrupted(stop.signal, step)
            window.restart_clock()
    return state


def _nonfinite(error: NonFiniteLoss, run: Run, checkpoints: Checkpoints) -> UserError:
    checkpoints.wait()
    saved = checkpoints.latest_step()
    return UserError(
        f"{error} (learning rate {float(run.schedule(error.step - 1)):.3g}): try a lower "
        "--config.optimizer.learning_rate, a --config.optimizer.clip_norm or a longer "
        "--config.schedule.warmup_epochs, with a new --workdir; "
        + ("nothing was saved" if saved is None else f"the last checkpoint is of step {saved}")
    )


def _final_test(run: Run, state: TrainState, checkpoints: Checkpoints) -> dict[str, Any]:
    """Metrics of the best checkpoint on test data; on validation (else train) if there are none."""
    step = checkpoints.best_step()
    if step != run.plan.num_steps:
        best, step = checkpoints.restore_best(_shapes(run))
        state = run.parallel.place_state(best)
    role = next(r for r in ("test", "validation", "train") if r in run.dataset.splits)
    return {"split": role, "checkpoint_step": step} | run.evaluate(state, role)


def _headline(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['split']} accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}, "
        f"macro F1 {metrics['f1_macro']:.4f} on {metrics['num_examples']:,} images "
        f"(checkpoint of step {metrics['checkpoint_step']})"
    )
