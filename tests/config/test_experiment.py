"""What an experiment file defines goes all the way: training, and every command after it."""

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np
import pytest

from jaxcnn.config.experiment import definitions, find_experiment, recipes
from jaxcnn.config.keys import chosen, load_config, resolve
from jaxcnn.errors import UserError
from tests.processes import ROOT, command_line, finish, start

OWN = """
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import cross_entropy, default_config, on_image


class Mine(nn.Module):
    num_classes: int
    width: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def powered(logits, label, *, power: float = 1.0):
    return cross_entropy(logits, label) ** power


def darker(key, batch, share: float = 0.5):
    return batch | {"image": (batch["image"] * share).astype("uint8")}


def squares(*, count: int = 60):
    random = np.random.default_rng(0)
    label = np.arange(count) % 2
    image = random.integers(0, 100, (count, 8, 8, 1)) + 100 * label[:, None, None, None]
    return {"image": image.astype(np.uint8), "label": label, "class_names": np.array(["a", "b"])}


def signs(learning_rate, *, decay: float = 0.9):
    return optax.lion(learning_rate, b1=decay)


def halves(peak, num_steps):
    return lambda step: peak * 0.5 ** (4 * step / num_steps)


def get_config():
    config = default_config()
    config.num_steps = 4
    config.batch_size = 32
    config.model.name = "Mine"
    config.model.width = 8
    return config


def search(trial, config):
    config.model.width = trial.suggest_int("model.width", 2, 3)
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def trained(cache_dir, tmp_path_factory):
    """The run of a model that only its experiment file defines, which is gone."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(OWN)
    flags = ("--config", folder / "mine.py", "--workdir", folder / "run")
    code, _, stderr = finish(start(command_line(*flags, cache_dir=cache_dir)))
    assert code == 0, stderr
    (folder / "mine.py").unlink()
    return folder / "run"


@pytest.fixture
def away(tmp_path, monkeypatch):
    """Another folder, in which nothing of the experiment is."""
    (tmp_path / "away").mkdir()
    return tmp_path / "away"


def test_the_run_keeps_the_file_and_its_hash(trained):
    assert (trained / "experiment.py").read_text() == OWN
    assert json.loads((trained / "config.json").read_text())["experiment"] == "experiment.py"
    record = json.loads((trained / "environment.json").read_text())["experiment"]
    assert record["path"].endswith("mine.py") and len(record["sha256"]) == 64


def test_evaluate_predict_and_export_open_the_run_from_another_folder(trained, away, command):
    flags = {"cwd": away, "check": 0}
    command("--workdir", trained, module="jaxcnn.evaluate", **flags)
    assert (trained / "report/report.html").is_file()
    cv2.imwrite(str(away / "image.png"), np.zeros((8, 8), np.uint8))
    done = command("--workdir", trained, away / "image.png", module="jaxcnn.predict", **flags)
    assert len(json.loads(done.stdout)["top"]) == 5
    command("--workdir", trained, "--format", "onnx", module="jaxcnn.export", **flags)
    assert (trained / "export/model.onnx").is_file()


def test_serve_answers_with_the_model(trained, away):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "jaxcnn.serve", "--workdir", str(trained), f"--port={port}"]
    process = start(line, cwd=away)
    picture = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    body = json.dumps({"images": [base64.b64encode(picture).decode()]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}
    )
    try:
        for _ in range(600):
            try:
                answer = json.loads(urllib.request.urlopen(request).read())
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert len(answer["predictions"]) == 1, log


def test_a_run_whose_copy_is_gone_says_so(trained, tmp_path, command):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/experiment.py").unlink()
    done = command("--workdir", tmp_path / "run", module="jaxcnn.evaluate", check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: {tmp_path}/run/experiment.py: no such file; the config names what it defines"
    )


def test_a_loss_of_ones_own(mine, tmp_path, command):
    flags = ("--config", mine, "--workdir", tmp_path / "run", "--config.loss.name=powered")
    done = command(*flags, "--config.loss.label_smoothing=0.1", check=2)
    assert "config.loss.label_smoothing: loss 'powered' has no parameter" in done.stderr
    done = command(*flags, "--config.loss.pwoer=1.", check=2)
    assert "takes no 'pwoer' (did you mean power?); it takes power" in done.stderr
    command(*flags, "--config.loss.power=1.5", check=0)


def test_an_augmentation_of_ones_own(mine, tmp_path, command):
    flags = ("--config", mine, "--workdir", tmp_path / "run")
    done = command(*flags, "--config.augment=(('darker', 'much'),)", check=2)
    assert "share is a number" in done.stderr
    command(*flags, "--config.augment=(('darker', 0.7),)", check=0)


def test_a_source_of_ones_own(mine, tmp_path, command):
    flags = ("--config", mine, "--workdir", tmp_path / "run", "--config.data.source=squares")
    command(*flags, "--config.data.count=80", check=0)
    assert json.loads((tmp_path / "run/dataset.json").read_text())["class_names"] == ["a", "b"]


def test_an_optimizer_and_a_schedule_of_ones_own(mine, tmp_path, command):
    own = ("--config.optimizer.name=signs", "--config.optimizer.decay=0.8")
    flags = ("--config", mine, "--workdir", tmp_path / "run", *own, "--config.schedule.name=halves")
    done = command(*flags, "--config.schedule.warmup_steps=2", check=2)
    assert "schedule 'halves' has no parameter 'warmup_steps'" in done.stderr
    command(*flags, check=0)


def test_several_seeds_are_a_population_of_it(mine, tmp_path, command):
    run = tmp_path / "run"
    command("--config", mine, "--workdir", run, "--seeds", "2", "--config.parallel.population=True",
            check=0)  # fmt: skip
    assert (run / "seed_1/experiment.py").read_text() == OWN


def test_the_best_of_a_search_is_an_experiment_that_trains(mine, tmp_path, away, command):
    run = tmp_path / "tune"
    command("--config", mine, "--workdir", run, "--trials", "2", module="jaxcnn.tune", check=0)
    mine.unlink()
    command("--config", run / "best.py", "--workdir", away / "run", cwd=away, check=0)
    config = json.loads((away / "run/config.json").read_text())
    assert (config["model"]["name"], config["experiment"]) == ("Mine", "experiment.py")
    assert "class Mine" in (away / "run/experiment.py").read_text()


def test_what_an_experiment_registers_is_opened_too(tmp_path, away, command):
    registering = OWN.replace("def get_config", 'MODELS["mine"] = Mine\n\n\ndef get_config')
    registering = registering.replace('= "Mine"', '= "mine"')
    registering = registering.replace("import cross", "import MODELS, cross")
    (tmp_path / "own.py").write_text(registering)
    command("--config", tmp_path / "own.py", "--workdir", tmp_path / "run", check=0)
    command("--workdir", tmp_path / "run", module="jaxcnn.evaluate", cwd=away, check=0)


def test_resuming_with_other_definitions_warns(trained, tmp_path, command):
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "mine.py"
    flags = ("--config", file, "--workdir", tmp_path / "run")
    file.write_text('"""Another docstring."""\n' + OWN)
    assert "has changed" not in command(*flags, check=0).stderr
    file.write_text(OWN.replace("nn.relu", "nn.gelu"))
    done = command(*flags, check=0)
    assert re.search(r"mine.py has changed .* uses its Mine \(config.model.name\)", done.stderr)


def test_definitions_are_all_but_the_config():
    assert definitions(OWN) == definitions(OWN.replace("num_steps = 4", "num_steps = 5"))
    assert definitions(OWN) != definitions(OWN.replace("** power", "* power"))


def test_a_model_of_a_package_is_found_in_the_current_folder(tmp_path, away, command):
    (tmp_path / "models_of_mine.py").write_text(OWN)
    name = "--config.model.name=models_of_mine:Mine"
    run = ("--workdir", tmp_path / "run")
    flags = ("--config", "digits", name, "--config.num_steps=2", *run)
    command(*flags, cwd=tmp_path, check=0)
    command(*run, module="jaxcnn.evaluate", cwd=tmp_path, check=0)
    done = command(*run, module="jaxcnn.evaluate", cwd=away, check=2)
    assert done.stderr.splitlines()[-1] == (
        "error: config.model.name='models_of_mine:Mine': there is no module 'models_of_mine'; "
        "install the package that has it, start in the folder that holds it, or put that folder "
        "into PYTHONPATH"
    )


MISTAKES = {
    "a misspelt name": ("", "model.name", "Mnie", "(did you mean Mine?)"),
    "no such attribute": ("", "model.name", "json:Mine", "json has no class or function 'Mine'"),
    "a file": ("", "model.name", "mine.py:Mine", "expected package.module:Name; what the"),
    "no class": ("width = 3", "model.name", "width", "is 3; expected a class or a function"),
    "no model": ("def model(num_classes): return 3", "model.name", "model", "flax.linen module"),
    "no classes": ("", "model.name", "halves", "has no parameter 'num_classes', which a model"),
    "a needed keyword": ("def needy(logits, label, *, a: float): pass", "loss.name", "needy",
                         "config.loss.a: loss 'needy' needs it, --config.loss.a=..."),
    "a clash": ("class cnn(Mine): pass", "model.name", "cnn", "defines 'cnn', and so does jaxcnn"),
    "a clash of registries": ("import jaxcnn; jaxcnn.MODELS['cnn'] = Mine", "model.name", "cnn",
                              "registers 'cnn', which jaxcnn has itself; rename it"),
    "a missing package": ("import nowhere", "model.name", "Mine",
                          "No module named 'nowhere'; install it, or put the folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, mine, tmp_path, command):
    code, key, value, expected = MISTAKES[name]
    mine.write_text(f"{OWN}\n\n{code}\n")
    flags = ("--config", mine, "--workdir", tmp_path / "run", f"--config.{key}={value}")
    done = command(*flags, check=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_recipes_have_names():
    assert recipes().keys() == {path.stem for path in ROOT.glob("experiments/*.py")}
    assert resolve(load_config("digits")).model.filters == (64, 128)
    with pytest.raises(UserError, match=r"no such recipe \(did you mean digits\?\); give the name"):
        find_experiment("digit")
    with pytest.raises(UserError, match=r"--config=a/digits\.py: no such file"):
        find_experiment("a/digits.py")


def test_a_recipe_is_named_from_an_empty_folder(away, command):
    command("--config", "digits", "--config.num_steps=2", cwd=away, check=0)
    assert (away / "runs/digits/eval.json").is_file()
    command("--config", "digits", module="jaxcnn.check_data", cwd=away, check=0)
    assert (away / "runs/digits-data/report.html").is_file()


BASE = """
from jaxcnn import default_config


def halved(peak, num_steps):
    return lambda step: peak / 2


def get_config():
    config = default_config()
    config.num_steps = 4
    return config
"""

DERIVED = """
import jaxcnn


def Mine(num_classes):
    ...


def get_config():
    config = jaxcnn.load_config({base!r})
    config.{key} = {name!r}
    return config
"""


@pytest.mark.parametrize(
    ("base", "key", "name", "file"),
    [
        ("digits", "model.name", "Mine", "derived.py"),
        ("digits", "model.name", "cnn", "derived.py"),
        ("base.py", "model.name", "Mine", "derived.py"),
        ("base.py", "schedule.name", "halved", "base.py"),
    ],
)
def test_a_file_that_begins_with_another_defines_things_too(
    tmp_path, monkeypatch, base, key, name, file
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "derived.py").write_text(DERIVED.format(base=base, key=key, name=name))
    config = load_config("derived.py")
    assert config.experiment == file
    assert callable(chosen(config, key.partition(".")[0]))


def test_a_damaged_copy_defines_something_else():
    assert definitions("def broken(") != definitions(OWN)


def test_what_a_notebook_registers_first_is_not_taken_for_ours(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from jaxcnn import MODELS, default_config\n"
        "def mine(num_classes): ...\n"
        "MODELS['mine'] = mine\n"
        "get_config = default_config\n"
    )
    script = (
        "from jaxcnn import MODELS, load_config\n"
        "MODELS['mine'] = lambda num_classes: None\n"
        f"print(load_config({str(tmp_path / 'mine.py')!r}).experiment)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "mine.py"), done.stderr


def test_a_colon_ends_a_file_or_is_part_of_a_folders_name(tmp_path):
    text = "from jaxcnn import default_config\n\n\ndef get_config(seed='3:4'):\n"
    text += "    config = default_config()\n    config.seed = int(seed.split(':')[0])\n"
    text += "    return config\n"
    (tmp_path / "a:b").mkdir()
    for file in (tmp_path / "own.py", tmp_path / "a:b/own.py"):
        file.write_text(text)
        for name, seed in ((file, 3), (f"{file}:5", 5), (f"{file}:6:7", 6)):
            assert load_config(str(name)).seed == seed
    kept = tmp_path / "a:b/config.json"
    kept.write_text(load_config("digits").to_json())
    assert load_config(kept).model.name == "cnn"
    with pytest.raises(UserError, match=r"c:d/config\.json"):
        load_config(tmp_path / "c:d/config.json")
