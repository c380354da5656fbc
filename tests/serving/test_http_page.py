"""docs/reference/http.md says what the server says of itself."""

import re

from tests.processes import ROOT


def test_the_page_about_http_has_every_path_and_every_status(client):
    text = (ROOT / "docs/reference/http.md").read_text()
    statuses = set(re.findall(r"^\| (\d{3}) \|", text, re.M))
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, details in methods.items():
            assert f"`{method.upper()} {path}`" in text
            assert {*details["responses"]} - {"200"} <= statuses, path
