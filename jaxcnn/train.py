"""The story of a training run.

    from jaxcnn.train import train
    metrics = train(config, "runs/mine")

Resume if there is something to resume; step, log, evaluate, checkpoint; then the final test.
"""

import logging
import math
import shlex
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn.assessment import assess, examine
from jaxcnn.auto import prepare
from jaxcnn.build import build_dataset
from jaxcnn.commands import command
from jaxcnn.config import FREE_ON_RESUME, differences, flatten, load_config, to_json
from jaxcnn.core.early_stop import best_step, should_stop
from jaxcnn.core.state import TrainState, all_finite
from jaxcnn.data.source import Dataset
from jaxcnn.data.splits import describe
from jaxcnn.errors import UserError
from jaxcnn.report_run import write_report
from jaxcnn.run import Run, build_run, compile_run, first_state, state_shapes
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.runtime.mesh import device_memory, make_parallel
from jaxcnn.runtime.preemption import Interrupted, catch_signals
from jaxcnn.runtime.progress import Progress, setup_logging
from jaxcnn.runtime.rundir import (
    environment,
    make_writable,
    read_json,
    write_json,
    write_text,
)
from jaxcnn.runtime.window import MetricWindow, NonFiniteLoss
from jaxcnn.runtime.writers import MetricWriter
from jaxcnn.trained import Trained
from jaxcnn.transfer import check_pretrained, keep_origin, load_pretrained

logger = logging.getLogger(__name__)

_WHERE = {"memory": "in memory", "device": "on the devices", "stream": "streamed from disk"}


def train(config: ConfigDict, workdir: str | Path) -> dict[str, Any]:
    """Trains what `config` describes in `workdir`, or goes on where an earlier start stopped.

    Returns the content of `eval.json`: the metrics of the final test. Raises UserError for what the
    user can mend, and Interrupted after Ctrl-C or SIGTERM, when the state is saved.
    """
    setup_logging()
    enable_compile_cache()
    workdir = Path(workdir).expanduser()
    config = prepare(config, workdir=workdir)
    make_writable(workdir)
    if (finished := _finished(config, workdir)) is not None:
        if "data.dir" in differences(load_config(workdir / "config.json"), config):
            _check_same_data(_load_data(config), workdir)
        logger.info("%s is finished: %s", workdir, _headline(finished))
        return finished

    parallel = make_parallel(config.parallel.mode, config.batch_size, jax.devices())
    checkpoints = Checkpoints(workdir / "checkpoints", config.best_metric)
    try:
        if resumes := checkpoints.latest_step() is not None:
            _check_same_config(config, workdir, finished=False)
        else:
            check_pretrained(config)
        dataset = _load_data(config)
        if resumes:
            _check_same_data(dataset, workdir)
        facts = _facts(config, dataset, workdir if resumes else None)
        run = build_run(config, dataset, facts, parallel)
        begin_with = partial(load_pretrained, config, len(dataset.class_names), dataset.image_shape)
        state, start, origin = first_state(run, checkpoints, begin_with)
        write_text(workdir / "config.json", to_json(config))
        if start == 0:
            keep_origin(workdir, origin)
        write_json(workdir / "dataset.json", facts)
        write_json(workdir / "environment.json", environment())
        run = compile_run(run, state)
        with MetricWriter(workdir, start) as writer:
            writer.write_hparams(flatten(config))
            state = _loop(run, state, start, writer, checkpoints)
            checkpoints.wait()
            state, step = _best(run, state, checkpoints)
            metrics = _final_test(run, state, step)
            write_json(workdir / "eval.json", metrics)
            logger.info("%s", _headline(metrics))
            if config.report.at_end:
                trained = Trained(workdir, config, facts, step, parallel.one_copy(state))
                _report(trained, dataset, metrics["split"], writer)
    except NonFiniteLoss as error:
        raise _nonfinite(error, run, checkpoints) from error
    finally:
        checkpoints.close()
    return metrics


def _finished(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """The metrics of a run of this config that has already ended."""
    metrics = read_json(workdir / "eval.json")
    if metrics is not None:
        _check_same_config(config, workdir, finished=True)
    return metrics


def _check_same_config(config: ConfigDict, workdir: Path, finished: bool) -> None:
    """UserError where the run in `workdir` has another config; what may change is logged."""
    changed = differences(load_config(workdir / "config.json"), config)
    for key in [key for key in changed if key.startswith(FREE_ON_RESUME)]:
        old, new = changed.pop(key)
        logger.info("config.%s was %r, is %r now", key, old, new)
    if not changed:
        return
    listed = ", ".join(f"config.{k} was {old!r}, is {new!r}" for k, (old, new) in changed.items())
    if finished and all(key.startswith("num_") for key in changed):
        raise UserError(
            f"--workdir={workdir}: the run in it is finished, and its learning rate was scheduled "
            f"to end there ({listed}): train for longer in a new --workdir, "
            f"{command(workdir=str(workdir.with_name(workdir.name + '-longer')))}"
        )
    raise UserError(
        f"--workdir={workdir}: the run in it has another config ({listed}); give a new --workdir, "
        "or the old values to resume it"
    )


def _facts(config: ConfigDict, dataset: Dataset, begun: Path | None) -> dict[str, Any]:
    """The content of `dataset.json`; what a run began with is kept, to normalise as it did.

    begun: the directory of a run that goes on.
    """
    before = None if begun is None else read_json(begun / "dataset.json")
    if before is not None and before.get("identity") == dataset.identity:
        return before
    return describe(dataset, config.data.mean, config.data.std)


def _check_same_data(dataset: Dataset, workdir: Path) -> None:
    before = read_json(workdir / "dataset.json")
    if before is not None and before["identity"] != dataset.identity:
        sizes = {role: len(split) for role, split in dataset.splits.items()}
        raise UserError(
            f"--workdir={workdir}: the data have changed since the run in it began (images: "
            f"{before['splits']} then, {sizes} now); give a new --workdir"
        )


def _load_data(config: ConfigDict) -> Dataset:
    clock = time.perf_counter()
    dataset = build_dataset(config, device_memory())
    logger.info(
        "data: %s pixels, %d classes, %s images, %s (%.1f s)",
        "x".join(map(str, dataset.image_shape)),
        len(dataset.class_names),
        " + ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items()),
        _WHERE[dataset.mode],
        time.perf_counter() - clock,
    )
    return dataset


def _loop(
    run: Run, state: TrainState, start: int, writer: MetricWriter, checkpoints: Checkpoints
) -> TrainState:
    """Steps from `start` to the end. The only waits for the device are where a number is needed."""
    plan = run.plan
    if _stops(run, writer):  # it was killed between this decision and its final test
        return state
    window = MetricWindow(run.parallel.one_copy)
    progress = Progress(plan.num_steps, start, run.config.batch_size)
    with catch_signals() as stop, progress:
        for step, batch in enumerate(run.train_batches(start), start + 1):
            state, metrics = run.train_step(state, batch)
            window.add(step, metrics)
            writer.start()  # TensorBoard's slow import, while the device is busy
            first = step == start + 1
            if (first or progress.due()) and (latest := window.latest()):
                progress.report(*latest)

            last, signal = step == plan.num_steps, stop.signal
            saving = plan.checkpoint_every.due(step) or last
            # A checkpoint is ranked by its validation, so each has one; but for one in a hurry.
            evaluating = plan.eval_every.due(step) or saving
            stopping = False
            if not (evaluating or saving or signal is not None or plan.log_every.due(step)):
                continue
            line = window.collect()
            line["learning_rate"] = float(run.schedule(step - 1))
            writer.write(step, run.epoch(step), "train", line)
            validation = None
            if evaluating and "validation" in run.dataset.splits:
                validation = run.evaluate(state, "validation")
                writer.write(step, run.epoch(step), "validation", validation)
                stopping = _stops(run, writer)
            if evaluating and run.config.report.histograms:
                writer.write_histograms(step, run.histograms(state, batch))
            if evaluating:
                progress.note(step, run.epoch(step), line, validation)
            if saving or stopping or signal is not None:
                _check_finite(state, step, run)
                checkpoints.save(step, run.parallel.one_copy(state), validation)
            if signal is not None:
                checkpoints.wait()
                raise Interrupted(signal, step)
            if stopping:
                break
            window.restart_clock()
    return state


def _stops(run: Run, writer: MetricWriter) -> bool:
    """Whether the validation on record says that training shall end, see `config.early_stop`."""
    if run.plan.patience is None:
        return False
    metric = run.config.best_metric
    history = writer.history("validation", metric)
    rule = {"lower_is_better": metric == "loss", "min_delta": run.config.early_stop.min_delta}
    stops = should_stop(history, run.plan.patience, **rule)
    if stops and history[-1][0] < run.plan.num_steps:
        logger.info(
            "stopping at step %d: validation %s has not improved since step %d",
            history[-1][0],
            metric,
            best_step(history, **rule),
        )
    return stops


def _check_finite(state: TrainState, step: int, run: Run) -> None:
    """The loss tells of the parameters before a step; a checkpoint holds those after it."""
    if not all_finite(run.parallel.one_copy(state.params)):
        raise NonFiniteLoss(step + 1, math.nan)


def _nonfinite(error: NonFiniteLoss, run: Run, checkpoints: Checkpoints) -> UserError:
    checkpoints.wait()
    saved = checkpoints.latest_step()
    dtype = "--config.dtype=float32, " if run.config.dtype != "float32" else ""
    return UserError(
        f"{error} (learning rate {float(run.schedule(error.step - 1)):.3g}): try {dtype}a lower "
        "--config.optimizer.learning_rate, a --config.optimizer.clip_norm or a longer "
        "--config.schedule.warmup_epochs, with a new --workdir; "
        + ("nothing was saved" if saved is None else f"the last checkpoint is of step {saved}")
    )


def _best(run: Run, state: TrainState, checkpoints: Checkpoints) -> tuple[TrainState, int]:
    """The best checkpoint, placed on the devices, and its step. state: the last one."""
    step = checkpoints.best_step()
    if step == int(run.parallel.one_copy(state.step)):
        return state, step
    best, step = checkpoints.restore_best(state_shapes(run.make_state))
    return run.parallel.place_state(best), step


def _final_test(run: Run, state: TrainState, step: int) -> dict[str, Any]:
    """Metrics of a checkpoint on test data; on validation (else train) if there are none."""
    role = next(r for r in ("test", "validation", "train") if r in run.dataset.splits)
    if role == "validation":
        logger.warning("no test images: those of validation chose the checkpoint, and flatter it")
    if role == "train":
        logger.warning("no test images: those of train say nothing about new ones")
    return {"split": role, "checkpoint_step": step} | run.evaluate(state, role)


def _report(trained: Trained, dataset: Dataset, split: str, writer: MetricWriter) -> None:
    """Makes `report/` and shows its pictures in TensorBoard; a run does not fail for its sake."""
    try:
        assessment = assess(trained, examine(trained, dataset, split))
        _, pictures = write_report(assessment, trained.workdir / "report")
        writer.write_images(trained.step, {f"report/{k}": png for k, png in pictures.items()})
    except Exception as error:  # of figures, files, memory: the training itself is done and saved
        again = shlex.join(["python", "-m", "jaxcnn.evaluate", f"--workdir={trained.workdir}"])
        logger.debug("the report", exc_info=True)
        logger.warning(
            "no report (%s: %s); the run is whole, try again with: %s",
            type(error).__name__,
            " ".join(str(error).split()),
            again,
        )


def _headline(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['split']} accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}, "
        f"macro F1 {metrics['f1_macro']:.4f} on {metrics['num_examples']:,} images "
        f"(checkpoint of step {metrics['checkpoint_step']})"
    )
