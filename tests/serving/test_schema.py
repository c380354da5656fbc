"""The OpenAPI description is right: requests made from it get the answers it tells of."""

import pytest

schemathesis = pytest.importorskip("schemathesis")


def test_requests_of_every_kind_get_what_the_description_promises(client):
    """schemathesis (Hatfield-Dodds & Dygalo 2022, arXiv:2112.10328) makes requests from it, right
    and wrong ones.
    """
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import CheckContext  # noqa: F401  (present: the version is known)

    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    for operation in (one.ok() for one in schema.get_all_operations()):

        @given(case=operation.as_strategy())
        @settings(
            max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), database=None,
        )  # fmt: skip
        def check(case):
            asked = case.as_transport_kwargs(base_url="http://testserver")
            said = client.request(**asked)
            assert said.status_code < 500
            told = operation.responses.get(str(said.status_code))
            assert told is not None, f"{operation.label}: {said.status_code} is not described"
            if said.status_code >= 400:
                assert set(said.json()) == {"error"}

        check()
