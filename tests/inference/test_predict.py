"""jaxcnn predict: every input gets its answer, in order, whatever the others are."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from jaxcnn.config import default_config
from jaxcnn.data.listing import notes
from jaxcnn.errors import UserError
from jaxcnn.inference.answers import annotated, as_json, captioned
from jaxcnn.inference.classifier import load_classifier
from jaxcnn.inference.inputs import find_inputs
from jaxcnn.inference.prediction import count, predict, smoothed
from jaxcnn.inference.video import Film
from tests.images import heic, photo, saved
from tests.processes import environment

PREDICT = "jaxcnn.predict"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """150 real digits as PNG files, in two folders and in the order of their names."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("photos")
    images = (load_digits().images * 15.9).astype(np.uint8)
    for name, numbers in (("first", range(100)), ("second", range(100, 150))):
        (root / name).mkdir()
        for k in numbers:
            cv2.imwrite(str(root / name / f"{k:03}.png"), images[k])
    return root


@pytest.fixture(scope="module")
def film(photos):
    """The first digits as a video of 64x48 pixels, 10 frames a second; each is shown for 5."""
    path = photos.parent / "film.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    for name in sorted((photos / "first").iterdir())[:6]:
        digit = cv2.resize(cv2.imread(str(name)), (48, 48), interpolation=cv2.INTER_NEAREST)
        for _ in range(5):
            writer.write(cv2.copyMakeBorder(digit, 0, 0, 8, 8, cv2.BORDER_CONSTANT))
    writer.release()
    return path


@pytest.fixture
def said(workdir, command):
    """The lines that the command prints about inputs."""

    def run(*arguments, check=0, **how):
        done = command("--workdir", workdir, *arguments, module=PREDICT, check=check, **how)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def shell(workdir, line, cwd, stdin=None):
    """Runs a line of bash, in which $PREDICT is the command."""
    program = f"{sys.executable} -m {PREDICT} --workdir {workdir}"
    given = environment(1) | {"PREDICT": program}
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=given, input=stdin, capture_output=True, timeout=100
    )


def everything(classifier, *words, **how):
    return list(predict(classifier, find_inputs([str(word) for word in words]), **how))


def test_a_photo_gets_the_probabilities_of_the_report_on_it(shared, command, cache_dir, tmp_path):
    """The same files, through the data of a run and its report, and one by one."""
    from jaxcnn.evaluation.assess import assess, find_data
    from jaxcnn.evaluation.report import write_predictions
    from jaxcnn.inference.trained import load_trained
    from jaxcnn.training.train import train

    data = shared / "folders/cats_dogs"
    config = default_config()
    config.data.source, config.data.dir, config.data.image_size = "folder", str(data), 32
    config.data.cache_dir = str(cache_dir)
    config.model.filters, config.model.convs_per_stage = (8, 16), 1
    config.num_epochs, config.num_steps, config.batch_size = None, 4, 64
    config.report.at_end = False
    train(config, tmp_path / "run")
    trained = load_trained(tmp_path / "run")
    with (tmp_path / "predictions.csv").open("w") as file:
        write_predictions(assess(trained, find_data(trained)), file)
    with (tmp_path / "predictions.csv").open() as file:
        reported = {row["path"]: row for row in csv.DictReader(file)}
    table = tmp_path / "answers.csv"
    paths = [data / path for path in reported]
    done = command("--workdir", tmp_path / "run", *paths, "--csv", table, module=PREDICT, check=0)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in paths]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    for line, row, one in zip(lines, rows, reported.values(), strict=True):
        assert line["label"] == row["prediction"] == one["prediction"]
        for top in line["top"]:
            expected = float(one[f"p_{top['label']}"])
            assert top["probability"] == pytest.approx(expected, abs=1e-6)
            in_table = float(row[f"p_{top['label']}"])
            assert in_table == pytest.approx(top["probability"], abs=1e-6)


def test_answers_come_in_the_order_of_the_inputs(said, photos):
    second, single = photos / "second", photos / "first/042.png"
    lines = said(second, single, f"{photos}/first/*7.png", "--top=2")
    expected = [f"{second}/{k}.png" for k in range(100, 150)]
    expected += [str(single)] + [f"{photos}/first/{k:02}7.png" for k in range(10)]
    assert [line["path"] for line in lines] == expected
    assert all(len(line["top"]) == 2 and line["top"][0]["label"] == line["label"] for line in lines)


def test_inputs_that_all_fail_are_an_error_after_their_lines(command, workdir, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    words = ("--workdir", workdir, tmp_path / "text.png", tmp_path / "nothing.png")
    done = command(*words, module=PREDICT, check=2)
    assert ["error" in json.loads(line) for line in done.stdout.splitlines()] == [True, True]
    assert done.stderr.endswith('error: 2 of 2 could not be read; the lines with "error" say why\n')


def test_what_is_broken_is_told_and_the_rest_goes_on(command, workdir, photos, tmp_path):
    good = (photos / "first/000.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[:60])
    (tmp_path / "text.txt").write_text("no film of letters\n" * 300)
    (tmp_path / "no-video.mp4").write_bytes(b"\0" * 5000)
    (tmp_path / "unnamed").write_bytes(good)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    expected = {
        "cut.png": "is cut short",
        "text.txt": "is neither an image nor a video",
        "no-video.mp4": "is no video",
        "nothing.jpg": "no such file",
        "*.gif": "matches no file",
        "empty": "has no images or videos",
        "pipe.mp4": "no regular file",
    }
    paths = [tmp_path / name for name in expected]
    words = ["--workdir", workdir, *paths, tmp_path / "unnamed"]
    done = command(*words, module=PREDICT, check=0)
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert [line["path"] for line in lines] == [str(path) for path in paths]
    for line, reason in zip(lines, expected.values(), strict=True):
        assert reason in line["error"] and set(line) == {"path", "error"}
    assert last["label"] == "0"
    assert "warning: 7 of 8 could not be read" in done.stderr

    done = command(*words, "--strict", module=PREDICT, check=2)
    assert len(done.stdout.splitlines()) == 8
    assert "error: 7 of 8 could not be read" in done.stderr


def test_a_folder_gives_its_images_and_videos_once_each(tmp_path):
    for name in ("b/2.jpg", "b/x/1.JPG", "b.png", "a/film.mp4", "a/notes.txt", ".hidden/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    found = [
        (one.path.removeprefix(f"{tmp_path}/"), one.kind) for one in find_inputs([str(tmp_path)])
    ]
    assert found == [
        ("a/film.mp4", "video"), ("b.png", "image"), ("b/2.jpg", "image"), ("b/x/1.JPG", "image"),
    ]  # fmt: skip


def test_what_lies_in_folders_and_is_not_answered_is_counted(tmp_path):
    for name in ("a.png", "b/c.jpg", "b/d.jxl", "notes.txt", "@eaDir/a.png/thumb.jpg", "Thumbs.db",
                 "run/config.json", "run/dataset.json", "run/report/samples.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\x0a" if name.endswith("jxl") else b"")
    (tmp_path / "b" / "unnamed").write_bytes(b"\xff\xd8\xff")
    left_out = {}
    found = find_inputs([str(tmp_path)], (), left_out)
    assert [one.path.removeprefix(f"{tmp_path}/") for one in found] == [
        "a.png",
        "b/c.jpg",
        "b/unnamed",
    ]
    assert [note.what for note in notes(left_out)] == [
        f"2 files are of kinds that are not read: 1 .jxl, a JPEG XL image ({tmp_path}/b/d.jxl), 1 "
        f".txt ({tmp_path}/notes.txt)",
        "never data, and not used: 1 @eaDir/, 1 Thumbs.db",
        f"written by jaxcnn, and not used: {tmp_path}/run/",
    ]


def test_predict_tells_at_its_end_what_was_left_out_and_reads_what_phones_make(
    workdir, command, tmp_path
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.HEIC").write_bytes(heic(photo()))
    (tmp_path / "in" / "b.avif").write_bytes(saved(photo(), "AVIF"))
    (tmp_path / "in" / "c.svg").write_bytes(b"<svg/>")
    (tmp_path / "in" / "d.jpg").write_bytes(b"%PDF-1.7")
    done = command("--workdir", workdir, tmp_path / "in", module=PREDICT, check=0)
    heic_line, avif_line, pdf_line = map(json.loads, done.stdout.splitlines())
    assert "label" in heic_line and "label" in avif_line
    assert pdf_line["error"] == "is a PDF, which is not read"
    assert (
        "warning: left out: 1 file is of kinds that are not read: 1 .svg, an SVG drawing "
        f"({tmp_path}/in/c.svg); nothing, unless they are images: " in done.stderr
    )


def test_a_pattern_with_two_stars_gives_each_file_once(tmp_path):
    for name in ("a/1.png", "a/b/2.png", "3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("**", "**/*", "**/*.png"):
        found = [one.path for one in find_inputs([f"{tmp_path}/{pattern}"])]
        assert sorted(found) == [f"{tmp_path}/{name}" for name in ("3.png", "a/1.png", "a/b/2.png")]
    assert [one.path for one in find_inputs([f"{tmp_path}/**/b"])] == [f"{tmp_path}/a/b/2.png"]


def test_a_path_that_the_system_refuses_is_a_bad_one(tmp_path, monkeypatch):
    reasons = [one.reason for one in find_inputs(["x" * 300, "-"], ["y" * 300, "a\0b"])]
    assert reasons == [
        "cannot be read (File name too long)",
        "cannot be read (File name too long)",
        "cannot be read (embedded null byte)",
    ]

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)  # tests may run as root, whom nothing is refused
    (one,) = find_inputs([str(tmp_path / "x.png")])
    assert one.kind == "bad" and one.reason == "cannot be read (Permission denied)"


def test_a_bare_number_is_a_camera_unless_a_file_has_that_name(
    tmp_path, monkeypatch, said, command
):
    monkeypatch.chdir(tmp_path)
    assert [one.kind for one in find_inputs(["0"])] == ["camera"]
    (tmp_path / "0").write_bytes(b"")
    assert [one.kind for one in find_inputs(["0"])] == ["file"]
    assert [one.kind for one in find_inputs(["9" * 20])] == ["bad"]
    assert said("93", check=2) == [{"path": "93", "error": "cannot be opened"}]


def test_every_nth_frame_of_a_video_is_answered_and_its_time_told(said, film):
    lines = said(film, "--every=5", "--smooth=0")
    assert [line["frame"] for line in lines] == [0, 5, 10, 15, 20, 25]
    assert [line["seconds"] for line in lines] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])


def test_a_frame_is_read_as_an_image_file_with_its_pixels(workdir, film, tmp_path):
    classifier = load_classifier(workdir)
    capture = cv2.VideoCapture(str(film))
    for k in range(30):
        cv2.imwrite(str(tmp_path / f"{k:02}.png"), capture.read()[1])
    frames, files = everything(classifier, film), everything(classifier, tmp_path)
    assert len(frames) == len(files) == 30
    for one, other in zip(frames, files, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_answers_to_a_video_are_averaged_over_time_and_not_from_one_video_to_the_next(
    workdir, film
):
    classifier = load_classifier(workdir)
    raw = [example.probabilities for example in everything(classifier, film, every=2)]
    mean = raw[0].astype(np.float64)
    twice = everything(classifier, film, film, every=2, smooth=0.7)
    for k, example in enumerate(twice[:15]):
        kept = np.exp(-0.2 / 0.7) if k else 0
        mean = kept * mean + (1 - kept) * raw[k]
        np.testing.assert_allclose(example.probabilities, mean, atol=1e-5)
    for one, other in zip(twice[:15], twice[15:], strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_the_average_does_not_depend_on_how_many_frames_there_are():
    before, now = np.float32([0.9, 0.1]), np.float32([0.2, 0.8])
    half = smoothed(smoothed(before, now, 0.1, 0.5), now, 0.1, 0.5)
    np.testing.assert_allclose(half, smoothed(before, now, 0.2, 0.5), atol=1e-6)
    assert smoothed(before, now, 0.1, 0) is now


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_the_annotated_video_has_the_frames_of_the_video_with_a_label_on_each(
    said, film, tmp_path, suffix
):
    path = tmp_path / f"annotated{suffix}"
    lines = said(film, "--every=7", f"--save={path}")
    assert [line["frame"] for line in lines] == [0, 7, 14, 21, 28]
    before, after = cv2.VideoCapture(str(film)), cv2.VideoCapture(str(path))
    assert after.get(cv2.CAP_PROP_FPS) == 10
    for _ in range(30):
        (_, one), (read, other) = before.read(), after.read()
        assert read and other.shape == (48, 64, 3)
        changed = np.abs(one.astype(int) - other).max(-1)
        assert (changed[2:9, 2:50] > 100).sum() > 20  # white letters on what was black
        assert np.median(changed[24:]) < 12
    assert not after.read()[0]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_film_for_which_the_disk_has_no_room_is_not_kept(tmp_path, suffix):
    """As much of it as the system takes is a file that other programs open, or do not."""
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"an earlier one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0)
    try:
        with pytest.raises(UserError, match="cannot be written whole"), Film(path) as film:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            for k in range(100):
                film.write(noise.integers(0, 255, (64, 64, 3), np.uint8), 25, k / 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"an earlier one" and list(tmp_path.iterdir()) == [path]


def test_an_answer_without_numbers_is_an_error_and_the_frame_stays_as_it_is(workdir, film):
    classifier = load_classifier(workdir)

    def probabilities(images):
        answers = classifier.probabilities(images)
        answers[3:5] = np.nan
        return answers

    broken = classifier._replace(probabilities=probabilities)
    answers = everything(broken, film, smooth=0.5, keep_frames=True)[:6]
    lines = [json.loads(as_json(broken, example, 5)) for example in answers]
    assert ["error" in line for line in lines] == [False] * 3 + [True] * 2 + [False]
    assert lines[3] == {
        "path": str(film), "frame": 3, "seconds": 0.3, "error": "the model gives no numbers for it",
    }  # fmt: skip
    assert annotated(broken, answers[3]) is answers[3].pixels


def test_a_caption_is_one_line_whatever_the_name_of_the_class():
    pixels = np.zeros((48, 64, 3), np.uint8)
    np.testing.assert_array_equal(captioned(pixels, "a\nb"), captioned(pixels, "a b"))


def test_the_bar_knows_its_end_only_where_that_is_told_at_once(photos, film):
    first = str(photos / "first/000.png")
    assert count([first, first], 1) == 2 and count([str(film)], 7) == 5
    for words in ([str(photos)], [f"{photos}/*/*.png"], ["-"], ["0"], [first, str(film)]):
        assert count(words, 1) is None


def test_a_video_that_is_cut_short_is_answered_as_far_as_it_goes(said, film, tmp_path):
    content = film.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 3])
    *lines, last = said(tmp_path / "cut.avi", "--smooth=0")
    assert 3 < len(lines) < 20 and "of 30 frames" in last["error"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "give what to look at"),
        (["1234", "x.jpg"], "a camera of that number is given alone"),
        (["a.jpg", "b.jpg", "--save=x.mp4"], "takes one video"),
        (["film.mp4", "--save=x.gif"], "a name that ends in .mp4"),
        (["a.jpg", "--top=0"], "--top=0"),
        (["a.jpg", "--csv=no/such/place.csv"], "--csv=no/such/place.csv: cannot be written"),
        (["a.jpg", "--smooth=nan"], "--smooth=nan: give a number of seconds"),
        (["a.jpg", "--artifact=model.onnx"], "leave out --workdir"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_one_line(command, workdir, arguments, told):
    done = command("--workdir", workdir, *arguments, module=PREDICT, check=2)
    assert told in done.stderr.splitlines()[-1] and done.stdout == ""


def test_the_input_itself_is_not_overwritten(command, workdir, film):
    before = film.read_bytes()
    for flag in ("--save", "--csv"):
        done = command("--workdir", workdir, film, f"{flag}={film}", module=PREDICT, check=2)
        assert "INPUT itself" in done.stderr and film.read_bytes() == before


def test_a_full_disk_is_told_in_one_line_and_an_earlier_table_stays(workdir, photos, tmp_path):
    done = shell(workdir, "$PREDICT first/001.png > /dev/full", photos)
    assert done.returncode == 2
    assert done.stderr.endswith(
        b"error: standard output: cannot be written (No space left on device)\n"
    )
    done = shell(workdir, "$PREDICT first/001.png --csv=/dev/full", photos)
    assert done.returncode == 2 and b"error: --csv=/dev/full: cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr
    (tmp_path / "a.csv").write_text("an earlier one")
    done = shell(workdir, f"ulimit -f 1; $PREDICT first --csv={tmp_path}/a.csv", photos)
    assert done.returncode == 2 and (tmp_path / "a.csv").read_text() == "an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_paths_come_on_standard_input_and_a_closed_pipe_ends_quietly(workdir, photos):
    listed = b"first/001.png\r\n\nsecond\nfirst/[0-9]*.png\n"
    done = shell(workdir, "$PREDICT -", photos, listed)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == 52
    assert lines[0]["path"] == "first/001.png" and lines[1]["path"] == "second/100.png"
    assert lines[-1] == {"path": "first/[0-9]*.png", "error": "no such file"}

    done = shell(workdir, "set -o pipefail; $PREDICT first second | head -1", photos)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert b"Broken" not in done.stderr and b"Exception" not in done.stderr


def test_a_closed_pipe_leaves_the_film_and_the_table_so_far(workdir, film, tmp_path):
    line = f"set -o pipefail; $PREDICT {film} --save=o.avi --csv=o.csv | head -1"
    done = shell(workdir, line, tmp_path)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.avi", "o.csv"]
    assert cv2.VideoCapture(str(tmp_path / "o.avi")).read()[0]
    assert "film.avi,0,0," in (tmp_path / "o.csv").read_text()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_answer_is_there_before_the_last_path_and_a_signal_ends_it(
    workdir, photos, tmp_path, number, code
):
    table = tmp_path / "answers.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", PREDICT, "--workdir", str(workdir), "-", f"--csv={table}"],
        cwd=photos, env=environment(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        process.stdin.write(b"first/001.png\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] == "1"
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(20) == code and time.monotonic() - began < 10
        stderr = process.stderr.read()
        assert stderr.endswith(b"stopped\n") and b"Traceback" not in stderr
        assert "first/001.png,,,1," in table.read_text()
    finally:
        process.kill()
        process.communicate()


def test_names_that_are_not_utf8_are_answered(workdir, said, tmp_path):
    name = os.fsdecode(b"caf\xe9,\n.png")
    (tmp_path / name).write_bytes(saved(np.zeros((8, 8, 3), np.uint8), "PNG"))
    table = tmp_path / "answers.csv"
    (line,) = said(tmp_path, f"--csv={table}")
    assert line["path"] == f"{tmp_path}/{name}"
    with table.open(errors="surrogateescape", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == line["path"] and row["prediction"] == line["label"]
    shares = [float(row[f"p_{k}"]) for k in range(10)]
    assert sum(shares) == pytest.approx(1, abs=1e-4) and row["error"] == row["frame"] == ""


def test_memory_does_not_grow_with_the_number_of_inputs(workdir, photos):
    """Inputs are found as they are answered: never many more than are under way."""
    classifier, taken = load_classifier(workdir), 0

    def inputs():
        nonlocal taken
        for one in find_inputs([str(photos)] * 10):
            taken += 1
            yield one

    ahead = 0
    for answered, _ in enumerate(predict(classifier, inputs()), 1):
        ahead = max(ahead, taken - answered)
    assert answered == 1500 and ahead < 300


def test_help_tells_the_flags_and_the_inputs(command):
    done = command("--help", module=PREDICT, check=0)
    for word in ("INPUT", "--artifact", "--csv", "--every", "--smooth", "--save", "--strict"):
        assert word in done.stdout
    assert "  data.window = " in done.stdout and "  batch_size = " not in done.stdout


def test_an_artifact_stands_for_a_run(command):
    done = command("--artifact=none.onnx", "a.jpg", module=PREDICT, check=2)
    assert "none.onnx: no such file" in done.stderr
    done = command("--artifact=m.onnx", "--checkpoint=5", "a.jpg", module=PREDICT, check=2)
    assert "leave out --checkpoint" in done.stderr
    done = command("a.jpg", module=PREDICT, check=2)
    assert "--workdir: give the folder of a trained model" in done.stderr
    assert "or an --artifact=model.onnx" in done.stderr
