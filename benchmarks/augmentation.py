"""Milliseconds per batch of each augmentation, beside dm-pix and Keras, as a Markdown table.

    python benchmarks/augmentation.py [--batch-size 256] [--sizes 32 224] [--rounds 5] [--only NAME]

All are compiled, take uint8 images and are timed in interleaved rounds until the result is there;
the table shows medians, of one call where it takes over 5 s. dm-pix works on one image in 0..1, so
it is vmapped over keys, and converts before and after; Keras's layers run on its JAX backend. Both
are optional. A peer that has no such operation has no entry.
"""

import argparse
import os
import platform
import statistics
import time
from functools import partial

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import AUGMENTATIONS

try:
    import dm_pix as pix
except ImportError:
    pix = None
try:
    import keras
except ImportError:
    keras = None


def ours(size: int) -> dict:
    given = {name: {"num_classes": 10} for name in ("mixup", "cutmix")}
    given |= {"crop": {"padding": size // 8}, "cutout": {"size": size // 4}}
    given |= {name: {"probability": 1.0} for name in ("blur", "erasing", "greyscale")}
    return {name: partial(op, **given.get(name, {})) for name, op in AUGMENTATIONS.items()}


def dm_pix(size: int) -> dict:
    """Name -> (keys, batch) -> image, for what dm-pix has."""
    if pix is None:
        return {}

    def vmapped(function):
        def operation(keys, batch):
            image = batch["image"].astype(jnp.float32) / 255
            return 255 * jax.vmap(function)(keys, image)

        return operation

    def turned(key, image):
        angle = jax.random.uniform(key, minval=-np.pi / 12, maxval=np.pi / 12)
        return pix.rotate(image, angle, mode="constant")

    def mapped(key, image):
        matrix = jnp.eye(3) + jax.random.uniform(key, (3, 3), minval=-0.1, maxval=0.1)
        return pix.affine_transform(image, matrix.at[2].set(jnp.eye(3)[2]), mode="constant")

    def cropped(key, image):
        pad = size // 8
        padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        return pix.random_crop(key, padded, image.shape)

    def blurred(key, image):
        return pix.gaussian_blur(image, jax.random.uniform(key, minval=0.1, maxval=2.0), 13)

    return {
        "crop": vmapped(cropped),
        "flip": vmapped(pix.random_flip_left_right),
        "vertical_flip": vmapped(pix.random_flip_up_down),
        "rotation": vmapped(turned),
        "affine": vmapped(mapped),
        "brightness": vmapped(lambda key, image: pix.random_brightness(key, image, 0.4)),
        "contrast": vmapped(lambda key, image: pix.random_contrast(key, image, 0.6, 1.4)),
        "saturation": vmapped(lambda key, image: pix.random_saturation(key, image, 0.6, 1.4)),
        "hue": vmapped(lambda key, image: pix.random_hue(key, image, 0.1)),
        "greyscale": vmapped(lambda key, image: pix.rgb_to_grayscale(image, keep_dims=True)),
        "blur": vmapped(blurred),
    }


def keras_layers(size: int) -> dict:
    """Name -> (keys, batch) -> image, for what Keras has."""
    if keras is None:
        return {}
    layers, whole = keras.layers, {"value_range": (0, 255)}
    constant = {"fill_mode": "constant"}
    made = {
        "flip": layers.RandomFlip("horizontal"),
        "vertical_flip": layers.RandomFlip("vertical"),
        "translate": layers.RandomTranslation(0.125, 0.125, **constant),
        "rotation": layers.RandomRotation(15 / 360, **constant),
        "brightness": layers.RandomBrightness(0.4, **whole),
        "contrast": layers.RandomContrast(0.4, **whole),
        "saturation": layers.RandomSaturation((0.4, 0.6), **whole),
        "hue": layers.RandomHue(0.1, **whole),
        "greyscale": layers.RandomGrayscale(1.0),
        "noise": layers.GaussianNoise(0.05),
        "blur": layers.RandomGaussianBlur(1.0, kernel_size=13, sigma=1.0, **whole),
        "erasing": layers.RandomErasing(1.0, **whole),
        "randaugment": layers.RandAugment(num_ops=2, **whole),
        "mixup": layers.MixUp(0.2),
        "cutmix": layers.CutMix(1.0),
    }

    def wrap(name, layer):
        seed = jnp.zeros(2, jnp.uint32)

        def operation(keys, batch):
            del keys  # Keras draws from its own state, here the same each time
            scope = keras.StatelessScope([(v, seed) for v in layer.non_trainable_variables])
            with scope:
                if name in ("mixup", "cutmix"):
                    label = jax.nn.one_hot(batch["label"], 10)
                    return layer({"images": batch["image"], "labels": label}, training=True)
                return layer(batch["image"].astype(jnp.float32), training=True)

        return operation

    return {name: wrap(name, layer) for name, layer in made.items()}


def measure(peers: dict, arguments: tuple, rounds: int) -> dict[str, str]:
    """Peer -> median milliseconds, or why there is none."""
    functions, result = {}, {}
    for name, function in peers.items():
        try:
            compiled = jax.jit(function).lower(*arguments).compile()
            started = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            if (seconds := time.perf_counter() - started) > 5:  # once is enough
                result[name] = f"{1000 * seconds:.0f}"
            else:
                functions[name] = compiled
        except Exception as error:  # a peer's limit is a result, not the end of the benchmark
            result[name] = f"fails ({type(error).__name__})"
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(1000 * (time.perf_counter() - started))
    return result | {name: f"{statistics.median(values):.1f}" for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(AUGMENTATIONS))
    options = parser.parse_args()
    count = options.batch_size
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for size in options.sizes:
        # A grey ramp with noise: as smooth and as rough as a photo, unlike plain noise.
        random = np.random.default_rng(0)
        ramp = np.linspace(0, 200, size)[:, None, None] + random.normal(30, 20, (count, 1, size, 3))
        batch = {
            "image": jnp.asarray(np.clip(ramp, 0, 255).astype(np.uint8)),
            "label": jnp.arange(count, dtype=jnp.int32) % 10,
            "mask": jnp.ones(count, bool),
            "index": jnp.arange(count, dtype=jnp.int32),
            "epoch": jnp.zeros(count, jnp.int32),
            "key": jax.random.split(jax.random.key(1), count),
        }
        keys = jax.random.split(jax.random.key(0), count)
        peers = {"jaxcnn": ours(size), "dm-pix": dm_pix(size), "Keras": keras_layers(size)}
        for name in options.only:
            having = {peer: table[name] for peer, table in peers.items() if name in table}
            cells[name, size] = measure(having, (keys, batch), options.rounds)

    missing = {"dm-pix": pix is None, "Keras": keras is None}
    versions = [f"Python {platform.python_version()}", f"jax {jax.__version__}"]
    versions += [f"keras {keras.__version__}"] if keras else []
    versions += [f"dm-pix {pix.__version__}"] if pix else []
    print(f"{', '.join(versions)}; {os.cpu_count()} cores, {jax.devices()[0].device_kind}, batches")
    print(f"of {count}, median of {options.rounds} rounds, ms.\n")
    columns = [(size, peer) for size in options.sizes for peer in ("jaxcnn", "dm-pix", "Keras")]
    print("| operation | " + " | ".join(f"{peer} {size} px" for size, peer in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in options.only:
        row = [
            cells[name, size].get(peer, "not installed" if missing.get(peer) else "")
            for size, peer in columns
        ]
        print(f"| `{name}` | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
