"""`jaxcnn VERB`, `python -m jaxcnn VERB` and `python -m jaxcnn.VERB` are one command."""

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from jaxcnn.cli import VERBS
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
