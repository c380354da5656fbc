"""Folders of small images, and what can be wrong with them."""

import zlib

import cv2
import numpy as np


def picture(seed, height=24, width=24, channels=3):
    """Noise, as no two images are the same."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def encoded(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def make_folder(root, classes=("cat", "dog"), count=10, **size):
    """`count` images in each class folder, all different."""
    for name in classes:
        for i in range(count):
            seed = zlib.crc32(f"{root.name}/{name}/{i}".encode())
            write(root / name / f"{i:02}.png", encoded(picture(seed, **size)))
    return root
