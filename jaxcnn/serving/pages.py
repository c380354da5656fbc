"""The pages: the one that people use, and the description of the interface."""

from importlib.resources import files
from typing import Any

from jaxcnn.report.page import Html, Section, command, join, page, paragraph, table
from jaxcnn.report.page_style import STYLE

_UPLOAD = "curl -F file=@photo.jpg http://localhost:8000{path}"


def main_page() -> str:
    """One file: what it needs of style is the reports', and it fetches nothing from elsewhere."""
    text = files("jaxcnn.serving").joinpath("page.html").read_text(encoding="utf-8")
    return text.replace("/* STYLE */", STYLE)


def docs_page(interface: dict[str, Any]) -> str:
    """The description at /openapi.json for people."""
    sections = [
        Section(f"{method.upper()} {path}", _operation(path, method, told), told["summary"])
        for path, methods in interface["paths"].items()
        for method, told in methods.items()
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


def _operation(path: str, method: str, told: dict[str, Any]) -> Html:
    line = _UPLOAD.format(path=path) if method == "post" else f"curl http://localhost:8000{path}"
    parts = [command(line)]
    if asked := told.get("parameters"):
        named = [(f"?{one['name']}=", one["description"]) for one in asked]
        parts.append(table(("parameter", "meaning"), named))
    for kind, body in told.get("requestBody", {}).get("content", {}).items():
        parts.append(table((kind, "", ""), _fields(body["schema"])))
    rows = []
    for status, response in told["responses"].items():
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
