"""launch/tpu_vm.sh, with a stand-in for gcloud: a TPU that is a file with its state, a worker that
is a folder in which the remote commands really run.
"""

import pytest

from tests.launch.commands import Commands
from tests.processes import ROOT

ARGUMENTS = ("mine", "us-central2-b", "v4-32", "--config", "x.py", "--config.model.filters=(8, 16)",
             "--workdir=/mnt/disk/run")  # fmt: skip

GCLOUD = r"""
state="$FOLDER/state"
case "$4" in
    describe) cat "$state" 2>/dev/null || exit 1 ;;
    create)
        if [[ -e "$FOLDER/no capacity" ]]; then rm "$FOLDER/no capacity"; exit 1; fi
        echo READY > "$state"; rm -rf "$HOME/worker"; mkdir "$HOME/worker" ;;
    delete) rm "$state" ;;
    scp) cp "$5" "$HOME/worker/${6#*:}" ;;
    ssh)
        for option in "$@"; do
            case "$option" in --command=*) cd "$HOME/worker" && exec bash -c "${option#*=}" ;; esac
        done ;;
esac
"""

# `python3 -m uv venv ... venv`: makes one whose python does what the next line of the plan says.
PYTHON3 = r"""
mkdir -p venv/bin
cat > venv/bin/python <<'END'
#!/usr/bin/env bash
printf -v told '<%s>' "$@"
echo "run in ${PWD##*/}: $told" >> "$FOLDER/calls"
next="$(head -n 1 "$FOLDER/plan")"
sed -i 1d "$FOLDER/plan"
if [[ "$next" == preempted ]]; then # the connection hangs, as it may
    echo PREEMPTED > "$FOLDER/state"
    exec sleep 60
fi
exit "$next"
END
chmod +x venv/bin/*
"""


@pytest.fixture
def commands(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("what is installed is a commit, and this is no git checkout")
    commands = Commands(tmp_path)
    commands.add("gcloud", GCLOUD)
    commands.add("python3", PYTHON3)
    commands.add("pkill", "exit 1")  # nothing of an earlier connection is running
    return commands


def run(commands, *plan, **variables):
    """(exit code, stderr, what was done in order)"""
    (commands.folder / "plan").write_text("\n".join(plan) + "\n")
    code, errors = commands.run("tpu_vm.sh", *ARGUMENTS, POLL="1", **variables)
    words = [call.split()[4] for call in commands.calls if call.startswith("gcloud")]
    return code, errors, [word for word in words if word != "describe"]


START = ["scp", "ssh", "ssh"]  # copy, install, run


def test_it_creates_installs_runs_and_deletes(commands):
    code, _, done = run(commands, "0")
    assert code == 0
    assert done == ["create", *START, "delete"]
    calls = "\n".join(commands.calls)
    assert (
        "create mine --zone=us-central2-b --accelerator-type=v4-32 --version=tpu-ubuntu2204-base "
        "--spot"
    ) in calls
    assert "python3 -m uv venv --quiet --allow-existing --python 3.12 venv" in calls
    assert "python3 -m uv pip install --quiet --python venv/bin/python ./jaxcnn[tpu,gcs]" in calls
    # An argument with a space comes whole to the other end, in the folder of the repository.
    words = "<-m><jaxcnn.main><--coordinator=auto><--config><x.py><--config.model.filters=(8, 16)>"
    words += "<--workdir=/mnt/disk/run>"
    assert f"run in jaxcnn: {words}" in calls
    assert (commands.folder / "home/worker/jaxcnn/experiments/digits.py").is_file()
    assert not (commands.folder / "state").exists()


def test_preempted_it_is_made_anew_and_the_same_command_resumes(commands):
    code, errors, done = run(commands, "preempted", "0")
    assert code == 0
    assert done == ["create", *START, "delete"] * 2
    runs = [call for call in commands.calls if call.startswith("run in")]
    assert len(runs) == 2 and len(set(runs)) == 1
    assert errors.count("mine is PREEMPTED: deleting it") == 1


def test_a_mistake_ends_it_with_its_code_and_nothing_is_left_to_pay_for(commands):
    code, _, done = run(commands, "2")
    assert code == 2
    assert done == ["create", *START, "delete"]


def test_a_run_that_fails_on_a_tpu_that_is_there_is_tried_again_only_so_often(commands):
    code, errors, done = run(commands, "134", "134", "134")
    assert code == 134
    assert done == ["create", *START * 3, "delete"]
    assert "failed 3 times in a row" in errors


def test_it_waits_for_capacity_and_takes_a_tpu_that_is_there(commands):
    (commands.folder / "no capacity").touch()
    code, errors, done = run(commands, "0", SPOT="no")
    assert code == 0
    assert done == ["create", "create", *START, "delete"]
    assert "not created (no capacity?)" in errors
    assert not any("--spot" in call for call in commands.calls)


def test_without_arguments_it_says_how_it_is_used(commands):
    code, errors = commands.run("tpu_vm.sh")
    assert code == 2 and not commands.calls
    assert "launch/tpu_vm.sh NAME ZONE TYPE" in errors and "set -" not in errors


@pytest.mark.parametrize("given", [["--workdir=runs/x"], ["--workdir", "s3://b/x"], []])
def test_a_run_that_would_go_with_the_tpu_is_refused_before_it_is_made(given, commands):
    path = given[-1].removeprefix("--workdir=") if given else ""
    code, errors = commands.run("tpu_vm.sh", *ARGUMENTS[:-1], *given)
    assert code == 2 and not commands.calls
    assert errors == (
        f"error: --workdir={path}: give gs://BUCKET/FOLDER, or an absolute path on a disk that "
        "outlives the TPU\n"
    )


def test_a_run_in_a_bucket_outlives_the_tpu(commands):
    (commands.folder / "plan").write_text("0\n")
    code, _ = commands.run("tpu_vm.sh", *ARGUMENTS[:-1], "--workdir=gs://b/x", POLL="1")
    assert code == 0
    assert any("<--workdir=gs://b/x>" in call for call in commands.calls)
