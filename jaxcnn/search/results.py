"""The results of a search: trials.csv, best.json, best.py, a page with pictures, TensorBoard."""

import csv
import io
import json
import logging
import shlex
from collections import Counter
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.choices import own_names
from jaxcnn.config.durations import DURATIONS
from jaxcnn.config.experiment import source_of
from jaxcnn.config.keys import default_config, flatten
from jaxcnn.errors import UserError, without_password
from jaxcnn.files.folders import write_files
from jaxcnn.files.locks import wait_for_lock
from jaxcnn.files.rundir import EXPERIMENT, METRICS, WORKER_LOCK, has_run, metric_lines, read_json
from jaxcnn.runtime.writers import TensorBoard
from jaxcnn.search.page import tune_files
from jaxcnn.search.study import Study, storing
from jaxcnn.search.trial import Search, Trial, show
from jaxcnn.search.trials import read_history
from jaxcnn.training.loop import Training
from jaxcnn.training.train import finish, finished_run

logger = logging.getLogger(__name__)

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}

# With fewer, how much a parameter explains of the values is anybody's guess.
_FOR_IMPORTANCE = 5


def read_study(study: Study, metric: str, title: str) -> Search:
    """All trials of a study, with what the run directories here add to them."""
    choose = min if metric == "loss" else max

    def read(frozen: Any) -> Trial:
        history = dict(map(tuple, frozen.user_attrs.get("history") or ()))
        history = history or read_history(study.folder(frozen.number), metric)
        return Trial(
            number=frozen.number,
            state=_STATES[frozen.state.name],
            params=dict(frozen.params),
            value=choose(history.values()) if history else None,
            history=sorted(history.items()),
            seconds=frozen.user_attrs.get("seconds"),
            reason=frozen.user_attrs.get("reason", ""),
        )

    with storing(study.address):
        trials = [frozen for frozen in study.trials() if frozen.state.name in _STATES]
        return Search(
            title=title,
            metric=metric,
            log=frozenset(
                key
                for frozen in trials
                for key, distribution in frozen.distributions.items()
                if getattr(distribution, "log", False)
            ),
            trials=list(map(read, trials)),
            importance=_importance(study),
        )


def summary(search: Search) -> str:
    """The winner in one line."""
    assert search.best is not None
    return f"trial {search.best.number} with {_scores(search)}"


def why_none_is_best(search: Search) -> str:
    """The reason why a search has no winner, and what to do."""
    states = Counter(trial.state for trial in search.trials)
    listed = ", ".join(f"{count} {state}" for state, count in states.items()) or "none has begun"
    if states["complete"]:
        return (
            f"no complete trial has a finite {search.metric} on validation ({listed}); start the "
            "same command again with more --trials, or search other ranges in a new --workdir"
        )
    return (
        f"no trial is complete ({listed}); start the same command again with more --minutes or "
        "--trials"
    )


def _importance(study: Study) -> dict[str, float] | None:
    """How much of the variance of the values each parameter explains, by fANOVA (Hutter et al.
    2014).
    """
    import optuna

    complete = study.trials("COMPLETE")
    if len(complete) < _FOR_IMPORTANCE or len({one.value for one in complete}) == 1:
        return None
    shared = set.intersection(*(set(one.params) for one in complete))
    if len(shared) < 2:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study.optuna, evaluator=evaluator)


def is_written(study: Study, search: Search) -> bool:
    """Whether the results in the directory are those of this winner."""
    names = ("trials.csv", "best.py", "tune.html")
    content = read_json(study.workdir / "best.json")
    if content is None or not all((study.workdir / name).is_file() for name in names):
        return False
    winner = None if search.best is None else search.best.number
    return content.get("trial") == winner and content.get("test") is not None


def write_results(study: Study, search: Search, config: ConfigDict, command: str) -> dict[str, Any]:
    """Tests the winner and writes everything; returns the content of `best.json`.

    config: the winner's, resolved.
    """
    best = search.best
    assert best is not None
    command = without_password(command)
    with wait_for_lock(study.workdir / ".results.lock"):
        search = search._replace(test=_test(study, config, best.number), command=command)
        train = f"jaxcnn train --config {shlex.quote(str(study.workdir / 'best.py'))}"
        recipe = experiment_text(
            config,
            f"The best of {len(search.trials)} trials of {search.title}: {_scores(search)}.\n\n"
            f"    {train}\n\n"
            f"Found by trial {best.number} of this search"
            + (f":\n\n    {command}\n" if command else ".\n"),
        )
        content = {
            "params": dict(best.params),
            "value": best.value,
            "trial": best.number,
            "metric": search.metric,
            "test": search.test,
        }
        files: dict[str, bytes | None] = {
            "trials.csv": _table(search).encode(),
            "best.py": recipe.encode(),
            **tune_files(search._replace(best_config=recipe)),
            **({EXPERIMENT: source_of(config.experiment).encode()} if config.experiment else {}),
            "best.json": json.dumps(content, indent=2).encode() + b"\n",
        }
        write_files(study.workdir, files, "workdir")
        _write_tensorboard(study, search)
    return content


def _test(study: Study, config: ConfigDict, number: int) -> dict[str, Any] | None:
    """The final test of the winner, its `eval.json`; None where that cannot be made here."""
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


def _scores(search: Search) -> str:
    """How good the winner is, in words."""
    assert search.best is not None
    text = f"{show(search.metric, search.best.value)} on validation"
    if search.test is not None and search.test["split"] == "test":
        text += f", {show(search.metric, search.test[search.metric])} on test"
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


def _table(search: Search) -> str:
    """The content of `trials.csv`: a line a trial."""
    keys = list(dict.fromkeys(key for trial in search.trials for key in trial.params))
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["number", "state", "value", "seconds", *keys, "reason"])
    for one in search.trials:
        values = [one.params.get(key, "") for key in keys]
        table.writerow([one.number, one.state, one.value, one.seconds, *values, one.reason])
    return file.getvalue()


def _write_tensorboard(study: Study, search: Search) -> None:
    """The curves of all trials, their parameters (only those) and values, by one process."""
    board = TensorBoard()
    for trial in search.trials:
        folder = study.folder(trial.number)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        board.hparams(folder, dict(trial.params))
        for line in metric_lines(folder):
            step, split = line["step"], line["split"]
            names = line.keys() - {"step", "epoch", "split"}
            board.scalars(folder, step, {f"{split}/{name}": line[name] for name in names})
        if not (folder / METRICS).is_file():  # trained elsewhere: what the study knows
            for step, value in trial.history:
                board.scalars(folder, step, {f"validation/{search.metric}": value})
        if trial.value is not None:
            last = trial.history[-1][0]
            board.scalars(folder, last, {f"objective/{search.metric}": trial.value})
    board.start()
    board.close()
