"""The OpenAPI description is right: requests made from it get the answers it tells of."""

import pytest

schemathesis = pytest.importorskip("schemathesis")


def running(app):
    """An application that has been started already, and is told so again."""

    async def passed_on(scope, receive, send):
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for _ in range(2):
            told = await receive()
            await send({"type": f"{told['type']}.complete"})

    return passed_on


def test_requests_of_every_kind_get_what_the_description_promises(client):
    """Schemathesis makes requests from the description, right and wrong ones."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
    promises = [CHECKS.get_one(name) for name in (*names, "response_schema_conformance")]
    schema = schemathesis.openapi.from_asgi("/openapi.json", running(client.app))
    statuses = set()
    for operation in (one.ok() for one in schema.get_all_operations()):

        @given(case=operation.as_strategy())
        @settings(
            max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), database=None,
        )  # fmt: skip
        def check(case):
            said = case.call()
            case.validate_response(said, checks=promises)
            statuses.add(said.status_code)

        check()
    assert {200, 404, 422} <= statuses
