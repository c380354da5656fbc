"""Responses: JSON, refusals, pages."""

import json
from typing import TYPE_CHECKING, Any

from jaxcnn.serving.limits import Refused

if TYPE_CHECKING:
    from starlette.responses import Response

# A page may run its own scripts and show what the server sends: nothing from elsewhere.
_PAGE = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> "Response":
    """A body that browsers take for nothing but JSON."""
    from starlette.responses import Response

    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    said = {"x-content-type-options": "nosniff", **(headers or {})}
    return Response(text.encode("utf-8", "backslashreplace"), status, said, "application/json")


def failure(status: int, reason: str, headers: dict[str, str] | None = None) -> "Response":
    """{"error": reason}."""
    return as_json({"error": reason}, status, headers)


def refusal(error: Refused) -> "Response":
    wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return failure(error.status, error.reason, wait)


def page_response(html: str) -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(html, headers=_PAGE)
