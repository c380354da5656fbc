"""Galleries of what a network looks at: filters, feature maps, and heat over images."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.report.galleries import SIDE, Gallery, Group, Prediction, Tile, fitted, tile_of

# Pixels of a mosaic of filters; of a feature map, and how many stand in a row: the maps of most
# stages (7, 14, 28, 56 or 8 across) fill their place with whole pixels.
_FILTERS, _MAP, _COLUMNS = 448, 56, 4
# The share of heat in an overlay where there is none of it, and where there is most.
_FAINT, _STRONG = 0.12, 0.72
# Values of paper between the pictures of a mosaic: a grey that both themes bear.
_BETWEEN = 128


def filters(kernels: np.ndarray, at_most: int = 64) -> Gallery:
    """The kernels of the first layer.

    kernels: float[kh, kw, cin, cout]. With three input channels they are coloured, else grey and
    the mean over the input channels. Zero is the middle grey; each filter has a scale of its own.
    """
    kernels = np.nan_to_num(np.asarray(kernels, np.float32))
    height, width, inputs, count = kernels.shape
    if inputs != 3:
        kernels = kernels.mean(axis=2, keepdims=True)
    shown = np.moveaxis(kernels[..., :at_most], -1, 0)
    most = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    shown = np.rint(127.5 + 127.5 * shown / np.maximum(most, 1e-12)).astype(np.uint8)
    number = f"{len(shown)} of {count}" if len(shown) < count else f"{count}"
    size = f"{width}x{height} pixels, {inputs} input channel{'s' * (inputs != 1)}"
    columns = min(16, max(4, round(len(shown) ** 0.5)))
    tile = Tile([_mosaic(shown, columns)], [f"{number} filters, {size}"], side=_FILTERS)
    return Gallery("Filters of the first layer", [Group([tile])])


def feature_maps(
    predictions: Sequence[Prediction], stages: Mapping[str, np.ndarray], at_most: int = 16
) -> Gallery:
    """A gallery of feature maps: the outputs of each stage of the network for some images.

    stages: float[B, h, w, c] for the B images; what is no map (features without h and w) is left
    out. The `at_most` channels that vary most over all images are shown, each channel with one
    scale for all images.
    """
    maps = {name: _chosen(value, at_most) for name, value in stages.items() if value.ndim == 4}
    groups = []
    for position, one in enumerate(predictions):
        tiles = [Tile([one.image], [one.label], one.name)]
        for stage, shown in maps.items():
            _, height, width, channels = stages[stage].shape
            number = f"{shown.shape[1]} of {channels}" if shown.shape[1] < channels else channels
            caption = f"{stage}: {number} channels, {width}x{height}"
            mosaic = _mosaic(_coloured(shown[position]), _COLUMNS)
            tiles.append(Tile([mosaic], [caption], side=max(mosaic.shape[:2])))
        groups.append(Group(tiles, f"{one.label}, predicted {one.prediction}"))
    return Gallery("Feature maps, stage by stage", groups)


def heat_maps(title: str, predictions: Sequence[Prediction], maps: np.ndarray) -> Gallery:
    """Each image beside itself under its heat: Grad-CAM or occlusion.

    maps: float[B, h, w] in 0..1; they are brought to the size of the images.
    """
    tiles = []
    for one, heat in zip(predictions, maps, strict=True):
        image = fitted(one.image, SIDE)
        tiles.append(tile_of(one)._replace(images=[image, overlaid(image, heat)]))
    return Gallery(title, [Group(tiles)])


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8[h, w, 1 or 3] in grey under float[h', w'] in 0..1 in colour: uint8[h, w, 3].

    The colours go from black over red to bright yellow: brightness alone tells their order.
    """
    import cv2
    from matplotlib import colormaps

    height, width = image.shape[:2]
    heat = np.nan_to_num(np.asarray(heat, np.float32))
    heat = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    color = colormaps["inferno"](heat)[..., :3] * 255
    grey = image.mean(axis=2, keepdims=True)
    share = (_FAINT + (_STRONG - _FAINT) * heat)[..., None]
    return np.rint((1 - share) * grey + share * color).astype(np.uint8)


def _chosen(stage: np.ndarray, at_most: int) -> np.ndarray:
    """float32[B, h, w, c] -> uint8[B, n, h, w] of the channels that vary most, 0..255 each."""
    stage = np.nan_to_num(np.asarray(stage, np.float32))
    variance = stage.var(axis=(0, 1, 2))
    channels = np.sort(np.argsort(-variance, kind="stable")[:at_most])
    maps = np.moveaxis(stage[..., channels], -1, 1)
    low = maps.min(axis=(0, 2, 3), keepdims=True)
    high = maps.max(axis=(0, 2, 3), keepdims=True)
    return np.rint(255 * (maps - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)


def _coloured(maps: np.ndarray) -> np.ndarray:
    """uint8[n, h, w] -> uint8[n, H, W, 3]: as large as they are shown, in colours."""
    from matplotlib import colormaps

    sized = np.stack([fitted(one[..., None], _MAP)[..., 0] for one in maps])
    return (colormaps["viridis"](sized)[..., :3] * 255).astype(np.uint8)


def _mosaic(pictures: np.ndarray, columns: int) -> np.ndarray:
    """uint8[n, h, w, c] -> uint8[H, W, c]: in rows, with a pixel or two between them."""
    count, height, width, channels = pictures.shape
    columns = min(columns, count)
    rows, gap = -(-count // columns), 1 if height < 16 else 2
    space = ((0, rows * columns - count), (0, gap), (0, gap), (0, 0))
    cells = np.pad(pictures, space, constant_values=_BETWEEN)
    cells = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return cells.reshape(rows * (height + gap), -1, channels)[:-gap, :-gap]
