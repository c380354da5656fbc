"""Several processes that train one run together; JAX connects them.

Process 0 is the first: it listens at the coordinator's address, and it alone writes what is one
file for all. What a process decides by itself (from files, clocks, signals) it must not act upon
before all others do the same, or they wait for one another for ever.
"""

import logging
import os
import re
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcnn.errors import UserError
from jaxcnn.runtime.progress import setup_logging

logger = logging.getLogger(__name__)

# How long a process that is done waits for the others: while the first draws a report, say.
_SECONDS_AT_THE_END = 3600
# How long the first process stays after a mistake, for others that make the same one.
_SECONDS_FOR_OTHERS = 2
# What collectives and barriers say when another process has gone: of Gloo, NCCL and JAX's
# coordination service. Not their names alone, which stand in errors of this process too.
_GONE = re.compile(
    r"gloo [\w -]+ failed:|connection closed by peer|connection reset by peer|"
    r"nccl.*(remote process exited|unhandled system error|ncclremoteerror)|"
    r"barrier timed out|barrier failed because|heartbeat timeout|"
    r"coordination service (has (stopped|been shut down)|is shutting down)|"
    r"failed to send rpc to coordination service",
    re.IGNORECASE | re.DOTALL,
)


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int = 100,
    connect_seconds: int = 300,
) -> None:
    """Joins the processes of a run. Without arguments, if the environment names several (see
    `count_processes`); else this process stays alone. Call it before any device is asked for.

    coordinator: HOST:PORT of process 0, or "auto": as JAX finds out itself, on a Cloud TPU VM too.
    heartbeat_seconds: a process that has not been heard of for so long counts as dead, and the
      others are aborted. connect_seconds: how long all of them may take to come.
    Raises UserError for what does not go together; where others do not come, it ends the process
    with 134, as when they die.
    """
    arguments = coordinator, num_processes, process_id
    num_started = count_processes(os.environ)
    _check(*arguments, num_started)
    alone = num_started in (None, 1) if arguments == (None, None, None) else num_processes == 1
    if alone:
        return
    # Our own handlers of SIGTERM save; JAX's would take the place of the default before that.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX aborts in C++, with a stack trace, where it cannot connect: we are there before it.
    patience = threading.Timer(connect_seconds, _give_up, (arguments, connect_seconds))
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            num_processes,
            process_id,
            # Where all flags are there, a scheduler's variables shall not choose the devices.
            cluster_detection_method="deactivate" if None not in arguments else None,
            initialization_timeout=connect_seconds + 60,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=_SECONDS_AT_THE_END,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(_refused(coordinator, str(error))) from error
    finally:
        patience.cancel()
    setup_logging()
    if not is_first():
        logging.getLogger("jaxcnn").setLevel(logging.WARNING)
    logger.info("%d processes with %d devices", jax.process_count(), jax.device_count())


def count_processes(environ: Mapping[str, str]) -> int | None:
    """How many processes a scheduler has started for this run; None if there is none that
    `jax.distributed.initialize` would recognise: SLURM (srun), Open MPI (mpirun), TPUs on GKE, a
    JobSet of them, or several slices.
    """
    if "SLURM_STEP_NODELIST" in environ and "SLURM_PROCID" in environ:
        return int(environ.get("SLURM_NTASKS", 1))
    if "OMPI_MCA_orte_hnp_uri" in environ:
        return int(environ.get("OMPI_COMM_WORLD_SIZE", 1))
    hosts = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES") or ""
    slices = int(environ.get("MEGASCALE_NUM_SLICES", 1))
    return (hosts.count(",") + 1) * slices if hosts or slices > 1 else None


def _check(
    coordinator: str | None, num_processes: int | None, process_id: int | None, started: int | None
) -> None:
    """UserError for flags that do not go together. started: see `count_processes`."""
    numbers = {"num-processes": num_processes, "process-id": process_id}
    flags = [f"--{name}={value}" for name, value in numbers.items() if value is not None]
    if flags and coordinator in (None, "auto"):
        raise UserError(
            f"{flags[0]}: give --coordinator=HOST:PORT too, the address of process 0"
            if coordinator is None
            else f"{flags[0]}: --coordinator=auto finds it out; leave it out"
        )
    if num_processes is not None and num_processes < 1:
        raise UserError(f"--num-processes={num_processes}: expected 1 or more")
    if process_id is not None and num_processes is not None and not 0 <= process_id < num_processes:
        raise UserError(
            f"--process-id={process_id}: {num_processes} processes have the numbers 0 to "
            f"{num_processes - 1}"
        )
    if coordinator in (None, "auto"):
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(
            f"--coordinator={coordinator}: expected HOST:PORT, the address of process 0 and a free "
            "port there, or auto"
        )
    missing = [f"--{name}" for name, value in numbers.items() if value is None]
    if missing and not started:
        raise UserError(f"--coordinator={coordinator}: give {' and '.join(missing)} too")


def _refused(coordinator: str | None, reason: str) -> str:
    if "should be defined" in reason or "must be defined" in reason:
        return (
            "--coordinator=auto: nothing here tells of other processes; give HOST:PORT, "
            "--num-processes and --process-id"
        )
    if "RPC server" in reason:
        return f"--coordinator={coordinator or 'auto'}: the port is in use; give a free one"
    return (
        f"--coordinator={coordinator or 'auto'}: the processes of the run cannot be connected "
        f"({' '.join(reason.split())[:200]})"
    )


def _give_up(arguments: tuple[str | None, int | None, int | None], seconds: int) -> None:
    """Ends a process that waits for others in vain: with the code of a death, since another start
    may find them (a machine was slow to come, an image to load).
    """
    coordinator, num_processes, process_id = arguments
    others = f"{num_processes} processes" if num_processes else "the processes of this run"
    hint = (
        f"start the others with the same --coordinator and --num-processes={num_processes}"
        if process_id == 0
        else "does process 0 run there, and is the port open between the machines?"
    )
    print(
        f"error: --coordinator={coordinator or 'auto'}: {others} have not all met there within "
        f"{seconds} s; {hint}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(134)


def is_first() -> bool:
    """Whether this process writes what is one file for all."""
    return jax.process_index() == 0


def leave(code: int) -> NoReturn:
    """Ends a process that has failed. At a normal end JAX waits for the other processes, which wait
    for this one: so not that, where there are others.

    With the first one JAX aborts the others (134). Those that have made the same mistake get the
    time to tell it, and to end with their own code.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        if code == 2 and is_first():
            time.sleep(_SECONDS_FOR_OTHERS)
        os._exit(code)
    sys.exit(code)


def is_about_others(error: BaseException) -> bool:
    """Whether an error tells that another process of the run has gone."""
    if not jax.distributed.is_initialized():
        return False
    # Orbax' barriers time out where one does not come; what a disk says has a number.
    waited = isinstance(error, TimeoutError) and error.errno is None
    return waited or _GONE.search(str(error)) is not None


def from_first(number: int | None) -> int | None:
    """The first process' number (from 0) or None, in all processes. All must call this."""
    if jax.process_count() == 1:
        return number
    value = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if number is None else number)))
    return None if value < 0 else value


def check_alike(facts: Mapping[str, str]) -> None:
    """UserError, in all processes, where one has other facts than the first: a name each, and a
    text that must be the same. All must call this.
    """
    if jax.process_count() == 1:
        return
    sums = np.array([zlib.crc32(text.encode()) for text in facts.values()], np.uint32)
    of_all = np.asarray(multihost_utils.process_allgather(sums))  # [processes, facts]
    process, place = np.nonzero(of_all != of_all[0])
    if len(place):
        raise UserError(
            f"process {process[0]} has {list(facts)[place[0]]} other than process 0; start all of "
            "them with the same command, on the same code and data"
        )


def check_shared(workdir: Path) -> None:
    """UserError, in all processes, where one does not see the first one's run directory. All must
    call this.
    """
    if jax.process_count() == 1:
        return
    token = workdir / f".shared-{from_first(int.from_bytes(os.urandom(3)))}"
    if is_first():
        token.touch()
    multihost_utils.sync_global_devices("the token is there")
    seen = np.asarray(multihost_utils.process_allgather(np.array(token.exists())))
    if is_first():
        token.unlink(missing_ok=True)
    if not seen.all():
        raise UserError(
            f"--workdir={workdir}: process {np.flatnonzero(~seen.ravel())[0]} does not see what "
            "process 0 writes there; give a folder that all machines share"
        )
