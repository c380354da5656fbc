"""The window of images of more than 8 bits: chosen by what they hold, kept in dataset.json."""

import io
import json

import numpy as np
import pytest

import jaxcnn
from jaxcnn.builders.data import build_dataset
from jaxcnn.config import default_config, resolve
from jaxcnn.data.decode import Decoding, decode
from jaxcnn.data.digits import load_digits
from jaxcnn.data.folder import load_folder
from jaxcnn.data.resize import resize_rule
from jaxcnn.data.value_range import choose_window, measure, measure_source
from tests.images import dicom, noise, saved, tiff

pytest.importorskip("pydicom")

PGM = b"P5\n8 8\n65535\n"


def twelve_bits(seed=0):
    return noise(8, 8, dtype=np.uint16, seed=seed) >> 4


def write_folder(root, content_of, suffix=".png", count=10):
    """Two classes; content_of(seed): a file."""
    for k, name in enumerate(("ill", "well")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}{suffix}").write_bytes(content_of(10 * k + i))
    return root


def config_of(folder, **data):
    config = default_config()
    config.data.source, config.data.cache_dir = "folder", str(folder.parent / "cache")
    config.data.update({"dir": str(folder)} | data)
    config.num_epochs, config.batch_size, config.report.at_end = 1, 8, False
    config.model.filters, config.model.convs_per_stage = (4,), 1
    return resolve(config)


@pytest.mark.parametrize(
    ("content", "window"),
    [
        (saved(twelve_bits(), "PNG"), (0, 4095)),
        (tiff((8, 8), (16,), 1, twelve_bits().tobytes()), (0, 4095)),
        (tiff((8, 8), (16,), 0, twelve_bits().tobytes()), (0, 4095)),  # white is zero
        (PGM + twelve_bits().astype(">u2").tobytes(), (0, 4095)),
        (dicom(twelve_bits(), stored=16), (0, 4095)),
        (twelve_bits(), (0, 4095)),  # an array
        (saved(noise(8, 8).astype(np.uint16), "PNG"), (0, 255)),  # 8 bits in 16
        (saved(noise(8, 8, dtype=np.uint16) >> 2, "PNG"), (0, 16383)),
        # As DeepLesion stores Hounsfield units: around 32768.
        (saved(np.array([[31768, 32768], [33768, 35000]], np.uint16), "PNG"), (31768, 35000)),
        (
            dicom(twelve_bits().astype(np.int16) - 1024),  # signed, of 16 bits
            (twelve_bits().min() - 1024.0, twelve_bits().max() - 1024.0),
        ),
        (dicom(twelve_bits(), stored=16, WindowCenter=2000, WindowWidth=1500), "file"),
        (dicom(twelve_bits(), stored=16, WindowCenter=["900", "1"], WindowWidth=[99, 2]), "file"),
        # Windows that make no sense: beside all values, without a width.
        (dicom(twelve_bits(), stored=16, WindowCenter=9e4, WindowWidth=10), (0, 4095)),
        (dicom(twelve_bits(), stored=16, WindowCenter=900, WindowWidth=0), (0, 4095)),
        # What is scaled rightly by what the file declares stays as it is.
        (dicom(twelve_bits(), stored=12, WindowCenter=2000, WindowWidth=1500), None),
        (saved(noise(8, 8, dtype=np.uint16), "PNG"), None),
        (saved(noise(8, 8, dtype=np.uint16) >> 1, "PNG"), None),
        (saved(noise(8, 8, 3) // 16, "PNG"), None),  # 8 bits
        (dicom(noise(8, 8) // 16), None),
        (saved(np.full((8, 8), 700, np.uint16), "PNG"), None),  # a single value
    ],
)
def test_the_window_is_the_range_in_use_or_the_files_own(content, window):
    assert choose_window(measure(content)) == window


def test_files_are_seen_by_their_own_windows_tables_and_curves():
    from pydicom.dataset import Dataset

    deep, how = twelve_bits().astype(float), Decoding(window="file")

    def seen(**tags):
        return decode(dicom(twelve_bits(), stored=16, **tags), how)[..., 0].astype(float)

    window = {"WindowCenter": 1000, "WindowWidth": 1001}
    np.testing.assert_allclose(seen(**window), np.rint(((deep - 499.5) * 0.255).clip(0, 255)))
    exact = ((deep - 499.5) * 255 / 1001).clip(0, 255)
    np.testing.assert_allclose(seen(**window, VOILUTFunction="LINEAR_EXACT"), exact, atol=0.51)
    curve = 255 / (1 + np.exp(-4 * (deep - 1000) / 1001))
    np.testing.assert_allclose(seen(**window, VOILUTFunction="SIGMOID"), curve, atol=0.51)
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], [4095 - n for n in range(4096)]
    table["LUTData"].VR = "US"
    np.testing.assert_allclose(seen(VOILUTSequence=[table]), 255 - deep * 255 / 4095, atol=0.51)
    declared = decode(dicom(twelve_bits(), stored=16), Decoding())[..., 0]
    np.testing.assert_array_equal(seen(), declared)  # it has none


def test_a_file_of_monochrome1_is_turned_in_its_own_window_too():
    tags = {"stored": 16, "WindowCenter": 2000, "WindowWidth": 3000}
    plain, negative = dicom(twelve_bits(), **tags), dicom(twelve_bits(), "MONOCHROME1", **tags)
    how = Decoding(window="file")
    np.testing.assert_allclose(decode(negative, how), 255 - decode(plain, how).astype(int), atol=1)


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_a_run_keeps_its_window_for_all_that_use_the_model(tmp_path, mode, capsys):
    folder = write_folder(tmp_path / "xray", lambda seed: saved(twelve_bits(seed), "PNG"))
    config = config_of(folder, mode=mode)
    jaxcnn.train(config, tmp_path / "run")
    log = capsys.readouterr().err
    assert "that declare 0 to 65,535 hold" in log and "data.window=(0, 4095) is used" in log
    assert json.loads((tmp_path / "run/dataset.json").read_text())["resize"]["window"] == [0, 4095]
    classifier = jaxcnn.load_classifier(tmp_path / "run")
    assert classifier.decoding.window == (0, 4095)
    expected = np.rint(twelve_bits(3) * (255 / 4095))
    np.testing.assert_array_equal(classifier.read(saved(twelve_bits(3), "PNG"))[..., 0], expected)
    trained = jaxcnn.load_trained(tmp_path / "run")
    parts = jaxcnn.find_data(trained, "all").parts
    assert parts[0].images.image.std() > 60 if mode == "memory" else parts
    assert jaxcnn.train(config, tmp_path / "run")["split"] == "test"  # it is finished, and the same


def test_a_run_of_before_goes_on_to_see_what_it_was_trained_with(tmp_path):
    folder = write_folder(tmp_path / "xray", lambda seed: saved(twelve_bits(seed), "PNG"))
    jaxcnn.train(config_of(folder), tmp_path / "run")
    facts = json.loads((tmp_path / "run/dataset.json").read_text())
    for resize in ({"window": None}, None):  # as 0.1 wrote it
        facts["resize"] = resize
        old = {k: v for k, v in facts.items() if v is not None}
        (tmp_path / "run/dataset.json").write_text(json.dumps(old))
        seen = jaxcnn.load_classifier(tmp_path / "run").read(saved(twelve_bits(), "PNG"))
        np.testing.assert_array_equal(seen[..., 0], np.rint(twelve_bits() * (255 / 65535)))
        data = jaxcnn.find_data(jaxcnn.load_trained(tmp_path / "run"), "all")
        assert data.decoding.window is None


def test_what_was_read_rightly_stays_the_same_to_the_bit(tmp_path):
    full = write_folder(
        tmp_path / "full", lambda s: saved(noise(8, 8, dtype=np.uint16, seed=s), "PNG")
    )
    plain = write_folder(tmp_path / "plain", lambda s: saved(noise(8, 8, 3, seed=s), "PNG"))
    for folder in (full, plain):
        new = build_dataset(config_of(folder))
        old = build_dataset(config_of(folder), facts={"resize": {}})
        assert new.identity == old.identity
        assert resize_rule(new.decoding) == resize_rule(old.decoding)
        np.testing.assert_array_equal(
            new.splits["train"].images.image, old.splits["train"].images.image
        )


def test_jpegs_are_not_opened_for_it_and_the_rest_only_once(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "a", lambda s: saved(noise(8, 8, 3, seed=s), "JPEG"), ".JPG")
    (folder / "ill/odd.png").write_bytes(saved(twelve_bits(), "PNG"))
    source = load_folder(dir=str(folder))["train"]
    opened = []

    def read(index):
        opened.extend(index.tolist())
        return source.read(index)

    counted = source._replace(read=read)
    values = measure_source(counted, str(tmp_path / "cache"))
    assert (values.number, len(opened)) == (1, 1)
    again = measure_source(counted, str(tmp_path / "cache"))
    assert choose_window(again) == choose_window(values) == (0, 4095)
    assert len(opened) == 1


def test_a_later_start_reads_no_digit_to_know_their_range(tmp_path):
    source = load_digits()["train"]
    assert measure_source(source, str(tmp_path)) is None  # they have 8 bits
    unread = source._replace(read=lambda index: pytest.fail("an example is read"))
    assert measure_source(unread, str(tmp_path)) is None


def test_a_few_bright_pixels_leave_the_declared_range_and_are_told(tmp_path, caplog):
    def marked(seed):
        image = np.tile(twelve_bits(seed), (10, 10))
        image[0, 0] = 65535  # a letter that the machine burns in
        return saved(image, "PNG")

    folder = write_folder(tmp_path / "xray", marked)
    dataset = build_dataset(config_of(folder))
    assert dataset.decoding.window is None
    assert "99.9 % of their values are" in caplog.text and "data.window='(LOW" in caplog.text


def test_arrays_of_twelve_bits_are_measured_too(tmp_path):
    image = np.stack([twelve_bits(k) for k in range(20)])
    np.savez(tmp_path / "a.npz", image=image, label=np.arange(20) % 2)
    config = default_config()
    config.data.source, config.data.dir, config.num_epochs = "arrays", str(tmp_path / "a.npz"), 1
    assert build_dataset(resolve(config)).decoding.window == (0, 4095)


def test_a_deflated_dicom_is_whole_and_its_damage_shows():
    import pydicom

    plain = dicom(twelve_bits(), stored=12)
    data = pydicom.dcmread(io.BytesIO(plain))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    content = file.getvalue()
    np.testing.assert_array_equal(decode(content, Decoding()), decode(plain, Decoding()))
    for cut in (len(content) - 2, len(content) - 9, len(content) // 2 + 150):
        with pytest.raises(ValueError, match="is cut short"):
            decode(content[:cut], Decoding())


@pytest.mark.parametrize("window", ["own", (5,), (9, 2), 7])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    with pytest.raises(jaxcnn.UserError, match="two numbers, low below high, or 'file'"):
        config = default_config()
        config.num_epochs = 1
        with config.ignore_type():
            config.data.window = window
        resolve(config)
