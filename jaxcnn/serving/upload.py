"""From a request's body to the images in it: files of a form, or base64 in JSON."""

import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any, cast

from jaxcnn.serving.limits import Limits, Refused, busy

FIELD = "file"
_FORMS = (
    f"send images as multipart/form-data in the field {FIELD!r}, or as application/json: "
    '{"images": [base64, ...]}'
)
# Parts of a form that are no images, and headers of a part: more are no form a browser sends.
_OTHER_PARTS, _HEADER_BYTES = 16, 8192


class Memory:
    """Bytes of the bodies that are held at this moment, of all requests together."""

    def __init__(self, most: int):
        self.most = most
        self.held = 0

    def take(self, size: int) -> None:
        """Counts bytes that have come; Refused where there are too many already."""
        if self.held + size > self.most:
            raise busy("too many uploads at this moment")
        self.held += size


async def read_body(
    chunks: AsyncIterator[bytes], length: str | None, limits: Limits, memory: Memory
) -> bytes:
    """The whole body; Refused where it is longer than allowed, before it is read where it says so.

    length: the Content-Length header. What was taken of `memory` is the caller's to give back:
    `len` of what is returned.
    """
    if length is not None and length.isdecimal() and int(length) > limits.request_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            if size + len(chunk) > limits.request_bytes:
                raise _too_large(limits)
            memory.take(len(chunk))
            size += len(chunk)
            parts.append(chunk)
    except BaseException:
        memory.held -= size
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


def images_of(body: bytes, content_type: str, limits: Limits) -> list[bytes]:
    """The content of each image file in a request; Refused where there is none to find."""
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        images = _files(body, options.get(b"boundary", b""), limits)
    elif kind == b"application/json":
        images = _decoded(body, limits)
    else:
        said = f"Content-Type {content_type[:80]!r} is not known" if kind else "no Content-Type"
        raise Refused(415, f"{said}; {_FORMS}")
    if not images:
        raise Refused(400, f"no image in the request; {_FORMS}")
    return images


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the request is larger than {limits.request_bytes:,} bytes; send less")


def _too_many(limits: Limits) -> Refused:
    return Refused(413, f"more than {limits.images} images; send them in several requests")


def _files(body: bytes, boundary: bytes, limits: Limits) -> list[bytes]:
    """The parts of a form that are in the field for files (RFC 7578)."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    if not boundary:
        raise Refused(400, f"multipart/form-data without a boundary; {_FORMS}")
    parts = _Parts(limits)
    try:
        parser = MultipartParser(boundary, cast(Any, parts.callbacks()))
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the form cannot be read ({error})") from error
    if parts.open or not parts.ended:
        raise Refused(400, "the form is cut short")
    if not parts.files and parts.others:
        named = ", ".join(repr(name.decode("latin1")[:40]) for name in parts.others[:3])
        raise Refused(422, f"no field {FIELD!r} in the form, only {named}; {_FORMS}")
    return parts.files


class _Parts:
    """What the parser has found so far."""

    def __init__(self, limits: Limits):
        self.files: list[bytes] = []
        self.others: list[bytes] = []
        self.open = self.ended = False
        self._limits = limits
        self._header = [b"", b""]
        self._name: bytes | None = None
        self._size = 0
        self._data: list[bytes] = []

    def callbacks(self) -> dict[str, Any]:
        names = ["part_begin", "header_field", "header_value", "header_end", "headers_finished"]
        names += ["part_data", "part_end", "end"]
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        self.open, self._name, self._size, self._data = True, None, 0, []
        self._header = [b"", b""]

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._add(0, data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._add(1, data[start:end])

    def _add(self, which: int, data: bytes) -> None:
        self._size += len(data)
        if self._size > _HEADER_BYTES:
            raise Refused(400, f"a part of the form has more than {_HEADER_BYTES} bytes of headers")
        self._header[which] += data

    def header_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        name, value = self._header
        if name.lower() == b"content-disposition":
            self._name = parse_options_header(value)[1].get(b"name")
        self._header = [b"", b""]

    def headers_finished(self) -> None:
        if self._name is None:
            raise Refused(400, f"a part of the form has no name; {_FORMS}")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FIELD.encode():
            self._data.append(data[start:end])

    def part_end(self) -> None:
        self.open = False
        if self._name == FIELD.encode():
            self.files.append(b"".join(self._data))
            if len(self.files) > self._limits.images:
                raise _too_many(self._limits)
            return
        self.others.append(self._name or b"")
        if len(self.others) > _OTHER_PARTS:
            raise Refused(400, f"more than {_OTHER_PARTS} fields that are no {FIELD!r}; {_FORMS}")

    def end(self) -> None:
        self.ended = True


def _decoded(body: bytes, limits: Limits) -> list[bytes]:
    """The images of {"images": [base64, ...]}; a data URL's beginning may stand before each."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"the body is no JSON ({reason})") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(one, str) for one in images):
        raise Refused(422, 'expected {"images": [base64, ...]}')
    if len(images) > limits.images:
        raise _too_many(limits)
    found = []
    for place, text in enumerate(images):
        head, comma, rest = text.partition(",")
        try:
            encoded = rest if comma and head.startswith("data:") else text
            found.append(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as error:
            raise Refused(422, f"images[{place}] is no base64 ({error})") from error
    return found
