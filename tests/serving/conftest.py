"""A service on the digits run, in this process."""

import time
from contextlib import contextmanager

import pytest

from jaxcnn.inference.classifier import load_classifier
from jaxcnn.serving.app import make_app
from jaxcnn.serving.limits import Limits
from jaxcnn.serving.served import by_name, serve_model

SMALL = Limits(request_bytes=2**20, images=8, pixels=1_000_000, seconds=20.0, waiting=64)


@contextmanager
def serving(models, limits=SMALL, **how):
    """A client of a service that is ready."""
    from starlette.testclient import TestClient

    app = make_app(by_name(models), limits, **how)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.app_state = app.state
        while client.get("/readyz").status_code != 200:
            assert not app.state.failed
            time.sleep(0.01)
        yield client


@pytest.fixture(scope="package")
def classifier(workdir):
    return load_classifier(workdir)


@pytest.fixture(scope="package")
def model(classifier):
    """Makes the model as it is served; each service has queues of its own."""
    return lambda name="digits", **changed: serve_model(
        name, classifier._replace(**changed), 8, 0.0, SMALL.waiting, 1
    )


@pytest.fixture(scope="package")
def client(model):
    with serving([model()]) as client:
        yield client
