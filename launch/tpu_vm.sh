#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice: makes it, installs, runs, makes it anew when preempted, and
# deletes it at the end.
#
#   launch/tpu_vm.sh NAME ZONE TYPE --config experiments/cifar10.py --workdir /mnt/disk/runs/cifar10
#   launch/tpu_vm.sh jaxcnn us-central2-b v4-32 --config ... --workdir gs://BUCKET/runs/cifar10
#
# The work directory must outlive the TPU, and all its workers must see it: a disk of yours that is
# mounted at that path on each (Filestore), or gs://BUCKET/FOLDER, which the TPU's service account
# may read and write. What is installed is the commit that is checked out here. Ctrl-C ends the watch
# and leaves the TPU as it is: start again to go on, or delete it with the command that is printed.
#
# Variables: SPOT=no (on-demand; default yes), VERSION (image of the TPU VM), POLL (seconds between
# looks at its state, 30), MAX_FAILURES (in a row, without a preemption, 3).
set -euo pipefail

if (($# < 4)); then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
readonly name="$1" zone="$2" type="$3"
shift 3
readonly spot="${SPOT:-yes}" version="${VERSION:-tpu-ubuntu2204-base}"
readonly poll="${POLL:-30}" most_failures="${MAX_FAILURES:-3}"

workdir=""
for ((i = 1; i <= $#; i++)); do
    case "${!i}" in
        --workdir=* | -workdir=*) workdir="${!i#*=}" ;;
        --workdir | -workdir) next=$((i + 1)) && workdir="${!next-}" ;;
    esac
done
if [[ "$workdir" != /* && "$workdir" != gs://?* ]]; then # the folder of the code is made anew with each start
    echo "error: --workdir=$workdir: give gs://BUCKET/FOLDER, or an absolute path on a disk that outlives the TPU" >&2
    exit 2
fi

say() { echo "tpu_vm.sh: $*" >&2; }
tpu() { gcloud compute tpus tpu-vm "$1" "$name" --zone="$zone" "${@:2}"; }
on_all() { tpu ssh --worker=all --command="$1"; }

# READY, CREATING, PREEMPTED, ...; nothing if there is none.
state() { tpu describe --format='value(state)' 2>/dev/null || true; }

# Waits until the TPU is ready; makes it if it is not there, anew if it has been taken away.
make_ready() {
    local options=() now
    if [[ "$spot" == yes ]]; then options+=(--spot); fi
    while true; do
        now="$(state)"
        case "$now" in
            READY) return ;;
            "")
                say "creating $name ($type in $zone)"
                tpu create --accelerator-type="$type" --version="$version" ${options[@]+"${options[@]}"} && continue
                say "not created (no capacity?); again in $poll s"
                ;;
            PREEMPTED | TERMINATED | STOPPED | SUSPENDED)
                say "$name is $now: deleting it"
                tpu delete --quiet && continue
                ;;
            *) say "$name is $now" ;;
        esac
        sleep "$poll"
    done
}

# The image's own Python is older than jaxcnn needs: uv brings another.
install() {
    local archive="$work/jaxcnn.tar.gz"
    git archive --format=tar.gz --output="$archive" HEAD &&
        gcloud compute tpus tpu-vm scp "$archive" "$name:jaxcnn.tar.gz" --zone="$zone" --worker=all &&
        on_all "rm -rf jaxcnn && mkdir jaxcnn && tar -xzf jaxcnn.tar.gz -C jaxcnn &&
        python3 -m pip install --quiet uv && python3 -m uv venv --quiet --allow-existing --python 3.12 venv &&
        python3 -m uv pip install --quiet --python venv/bin/python './jaxcnn[tpu,gcs]'"
}

# Runs the training on all workers; ends with its exit code, or 75 where the TPU is gone.
run() {
    local command code=0 seconds=0
    printf -v command '%q ' "$@"
    # What an earlier connection has left saves and ends first: two runs must not share a directory.
    # (gcloud itself is the process in the background, so that it can be ended.)
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="while pkill -TERM -f '^[^ ]*python -m jaxcnn'; do sleep 5; done
        cd jaxcnn && exec ../venv/bin/python -m jaxcnn.main --coordinator=auto $command" &
    session=$!
    while kill -0 "$session" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if ((seconds % poll)); then continue; fi
        case "$(state)" in
            PREEMPTED | TERMINATED | STOPPED | SUSPENDED) # the connection may hang for long
                kill "$session" 2>/dev/null || true
                code=75
                ;;
        esac
    done
    wait "$session" || code="$((code ? code : $?))"
    session=""
    return "$code"
}

work="$(mktemp -d)"
readonly work
session="" # the process of the connection, while there is one
trap 'rm -rf "$work"; if [[ -n "$session" ]]; then kill "$session" 2>/dev/null; fi' EXIT
trap 'say "stopped; to delete the TPU: gcloud compute tpus tpu-vm delete $name --zone=$zone"; exit 130' INT
failures=0
while true; do
    make_ready
    code=0
    { install && run "$@"; } || code=$?
    case "$code" in
        0 | 2) break ;; # done, or a mistake that another start would make again
    esac
    if [[ "$(state)" == READY ]]; then
        failures=$((failures + 1))
        if ((failures >= most_failures)); then
            say "failed $failures times in a row on a TPU that is there; giving up"
            break
        fi
        say "exit code $code; starting again to resume"
    else
        failures=0
        say "preempted; making a new one to resume"
    fi
done
say "deleting $name"
tpu delete --quiet || say "not deleted: do it yourself, it costs money"
exit "$code"
