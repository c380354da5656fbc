"""What a search has found: trials.csv, best.json, best.py, a page with pictures, TensorBoard."""

import csv
import io
import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.choices import own_names
from jaxcnn.config.durations import DURATIONS
from jaxcnn.config.experiment import source_of
from jaxcnn.config.keys import default_config, flatten
from jaxcnn.errors import UserError, without_password
from jaxcnn.files.folders import write_files
from jaxcnn.files.locks import wait_for_lock
from jaxcnn.files.rundir import EXPERIMENT, METRICS, WORKER_LOCK, has_run, metric_lines, read_json
from jaxcnn.runtime.tensorboard import TensorBoard
from jaxcnn.search.page import tune_files
from jaxcnn.search.storage import storing
from jaxcnn.search.study import Study
from jaxcnn.search.trial import Search, Trial
from jaxcnn.search.trials import read_history
from jaxcnn.training.loop import Training
from jaxcnn.training.train import finish, finished_run

logger = logging.getLogger(__name__)

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}

# With fewer, how much a parameter explains of the values is anybody's guess.
_FOR_IMPORTANCE = 5


class StudyResults(NamedTuple):
    """What a study has come to.

    log: the parameters searched on a log scale. best: the winner; None where no trial is complete.
    """

    metric: str
    trials: list[Trial]
    best: Trial | None
    log: frozenset[str]
    importance: dict[str, float] | None

    def summary(self) -> str:
        """The winner in one line."""
        assert self.best is not None
        return f"trial {self.best.number} with {show(self.metric, self.best.value)} on validation"


def show(metric: str, value: float | None) -> str:
    """A metric and its value, for people."""
    if value is None:
        return f"no {metric}"
    return f"{metric} {value:.4f}" if metric == "loss" else f"{metric} {value:.2%}"


def read_study(study: Study, metric: str) -> StudyResults:
    """All trials of a study, with what the run directories here add to them."""
    with storing(study.address):
        frozen = study.trials()
        best = study.best()
        trials = [_trial(study, one, metric) for one in frozen if one.state.name in _STATES]
        return StudyResults(
            metric=metric,
            trials=trials,
            best=None
            if best is None
            else trials[[one.number for one in trials].index(best.number)],
            log=frozenset(
                key
                for one in frozen
                for key, distribution in one.distributions.items()
                if getattr(distribution, "log", False)
            ),
            importance=_importance(study),
        )


def _trial(study: Study, frozen: Any, metric: str) -> Trial:
    known = frozen.user_attrs.get("history")
    history = (
        dict(map(tuple, known)) if known else read_history(study.folder(frozen.number), metric)
    )
    choose = min if metric == "loss" else max
    return Trial(
        number=frozen.number,
        state=_STATES[frozen.state.name],
        params=dict(frozen.params),
        value=choose(history.values()) if history else None,
        history=sorted(history.items()),
        seconds=frozen.user_attrs.get("seconds"),
        reason=frozen.user_attrs.get("reason", ""),
    )


def _importance(study: Study) -> dict[str, float] | None:
    """By fANOVA (Hutter et al. 2014): how much of the variance of the values each explains."""
    import optuna

    complete = study.trials("COMPLETE")
    if len(complete) < _FOR_IMPORTANCE or len({one.value for one in complete}) == 1:
        return None
    shared = set.intersection(*(set(one.params) for one in complete))
    if len(shared) < 2:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study.optuna, evaluator=evaluator)


def is_written(study: Study, results: StudyResults) -> bool:
    """Whether the results in the directory are those of this winner."""
    names = ("trials.csv", "best.py", "tune.html")
    content = read_json(study.workdir / "best.json")
    if content is None or not all((study.workdir / name).is_file() for name in names):
        return False
    best = results.best
    tested = content.get("test") is not None
    return best is not None and content.get("trial") == best.number and tested


def write_results(
    study: Study, results: StudyResults, config: ConfigDict, title: str, command: str
) -> dict[str, Any]:
    """Tests the winner and writes everything; returns the content of `best.json`.

    config: the winner's, resolved.
    """
    assert results.best is not None
    command = without_password(command)
    with wait_for_lock(study.workdir / ".results.lock"):
        test = _test(study, config, results.best.number)
        train = f"jaxcnn train --config {shlex.quote(str(study.workdir / 'best.py'))}"
        recipe = experiment_text(
            config,
            f"The best of {len(results.trials)} trials of {title}: {_scores(results, test)}.\n\n"
            f"    {train}\n\n"
            f"Found by trial {results.best.number} of this search"
            + (f":\n\n    {command}\n" if command else ".\n"),
        )
        search = Search(
            title=title,
            metric=results.metric,
            lower_is_better=results.metric == "loss",
            log=results.log,
            trials=results.trials,
            importance=results.importance,
            best_config=recipe,
            test=test,
            command=command,
        )
        best = {
            "params": dict(results.best.params),
            "value": results.best.value,
            "trial": results.best.number,
            "metric": results.metric,
            "test": test,
        }
        files: dict[str, bytes | None] = {
            "trials.csv": _table(results).encode(),
            "best.py": recipe.encode(),
            **tune_files(search),
            **({EXPERIMENT: source_of(config.experiment).encode()} if config.experiment else {}),
            "best.json": json.dumps(best, indent=2).encode() + b"\n",
        }
        write_files(study.workdir, files, "workdir")
        _write_tensorboard(study, results)
    return best


def _test(study: Study, config: ConfigDict, number: int) -> dict[str, Any] | None:
    """The final test of the winner: its `eval.json`; None where that cannot be made here."""
    folder = study.folder(number)
    if not has_run(folder):
        logger.warning("trial %d was trained elsewhere; start the command there to test it", number)
        return None
    try:
        with wait_for_lock(folder / WORKER_LOCK):  # nobody deletes its checkpoints meanwhile
            if (metrics := finished_run(config, folder)) is not None:
                return metrics
            with Training([config], [folder], tensorboard=False) as training:
                for _ in training:
                    pass
                return finish(training).get(0)
    except UserError as error:
        logger.warning("trial %d was not tested: %s", number, error)
        return None


def _scores(results: StudyResults, test: Mapping[str, Any] | None) -> str:
    """How good the winner is, in words."""
    assert results.best is not None
    text = f"{show(results.metric, results.best.value)} on validation"
    if test is not None and test["split"] == "test":
        text += f", {show(results.metric, test[results.metric])} on test"
    return text


def experiment_text(config: ConfigDict, description: str) -> str:
    """A Python file whose get_config() resolves to `config`, a resolved one.

    description: its docstring. What the search's own experiment file defines is found in its copy
    beside the new file.
    """
    defaults = flatten(default_config()) | {"experiment": config.experiment}
    defaults |= {f"{name}_{of[0]}": of[1] for name, of in DURATIONS.items() if of is not None}
    docstring = description.replace("\\", "\\\\").replace('"', '\\"')
    settings = [
        f"    config.{key} = {value!r}"
        for key, value in flatten(config).items()
        if value is not None and (key not in defaults or defaults[key] != value)
    ]
    beside = bool(config.experiment and own_names(config))
    if beside:
        settings.insert(0, f'    config.experiment = str(Path(__file__).with_name("{EXPERIMENT}"))')
    lines = [
        f'"""{docstring}"""',
        "",
        *(["from pathlib import Path", ""] if beside else []),
        "from jaxcnn import default_config",
        "",
        "",
        "def get_config():",
        "    config = default_config()",
        *settings,
        "    return config",
    ]
    return "\n".join(lines) + "\n"


def _table(results: StudyResults) -> str:
    """The content of `trials.csv`: a line a trial."""
    keys = list(dict.fromkeys(key for trial in results.trials for key in trial.params))
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["number", "state", "value", "seconds", *keys, "reason"])
    for trial in results.trials:
        values = [trial.params.get(key, "") for key in keys]
        table.writerow(
            [trial.number, trial.state, trial.value, trial.seconds, *values, trial.reason]
        )
    return file.getvalue()


def _write_tensorboard(study: Study, results: StudyResults) -> None:
    """The curves of all trials, their parameters (only those) and values, by one process."""
    board = TensorBoard()
    for trial in results.trials:
        folder = study.folder(trial.number)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        board.hparams(folder, dict(trial.params))
        for step, scalars in _curves(folder, results.metric, trial):
            board.scalars(folder, step, scalars)
        if trial.value is not None:
            last = trial.history[-1][0]
            board.scalars(folder, last, {f"objective/{results.metric}": trial.value})
    board.start()
    board.close()


def _curves(folder: Path, metric: str, trial: Trial) -> list[tuple[int, dict[str, float]]]:
    """(step, scalars) of a trial that was trained here; of another what the study knows."""
    if not (folder / METRICS).is_file():
        return [(step, {f"validation/{metric}": value}) for step, value in trial.history]
    return [
        (
            line["step"],
            {
                f"{line['split']}/{name}": value
                for name, value in line.items()
                if name not in ("step", "epoch", "split")
            },
        )
        for line in metric_lines(folder)
    ]
