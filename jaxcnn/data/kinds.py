"""Kinds of files: which names are those of images, and what a file is by its first bytes."""

from collections.abc import Callable, Collection

# So many first bytes tell what a file is.
HEAD = 1024

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".bmp",
    ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".dcm", ".dicom",
    ".heic", ".heif", ".hif", ".avif",
)  # fmt: skip


def _has_brand(head: bytes, brands: Collection[bytes]) -> bool:
    """Whether a file says it is of one of these brands (ISO/IEC 14496-12): by the first one, or, if
    that only says "images", by one of the others.
    """
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    others = {head[place : place + 4] for place in range(16, end - 3, 4)}
    return head[8:12] in brands or (head[8:12] in _ANY_CODEC and not others.isdisjoint(brands))


_ANY_CODEC = (b"mif1", b"msf1", b"miaf")
_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", *_ANY_CODEC)

SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "bmp": lambda head: head.startswith(b"BM"),
    "gif": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "tiff": lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "pnm": lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace(),
    "dicom": lambda head: head[128:132] == b"DICM",
    "avif": lambda head: _has_brand(head, _AVIF),
    "heic": lambda head: _has_brand(head, _HEIC),
}

# What is often found under the name of an image and is not read, by what it begins with.
_OTHERS: dict[str, tuple[bytes, ...]] = {
    "a JPEG XL image": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "a JPEG 2000 image": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "a PDF": (b"%PDF-",),
    "a PostScript drawing": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "a Photoshop file": (b"8BPS",),
    "a GIMP file": (b"gimp xcf",),
    "a raw photo": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"),
    "an OpenEXR image": (b"v/1\x01",),
    "a Radiance image": (b"#?RADIANCE", b"#?RGBE"),
    "an icon": (b"\0\0\1\0", b"icns"),
    "a QOI image": (b"qoif",),
    "a DirectDraw texture": (b"DDS ",),
    "a DjVu document": (b"AT&TFORM",),
    "a Matroska or WebM video": (b"\x1aE\xdf\xa3",),
    "an MPEG video": (b"\0\0\1\xba", b"\0\0\1\xb3"),
    "a ZIP archive": (b"PK\3\4", b"PK\5\6"),
    "a gzip archive": (b"\x1f\x8b",),
    "a RAR archive": (b"Rar!\x1a\7",),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c",),
    "a NumPy array": (b"\x93NUMPY",),
    "an HDF5 file": (b"\x89HDF\r\n",),
    "a pointer of Git LFS (git lfs pull fetches the file)": (b"version https://git-lfs",),
    "an Office or thumbnail file of Windows": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    "a resource file of macOS": (b"\0\5\x16\7", b"\0\5\x16\0"),
}


def kind_of(head: bytes) -> str | None:
    """The name of an image's kind, by a file's first bytes; None for what is not read."""
    return next((name for name, matches in SIGNATURES.items() if matches(head)), None)


def other_kind(head: bytes) -> str | None:
    """What a file is that is not read, with its article; None where its first bytes do not tell."""
    for name, starts in _OTHERS.items():
        if head.startswith(starts):
            return name
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "a raw photo" if head[8:11] == b"crx" else "an MP4 or QuickTime video"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI video"
    text = head[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "an SVG drawing" if text.startswith(b"<") and b"<svg" in text else None
