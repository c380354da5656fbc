"""The benchmark of models tells what they cost, and what is wrong with a question."""

import json
import re

import pytest

from jaxcnn.core.models import IMAGE_SIZES, MODELS
from jaxcnn.timing.model_cost import HEADINGS, ModelCost, measure_model


def test_the_arithmetic_is_that_of_the_layers():
    """LeNet-5: products of its layers, 61,470 weights used so often, times two, and little more."""
    products = 28 * 28 * 6 * 75 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
    cost = measure_model("lenet5", batch_size=2, seconds=0.0)
    assert 2 * products < cost.flops < 2.1 * products
    assert cost.parameters == 62_006 and cost.image_size == 32
    assert cost.memory > 28 * 28 * 6 * 4  # the first layer's output is kept for its gradient
    assert cost.training > 0 and cost.evaluation > 0 and cost.compiling > 0


def test_a_line_is_as_wide_as_its_headings():
    cost = ModelCost("resnet152", 224, 60_192_808, 23.1e9, 1.9e8, 1.25, 7.5, 60.0)
    assert [len(line) for line in [*HEADINGS.splitlines(), str(cost)]] == [86] * 3
    assert str(cost._replace(error="out of memory")).endswith("out of memory")


def test_models_have_a_size_they_were_made_for():
    assert set(IMAGE_SIZES) < set(MODELS)


def test_the_command_prints_a_line_for_each_model_and_keeps_them(command, tmp_path):
    """Also those that cannot be measured, which stop no other."""
    names = ("vgg11", "lenet5")  # five halvings leave nothing of 30 pixels
    asked = ("--image-size=30", "--batch-size=2", "--seconds=0", f"--output={tmp_path}")
    done = command("--models", *names, *asked, module="jaxcnn.benchmark", check=2)
    assert done.stderr.splitlines()[-1] == "error: vgg11: not measured, see above"
    assert re.search(r"^vgg11 +30 .*cannot take images of 30 pixels", done.stdout, re.MULTILINE)
    assert re.search(r"^lenet5 +30 +0.0\d ", done.stdout, re.MULTILINE)
    one, other = json.loads((tmp_path / "models.json").read_text())["models"]
    assert one["training"] is None and other["training"] > 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "error: say what to measure, jaxcnn benchmark --config FILE, --models"),
        (("--models", "--compare", "a.json"), "error: say what to measure, "),
        (("--compare", "a.json"), "error: --compare: give two files, "),
        (("--compare", "no/a.json", "no/b.json"), "error: no/a.json: no such file; make one with "),
        (("--compare", "pyproject.toml", "a.json"), "error: pyproject.toml: not readable "),
        (("--compare", "a", "b", "--rounds=3"), "error: --rounds: is not for --compare"),
        (("--models", "--starts=0"), "error: --starts: is not for --models"),
        (("--config", "experiments/digits.py", "lenet5"), "error: 'lenet5': not a flag; "),
        (("--config", "experiments/digits.py", "--output=README.md"), "error: --output=README.md"),
        (("--models", "resnet81"), "error: resnet81: no such model (did you mean resnet18?)"),
        (("--models", "vgg11", "--image-size=16"), "error: vgg11: not measured, see above"),
        (("--models", "--dtype=int8"), "error: "),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(command, arguments, line):
    done = command(*arguments, module="jaxcnn.benchmark", check=2)
    [said] = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert said.startswith(line)
