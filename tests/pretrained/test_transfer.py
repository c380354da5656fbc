"""A run that begins with trained weights: what it begins with, what it keeps of them, what it
refuses.
"""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from jaxcnn.builders.data import build_dataset
from jaxcnn.cli.parsing import with_overrides
from jaxcnn.config.keys import default_config, load_config, resolve
from jaxcnn.core.models import MODELS
from jaxcnn.core.state import create_train_state
from jaxcnn.data.splits import describe
from jaxcnn.errors import UserError
from jaxcnn.inference.trained import load_trained
from jaxcnn.pretrained.transfer import check_pretrained, load_pretrained, rules_of
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.mesh import make_parallel
from jaxcnn.training.first_state import first_state, state_maker
from jaxcnn.training.run import build_run
from jaxcnn.training.train import train
from tests.pretrained.resnet20_reference import FILE, MEAN, STD
from tests.processes import command_line, finish
from tests.several import start_pair

NAMES = ((r"conv(\d)", r"Conv_\1"), (r"bn(\d)", r"BatchNorm_\1"), (r"fc", "Dense_0"))


@pytest.fixture
def config(digits):
    """One step from the weights on, so small that they stay where they are."""
    digits.num_epochs, digits.num_steps = None, 1
    digits.optimizer.learning_rate = 1e-12
    digits.augment = ()
    return digits


@pytest.fixture(scope="session")
def trained(workdir):
    return load_trained(workdir)


def as_torch(variables):
    """The variables of a small `cnn` as a PyTorch state dict."""
    leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    leaves |= {"mean": "running_mean", "var": "running_var"}
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, layer, array = (key.key for key in path)
        value = np.asarray(leaf)
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        name = layer.replace("Conv_", "conv").replace("BatchNorm_", "bn").replace("Dense_0", "fc")
        tensors[f"{name}.{leaves[array]}"] = np.ascontiguousarray(value)
    return tensors


def accuracy(workdir):
    return json.loads((workdir / "eval.json").read_text())["accuracy"]


def test_a_run_directory_gives_its_best_checkpoint(trained, config, tmp_path, caplog):
    config.pretrained.path = str(trained.workdir)
    with caplog.at_level("INFO", logger="jaxcnn"):
        train(config, tmp_path)
    kernel = load_trained(tmp_path).variables["params"]["Conv_0"]["kernel"]
    np.testing.assert_allclose(kernel, trained.variables["params"]["Conv_0"]["kernel"], atol=1e-9)
    assert accuracy(tmp_path) == pytest.approx(accuracy(trained.workdir), abs=0.03)
    assert "they were trained with --config.data.mean=" in caplog.text

    origin = json.loads((tmp_path / "pretrained.json").read_text())
    manifest = trained.workdir / "checkpoints" / f"{trained.step}.sha256"
    assert origin["sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert origin["mean"] == trained.facts["mean"]
    assert origin["taken"]["params/Conv_0/kernel"] == "params/Conv_0/kernel"


def test_safetensors_are_read_by_rules_of_the_config(trained, config, tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    save_file(as_torch(trained.variables), path)
    config.pretrained.path, config.pretrained.names = str(path), NAMES
    config.data.mean, config.data.std = (0.3,), (0.38,)  # measured: 0.3054 and 0.3759
    with caplog.at_level("INFO", logger="jaxcnn"):
        train(config, tmp_path / "run")
    assert accuracy(tmp_path / "run") == pytest.approx(accuracy(trained.workdir), abs=0.03)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"weights of {path} (sha256 {sha256}): 12 arrays taken, 0 new" in caplog.text
    assert "taken    params/Conv_0/kernel <- conv0.weight" in caplog.text
    assert json.loads((tmp_path / "run/pretrained.json").read_text())["sha256"] == sha256

    # The record and the config stay; the file is not looked at again.
    path.unlink()
    shutil.rmtree(tmp_path / "run" / "report", ignore_errors=True)
    (tmp_path / "run" / "eval.json").unlink()
    train(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/pretrained.json").read_text())["sha256"] == sha256
    assert load_config(tmp_path / "run" / "config.json").pretrained.names == NAMES
    config.pretrained.path, config.data.mean = str(tmp_path / "other.safetensors"), (0.4,)
    with pytest.raises(UserError) as error:
        train(config, tmp_path / "run")
    assert "config.data.mean was (0.3,), is (0.4,), config.pretrained.path was " in str(error.value)

    facts = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert (facts["mean"], facts["std"]) == ([0.3], [0.38])
    white = np.full((1, 8, 8, 1), 255, np.uint8)
    normalized = load_trained(tmp_path / "run").normalize(white)
    np.testing.assert_allclose(normalized, 0.7 / 0.38, rtol=1e-6)


def test_other_classes_get_a_new_classifier(trained, config):
    config.pretrained.path = str(trained.workdir)
    config = resolve(config)
    fresh = state_maker(config, 1000, 3, (8, 8, 1))().variables
    variables, origin = load_pretrained(config, 3, (8, 8, 1), fresh)
    assert origin["new"] == {
        "params/Dense_0/bias": "params/Dense_0/bias is 10, this is 3",
        "params/Dense_0/kernel": "params/Dense_0/kernel is 16x10, this is 16x3",
    }
    np.testing.assert_array_equal(
        variables["params"]["Dense_0"]["kernel"], fresh["params"]["Dense_0"]["kernel"]
    )
    mean = variables["batch_stats"]["BatchNorm_1"]["mean"]
    np.testing.assert_array_equal(mean, trained.variables["batch_stats"]["BatchNorm_1"]["mean"])


@pytest.mark.parametrize(
    ("head", "names", "taken"),
    [(None, "same", True), (None, "other", False), (True, "other", True), (False, "same", False)],
)
def test_as_many_other_classes_get_a_new_classifier_too(head, names, taken, trained, config):
    config.pretrained.path, config.pretrained.head = str(trained.workdir), head
    config = resolve(config)
    fresh = state_maker(config, 1000, 10, (8, 8, 1))().variables
    names = trained.class_names if names == "same" else tuple("abcdefghij")
    variables, origin = load_pretrained(config, 10, (8, 8, 1), fresh, names)
    theirs = trained.variables if taken else fresh
    np.testing.assert_array_equal(
        variables["params"]["Dense_0"]["kernel"], theirs["params"]["Dense_0"]["kernel"]
    )
    reason = "not asked for" if head is False else "of other classes"
    assert set(origin["new"].values()) == (set() if taken else {reason})


def test_the_optimiser_begins_with_the_weights_too(trained):
    """Some keep a copy of the parameters: lookahead, schedule-free, averages."""
    tx = optax.GradientTransformation(lambda params: params, lambda g, s, params=None: (g, s))
    key, variables = jax.random.key(0), trained.variables
    state = create_train_state(trained.model, tx, key, trained.image_shape, variables)
    for tree in (state.params, state.opt_state):
        np.testing.assert_array_equal(
            tree["Conv_0"]["kernel"], variables["params"]["Conv_0"]["kernel"]
        )
    np.testing.assert_array_equal(
        state.batch_stats["BatchNorm_0"]["var"], variables["batch_stats"]["BatchNorm_0"]["var"]
    )


@pytest.fixture(scope="session")
def files(trained, tmp_path_factory):
    """A folder of weights, most of them wrong in some way."""
    folder = tmp_path_factory.mktemp("weights")
    tensors = as_torch(trained.variables)
    save_file(tensors, folder / "w.safetensors")
    colour = np.repeat(tensors["conv0.weight"], 3, axis=1)
    save_file(tensors | {"conv0.weight": colour}, folder / "colour.safetensors")
    whole = (folder / "w.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-100])
    (folder / "w.pt").write_bytes(b"x")
    (folder / "empty.npz").touch()
    return folder


# The file, what the config says besides, and what is said of it.
MISTAKES = {
    "a missing file": ("absent.npz", {}, "absent.npz: no such file; give a weight file or the"),
    "a pickle": ("w.pt", {}, "w.pt: .pt files are pickles"),
    "an empty file": ("empty.npz", {}, "empty.npz: is empty; copy or download it again"),
    "a truncated file": ("cut.safetensors", {}, "cut.safetensors: cannot be read as .safetensors"),
    "no run": (".", {}, "no run in it (config.json is missing); give the folder that"),
    "another architecture": (
        "w.safetensors", {"filters": (8, 16, 32)},
        "w.safetensors: the weights do not fit: 5 of the model's 17 arrays are not there",
    ),
    "wrong shapes": (
        "w.safetensors", {"filters": (8, 24)},
        "5 have another shape (bn1.bias is 16, not 24, ",
    ),
    "other names": (
        "w.safetensors", {"names": ()},
        "10 of the model's 12 arrays are not there (batch_stats/BatchNorm_0/mean, ",
    ),
    "weights for colours": (
        "colour.safetensors", {}, "not of 1: --config.data.channels=3 reads them so"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_line(name, files, config):
    file, given, expected = MISTAKES[name]
    config.pretrained.path = str(files / file)
    config.pretrained.names = given.get("names", NAMES)
    config.model.filters = given.get("filters", (8, 16))
    config = resolve(config)
    with pytest.raises(UserError) as error:
        check_pretrained(config)
        load_pretrained(config, 10, (8, 8, 1), state_maker(config, 9, 10, (8, 8, 1))().variables)
    message = str(error.value)
    assert message.startswith("config.pretrained.path=") and expected in message
    assert "\n" not in message


@pytest.mark.parametrize(("file", "filters"), [("w.pt", "(8,16)"), ("w.safetensors", "(8,24)")])
def test_the_command_ends_with_2_and_leaves_the_directory_free(
    file, filters, files, command, tmp_path
):
    done = command(
        "--config", "experiments/digits.py", "--workdir", tmp_path, "--config.num_steps=1",
        f"--config.model.filters={filters}", "--config.model.convs_per_stage=1",
        f"--config.pretrained.names={NAMES}", f"--config.pretrained.path={files / file}", check=2,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].startswith("error: config.pretrained.path=")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pretrained__names": (("(", "x"),)}, "expected pairs (regular expression, our path)"),
        ({"pretrained__names": ("fc", "head")}, "expected pairs (regular expression, our path)"),
        ({"pretrained__ignore": ("(",)}, "expected a tuple of regular expressions"),
        ({"data__mean": (0.5,)}, "expected both data.mean and data.std, or neither"),
        ({"data__mean": ("a",), "data__std": (1.0,)}, "expected a tuple of numbers, one for each"),
        ({"data__mean": (0.5,), "data__std": (0.0,)}, "expected a tuple of numbers above 0"),
    ],
)
def test_values_out_of_range_are_quoted(given, expected, config):
    for key, value in given.items():
        part, key = key.split("__")
        config[part][key] = value
    with pytest.raises(UserError) as error:
        resolve(config)
    assert expected in str(error.value)


def test_a_trained_model_keeps_its_statistics(trained):
    with pytest.raises(UserError, match=r"config\.data\.mean: the model is trained already"):
        with_overrides(trained.config, {"data.mean"})


def test_statistics_of_colours_for_grey_images_are_refused(config):
    with pytest.raises(UserError, match="a number is needed for each channel of the images, 1 in"):
        describe(build_dataset(resolve(config)), (0.5,) * 3, (0.2,) * 3)


def test_weights_of_pytorch_give_its_logits_and_its_accuracy(shared, tmp_path):
    """ResNet-20 for CIFAR, as a run begins with it: 99.9 % on images it has learned from."""
    if "resnet20_cifar" not in MODELS:
        pytest.skip("no resnet20_cifar here")
    config = default_config()
    config.num_steps = 1
    config.data.source, config.data.dir = "arrays", str(shared / "cifar10_lossless_1000.npz")
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.holdout = config.data.test_holdout = 0.0
    config.data.mean, config.data.std = MEAN, STD
    config.batch_size = 100
    config.model.name = "resnet20_cifar"
    config.pretrained.path = str(shared / "weights" / "resnet20-cifar10.npz")
    config = resolve(config)
    dataset = build_dataset(config)
    facts = describe(dataset, config.data.mean, config.data.std)
    parallel = make_parallel("jit", 100, jax.devices()[:1])
    run = build_run([config], dataset, facts, parallel)
    checkpoints = Checkpoints(tmp_path / "checkpoints", "accuracy")
    state, _, origin = first_state(
        run.make_states[0],
        run.from_data,
        checkpoints,
        lambda fresh: load_pretrained(config, 10, (32, 32, 3), fresh),
    )
    checkpoints.close()
    assert (len(origin["taken"]), origin["new"], origin["ignored"]) == (97, {}, [])
    (metrics,) = run.evaluate(parallel.place_states([state]), "train")
    assert (metrics["accuracy"], metrics["num_examples"]) == (0.999, 1000)

    image = dataset.splits["train"].images.image[:16]
    assert dataset.splits["train"].rows[:16].tolist() == list(range(16))
    logits = jax.jit(
        lambda variables, x: MODELS["resnet20_cifar"](num_classes=10).apply(
            variables, x, train=False
        )
    )(state.variables, (image / 255 - np.float32(MEAN)) / np.float32(STD))
    np.testing.assert_allclose(logits, np.load(FILE), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_names_of_a_files_layers_are_known_for_every_model_but_our_own(name):
    """They lead to layers that the model has: the head's, for one."""
    rules = rules_of(name, Path("weights.npz"))
    assert any(ours == "head" for _, ours in rules) or name == "cnn"


def test_two_processes_begin_with_the_weights_of_a_run(workdir, cache_dir, tmp_path):
    """They meet wherever Orbax waits for all of them."""
    line = command_line(
        "--config", "experiments/digits.py", f"--workdir={tmp_path / 'run'}",
        f"--config.pretrained.path={workdir}", "--config.model.filters=(8,16)",
        "--config.model.convs_per_stage=1", "--config.num_steps=1",
        cache_dir=cache_dir,
    )  # fmt: skip
    for process in start_pair(line):
        code, _, log = finish(process)
        assert code == 0, log
    assert json.loads((tmp_path / "run/pretrained.json").read_text())["path"] == str(workdir)
