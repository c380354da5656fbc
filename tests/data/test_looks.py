"""A picture that looks unlike all of training is told: by predict, by the server, of an export."""

import json

import cv2
import numpy as np
import pytest

import jaxcnn
from jaxcnn.data.looks import unlike
from jaxcnn.serving.served import serve_model
from tests.data.test_value_range import config_of, write_folder
from tests.images import noise, saved
from tests.serving.conftest import SMALL, serving

USUAL = {"brightness": [0.3, 0.6], "contrast": [0.1, 0.3]}


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (noise(32, 32, 3), None),
        (noise(32, 32, 3) // 5 + 60, None),
        (noise(32, 32, 3) // 16, "far darker"),  # 12 bits read as 16
        (255 - noise(32, 32, 3) // 16, "far brighter"),  # and inverted
        (noise(32, 32, 3) // 64 + 128, "far flatter"),
        (np.full((32, 32, 1), 100, np.uint8), "far flatter"),
        (noise(32, 32, 1) // 128 * 255, None),
    ],
)
def test_what_is_far_from_all_of_training_is_told(image, word):
    said = unlike(image, USUAL)
    assert said is None if word is None else said.startswith(word)


def test_contrast_beyond_all_of_training_is_told_too():
    assert unlike(noise(32, 32, 1) // 128 * 255, {**USUAL, "contrast": [0.01, 0.1]}).startswith(
        "far harsher than the images of training (deviation 0."
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("looks")
    folder = write_folder(root / "xray", lambda seed: saved(noise(8, 8, seed=seed), "PNG"))
    jaxcnn.train(config_of(folder), root / "run")
    return root / "run"


def dark(path):
    """12 bits in 16, for a model that knows 8."""
    path.write_bytes(saved(noise(8, 8, dtype=np.uint16) >> 4, "PNG"))
    return path


def test_a_run_keeps_how_its_images_look_and_old_runs_warn_of_nothing(run, tmp_path):
    facts = json.loads((run / "dataset.json").read_text())
    assert 0.4 < facts["looks"]["brightness"][0] < facts["looks"]["brightness"][1] < 0.6
    classifier = jaxcnn.load_classifier(run)
    image = classifier.read(dark(tmp_path / "a.png").read_bytes())
    assert classifier.warning(image).startswith("far darker")
    assert classifier.warning(noise(8, 8, 1)) is None
    old = classifier._replace(card={k: v for k, v in classifier.card.items() if k != "looks"})
    assert old.warning(image) is None


def test_predict_says_so_in_its_line_and_at_its_end(run, tmp_path, command):
    (tmp_path / "b.png").write_bytes(saved(noise(8, 8), "PNG"))
    path = dark(tmp_path / "a.png")
    done = command("--workdir", run, tmp_path, module="jaxcnn.predict", check=0)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["warning"].startswith("far darker") and "warning" not in second
    assert f"1 of 2 look unlike the images of training, such as {path} is far da" in done.stderr
    frame = np.zeros((48, 64, 3), np.uint8)
    out = cv2.VideoWriter(str(tmp_path / "f.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        out.write(frame)
    out.release()
    done = command("--workdir", run, tmp_path / "f.avi", module="jaxcnn.predict", check=0)
    assert all("warning" in json.loads(line) for line in done.stdout.splitlines())


def test_the_server_says_so_in_its_answer(run, tmp_path):
    model = serve_model("m", jaxcnn.load_classifier(run), 8, 0.0, SMALL.waiting, 1)
    bright, path = saved(noise(8, 8), "PNG"), dark(tmp_path / "a.png")
    files = [("file", ("a.png", content)) for content in (path.read_bytes(), bright)]
    with serving([model]) as client:
        first, second = client.post("/predict", files=files).json()["predictions"]
        schema = client.get("/openapi.json").json()
    assert first["warning"].startswith("far darker") and "warning" not in second
    assert "How it looks unlike the images of training" in json.dumps(schema)
