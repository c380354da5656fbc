"""Responses: JSON, errors, and the pages for people."""

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jaxcnn.report.page import STYLE, Html, Section, command, join, page, paragraph, table
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
    headers = {"x-content-type-options": "nosniff", **(headers or {})}
    return Response(text.encode("utf-8", "backslashreplace"), status, headers, "application/json")


def refusal(error: Refused) -> "Response":
    """{"error": reason}."""
    wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return as_json({"error": error.reason}, error.status, wait)


def page_response(html: str) -> "Response":
    from starlette.responses import HTMLResponse

    return HTMLResponse(html, headers=_PAGE)


_UPLOAD = "curl -F file=@photo.jpg http://localhost:8000{path}"


def main_page() -> str:
    """One file: what it needs of style is the reports', and it fetches nothing from elsewhere."""
    text = files("jaxcnn.serving").joinpath("page.html").read_text(encoding="utf-8")
    return text.replace("/* STYLE */", STYLE)


def docs_page(interface: dict[str, Any]) -> str:
    """The description at /openapi.json for people."""
    sections = [
        Section(f"{method.upper()} {path}", _operation(path, method, details), details["summary"])
        for path, methods in interface["paths"].items()
        for method, details in methods.items()
    ]
    lead = paragraph(
        "Errors are ",
        Html('<code>{"error": "..."}</code>'),
        ". For programs: ",
        Html('<a href="openapi.json">openapi.json</a>'),
        " (OpenAPI 3.1). For people: ",
        Html('<a href="./">the page</a>'),
        ".",
    )
    return page("The interface", sections, lead, "Made by jaxcnn.")


def _operation(path: str, method: str, details: dict[str, Any]) -> Html:
    line = _UPLOAD.format(path=path) if method == "post" else f"curl http://localhost:8000{path}"
    parts = [command(line)]
    if parameters := details.get("parameters"):
        named = [(f"?{one['name']}=", one["description"]) for one in parameters]
        parts.append(table(("parameter", "meaning"), named))
    for kind, body in details.get("requestBody", {}).get("content", {}).items():
        parts.append(table((kind, "", ""), _fields(body["schema"])))
    rows = []
    for status, response in details["responses"].items():
        (content,) = response.get("content", {"": {}}).values()
        names = ", ".join(name for name, _, _ in _fields(content.get("schema", {})))
        rows.append((Html(status), response["description"], names))
    parts.append(table(("status", "meaning", "fields"), rows))
    return join(parts)


def _fields(schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (name, one.get("type", ""), one.get("description", ""))
        for name, one in schema.get("properties", {}).items()
    ]
