"""From a request's body to the images in it: files of a form, or base64 in JSON."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jaxcnn.errors import printable
from jaxcnn.serving.limits import Limits, Refused, busy

FIELD = "file"
_FORMS = (
    f"send images as multipart/form-data in the field {FIELD!r}, or as application/json: "
    '{"images": [base64, ...]}'
)
# Parts of a form that are no images: more are no form that a browser sends.
_OTHER_PARTS = 16


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


@asynccontextmanager
async def held_body(
    chunks: AsyncIterator[bytes], length: str | None, limits: Limits, memory: Memory
) -> AsyncIterator[bytes]:
    """The whole body, counted in `memory` as long as it is used; Refused where it is longer than
    allowed, before it is read where the Content-Length header (`length`) says so.
    """
    most = limits.request_bytes
    too_large = Refused(413, f"the request is larger than {most:,} bytes; send less")
    if length is not None and length.isdecimal() and int(length) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            if size + len(chunk) > most:
                raise too_large
            memory.take(len(chunk))
            size += len(chunk)
            parts.append(chunk)
        body = b"".join(parts)
        parts.clear()  # or it would be there twice as long as it is used
        yield body
    finally:
        memory.held -= size


def images_of(body: bytes, content_type: str, limits: Limits) -> list[bytes]:
    """The content of each image file in a request; Refused where there is none to find."""
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        images = _files(body, options.get(b"boundary", b""), limits)
    elif kind == b"application/json":
        images = _decoded(body, limits)
    else:
        reason = f"Content-Type {content_type[:80]!r} is not known" if kind else "no Content-Type"
        raise Refused(415, f"{reason}; {_FORMS}")
    if not images:
        raise Refused(400, f"no image in the request; {_FORMS}")
    return images


def _too_many(limits: Limits) -> Refused:
    return Refused(413, f"more than {limits.images} images; send them in several requests")


def _files(body: bytes, boundary: bytes, limits: Limits) -> list[bytes]:
    """The parts of a form that are in the field for files (RFC 7578), also those without a name of
    a file.
    """
    from python_multipart import FormParser
    from python_multipart.exceptions import FormParserError

    if not boundary:
        raise Refused(400, f"multipart/form-data without a boundary; {_FORMS}")
    files: list[bytes] = []
    others: list[bytes] = []
    ends: list[bool] = []

    def keep(part: Any) -> None:
        if part.field_name != FIELD.encode():
            others.append(part.field_name)
        elif hasattr(part, "file_object"):
            files.append(part.file_object.getvalue())
        else:
            files.append(part.value or b"")
        if len(files) > limits.images:
            raise _too_many(limits)
        if len(others) > _OTHER_PARTS:
            raise Refused(400, f"more than {_OTHER_PARTS} fields that are no {FIELD!r}; {_FORMS}")

    kind, end = "multipart/form-data", lambda: ends.append(True)
    in_memory: Any = {"MAX_MEMORY_FILE_SIZE": float("inf")}
    try:
        parser = FormParser(kind, keep, keep, end, boundary, config=in_memory)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        reason = printable(str(error)[:80])  # which quotes headers of any length
        raise Refused(400, f"the form cannot be read ({reason}); {_FORMS}") from error
    if not ends:
        raise Refused(400, "the form is cut short")
    if not files and others:
        names = ", ".join(repr(name.decode("latin1")[:40]) for name in others[:3])
        raise Refused(422, f"no field {FIELD!r} in the form, only {names}; {_FORMS}")
    return files


def _decoded(body: bytes, limits: Limits) -> list[bytes]:
    """The images of {"images": [base64, ...]}."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"the body is no JSON ({reason})") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Refused(422, 'expected {"images": [base64, ...]}')
    if len(images) > limits.images:
        raise _too_many(limits)
    result = []
    for place, text in enumerate(images):
        try:
            result.append(_from_base64(text))
        except ValueError as error:
            raise Refused(422, f"images[{place}] is no base64 ({error})") from error
    return result


def _from_base64(text: str) -> bytes:
    """What base64 of any writer says (RFC 4648, RFC 2397): in lines, in the letters of URLs,
    without padding, after a data URL's beginning.
    """
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    text = "".join(line.strip() for line in text.splitlines())
    text = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
