"""`jaxcnn VERB`, `python -m jaxcnn VERB` and `python -m jaxcnn.VERB` are one command."""

import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from jaxcnn.cli import VERBS, export
from jaxcnn.exports import FORMATS
from tests.processes import ROOT


def jaxcnn(*words):
    line = [sys.executable, "-m", "jaxcnn", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_lists_the_verbs_in_a_sentence_each():
    done = jaxcnn("--help")
    assert done.returncode == 0
    for verb, sentence in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(sentence)}$", done.stdout, re.M)


def test_no_verb_at_all_shows_them_too():
    done = jaxcnn()
    assert (done.returncode, done.stdout) == (2, jaxcnn("--help").stdout)


@pytest.mark.parametrize(("wrong", "right"), [("trian", "train"), ("check_dat", "check_data")])
def test_a_misspelt_verb_names_the_nearest(wrong, right):
    done = jaxcnn(wrong, "--config", "experiments/digits.py")
    assert done.returncode == 2
    expected = f"error: {wrong!r}: no such verb (did you mean {right}?); jaxcnn --help lists them\n"
    assert done.stderr == expected


def test_a_hyphen_in_a_verb_is_taken():
    assert jaxcnn("check-data", "--help").stdout == jaxcnn("check_data", "--help").stdout


def test_help_with_a_verb_is_the_help_of_that_verb():
    assert jaxcnn("help", "compare").stdout == jaxcnn("compare", "--help").stdout
    assert jaxcnn("help", "comprae").stderr.startswith("error: 'comprae': no such verb")


def test_the_version_is_that_of_the_package():
    assert jaxcnn("--version").stdout == f"jaxcnn {version('jaxcnn')}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_both_ways_to_start_a_verb_give_the_same_help(verb):
    module = "main" if verb == "train" else verb
    line = [sys.executable, "-m", f"jaxcnn.{module}", "--help"]
    old = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    new = jaxcnn(verb, "--help")
    assert (old.returncode, old.stdout) == (new.returncode, new.stdout) == (0, new.stdout)
    assert f"jaxcnn {verb}" in new.stdout and "python -m jaxcnn." not in new.stdout


# What flags alone show to be wrong, told before JAX is imported.
AT_ONCE = {
    "train": "--config: give an experiment file or the name of a recipe, for example --config",
    "train --config.seed=1": "--config: give an experiment file or the name of a recipe",
    "train digits": "'digits': not a flag; did you mean --config digits?",
    "check_data digits": "'digits': not a flag; did you mean --config digits?",
    "evaluate runs/digits": "'runs/digits': not a flag; did you mean --workdir runs/digits?",
    "evaluate": "--workdir: give the folder of a trained model",
    "predict": "--workdir: give the folder of a trained model",
    "predict --workdir runs/digits": "give what to look at: images, folders, videos",
    "export --workdir runs/digits --format onx": "--format=onx: expected some of onnx, ",
    "tune learning_rat --config digits": "'learning_rat': expected learning_rate or batch_size",
    "tune --config digits --steps=3": "--steps: is not for a search; leave it out",
    "compare runs/digits": "give two run directories or more",
    "benchmark": "say what to measure",
    "serve --artifact model.keras": "--artifact=model.keras: is no .onnx file",
}


@pytest.mark.parametrize("line", AT_ONCE)
def test_what_flags_show_is_told_before_anything_slow_is_imported(line):
    code = "import sys, jaxcnn.cli\ntry: jaxcnn.cli.main()\n"
    code += "finally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "jax" in done.stdout.split()) == (2, False)
    assert done.stderr.startswith(f"error: {AT_ONCE[line]}") and done.stderr.count("\n") == 1


def test_a_value_after_a_space_is_no_word():
    done = jaxcnn("train", "--config", "digits", "--config.num_epochs", "0")
    assert "error: config.num_epochs=0.0: expected a number above 0" in done.stderr
    done = jaxcnn("tune", "--trails", "5", "--config", "digits")
    assert "error: --trails: no such flag (did you mean trials?)" in done.stderr


def test_the_formats_of_export_are_those_there_are():
    assert tuple(FORMATS) == export.FORMATS


def test_a_run_is_taken_for_a_config(workdir, command, tmp_path):
    """Its directory, or the config.json in it, with what it was trained with."""
    before = (workdir / "config.json").read_text()
    for number, name in enumerate((workdir, workdir / "config.json")):
        again = tmp_path / str(number)
        command("--config", name, "--workdir", again, "--config.num_steps=2", check=0)
        config = json.loads((again / "config.json").read_text())
        known = json.loads(before)
        assert (config["model"], config["seed"]) == (known["model"], known["seed"])
        assert (config["num_steps"], config["num_epochs"]) == (2, None)
    (tmp_path / "other.json").write_text("[1]")
    done = command("--config", tmp_path / "other.json", check=2)
    assert "other.json: not the config of a run" in done.stderr
