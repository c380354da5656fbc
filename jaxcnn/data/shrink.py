"""Large photos made smaller, by a rule that training, evaluation and prediction share.

Most of the time that a photo of many megapixels takes is its entropy coding, of which nothing can
be skipped. With `data.shrink` such a photo is made smaller first, and the copy is read in its
place. A copy is a function of the file and the config alone: one that is not in the cache
(`jaxcnn.data.copies`), as of a photo that is new, is made on the spot and gives the same pixels.
FFCV's recipe for ImageNet stores smaller copies too, of at most 500 pixels (Leclerc et al. 2023,
arXiv:2306.12517).

What it changes, measured on 24 photos of 2000x1500 and of 4000x3000 at 224 pixels with shrink=2,
against the whole photo decoded and resized: evaluation's pixels differ by 0.5 levels of 255 on
average, at most by 8 (without it: 0.6, at most 20, because a JPEG is decoded at a smaller scale).
Training crops have no more detail than the copy: of those that take 0.08 to 1 of its area, 20 %
have a side of less than 224 pixels, and are enlarged (of a photo of 500x375 pixels 33 %). What it
does to accuracy is not measured.
"""

import numpy as np

from jaxcnn.data.decode import Decoding, Raw, open_image, read_image, to_pixels
from jaxcnn.data.jpeg import Jpeg
from jaxcnn.data.resize import resize, resized_size, shorter_side

# With 4:2:0, or a quality of 90, a copy is 14 or 30 % smaller, and its pixels are 0.6 levels off.
_QUALITY = 95
# A JPEG's sides have 16 bits, of which libjpeg-turbo uses so many.
_LONGEST = 65_500


def shrink(image: Jpeg | Raw, decoding: Decoding) -> Jpeg | Raw:
    """The image to read in the place of `image`: its smaller copy, or itself where it is no larger
    than that.
    """
    copy = small_copy(image, decoding)
    return image if copy is None else open_image(copy)


def small_copy(image: Jpeg | Raw, decoding: Decoding) -> bytes | None:
    """Encodes a large image as a JPEG of `decoding.shrink` times the size it will be resized to.

    Returns None for an image that is no larger than that. Raises Damaged.

    A copy's copy is itself. It is upright, and grey where the image or `decoding` is.
    """
    if decoding.shrink is None or decoding.image_size is None:
        return None
    if min(image.size) <= decoding.shrink * shorter_side(decoding):
        return None
    height, width = (decoding.shrink * side for side in resized_size(image.size, decoding))
    if max(height, width) > _LONGEST:
        return None
    import simplejpeg

    # Grey that will be shown in colour is kept as grey, so that one copy does for both.
    own = decoding if decoding.channels == 1 else decoding._replace(channels=None)
    # From a scale of 1.5 or more: from one just above 1 the pixels are twice as far off.
    pixels = to_pixels(read_image(image, min(height, width) * 3 // 2, reuse=True), own)
    grey = pixels.shape[2] == 1
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(resize(pixels, (height, width))),
        quality=_QUALITY,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "444",
    )
