"""Trains an image classifier, or goes on with a run that was stopped.

    jaxcnn train --config digits
    jaxcnn train --config digits --workdir runs/small --config.num_epochs=5
    jaxcnn train --config my_experiment.py --workdir runs/five --seeds 5
    jaxcnn train --config runs/digits --workdir runs/other --config.seed=1

Start the same command again to resume. The run directory then holds config.json, metrics.jsonl,
TensorBoard files, checkpoints/ and eval.json with the final test. With --seeds it holds seed_0/,
seed_1/, ..., and eval.json the mean, standard deviation and 95 % interval of each metric.

Several processes, on one machine or many, train one run: each is started with the same command and
its --process-id (launch/local.py does that here); under SLURM's srun, Open MPI's mpirun and on TPUs
of GKE they find one another without flags.
"""

from pathlib import Path

from absl import flags

from jaxcnn.cli.parsing import (
    config_from_flags,
    define_config,
    experiment_name,
    first_seed,
    log_imports,
)
from jaxcnn.errors import UserError, command
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import seed_folder, seed_names

define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run directory. Default: runs/<name of the experiment>."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where several train together; auto: as JAX finds out (Cloud TPU VMs).",
)
_PROCESSES = flags.DEFINE_integer("num-processes", None, "How many train together.")
_PROCESS = flags.DEFINE_integer("process-id", None, "Which of them this is, from 0.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat-seconds", 100, "A process silent for so long counts as dead.", lower_bound=1
)
_CONNECT = flags.DEFINE_integer(
    "connect-seconds", 300, "How long the processes may take to find one another.", lower_bound=1
)
_SEEDS = flags.DEFINE_integer(
    "seeds", None, "Train with so many seeds, from config.seed on, and say how sure the result is."
)
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Trace steps 5 to 10 of this start for TensorBoard's profiler and XProf."
)


def check() -> None:
    if _PROFILE.value and _SEEDS.value is not None:
        raise UserError("--profile: traces one run; leave --seeds out")


def main() -> None:
    from jaxcnn.runtime.distributed import connect
    from jaxcnn.training.seeds import train_seeds
    from jaxcnn.training.train import train

    log_imports()
    connect(
        _COORDINATOR.value,
        _PROCESSES.value,
        _PROCESS.value,
        heartbeat_seconds=_HEARTBEAT.value,
        connect_seconds=_CONNECT.value,
    )
    workdir = as_path(_WORKDIR.value or Path("runs") / experiment_name())
    if _SEEDS.value is not None:
        config = config_from_flags(seed_folder(workdir, first_seed()))
        train_seeds(config, workdir, _SEEDS.value, command("train"))
        return
    if seeds := seed_names(workdir):
        raise UserError(
            f"--workdir={workdir}: holds runs of several seeds ({', '.join(seeds)}); give "
            f"--seeds {len(seeds)} to go on with them, or a new --workdir"
        )
    train(config_from_flags(workdir), workdir, _PROFILE.value)
