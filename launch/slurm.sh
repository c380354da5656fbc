#!/usr/bin/env bash
# Trains on a SLURM cluster; saves and comes back when preempted or out of time.
#
#   sbatch launch/slurm.sh --config experiments/cifar10.py --workdir /shared/runs/cifar10
#   sbatch --nodes=4 --time=12:00:00 launch/slurm.sh --config ... --workdir ...
#
# Submit it from the repository with the environment active (`source .venv/bin/activate`). The work
# directory must be seen by all nodes. Options given to sbatch replace the ones below.
#
# One process a GPU: JAX takes its number, and the GPU of its number on the node, from SLURM. So all
# processes of a node must see all GPUs of the node, which is why there is no --gpus-per-task.
#SBATCH --job-name=jaxcnn
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# A warning to this script alone, two minutes before the time limit. (Before a preemption too, where
# the cluster has PreemptParameters=send_user_signal.) Not TERM, which `scancel` may send as well.
#SBATCH --signal=B:USR1@120

set -u
readonly job="${SLURM_JOB_ID:?is not set: start this with sbatch}"
readonly restarts="${SLURM_RESTART_COUNT:-0}"
readonly most_restarts="${MAX_RESTARTS:-20}" # of any kind; then a process that died ends the job
warned=false
signalled=false

# shellcheck disable=SC2329 # the trap calls it
warn() {
    warned=true
    signalled=true
    echo "slurm.sh: time is nearly up; the run saves and stops" >&2
    scancel --signal=TERM "$job" # the processes of the run, not this script
}
trap warn USR1
trap signalled=true TERM # of scancel: the run has it too, and is waited for below

requeue() {
    echo "slurm.sh: $1; back into the queue" >&2
    scontrol requeue "$job"
}

folder="$(mktemp -d)"
readonly folder
trap 'rm -rf "$folder"' EXIT
mkfifo "$folder/stderr"
# What the run and srun say goes on to the job's file, and is looked at below.
(trap '' TERM INT USR1 && exec tee "$folder/said") <"$folder/stderr" >&2 &
readonly copy=$!

# No --kill-on-bad-exit and no --wait: a process that stops early must not end one that still saves.
# Where a process dies, JAX stops the others. (Newer srun do not take --cpus-per-task from sbatch.)
srun --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    "${PYTHON:-python}" -m jaxcnn train "$@" 2>"$folder/stderr" &
readonly run=$!
while true; do
    signalled=false
    code=0
    wait "$run" || code=$?
    "$signalled" || break # else a signal has ended `wait`, not the run
done
wait "$copy"

# srun's code is the highest of all processes: 134 of those that JAX has aborted, where one has ended
# for a mistake of yours, which another start would make again. What srun says of each one tells.
if [[ "$code" == 134 ]] && grep -q '^srun: error: .*: Exited with exit code 2$' "$folder/said"; then
    echo "slurm.sh: a process ended with exit code 2, see its line above; the job ends" >&2
    code=2
fi

case "$code" in
    143)
        if "$warned"; then
            requeue "saved"
        else
            echo "slurm.sh: stopped and saved; the same sbatch command goes on with it" >&2
        fi
        ;;
    134 | 137 | 139)
        if ((restarts < most_restarts)); then
            requeue "a process died (exit code $code, restart $restarts of at most $most_restarts)"
        else
            echo "slurm.sh: a process died (exit code $code) after $restarts restarts; giving up" >&2
        fi
        ;;
esac
exit "$code"
