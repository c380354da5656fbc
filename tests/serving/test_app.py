"""The HTTP interface keeps its contract: fields, errors, limits, tokens, several models."""

import base64
import json
import shutil
import time

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.inference.classifier import answer, load_classifier
from jaxcnn.serving.limits import Limits
from jaxcnn.serving.served import by_name, serve_model
from tests.images import saved
from tests.serving.conftest import SMALL, serving


def form(*contents):
    return [("file", (f"{k}.png", content, "text/plain")) for k, content in enumerate(contents)]


def in_json(*contents):
    return {"images": [base64.b64encode(content).decode() for content in contents]}


def test_files_and_base64_get_the_answers_that_python_gets(client, classifier, numbers):
    files = [saved(numbers[k], "PNG") for k in range(3)]
    wanted = [answer(classifier, one) for one in classifier.probabilities(numbers[:3])]
    for said in (
        client.post("/predict", files=form(*files)),
        client.post("/predict", json=in_json(*files)),
    ):
        assert said.status_code == 200
        assert set(said.json()) == {"model", "predictions"} and said.json()["model"] == "digits"
        for found, one in zip(said.json()["predictions"], wanted, strict=True):
            assert found["label"] == one["label"] == found["top"][0]["label"]
            assert found["probability"] == pytest.approx(one["probability"], abs=1e-6)
            assert len(found["top"]) == 5


WRITERS = {
    "Python": lambda text, lines: text,
    "the command base64": lambda text, lines: lines,
    "MIME": lambda text, lines: lines.replace("\n", "\r\n"),
    "indented lines": lambda text, lines: "  " + lines.replace("\n", "\n  "),
    "for URLs": lambda text, lines: text.replace("+", "-").replace("/", "_"),
    "for URLs, no padding": lambda text, lines: text.replace("+", "-").replace("/", "_").strip("="),
    "no padding": lambda text, lines: text.strip("="),
    "a data URL": lambda text, lines: f"data:image/png;base64,{text}",
    "a data URL in capitals": lambda text, lines: f"DATA:;BASE64,{text}",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_base64_is_read_as_commands_and_libraries_write_it(writer, client, numbers):
    content = saved(numbers[0], "PNG")
    for more in range(3):  # behind the picture, so that every padding is met, and + and / are
        whole = content + b"\xfb\xff\xbf" * 30 + bytes(more)
        text, lines = base64.b64encode(whole).decode(), base64.encodebytes(whole).decode()
        text = WRITERS[writer](text, lines)
        response = client.post("/predict", json={"images": [text]})
        assert response.json()["predictions"][0]["label"] == "0", response.text


@pytest.mark.parametrize("text", ["a", "YQ==YQ==", "a b", "data:image/png;base64,!", "Y\u00e4"])
def test_what_is_no_base64_is_said_to_be_none(text, client):
    response = client.post("/predict", json={"images": [text]})
    assert response.status_code == 422
    assert response.json()["error"].startswith("images[0] is no base64 (")


def test_an_explanation_is_an_answer_with_two_pictures(client, classifier, numbers):
    said = client.post("/explain", files=form(saved(numbers[4], "PNG"), saved(numbers[5], "PNG")))
    for found, image in zip(said.json()["predictions"], numbers[4:6], strict=True):
        assert (
            found["label"] == answer(classifier, classifier.probabilities(image[None])[0])["label"]
        )
        seen, heat = (
            classifier.read(base64.b64decode(found[name].partition(",")[2]))
            for name in ("image", "heat")
        )
        np.testing.assert_array_equal(seen, image)
        assert np.abs(heat.astype(int) - image).max() > 20


def test_a_model_without_maps_says_so(model, numbers):
    with serving([model(trained=None)]) as client:
        assert client.get("/model").json()["explains"] is False
        said = client.post("/explain", files=form(saved(numbers[0], "PNG")))
        assert said.status_code == 409 and "serve its run" in said.json()["error"]


def test_the_model_is_told_about(client, classifier):
    told = client.get("/model").json()
    assert told["class_names"] == list(classifier.class_names)
    assert told["image_shape"] == [8, 8, 1] and told["explains"] is True
    assert client.get("/models").json() == {"models": [told]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/predict", 405), ("POST", "/healthz", 405),
        ("GET", "/model?model=other", 404), ("POST", "/predict?model=other", 404),
        ("GET", "/%00", 404), ("GET", "/docs/", 404), ("DELETE", "/", 405),
    ],
)  # fmt: skip
def test_every_error_is_json_with_a_reason(client, method, path, status):
    said = client.request(method, path)
    assert said.status_code == status
    assert set(said.json()) == {"error"} and len(said.json()["error"]) > 10


def test_a_bug_is_a_500_in_json_that_tells_nothing_of_the_inside(model, numbers, capsys):
    def broken(images):
        if images.any():
            raise ZeroDivisionError("secret path")
        return np.full((len(images), 10), 0.1, np.float32)

    with serving([model(probabilities=broken)]) as client:
        for _ in range(2):
            said = client.post("/predict", files=form(saved(numbers[0], "PNG")))
            assert said.status_code == 500 and "log" in said.json()["error"]
            assert "secret" not in said.text


def test_a_model_that_cannot_run_is_never_ready(model):
    from starlette.testclient import TestClient

    from jaxcnn.serving.app import make_app

    def broken(images):
        raise ZeroDivisionError

    app = make_app(by_name([model(probabilities=broken)]), SMALL)
    with TestClient(app) as client:
        while not app.state.failed:
            time.sleep(0.01)
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert "cannot be run" in client.post("/predict").json()["error"]


def test_requests_before_the_model_is_warm_are_told_to_come_again(model):
    from starlette.testclient import TestClient

    from jaxcnn.serving.app import make_app

    client = TestClient(make_app(by_name([model()]), SMALL))  # not entered: nothing has begun
    said = client.get("/readyz"), client.post("/predict")
    assert [one.status_code for one in said] == [503, 503]
    assert said[1].headers["retry-after"] == "1"
    assert client.get("/healthz").status_code == 200


def test_several_models_are_chosen_by_name(model, numbers):
    file = form(saved(numbers[3], "PNG"))
    turned = lambda images: np.eye(10, dtype=np.float32)[np.full(len(images), 9)]  # noqa: E731
    with serving([model("first"), model("second", probabilities=turned)]) as client:
        assert [one["name"] for one in client.get("/models").json()["models"]] == [
            "first",
            "second",
        ]
        assert client.post("/predict", files=file).json()["model"] == "first"
        said = client.post("/predict?model=second", files=file).json()
        assert said["model"] == "second" and said["predictions"][0]["label"] == "9"
        assert "first, second" in client.post("/predict?model=x", files=file).json()["error"]


def test_two_models_of_one_name_are_refused(model):
    with pytest.raises(UserError, match="two models are called 'a'; give one another name"):
        by_name([model("a"), model("b"), model("a")])


def test_with_a_token_only_those_who_show_it_are_answered(model, numbers):
    with serving([model()], token="open-sesame") as client:
        for path in ("/model", "/models", "/metrics"):
            assert client.get(path).status_code == 401
        for shown in ({}, {"authorization": "Bearer wrong"}, {"authorization": "open-sesame"}):
            said = client.post("/predict", files=form(b"x"), headers=shown)
            assert said.status_code == 401 and said.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in said.json()["error"]
        right = {"authorization": "Bearer open-sesame"}
        file = form(saved(numbers[0], "PNG"))
        assert client.post("/predict", files=file, headers=right).status_code == 200
        for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200


def test_pages_elsewhere_may_ask_only_where_they_were_named(client, model):
    asks = {"origin": "https://example.org", "access-control-request-method": "POST"}
    allowed = "access-control-allow-origin"
    assert allowed not in client.options("/predict", headers=asks).headers
    assert allowed not in client.get("/model", headers=asks).headers
    with serving([model()], cors_origin="https://example.org", token="t") as other:
        assert other.options("/predict", headers=asks).headers[allowed] == "https://example.org"
        # An error must be readable too.
        assert other.get("/model", headers=asks).headers[allowed] == "https://example.org"
        asks["origin"] = "https://evil.example"
        assert allowed not in other.get("/model", headers=asks).headers


def test_who_finds_the_queue_full_is_told_when_to_come_again(model, numbers):
    with serving([model()], SMALL._replace(waiting=64)) as client:
        batcher = next(iter(client.app_state.models.values())).answers
        batcher._queued = 64  # as if so many waited
        said = client.post("/predict", files=form(saved(numbers[0], "PNG")))
        batcher._queued = 0
        assert said.status_code == 503 and said.headers["retry-after"] == "1"
        assert "64 images wait already" in said.json()["error"]


def test_what_takes_too_long_is_given_up(model, numbers):
    def slow(images):
        time.sleep(0.5 * bool(images.any()))
        return np.full((len(images), 10), 0.1, np.float32)

    with serving([model(probabilities=slow)], SMALL._replace(seconds=0.2)) as client:
        said = client.post("/predict", files=form(saved(numbers[0], "PNG")))
        assert said.status_code == 503 and "no answer within 0.2 s" in said.json()["error"]


def test_uploads_together_fill_no_more_memory_than_is_theirs(model, numbers):
    with serving([model()], Limits(request_bytes=1000)) as client:
        client.app_state.memory.held = 8 * 1000
        said = client.post("/predict", files=form(saved(numbers[0], "PNG")))
        assert said.status_code == 503 and "uploads" in said.json()["error"]
        client.app_state.memory.held = 0
        assert client.post("/predict", files=form(saved(numbers[0], "PNG"))).status_code == 200
        assert client.post("/predict", files=form(b"no image")).status_code == 422
        assert client.app_state.memory.held == 0


def test_prometheus_finds_what_was_answered(model, numbers):
    with serving([model()]) as client:
        client.post("/predict", files=form(*[saved(numbers[0], "PNG")] * 3))
        client.post("/predict", files=form(b"no image"))
        client.get("/some/path/of/an/attacker")
        text = client.get("/metrics").text
        for line in (
            'jaxcnn_images_total{model="digits"} 3.0',
            'jaxcnn_requests_total{path="/predict",status="200"} 1.0',
            'jaxcnn_requests_total{path="/predict",status="422"} 1.0',
            'jaxcnn_requests_total{path="other",status="404"} 1.0',
            'jaxcnn_batches_total{model="digits"} 1.0',
        ):
            assert line in text


def test_a_request_leaves_one_line_without_its_image(model, numbers):
    lines = []
    with serving([model()], log=lines.append) as client:
        lines.clear()
        client.post("/predict", files=form(saved(numbers[0], "PNG")))
    (line,) = [json.loads(json.dumps(one)) for one in lines]
    assert set(line) == {
        "time",
        "method",
        "path",
        "status",
        "ms",
        "client",
        "model",
        "bytes",
        "images",
    }
    assert (line["method"], line["path"], line["status"]) == ("POST", "/predict", 200)
    assert line["images"] == 1 and line["model"] == "digits"


def test_the_pages_fetch_nothing_from_elsewhere(client):
    for path in ("/", "/docs"):
        said = client.get(path)
        assert said.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in said.headers["content-security-policy"]
        assert "://" not in said.text.replace("http://localhost:8000", "").replace(
            "http://www.w3.org", ""
        )


def test_an_exported_file_gives_over_http_what_its_run_gives(workdir, command, tmp_path, numbers):
    run = shutil.copytree(workdir, tmp_path / "run")
    command("--workdir", run, "--format=onnx", module="jaxcnn.export", check=0)
    exported = load_classifier(run / "export" / "model.onnx", threads=1)
    models = [
        serve_model(name, one, 8, 0.0, 64, workers)
        for name, one, workers in (("run", load_classifier(run), 1), ("file", exported, 2))
    ]
    file = form(*[saved(numbers[k], "PNG") for k in range(8)])
    with serving(models) as client:
        of_run, of_file = (
            client.post("/predict", params={"model": name}, files=file).json()["predictions"]
            for name in ("run", "file")
        )
        assert client.get("/model?model=file").json()["explains"] is False
    for one, other in zip(of_run, of_file, strict=True):
        shares = {said["label"]: said["probability"] for said in one["top"]}
        for said in other["top"]:
            assert said["probability"] == pytest.approx(shares[said["label"]], abs=1e-5)
