"""The same recipe over several seeds, and how sure its numbers are.

    from jaxcnn.training.seeds import train_seeds
    metrics = train_seeds(config, "runs/mine", 5)

`seed_<n>/` in the directory are whole runs; `eval.json` and `report/` beside them are about all.
"""

import gc
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.analysis.seeds import seeds_eval, seeds_headline
from jaxcnn.builders.auto import prepare
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.errors import UserError
from jaxcnn.evaluation.report import history
from jaxcnn.files import rundir
from jaxcnn.files.folders import write_files
from jaxcnn.files.paths import as_path
from jaxcnn.report.seeds_page import seeds_files
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.runtime.distributed import is_first
from jaxcnn.runtime.memory import out_of_memory
from jaxcnn.runtime.progress import setup_logging
from jaxcnn.training.loop import Training
from jaxcnn.training.population import groups
from jaxcnn.training.train import finish, finished_run

logger = logging.getLogger(__name__)


def train_seeds(
    config: ConfigDict, workdir: str | Path, count: int, command_line: str = ""
) -> dict[str, Any]:
    """Trains `config` with `count` seeds, from its own on, in `workdir`; what is finished stays.

    command_line: what started it, for the report.
    Returns the content of `eval.json`: the means, with "std" and "ci95". The seeds that can be are
    trained as one population, see `population.groups`. One that fails is named when the
    others are done. Raises UserError and Interrupted as `train` does.

    >>> import jaxcnn
    >>> config = jaxcnn.load_config("runs/digits/config.json")
    >>> config.num_epochs, config.report.at_end = 1, False
    >>> jaxcnn.train_seeds(config, "runs/seeds", 2)["seeds"]
    [0, 1]
    """
    setup_logging()
    enable_compile_cache()
    workdir = as_path(workdir)
    if count < 1:
        raise UserError(f"--seeds={count}: expected a number of seeds, from 1")
    if rundir.has_run(workdir):
        raise UserError(
            f"--workdir={workdir}: holds a run of one seed; give a new --workdir for several"
        )
    config = prepare(config, workdir=rundir.seed_folder(workdir, config.seed))
    configs = {
        seed: resolve(unflatten(flatten(config) | {"seed": seed}))
        for seed in range(config.seed, config.seed + count)
    }
    rundir.make_writable(workdir)
    results, failed = _train(configs, {seed: rundir.seed_folder(workdir, seed) for seed in configs})
    if failed:
        rest = "; the others are finished" if results else ""
        summary = f" ({len(failed)} of {count} seeds failed{rest})" if count > 1 else ""
        raise UserError(f"seed {min(failed)}: {failed[min(failed)]}{summary}")
    content = seeds_eval(results)
    if is_first():
        rundir.write_json(workdir / rundir.EVALUATION, content)
        _report(configs[config.seed], workdir, results, command_line)
    logger.info("%s", seeds_headline(content))
    return content


def _train(
    configs: Mapping[int, ConfigDict], workdirs: Mapping[int, Path]
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Returns the final tests by seed, and by seed why there is none."""
    results: dict[int, dict[str, Any]] = {}
    failed: dict[int, str] = {}
    for seed, config in configs.items():
        rundir.make_writable(workdirs[seed])
        if (metrics := finished_run(config, workdirs[seed])) is not None:
            results[seed] = metrics
    rest = [seed for seed in configs if seed not in results]
    together = groups([configs[seed] for seed in rest], [workdirs[seed] for seed in rest])
    waiting = deque([rest[number] for number in numbers] for numbers in together)
    while waiting:
        group = waiting.popleft()
        logger.info("seed %s of %s", ", ".join(map(str, group)), ", ".join(map(str, configs)))
        outcome = _train_group(configs, workdirs, group)
        if outcome is None:
            logger.warning("%d seeds at once have no room on the device: half as many", len(group))
            half = len(group) // 2
            waiting.extendleft([group[half:], group[:half]])
            continue
        results |= outcome[0]
        failed |= outcome[1]
    return dict(sorted(results.items())), failed


def _train_group(
    configs: Mapping[int, ConfigDict], workdirs: Mapping[int, Path], group: Sequence[int]
) -> tuple[dict[int, dict[str, Any]], dict[int, str]] | None:
    """`_train` for seeds that are one program; None if the device has no room for several."""
    own = [configs[seed] for seed in group], [workdirs[seed] for seed in group]
    try:
        results, failed = _train_population(*own)
        by_seed = {group[number]: metrics for number, metrics in results.items()}
        return by_seed, {group[number]: reason for number, reason in failed.items()}
    except Exception as error:
        if not out_of_memory(error) or len(group) == 1:
            raise
    # Out here, without the traceback, nothing holds the arrays of those that failed any more.
    gc.collect()
    return None


def _train_population(
    configs: Sequence[ConfigDict], workdirs: Sequence[Path]
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Trains runs as one program; returns the final tests by number, and why there is none."""
    with Training(configs, workdirs) as training:
        for _ in training:
            pass
        return finish(training), training.failed


def _report(
    config: ConfigDict,
    workdir: Path,
    results: Mapping[int, Mapping[str, Any]],
    command_line: str,
) -> None:
    """Writes `report/` about all seeds."""
    if not config.report.at_end:
        return
    files = seeds_files(
        title=f"{config.model.name} on {config.data.get('name') or config.data.source}",
        metrics=results,
        histories={seed: history(rundir.seed_folder(workdir, seed)) for seed in results},
        config={k: str(v) for k, v in flatten(config).items() if v is not None and k != "seed"},
        command_line=command_line,
    )
    write_files(workdir / rundir.REPORT, dict(files), "workdir")
    logger.info("report: %s", workdir / rundir.REPORT / rundir.REPORT_PAGE)
