"""From decoded pixels to the model's size: centre crops, and random ones for training."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from jaxcnn.data.decode import Decoding

SHRINK_RULE = "first to shrink times the resized size, kept as a JPEG of quality 95, 4:4:4"


def resize_rule(decoding: Decoding) -> dict[str, Any]:
    """How `decode` and `fit` make a model's pixels, in words and numbers that `dataset.json` keeps.

    "rules" counts changes to either that give other pixels, or read what was not read; caches of
    older ones are not used.
    """
    import cv2

    libraries = [f"{name} {version(name)}" for name in ("simplejpeg", "pillow")]
    with suppress(PackageNotFoundError):  # an extra
        libraries.append(f"pillow-heif {version('pillow-heif')}")
    first = {} if decoding.shrink is None else {"shrink_rule": SHRINK_RULE}
    return (
        decoding._asdict()
        | first
        | {
            "rules": 3,
            "resize": "shorter side to image_size / crop_fraction",
            "algorithm": "area when shrinking, bilinear when enlarging",
            "crop": "center",
            "scaled_jpeg": "decoded at 1/2 or less where that is no smaller than the resized image",
            "more_than_8_bits": "scaled from the declared range"
            if decoding.window is None
            else "window",
            "library": ", ".join([*libraries, f"opencv {cv2.__version__}"]),
        }
    )


def shorter_side(decoding: Decoding) -> int:
    """Pixels that an image's shorter side is resized to; 0 where images keep their size."""
    return round(decoding.image_size / decoding.crop_fraction) if decoding.image_size else 0


def fit(image: np.ndarray, decoding: Decoding, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8[h, w, c] -> uint8[image_size, image_size, c]: the shorter side resized, the centre
    kept. Without an image size nothing is done.

    size: (height, width) of the file's image, where `image` was decoded at a smaller scale, which
      rounds its sides: by those alone the centre would be up to half a pixel off.
    """
    side = decoding.image_size
    if side is None or image.shape[:2] == (side, side) == (shorter_side(decoding),) * 2:
        return image
    middle = _without_ends(image)
    target = resized_size(size if size and middle is image else middle.shape[:2], decoding)
    top, left = (target[0] - side) // 2, (target[1] - side) // 2
    return resize(middle, target)[top : top + side, left : left + side]


def resized_size(size: tuple[int, ...], decoding: Decoding) -> tuple[int, int]:
    """(height, width) of an image of (height, width) once its shorter side is resized, before the
    centre is cropped.
    """
    scale = shorter_side(decoding) / min(size)
    height, width = (max(decoding.image_size or 0, round(side * scale)) for side in size)
    return height, width


def _without_ends(image: np.ndarray) -> np.ndarray:
    """The middle of an image 16 times as long as wide or more, whose ends no crop reaches: a line
    of 1 x 100,000 pixels would take gigabytes when it is enlarged.
    """
    height, width, _ = image.shape
    longest = 16 * min(height, width)
    if max(height, width) <= longest:
        return image
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[top : height - top, left : width - left]


def resize(image: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """uint8[h, w, c] -> uint8[*target, c]: area means when shrinking, bilinear when enlarging."""
    height, width, channels = image.shape
    if (height, width) == target:
        return image
    import cv2

    method = cv2.INTER_AREA if target[0] < height or target[1] < width else cv2.INTER_LINEAR
    return cv2.resize(image, target[::-1], interpolation=method).reshape(*target, channels)


def crop_box(
    size: tuple[int, int], scale: tuple[float, float], draws: np.ndarray
) -> tuple[int, int, int, int]:
    """A random part of an image (Szegedy et al. 2015, arXiv:1409.4842): top, left, height, width.

    size: (height, width) of the image. scale: least and largest share of its area.
    draws: float64[tries, 4] in 0..1. The first try that fits is taken; a try is an area, a ratio of
      the sides between 3/4 and 4/3 (uniform in its logarithm) and a place. If none fits, the
      centre is taken.
    """
    height, width = size
    low, high = scale
    for share, shape, y, x in draws.tolist():  # numpy would take longer for all than this for one
        area = (low + (high - low) * share) * height * width
        ratio = (4 / 3) ** (2 * shape - 1)
        h, w = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if 0 < h <= height and 0 < w <= width:
            return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def fit_crop(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    target: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The part `box` of an image, resized to uint8[target, target, c].

    size: (height, width) of the image the box was drawn for; `image` may be a smaller copy of it.
    out: uint8[target, target, c] that may be written and returned, which saves a copy.
    Bilinear unless it shrinks by two or more: area means took six times as long (300x300 to 224x224
    pixels), and a training crop is a random picture anyway.
    """
    import cv2

    height, width, channels = image.shape
    top, left = round(box[0] * height / size[0]), round(box[1] * width / size[1])
    h, w = max(1, round(box[2] * height / size[0])), max(1, round(box[3] * width / size[1]))
    part = image[top : top + h, left : left + w]
    halved = min(part.shape[:2]) >= 2 * target
    method = cv2.INTER_AREA if halved else cv2.INTER_LINEAR
    crop = cv2.resize(part, (target, target), dst=out, interpolation=method)
    return crop if channels > 1 else crop.reshape(target, target, 1)


def crop_draws(
    seed: int, step: int, index: int | np.ndarray, epoch: int | np.ndarray, tries: int = 10
) -> np.ndarray:
    """float64[..., tries, 4] in 0..1 for examples `index` [...], that depend on nothing but seed,
    step, example and its epoch (which tells it from itself where balanced sampling takes it twice
    in a batch).
    """
    examples, epochs = np.broadcast_arrays(index, epoch)
    generator = np.random.Philox(key=[seed, step])
    state = generator.state  # set again and again: making a generator takes twice as long
    raw = np.empty((examples.size, 4 * tries), np.uint64)
    for row, i, e in zip(raw, examples.ravel().tolist(), epochs.ravel().tolist(), strict=True):
        state["state"]["counter"][:] = 0, 0, e, i + 1
        generator.state = state
        row[:] = generator.random_raw(4 * tries)
    return (raw >> np.uint64(11)).reshape(*examples.shape, tries, 4) * 2.0**-53
