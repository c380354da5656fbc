"""What a run has in a folder it has in a bucket, from a server that speaks Google's protocol."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.files.folders import LocalFolder, local_file
from jaxcnn.files.paths import Lines, as_path, files, move, names, remove, write
from tests.bucket import made_bucket
from tests.processes import command_line, finish, start

TRAINING = (
    "--config", "experiments/digits.py", "--config.num_epochs=4", "--config.model.filters=(8,16)",
    "--config.checkpoint_every_epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def bucket():
    with made_bucket() as name:
        yield f"gs://{name}"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("s3://bucket/x", "s3://bucket/x: give a folder, or an address gs://BUCKET/FOLDER"),
        ("file:///tmp/x", "file://tmp/x: give a folder, or an address gs://BUCKET/FOLDER"),
        ("gs://bucket", "gs://bucket: names no folder of a bucket; give gs://BUCKET/FOLDER"),
        (Path("gs://b"), "gs://b: names no folder of a bucket; give gs://BUCKET/FOLDER"),
        *(
            (
                f"gs://b/{name}",
                f"gs://b/{name}: has one of * ? [ ] \\ in its name, which is taken "
                "for a pattern there; give a folder without",
            )
            for name in ("exp[v1]", "a*/b", "who?", "a\\b", "runs]")
        ),
    ],
)
def test_an_address_that_is_no_place_for_a_run_gets_one_line(given, line):
    with pytest.raises(UserError) as error:
        as_path(given)
    assert str(error.value) == line


@pytest.mark.parametrize("given", ["runs/digits", "a:b/c", "C:/runs", "name=gs://bucket/x"])
def test_what_is_no_address_is_a_path_of_this_machine(given):
    assert as_path(given) == Path(given)


def test_files_and_folders_do_the_same_in_both(bucket, tmp_path):
    for root in (tmp_path, as_path(f"{bucket}/files")):
        write(root / "kept", "1")
        if root is tmp_path:
            (root / "folder/below").mkdir(parents=True)
        for name in ("folder/b", "folder/below/a"):
            write(root / name, name * 3)
        found = {name: size for name, (_, size) in files(root / "folder").items()}
        assert found == {"b": 24, "below/a": 42}
        move(root / "folder", root / "aside")
        move(root / "kept", root / "moved")
        assert names(root) == ["aside", "moved"]
        assert (root / "aside/below/a").read_text() == "folder/below/a" * 3
        move(root / "aside", root / "moved")  # in place of a file
        assert list(files(root)) == ["moved/b", "moved/below/a"]
        remove(root / "moved")
        remove(root / "nothing")
        assert names(root) == [] == names(root / "nothing")


def test_lines_are_in_a_bucket_when_they_are_kept(bucket):
    path = as_path(f"{bucket}/lines/metrics.jsonl")
    lines = Lines(path, ["1\n"])
    lines.add("2\n")
    assert not path.exists()
    lines.keep()
    assert path.read_text() == "1\n2\n"
    lines.add("3\n")
    lines.close()
    assert path.read_text() == "1\n2\n3\n"


def test_what_is_written_here_is_copied_there(bucket):
    there = as_path(f"{bucket}/copied")
    write(there / "old", "old")
    place = LocalFolder(there)
    place.fetch()
    assert (place.path / "old").read_text() == "old"
    (place.path / "old").unlink()
    (place.path / "new").write_text("new")
    place.keep()
    place.drop()
    assert names(there) == ["new"] and not place.path.exists()
    with local_file(there / "new") as file:
        assert file.read_text() == "new"


def test_a_bucket_that_is_not_there_gets_one_line(command, bucket):
    done = command(*TRAINING, "--workdir", f"{bucket}-not/run", check=2)
    name = f"{bucket}-not".removeprefix("gs://")
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={bucket}-not/run: there is no bucket {name}; make it (gcloud storage "
        f"buckets create gs://{name}), or give another --workdir"
    )


def test_a_search_wants_a_folder(command, bucket):
    address = f"--workdir={bucket}/search"
    done = command("--config", "experiments/digits.py", address, module="jaxcnn.tune", check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: {address}: is an address, and a search locks files; give a path of this machine"
    )


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["split"], line["loss"]) for line in lines]


def test_a_run_in_a_bucket_survives_a_kill_and_a_flipped_bit(tmp_path, cache_dir, bucket):
    """It ends as one in a folder that nothing happened to."""
    from jaxcnn.inference.trained import load_trained

    workdir, undisturbed = as_path(f"{bucket}/run"), tmp_path / "undisturbed"

    def begin(workdir):
        return start(command_line(*TRAINING, "--workdir", workdir, cache_dir=cache_dir))

    other, killed = begin(undisturbed), begin(workdir)
    while killed.poll() is None and not (workdir / "checkpoints/41.sha256").exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL and not (workdir / "eval.json").exists()
    assert (41, "validation") in [line[:2] for line in metrics(workdir)]
    code, _, log = finish(other)
    assert code == 0, log
    _, (largest, _) = max(files(workdir / "checkpoints/41").items(), key=lambda item: item[1][1])
    flip(largest)

    code, _, log = finish(begin(workdir))
    assert code == 0, log
    assert "checkpoint 41 is damaged" in log and "resuming from step 21" in log
    assert "damaged-41" in names(workdir / "checkpoints")
    assert metrics(workdir) == metrics(undisturbed)
    assert (workdir / "eval.json").read_text() == (undisturbed / "eval.json").read_text()
    found, expected = load_trained(workdir), load_trained(undisturbed)
    assert found.step == expected.step
    for name in expected.state.params:
        for leaf, value in expected.state.params[name].items():
            np.testing.assert_array_equal(found.state.params[name][leaf], value)


def test_prepared_data_are_copied_out_of_a_bucket_once(bucket, shared, tmp_path, monkeypatch):
    from jaxcnn.data.tfds import copy_prepared

    monkeypatch.setenv("HOME", str(tmp_path))
    given, place = shared / "tfds/cifar10/3.0.2", as_path(f"{bucket}/tfds")
    small = {name: file for name, (file, size) in files(given).items() if size < 1e5}
    for version in ("3.0.2", "3.0.10"):
        for name, file in small.items():
            write(place / "cifar10" / version / name, file.read_bytes())
    folder = copy_prepared("cifar10", place)
    assert list(files(folder / "cifar10")) == [f"3.0.10/{name}" for name in sorted(small)]
    assert copy_prepared("cifar10:3.0.2", place) == folder
    copies = files(folder / "cifar10/3.0.2")
    assert {name: file.read_bytes() for name, (file, _) in copies.items()} == {
        name: file.read_bytes() for name, file in small.items()
    }
    changed = {name: file.stat().st_ino for name, (file, _) in copies.items()}
    copy_prepared("cifar10:3.0.2", place)  # nothing is copied again
    assert {n: f.stat().st_ino for n, (f, _) in files(folder / "cifar10/3.0.2").items()} == changed
    with pytest.raises(UserError, match="mnist is not prepared there"):
        copy_prepared("mnist", place)
