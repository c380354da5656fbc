"""Whatever is sent as an image: an answer, or a 4xx that says why; and the server lives."""

import asyncio
import base64
import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from jaxcnn.serving.limits import Limits
from jaxcnn.serving.upload import Memory, held_body
from tests.images import noise, photo, saved

JPEG, PNG = saved(photo(), "JPEG"), saved(photo(), "PNG")


def png_of(width, height, data=b""):
    def chunk(kind, content):
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", PNG)
    return file.getvalue()


BAD_FILES = {
    "empty": b"",
    "a text": b"hello world" * 20,
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>',
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "PDF": b"%PDF-1.7\n" + noise(300).tobytes(),
    "ZIP": zipped(),
    "noise": noise(3000).tobytes(),
    "JPEG cut short": JPEG[: len(JPEG) // 2],
    "PNG cut short": PNG[: len(PNG) // 2],
    "PNG with a flipped bit": PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:],
    "a JPEG's first bytes": b"\xff\xd8\xff",
    "a PNG's first bytes": b"\x89PNG\r\n\x1a\n",
    "JPEG's first bytes before a text": b"\xff\xd8\xff" + b"text" * 100 + b"\xff\xd9",
    "GIF's first bytes before JavaScript": b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//",
    "bomb": png_of(50_000, 50_000, zlib.compress(bytes(100_000), 9)),
    "bomb below the general limit": png_of(1200, 1200, zlib.compress(bytes(1201 * 1200), 9)),
    "no pixels": png_of(0, 5),
    "WebP bomb": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff",
    "TIFF without pages": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "PNM bomb": b"P6 100000 100000 255\n" + b"x" * 100,
    "DICOM of nothing": b"\0" * 128 + b"DICM" + b"\0" * 40,
}


def refused(said, *statuses):
    assert said.status_code in statuses, said.text
    assert set(said.json()) == {"error"}
    assert "Traceback" not in said.text and "/" * 2 not in said.text
    return said.json()["error"]


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_reason(client, name):
    content = BAD_FILES[name]
    reason = refused(client.post("/predict", files={"file": ("a.jpg", content, "image/jpeg")}), 422)
    assert reason.startswith("the file ")
    encoded = base64.b64encode(content).decode()
    assert refused(client.post("/predict", json={"images": [encoded]}), 422) == reason
    refused(client.post("/explain", files={"file": ("a.jpg", content)}), 422)


@pytest.mark.parametrize(
    "content",
    [PNG, JPEG, JPEG + b"<script>alert(1)</script>", saved(photo(), "GIF"), saved(photo(), "WEBP")],
    ids=["PNG", "JPEG", "JPEG with a script behind it", "GIF", "WebP"],
)
def test_what_a_file_is_called_does_not_matter(client, content):
    """A polyglot's picture is a picture: nothing else of it is looked at or sent back."""
    said = client.post("/predict", files={"file": ("../../x.svg", content, "text/html")})
    assert said.status_code == 200 and "script" not in said.text


def test_of_several_files_the_bad_one_is_named(client):
    files = [("file", PNG), ("file", PNG), ("file", PNG[:50])]
    assert refused(client.post("/predict", files=files), 422).startswith("file 3 of 3 ")


@pytest.mark.parametrize(
    ("files", "statuses"),
    [
        ({"image": PNG}, (422,)),
        ({"file ": PNG}, (422,)),
        ([("file", PNG)] * 9, (413,)),
        ([("other", b"x")] * 20 + [("file", PNG)], (400,)),
        ({"file": bytes(2**20)}, (413,)),
    ],
    ids=["wrong field", "almost the field", "too many", "too many fields", "too large"],
)
def test_a_form_of_another_kind_is_refused(client, files, statuses):
    refused(client.post("/predict", files=files), *statuses)


def test_a_part_without_a_name_is_refused_with_what_to_send_and_no_long_header_of_its_own(client):
    line = b'--a\r\nContent-Disposition: form-data; filename="' + b"y" * 2000 + b'"\r\n'
    for body in (line, b"--a\r\n"):
        kind = {"content-type": "multipart/form-data; boundary=a"}
        said = client.post("/predict", content=body + b"\r\nx\r\n--a--\r\n", headers=kind)
        reason = refused(said, 400)
        assert "name" in reason and "in the field 'file'" in reason and len(reason) < 300


def test_a_body_is_in_memory_once():
    limits, memory = Limits(request_bytes=2**24), Memory(2**24)

    async def chunks():
        for _ in range(8):
            yield bytes(2**20)

    async def size():
        async with held_body(chunks(), None, limits, memory) as body:
            assert len(body) == memory.held == 2**23
            return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        assert asyncio.run(size()) < 1.5 * 2**23
    finally:
        tracemalloc.stop()
    assert memory.held == 0


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("", b"", 415),
        ("image/png", PNG, 415),
        ("application/x-www-form-urlencoded", b"file=abc", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=", b"x", 400),
        ("multipart/form-data; boundary=a", b"", 400),
        ("multipart/form-data; boundary=a", b"x", 400),
        ("multipart/form-data; boundary=a", b"--a\r\n", 400),
        ("multipart/form-data; boundary=a", b"--a--\r\n", 400),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n", 400),
        ("multipart/form-data; boundary=a",
         b'--a\r\nContent-Disposition: form-data; name="file"\r\n\r\nx', 400),
        ("multipart/form-data; boundary=a", b"--a\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 400),
        ("multipart/form-data; boundary=" + "a" * 5000, b"--a", 400),
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[]", 422),
        ("application/json", b"{}", 422),
        ("application/json", b'{"images": "x"}', 422),
        ("application/json", b'{"images": [1]}', 422),
        ("application/json", b'{"images": [null]}', 422),
        ("application/json", b'{"images": []}', 400),
        ("application/json", b'{"images": ["!!"]}', 422),
        ("application/json", b'{"images": ["abc"]}', 422),
        ("application/json", '{"images": ["é"]}'.encode(), 422),
        ("application/json", b'{"images": ["\\ud800"]}', 422),
        ("application/json", json.dumps({"images": [""] * 9}).encode(), 413),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(client, kind, body, status):
    refused(client.post("/predict", content=body, headers={"content-type": kind}), status)


def test_too_much_is_refused_before_it_is_read(client):
    read = []

    def chunks():
        for _ in range(100):
            read.append(1)
            yield bytes(2**16)

    refused(client.post("/predict", content=chunks(), headers={"content-type": "image/png"}), 413)
    head = {"content-length": str(10**12), "content-type": "application/json"}
    refused(client.post("/predict", content=b"{}", headers=head), 413)


def test_after_all_that_the_server_answers(client, numbers):
    for bad in BAD_FILES.values():
        client.post("/predict", files={"file": bad})
    said = client.post("/predict", files={"file": saved(numbers[1], "PNG")})
    assert said.status_code == 200 and np.isfinite(said.json()["predictions"][0]["probability"])
    assert client.app_state.memory.held == 0
