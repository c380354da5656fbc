"""The story of a training run.

    from jaxcnn.training.train import train
    metrics = train(config, "runs/mine")

Resume if there is something to resume; step, log, evaluate, checkpoint; then the final test.
"""

import logging
import math
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn.analysis.measure import plain_metrics
from jaxcnn.builders.auto import prepare
from jaxcnn.builders.data import build_model
from jaxcnn.builders.devices import build_interceptor
from jaxcnn.config.keys import differences, load_config
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import TrainState
from jaxcnn.core.step import make_predict_step
from jaxcnn.core.step_wrappers import with_input
from jaxcnn.core.views import with_views
from jaxcnn.errors import UserError
from jaxcnn.evaluation.assess import Predictions, assess, select_data
from jaxcnn.evaluation.report import write_report
from jaxcnn.files import rundir
from jaxcnn.files.paths import as_path
from jaxcnn.inference.trained import Trained
from jaxcnn.runtime.compile import compile_step, enable_compile_cache
from jaxcnn.runtime.distributed import is_first
from jaxcnn.runtime.mesh import local_copy
from jaxcnn.runtime.progress import setup_logging
from jaxcnn.training.first_state import state_shapes
from jaxcnn.training.loop import Training, load_data
from jaxcnn.training.member import check_same_config, check_same_data

logger = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: str | Path, profile: bool = False) -> dict[str, Any]:
    """Trains what `config` describes in `workdir`, or goes on where an earlier start stopped.

    profile: whether a few steps are traced, see `jaxcnn.runtime.profile`.
    Returns the content of `eval.json`: the metrics of the final test. Raises UserError for what the
    user can mend, and Interrupted after Ctrl-C or SIGTERM, when the state is saved.

    >>> import jaxcnn
    >>> config = jaxcnn.load_config("runs/digits/config.json")
    >>> metrics = jaxcnn.train(config, "runs/digits")  # it is finished: nothing is trained again
    >>> metrics["split"]
    'test'
    """
    setup_logging()
    enable_compile_cache()
    workdir = as_path(workdir)
    config = prepare(config, workdir=workdir)
    rundir.make_writable(workdir)
    if (finished := finished_run(config, workdir)) is not None:
        return finished
    with Training([config], [workdir], profile=profile) as training:
        for _ in training:
            pass
        metrics = finish(training)
        if training.failed:
            raise UserError(training.failed[0])
    return metrics[0]


def finished_run(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """Returns the metrics of a run of this config that has already ended; None if it has not.

    UserError if there is one, but of another config or on other data.
    """
    metrics = rundir.read_json(workdir / rundir.EVALUATION)
    if metrics is None:
        return None
    check_same_config(config, workdir, finished=True)
    if "data.dir" in differences(load_config(workdir / rundir.CONFIG), config):
        check_same_data(load_data(config, rundir.read_json(workdir / rundir.DATASET)), workdir)
    logger.info("%s is finished: %s", workdir, _headline(metrics))
    if config.report.at_end and not (workdir / rundir.REPORT / rundir.REPORT_PAGE).is_file():
        logger.info("it has no report; make it with: %s", _evaluate(workdir))
    return metrics


def finish(training: Training) -> dict[int, dict[str, Any]]:
    """Makes the final test of all members that have not failed: `eval.json` and `report/` of each.

    Returns {number of a member: the content of its eval.json}.

    >>> import jaxcnn
    >>> config = jaxcnn.load_config("runs/digits/config.json")
    >>> config.num_epochs, config.report.at_end = 1, False
    >>> with jaxcnn.Training([jaxcnn.resolve(config)], ["runs/finish"]) as training:
    ...     for step, validations in training:
    ...         pass
    ...     metrics = jaxcnn.finish(training)[0]
    >>> metrics["split"]
    'test'
    """
    run = training.run
    if len(training.failed) == len(training.members):
        return {}
    role = _role_of_test(training)
    steps = _place_best(training)
    logger.info("final test on %s %s images", f"{len(run.dataset.splits[role]):,}", role)
    results, predictions = _test(training, role)
    metrics = {}
    for number, member in enumerate(training.members):
        if member.failed is not None:
            continue
        step = steps[number]
        if not math.isfinite(loss := results[number]["loss"]):
            member.failed = f"{member.workdir}: the {role} loss is {loss} at step {step}"
            continue
        content = {"split": role, "checkpoint_step": step, **results[number]}
        metrics[number] = content
        reporting = predictions is not None and member.config.report.at_end
        # All processes take part in this.
        state = run.parallel.member(training.state, number) if reporting else None
        if not is_first():
            continue
        rundir.write_json(member.workdir / rundir.EVALUATION, content)
        logger.info("%s", _headline(content))
        if predictions is not None and state is not None:
            variables = local_copy(state.variables)
            trained = Trained(member.workdir, member.config, training.facts, step, variables)
            _report(training, number, trained, role, predictions[number])
    return metrics


def _test(training: Training, role: str) -> tuple[list[dict[str, float]], list[Predictions] | None]:
    """Returns the metrics of each member on the examples of a role, and its predictions.

    One pass over all devices and processes gives both. Where there is no report and no test-time
    augmentation, metrics come from sums on the devices, and predictions are None: the step for that
    is compiled already, and nothing as large as the test set (N x K numbers) is kept.
    """
    run, report = training.run, training.run.config.report
    if not (report.at_end or report.tta):
        return run.evaluate(training.state, role), None
    try:
        predictions = _predictions(training, role)
    except MemoryError:
        line = "no report, no test-time augmentation: predictions of %s images do not fit in memory"
        logger.warning(line, f"{len(run.dataset.splits[role]):,}")
        return run.evaluate(training.state, role), None
    label, metrics = run.dataset.splits[role].label, []
    for one in predictions:
        metrics.append(plain_metrics(label, one.logits))
        if one.views is not None:
            views = plain_metrics(label, one.views)
            metrics[-1] |= {f"tta_{name}": views[name] for name in ("accuracy", "loss")}
    return metrics, predictions


def _predictions(training: Training, role: str) -> list[Predictions]:
    """Returns what each member predicts for a role, and for validation if this is the test."""
    run, parallel = training.run, training.run.parallel
    step = make_predict_step(
        build_model(run.config, len(run.dataset.class_names), parallel.axis_name),
        normalize=partial(normalize, mean=training.facts["mean"], std=training.facts["std"]),
        axis_name=parallel.axis_name,
        interceptor=build_interceptor(run.config, training=False),
    )

    def predict(role: str, views: tuple[str, ...]) -> dict[str, Any]:
        transformed = parallel.transform(with_input(with_views(step, views)), donate=False)
        # As in `jaxcnn.training.run`: ahead, `pmap` would not take a process' own part.
        if parallel.axis_name is None or jax.process_count() == 1:
            example = run.example_batch(role, own=False)
            transformed = compile_step(transformed, training.state, example)
        return run.predict(transformed, training.state, role)

    outputs, validation = predict(role, run.config.report.tta), {}
    if run.config.report.at_end and role == "test" and "validation" in run.dataset.splits:
        validation = predict("validation", ())
    return [
        Predictions(
            outputs["logits"][number],
            outputs["views"][number] if "views" in outputs else None,
            validation["logits"][number] if validation else None,
        )
        for number in range(len(run.configs))
    ]


def _place_best(training: Training) -> list[int]:
    """Puts the members' best checkpoints in place of the last states; returns their steps."""
    parallel = training.run.parallel
    now = parallel.each(training.state.step).tolist()
    best = [_best(training, number, now[number]) for number in range(len(now))]
    if any(state is not None for state, _ in best):
        states = [
            parallel.member(training.state, number) if state is None else state
            for number, (state, _) in enumerate(best)
        ]
        training.state = parallel.place_states(states)
    return [step for _, step in best]


def _best(training: Training, number: int, now: int) -> tuple[TrainState | None, int]:
    """Returns a member's best checkpoint and its step. In place of the state it is at now, and of
    that of a member that failed: None.
    """
    member = training.members[number]
    if member.failed is not None:
        return None, now
    member.checkpoints.wait()
    if (step := member.checkpoints.best_step()) == now:
        return None, step
    return member.checkpoints.restore_best(state_shapes(training.run.make_states[number]))


def _role_of_test(training: Training) -> str:
    """Returns "test"; "validation" (else "train") where there are no test images."""
    role = next(r for r in ("test", "validation", "train") if r in training.run.dataset.splits)
    if role == "validation":
        logger.warning("no test images: those of validation chose the checkpoint, and flatter it")
    if role == "train":
        logger.warning("no test images: those of train say nothing about new ones")
    return role


def _report(
    training: Training, number: int, trained: Trained, role: str, predictions: Predictions
) -> None:
    """Makes `report/` and shows its pictures in TensorBoard; a run does not fail for its sake."""
    member, step = training.members[number], trained.step
    try:
        data = select_data(trained, training.run.dataset, role)
        assessment = assess(trained, data, predictions)
        _, pictures = write_report(assessment, member.workdir / rundir.REPORT)
        training.show(number, step, {f"report/{name}": png for name, png in pictures.items()})
    except Exception as error:  # of figures, files, memory: the training itself is done and saved
        logger.debug("the report", exc_info=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        message = "no report (%s); the run is whole, try again with: %s"
        logger.warning(message, reason, _evaluate(member.workdir))


def _evaluate(workdir: Path) -> str:
    """Returns the command that makes a run's report."""
    return shlex.join(["jaxcnn", "evaluate", f"--workdir={workdir}"])


def _headline(metrics: dict[str, Any]) -> str:
    views = metrics.get("tta_accuracy")
    return (
        f"{metrics['split']} accuracy {metrics['accuracy']:.2%}, loss {metrics['loss']:.4f}, "
        f"macro F1 {metrics['f1_macro']:.4f} on {metrics['num_examples']:,} images "
        f"(checkpoint of step {metrics['checkpoint_step']})"
        + ("" if views is None else f"; with test-time augmentation accuracy {views:.2%}")
    )
