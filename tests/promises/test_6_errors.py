"""Promise 6: a mistake gets one clear line, exit code 2, and nothing is lost."""

import json
import sys
from pathlib import Path

import pytest

DIGITS = ("--config", "experiments/digits.py", "--config.num_epochs=1")
SMALL = ("--config.model.filters=(4,)", "--config.model.convs_per_stage=1")
SYNTHETIC = ("--config", "experiments/cifar10.py", "--config.data.source=synthetic")

MISTAKES = {
    "no config": ((), "--config: give an experiment file"),
    "no such file": (
        ("--config", "experiments/digit.py"),
        "--config=experiments/digit.py: no such file (did you mean experiments/digits.py?)",
    ),
    "unknown flag": (
        (*DIGITS, "--wrokdir=x"),
        "--wrokdir: no such flag (did you mean workdir?)",
    ),
    "unknown flag with a dot": (
        (*DIGITS, "--confg.seed=1"),
        "--confg.seed: no such flag (did you mean config.seed?)",
    ),
    "two configs": (
        (*DIGITS, "--config", "experiments/mnist.py"),
        "--config: given 2 times (experiments/digits.py, experiments/mnist.py); give it once",
    ),
    "a folder of configs": (("--config", "experiments"), "--config=experiments: is a folder"),
    "more in a batch than there is": (
        (*DIGITS, "--config.batch_size=100000"),
        "config.batch_size=100000: there are 1,294 training images",
    ),
    "a dtype Optax does not know": (
        (*DIGITS, "--config.optimizer.mu_dtype=foo"),
        "config.optimizer: adamw: data type 'foo' not understood",
    ),
    "a momentum that grows": (
        (*DIGITS, "--config.optimizer.b1=2"),
        "config.optimizer.b1=2: expected a share from 0 to below 1",
    ),
    "an augmentation without its number": (
        (*DIGITS, "--config.augment=('crop',)"),
        "config.augment: 'crop' needs its padding: ('crop', padding)",
    ),
    "a word too many": ((*DIGITS, "again"), "'again': not a flag"),
    "unknown key": (
        (*DIGITS, "--config.bath_size=2"),
        "config.bath_size: no such key (did you mean batch_size?)",
    ),
    "unknown nested key": (
        (*DIGITS, "--config.los.label_smoothing=0.1"),
        "config.los.label_smoothing: no such key (did you mean loss.label_smoothing?)",
    ),
    "bad type": (
        (*DIGITS, "--config.batch_size=many"),
        "config.batch_size='many': expected a whole",
    ),
    "bad type of a keyword": (
        (*DIGITS, "--config.model.dropout=much"),
        "config.model.dropout='much': expected a number",
    ),
    "bad type of a keyword the file does not give": (
        (*DIGITS, "--config.model.stage_dropout=much"),
        "config.model.stage_dropout='much': expected a number",
    ),
    "bad value": (
        (*DIGITS, "--config.data.holdout=1.5"),
        "config.data.holdout=1.5: expected a share",
    ),
    "both durations": (
        ("--config", "experiments/digits.py", "--config.num_epochs=1", "--config.num_steps=5"),
        "config.num_steps=5 and config.num_epochs=1.0 say the same in different units",
    ),
    "unknown model": (
        (*DIGITS, "--config.model.name=resnet8"),
        "config.model.name='resnet8' (did you mean resnet18?): expected one of airbench94, ",
    ),
    "unknown optimizer": (
        (*DIGITS, "--config.optimizer.name=adan_w"),
        "config.optimizer.name='adan_w' (did you mean adan?): expected one of adabelief,",
    ),
    "unknown schedule": (
        (*DIGITS, "--config.schedule.name=cosin"),
        "config.schedule.name='cosin' (did you mean cosine?): expected one of constant, ",
    ),
    "a value the schedule refuses": (
        (*DIGITS, "--config.schedule.final=7"),
        "config.schedule: final=7.0: expected shares from 0 to 1",
    ),
    "unknown augmentation": (
        (*DIGITS, "--config.augment=('flop',)"),
        "config.augment: 'flop' is no augmentation (did you mean flip?); expected a name or ",
    ),
    "a keyword the model does not take": (
        (*DIGITS, "--config.model.depth=3"),
        "config.model.depth: model 'cnn' takes no 'depth'",
    ),
    "a value the model refuses": (
        (*DIGITS, "--config.model.norm=bach"),
        "config.model: norm='bach': expected one of batch, group, layer, none",
    ),
    "too small an image": (
        (*DIGITS, "--config.model.filters=(8,8,8,8,8)"),
        "config.model: filters=(8, 8, 8, 8, 8): the image has shrunk to 1x1 pixels",
    ),
    "unknown source": (
        (*DIGITS, "--config.data.source=floder"),
        "config.data.source='floder' (did you mean folder?): expected one of folder, csv, arrays,",
    ),
    "classes that differ": (
        (*DIGITS, "--config.data.num_classes=3"),
        "config.data.num_classes=3: the data have 10 classes",
    ),
    "an empty data set": (
        (*SYNTHETIC, "--config.data.num_examples=0"),
        "config.data.num_examples=0: expected",
    ),
    "a loss that is not finite": (
        (*DIGITS, *SMALL, "--config.optimizer.learning_rate=1e30"),
        "(learning rate 5e+29): try a lower --config.optimizer.learning_rate",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_line(name, command, tmp_path):
    arguments, expected = MISTAKES[name]
    done = command(*arguments, "--workdir", tmp_path, check=2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr
    assert expected in errors[0]
    assert done.stderr.splitlines()[-1] == errors[0]
    assert "Traceback" not in done.stderr


def test_a_batch_that_the_devices_do_not_divide_says_what_would(command, tmp_path):
    done = command(*DIGITS, "--config.batch_size=60", "--workdir", tmp_path, devices=8, check=2)
    assert "config.batch_size=60: 8 devices do not divide it; 56 or 64 would do" in done.stderr


def test_debug_shows_the_traceback(command, tmp_path):
    done = command(*DIGITS, "--config.batch_size=-1", "--debug", "--workdir", tmp_path, check=2)
    assert "Traceback" in done.stderr

    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return nothing\n")
    done = command("--config", broken, "--debug", check=2)
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("def get_config(:\n", "line 1: "),
        ("import jaxcnn\n\n\ndef get_config():\n    return nothing\n", "line 5: name 'nothing'"),
        ("x = 1\n", "not an experiment file, it has no get_config()"),
        (
            "from jaxcnn.config import default_config\n\n\ndef get_config():\n"
            "    config = default_config()\n    config.batch_size = 'many'\n    return config\n",
            "line 6: ",
        ),
    ],
)
def test_a_broken_config_file_is_named_with_the_line(content, expected, command, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(content)
    done = command("--config", file, "--workdir", tmp_path / "run", check=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert str(file) in last
    assert expected in last


def test_neither_duration_is_an_error_that_shows_how_to_give_one(command, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from jaxcnn.config.keys import default_config as get_config\n")
    done = command("--config", file, "--workdir", tmp_path / "run", check=2)
    assert "--config.num_epochs=10" in done.stderr


def test_the_other_duration_on_the_command_line_replaces_the_files(command, tmp_path):
    digits = ("--config", "experiments/digits.py", *SMALL)
    command(*digits, "--config.num_steps=2", "--workdir", tmp_path, check=0)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_steps"], config["num_epochs"]) == (2, None)


def test_a_run_directory_of_another_config_is_left_alone(command, tmp_path):
    arguments = ("--config", "experiments/digits.py", *SMALL, "--workdir", tmp_path)
    command(*arguments, "--config.num_steps=2", check=0)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    done = command(*arguments, "--config.num_steps=2", "--config.seed=1", check=2)
    assert "config.seed was 0, is 1" in done.stderr
    done = command(*arguments, "--config.num_steps=4", check=2)
    assert "the run in it is finished, and its learning rate was scheduled to end" in done.stderr
    assert f"train for longer in a new --workdir, {sys.executable} -m jaxcnn train" in done.stderr
    assert done.stderr.rstrip().endswith(f" --workdir {tmp_path}-longer")
    done = command(*arguments, "--config.num_steps=1", check=2)
    assert "train again in a new --workdir, " in done.stderr
    assert done.stderr.rstrip().endswith(f" --workdir {tmp_path}-again")
    done = command(*arguments, "--config.num_steps=2", "--config.log_every_steps=1", check=0)
    assert "is finished: test accuracy" in done.stderr

    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_folder_of_other_things_is_no_run_directory(command, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = command(*DIGITS, "--workdir", tmp_path, check=2)
    assert "holds other files (thesis.tex, ...) and no run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    done = command(*DIGITS, "--workdir", tmp_path / "thesis.tex", check=2)
    assert "thesis.tex: is a file; give a folder" in done.stderr
    assert "--workdir: is empty" in command(*DIGITS, "--workdir=", check=2).stderr


def test_an_unwritable_run_directory_is_named(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = command(*DIGITS, "--workdir", tmp_path / "file" / "run", check=2)
    assert f"--workdir={tmp_path}/file/run: cannot write there" in done.stderr


def test_nothing_saved_is_lost_when_the_loss_is_not_finite(command, tmp_path):
    """The rate rises until the loss breaks; checkpoints of before are still there and named."""
    done = command(
        "--config", "experiments/digits.py", "--workdir", tmp_path, "--config.num_steps=60",
        "--config.checkpoint_every_steps=1", "--config.optimizer.learning_rate=1e25", *SMALL,
        "--config.schedule.name=triangular", "--config.schedule.warmup_steps=50",
        "--config.optimizer.name=sgd", check=2,
    )  # fmt: skip
    assert "the last checkpoint is of step" in done.stderr or "nothing was saved" in done.stderr
    saved = sorted(int(p.stem) for p in Path(tmp_path / "checkpoints").glob("*.sha256"))
    assert str(saved[-1]) in done.stderr.splitlines()[-1]
    assert not (tmp_path / "eval.json").exists()


def test_help_shows_flags_and_every_key(command):
    done = command("--help", fresh=True, check=0)
    for text in ("--workdir", "--config", "optimizer.learning_rate = 0.001", "jaxcnn train"):
        assert text in done.stdout
