"""Image files of every format, made by hand where no library writes them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

EXIF = {o: b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0%c\0\0\0\0\0\0\0" % o
        for o in range(10)}  # fmt: skip


def noise(*shape, dtype=np.uint8, seed=0):
    high = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def photo(height=40, width=60):
    """Smooth colours, as JPEG likes them: uint8[height, width, 3] RGB."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 4 * x, 2 * (x + y)], -1).clip(0, 255).astype(np.uint8)


def saved(image, format, **options):
    """The bytes of a file that Pillow writes of an array or an image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind, data=b""):
    """A chunk of a PNG."""
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def heic(image, **options):
    """A HEIC, as phones make them."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    return saved(image, "HEIF", **options)


def png(size, bits, colour_type, data, *extra, interlace=0):
    """A PNG; size: (height, width). data: the bytes of all rows, without filters; bits as pixels
    of one byte each are packed. extra: chunks before the pixels.
    """
    height, width = size
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlace)
    rows = np.frombuffer(data, np.uint8).reshape(height, -1)
    if bits < 8:
        rows = np.stack([np.packbits(_bits(row, bits)) for row in rows])
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    body = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(filtered)), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _bits(values, bits):
    return (values[:, None] >> np.arange(bits - 1, -1, -1) & 1).ravel()


def bmp(width, height, bits, data, *, colours=b"", compression=0, header=40, size=None):
    """A BMP; data: its rows as they stand in the file."""
    start = 14 + header + len(colours)
    total = start + len(data) if size is None else size
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", total, 0, 0, start) + info + colours + data


def tiff(size, bits, photometric, data, *, order="<", **tags):
    """An uncompressed TIFF of one strip; bits: of each sample. tags: t274=6 sets tag 274."""
    height, width = size
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0}
    entries |= {277: len(bits), 278: height, 279: len(data)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    short = (258, 259, 262, 274, 277, 284, 338, 339)
    packed = {}
    for tag, value in entries.items():
        values = value if isinstance(value, tuple) else (value,)
        packed[tag] = struct.pack(f"{order}{len(values)}{'H' if tag in short else 'I'}", *values)
    behind = 8 + 2 + 12 * len(entries) + 4  # where values stand that take more than 4 bytes
    extra = b"".join(values for _, values in sorted(packed.items()) if len(values) > 4)
    packed[273] = struct.pack(order + "I", behind + len(extra))
    directory = struct.pack(order + "H", len(entries))
    for tag, values in sorted(packed.items()):
        kind, size_of_one = (3, 2) if tag in short else (4, 4)
        directory += struct.pack(order + "HHI", tag, kind, len(values) // size_of_one)
        if len(values) > 4:
            values, behind = struct.pack(order + "I", behind), behind + len(values)
        directory += values.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + directory + struct.pack(order + "I", 0) + extra + data


def dicom(pixels, colours="MONOCHROME2", stored=None, **tags):
    """An uncompressed DICOM file of [h, w] or [h, w, 3] pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored = stored or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PhotometricInterpretation = colours
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    for name, value in tags.items():
        setattr(data, name, value)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def examples():
    """{name: a small file} of every format and most of their kinds."""
    colour, grey, deep = photo(24, 32), photo(24, 32)[..., :1], noise(24, 32, dtype=np.uint16)
    palette = Image.fromarray(colour).quantize(16)
    film = [Image.fromarray(noise(24, 32, 3, seed=k)) for k in range(3)]
    more = {"save_all": True, "append_images": film[1:]}
    pnm = b"P%d\n# made by hand\n32 24\n"
    return {
        "jpeg": saved(colour, "JPEG", quality=90),
        "jpeg progressive": saved(colour, "JPEG", progressive=True),
        "jpeg grey": saved(grey, "JPEG"),
        "jpeg cmyk": saved(Image.fromarray(colour).convert("CMYK"), "JPEG"),
        "png": saved(colour, "PNG"),
        "png grey": saved(grey, "PNG"),
        "png palette": saved(palette, "PNG", transparency=3),
        "png 16 bits": saved(deep, "PNG"),
        "bmp": saved(colour, "BMP"),
        "bmp palette": saved(palette, "BMP"),
        "gif": saved(palette, "GIF"),
        "gif film": saved(film[0], "GIF", **more),
        "webp": saved(colour, "WEBP"),
        "webp lossless": saved(noise(24, 32, 4), "WEBP", lossless=True),
        "webp film": saved(film[0], "WEBP", **more),
        "tiff": saved(colour, "TIFF"),
        "tiff lzw": saved(colour, "TIFF", compression="tiff_lzw"),
        "tiff deflate": saved(deep, "TIFF", compression="tiff_deflate"),
        "tiff 16 bits": tiff((24, 32), (16,) * 3, 2, noise(24, 32, 3, dtype=np.uint16).tobytes()),
        "ppm": pnm % 6 + b"255\n" + colour.tobytes(),
        "pgm 16 bits": pnm % 5 + b"65535\n" + deep.astype(">u2").tobytes(),
        "pbm": pnm % 4 + noise(24, 4).tobytes(),
        "dicom": dicom(deep, stored=16),
        "heic": heic(colour),
        "heic transparent": heic(noise(24, 32, 4)),
        "avif": saved(colour, "AVIF"),
        "avif film": saved(film[0], "AVIF", **more),
    }


def pillow(content, mode="RGB"):
    """The pixels as Pillow sees them, upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert(mode))


def over(rgba, background):
    """[h, w, 4] on a background, by arithmetic."""
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + np.array(background) * (1 - alpha))


def close(image, expected, atol=0):
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), expected, atol=atol)


def upright(image, orientation):
    turns = [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
             Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
             Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
             Image.Transpose.ROTATE_90]  # fmt: skip
    turn = turns[orientation - 1]
    image = Image.fromarray(image)
    return np.asarray(image if turn is None else image.transpose(turn))


def picture(height, width):
    """A smooth picture in colour."""
    small = Image.fromarray(noise(6, 8, 3))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


LARGE = {
    "jpeg": saved(picture(200, 301), "JPEG", quality=90),
    "jpeg progressive": saved(picture(301, 200), "JPEG", progressive=True),
    "jpeg grey": saved(picture(150, 200)[..., :1], "JPEG"),
    "jpeg cmyk": saved(Image.fromarray(picture(150, 200)).convert("CMYK"), "JPEG"),
    "jpeg turned": saved(picture(150, 260), "JPEG", exif=EXIF[6]),
    "png": saved(picture(130, 180), "PNG"),
    "png transparent": saved(np.dstack([picture(130, 180), picture(130, 180)[..., :1]]), "PNG"),
    "png 16 bits": saved(picture(130, 180)[..., 0].astype(np.uint16) * 257, "PNG"),
    "webp": saved(picture(130, 180), "WEBP"),
}  # fmt: skip
