"""How fast photos become batches: jaxcnn, tf.data and PyTorch on the same files, in one run.

    pip install tensorflow torch==2.13.0 && python benchmarks/input_pipeline.py

Each makes shuffled batches of 64 random crops (a share of 0.08 to 1 of the area, as Inception's),
resized to 224x224, from JPEG files of 500x375 pixels, and of 2000x1500 and 4000x3000, where
decoding at a smaller scale pays; and for these evaluation's batches, the centre of the resized
image. jaxcnn streams as in training; tf.data uses AUTOTUNE and, for crops, decode_and_crop_jpeg,
which decodes no more than the crop; PyTorch a DataLoader whose workers decode with OpenCV. Of large
photos "+ copies" is jaxcnn with data.shrink=2, which reads smaller copies. What the first start
takes, once, is told before: it looks at all photos, and makes their copies. Rounds are interleaved
and the median is told, with the ratios of jaxcnn's to it; and the CPU time, which a busy machine
changes less. Last: how long a second run on 60,000 cached images of 32x32 pixels takes from the
call to its first batch.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE, BATCH, SCALE, RATIO = 224, 64, (0.08, 1.0), (3 / 4, 4 / 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default="../shared/data/folders/cats_dogs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1024, help="images a round")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = make_photos(options.photos, Path(folder) / "500", 500, 375)
        large = make_photos(options.photos, Path(folder) / "2000", 2000, 1500)
        phone = make_photos(options.photos, Path(folder) / "4000", 4000, 3000)
        for what, files, count, crops in (
            ("crops of 500x375", small, options.images, True),
            ("crops of 2000x1500", large, options.images // 2, True),
            ("centres of 2000x1500", large, options.images // 2, False),
            ("crops of 4000x3000", phone, options.images // 4, True),
            ("centres of 4000x3000", phone, options.images // 4, False),
        ):
            readers = {
                "jaxcnn": jaxcnn_reader(files, count, options.workers, crops),
                "+ copies": None
                if files == small
                else jaxcnn_reader(files, count, options.workers, crops, shrink=2),
                "tf.data": tf_reader(files, count, crops),
                "pytorch": torch_reader(files, count, options.workers, crops),
            }
            compare(what, readers, count, options.rounds)
        print(f"first batch of 60,000 cached images: {second_start(Path(folder)):.2f} s")


def make_photos(source: Path, folder: Path, width: int, height: int) -> Path:
    """200 real photos in the given size, as JPEGs of quality 90."""
    import cv2

    for number, file in enumerate(sorted(source.glob("*/*.jpg"))[::2][:200]):
        image = cv2.resize(cv2.imread(str(file)), (width, height), interpolation=cv2.INTER_CUBIC)
        target = folder / file.parent.name / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return folder


def jaxcnn_reader(folder: Path, count: int, workers: int, crops: bool, shrink: int | None = None):
    from jaxcnn.builders.data import build_dataset, build_sampling
    from jaxcnn.config.keys import default_config, resolve
    from jaxcnn.data.pipeline import train_batches

    config = default_config()
    config.num_steps = 1
    config.data.source, config.data.dir = "folder", str(folder)
    config.data.image_size, config.data.mode = SIZE, "stream"
    config.data.crop_scale = SCALE if crops else None
    config.data.shrink = shrink
    config.data.holdout = config.data.test_holdout = 0.0
    config.data.num_workers = workers
    cache = folder.parent / "cache" / folder.name
    config.data.cache_dir = str(cache)
    config = resolve(config)
    clock, cpu = time.perf_counter(), time.process_time()
    split = build_dataset(config).splits["train"]
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if crops:  # what centres find made already
        size = sum(file.stat().st_size for file in cache.glob("*/copies.bin")) / 1e6
        made = f", copies of {size:.1f} MB" if shrink else ""
        took = f"{seconds:.1f} s, {cpu:.1f} s of CPU"
        print(f"first start on {len(split)} photos of {folder.name}{made}: {took}")
    sampling = build_sampling(config, split)

    def read() -> int:
        batches = train_batches(split, sampling, 0, range(count // BATCH), BATCH)
        return sum(len(batch["image"]) for batch in batches)

    return read


def tf_reader(folder: Path, count: int, crops: bool):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        return None
    files = [str(file) for file in sorted(folder.glob("*/*.jpg"))]

    def load(file):
        content = tf.io.read_file(file)
        if not crops:
            image = tf.io.decode_jpeg(content, channels=3)
            size = tf.cast(tf.shape(image)[:2], tf.float32)
            target = tf.cast(tf.round(size * SIZE / tf.reduce_min(size)), tf.int32)
            image = tf.image.resize(image, target)
            return tf.cast(tf.image.resize_with_crop_or_pad(image, SIZE, SIZE), tf.uint8)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(content),
            tf.zeros([0, 0, 4]),
            area_range=SCALE,
            aspect_ratio_range=RATIO,
            min_object_covered=0.0,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(content, window, channels=3)
        return tf.cast(tf.image.resize(image, (SIZE, SIZE)), tf.uint8)

    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat().take(count)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return lambda: sum(len(batch) for batch in dataset.as_numpy_iterator())


def torch_reader(folder: Path, count: int, workers: int, crops: bool):
    try:
        import torch
    except ModuleNotFoundError:
        return None
    files = [str(file) for file in sorted(folder.glob("*/*.jpg"))]
    order = np.random.default_rng(0).permutation(count) % len(files)
    loader = torch.utils.data.DataLoader(
        Photos([files[i] for i in order], crops),
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="spawn",  # a fork of the threads here may never return
    )
    sum(1 for _ in loader)  # its workers start once, as in training
    return lambda: sum(len(batch) for batch in loader)


class Photos:
    """What a PyTorch user writes: OpenCV, and a random resized crop."""

    def __init__(self, files: list[str], crops: bool) -> None:
        self.files, self.crops = files, crops

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> np.ndarray:
        import cv2

        cv2.setNumThreads(0)
        image = cv2.cvtColor(cv2.imread(self.files[i]), cv2.COLOR_BGR2RGB)
        height, width, _ = image.shape
        if not self.crops:
            scale = SIZE / min(height, width)
            size = round(width * scale), round(height * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            top, left = (size[1] - SIZE) // 2, (size[0] - SIZE) // 2
            return image[top : top + SIZE, left : left + SIZE]
        random = np.random.default_rng()
        for _ in range(10):
            area = random.uniform(*SCALE) * height * width
            ratio = np.exp(random.uniform(*np.log(RATIO)))
            h, w = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
            if h <= height and w <= width:
                top, left = random.integers(height - h + 1), random.integers(width - w + 1)
                image = image[top : top + h, left : left + w]
                break
        return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def compare(what: str, readers: dict, count: int, rounds: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name, read in readers.items() if read}
    costs: dict[str, list[float]] = {name: [] for name in speeds}
    for _ in range(rounds + 1):
        for name in speeds:
            clock, cpu = time.perf_counter(), time.process_time()
            assert readers[name]() == count // BATCH * BATCH
            costs[name].append((time.process_time() - cpu) / count * 1000)
            speeds[name].append(count / (time.perf_counter() - clock))
    speed, cost = (  # the first round warms up
        {name: statistics.median(values[1:]) for name, values in measured.items()}
        for measured in (speeds, costs)
    )
    for name, values in speeds.items():
        line = f"{what:21} {name:8} {speed[name]:6.0f} images/s"
        line += f" ({min(values[1:]):.0f} to {max(values[1:]):.0f})"
        for ours in [n for n in ("jaxcnn", "+ copies") if n in speeds and n != name]:
            line += f", {ours} {speed[ours] / speed[name]:.2f}x"
        if name != "pytorch":  # its workers are processes of their own
            line += f"; {cost[name]:.2f} ms of CPU an image"
            for ours in [n for n in ("jaxcnn", "+ copies") if n in speeds and n != name]:
                line += f", {ours} {cost[name] / cost[ours]:.2f}x"
        print(line, flush=True)


def second_start(folder: Path) -> float:
    """Seconds from the call to the first batch of 60,000 images in a folder, decoded before."""
    import cv2

    from jaxcnn.builders.data import build_dataset, build_sampling
    from jaxcnn.config.keys import default_config, resolve
    from jaxcnn.data.pipeline import train_batches

    random = np.random.default_rng(0)
    for k in range(10):
        (folder / "small" / str(k)).mkdir(parents=True)
        for i in range(6000):
            image = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / "small" / str(k) / f"{i}.bmp"), image)
    config = default_config()
    config.num_steps = 1
    config.data.source, config.data.dir = "folder", str(folder / "small")
    config.data.image_size, config.data.cache_dir = 32, str(folder / "cache")
    times = []
    for _ in range(4):
        clock = time.perf_counter()
        ready = resolve(config)
        split = build_dataset(ready).splits["train"]
        next(train_batches(split, build_sampling(ready, split), 0, range(1), 128))
        times.append(time.perf_counter() - clock)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
