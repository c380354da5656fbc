"""The limits of a request, and the refusals: what a client gets in place of an answer."""

from typing import NamedTuple


class Limits(NamedTuple):
    """The bounds of one request, and of all that wait together.

    request_bytes: of a request's body. images: of a request. pixels: of one image, as its header
    promises. seconds: from a request's first byte to its answer. waiting: images that wait for the
    model together.
    """

    request_bytes: int = 32 * 2**20
    images: int = 64
    pixels: int = 50_000_000
    seconds: float = 30.0
    waiting: int = 512


class Refused(Exception):
    """A request that gets no answer but a reason.

    status: 4xx where the client can mend it, 503 where it may come again. retry_after: seconds.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


def busy(reason: str) -> Refused:
    """A refusal for now."""
    return Refused(503, f"{reason}; try again in a second", retry_after=1)


def failed() -> Refused:
    """What a client is told of an error of ours: nothing of the inside."""
    return Refused(500, "an error of the server; it stands in its log")
