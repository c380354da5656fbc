"""`jaxcnn serve` as a process: it answers, stops without losing anything, and tells in
one line what is wrong.
"""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxcnn.inference.classifier import answer, load_classifier
from tests.images import saved
from tests.processes import ROOT, environment

BOUNDARY = "edge"


@pytest.fixture
def server(workdir, tmp_path):
    """A running server: (process, port). Its log of requests is in tmp_path / "log"."""
    line = [sys.executable, "-m", "jaxcnn.serve", f"--workdir=digits={workdir}", "--port=0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            line, env=environment(1), cwd=ROOT, text=True, stdout=log, stderr=subprocess.PIPE
        )
    told = ""
    while "serving digits at" not in told:
        told = process.stderr.readline()
        assert told, process.wait(10)
    port = int(told.rpartition(":")[2])
    for _ in range(600):
        if ask(port, "GET", "/readyz")[0] == 200:
            break
        time.sleep(0.05)
    yield process, port
    process.kill()
    process.communicate()


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        said = connection.getresponse()
        return said.status, json.loads(said.read())
    finally:
        connection.close()


def form(content):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


class Client(threading.Thread):
    """Asks one request after the other over connections that are kept, until it is refused one."""

    def __init__(self, port, body, wanted):
        super().__init__(daemon=True)
        self.port, self.body, self.wanted = port, body, wanted
        self.answered, self.lost = 0, []

    def run(self):
        connection = None
        while True:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # no connection was accepted: nothing is lost
            try:
                connection.request("POST", "/predict", self.body, HEADERS)
                said = connection.getresponse()
                found = json.loads(said.read())
            except Exception as error:
                self.lost.append(error)
                return
            if said.status != 200 or found["predictions"][0]["label"] != self.wanted:
                self.lost.append(found)
            self.answered += 1
            if said.getheader("connection") == "close":
                connection.close()
                connection = None


def test_sigterm_under_load_loses_no_accepted_request(server, workdir, numbers, tmp_path):
    process, port = server
    classifier = load_classifier(workdir)
    clients = []
    for k in range(16):
        wanted = answer(classifier, classifier.probabilities(numbers[k : k + 1])[0])["label"]
        clients.append(Client(port, form(saved(numbers[k], "PNG")), wanted))
    for one in clients:
        one.start()
    time.sleep(1.0)
    before = sum(one.answered for one in clients)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert ask(port, "GET", "/readyz")[0] == 503  # it says that it stops, and still answers
    for one in clients:
        one.join(60)
    _, stderr = process.communicate(timeout=60)
    assert [one.lost for one in clients if one.lost] == []
    assert 0 < before < sum(one.answered for one in clients)
    assert process.returncode == 143 and "stopped; all that was accepted is answered" in stderr
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    predicted = [line for line in lines if line["path"] == "/predict"]
    assert len(predicted) == sum(one.answered for one in clients)
    assert {line["status"] for line in predicted} == {200}


def test_a_slow_upload_that_began_before_sigterm_is_answered(server, numbers):
    process, port = server
    body = form(saved(numbers[0], "PNG"))
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {HEADERS['content-type']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(2.5)  # longer than the server accepts
        connection.sendall(body[50:])
        said = connection.makefile("rb").read()  # up to the end of the connection
    assert said.startswith(b"HTTP/1.1 200") and b'"label"' in said
    assert process.wait(30) == 143


def test_head_gets_the_status_and_the_headers_of_get_without_a_body(server):
    _, port = server
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        answers = connection.makefile("rb")
        for path in ("/", "/docs", "/healthz", "/readyz", "/model", "/models", "/metrics",
                     "/openapi.json", "/nothing", "/model?model=x", "/predict"):  # fmt: skip
            heads = {}
            for method in ("HEAD", "GET"):  # on one connection: a body would be read as a status
                connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                status = answers.readline()
                heads[method] = {"status": status} | dict(
                    line.rstrip().split(b": ", 1) for line in iter(answers.readline, b"\r\n")
                )
                length = int(heads[method][b"content-length"])
                answers.read(length if method == "GET" else 0)
                heads[method] = {k: v for k, v in heads[method].items() if k != b"date"}
            if path != "/metrics":  # which counts requests
                assert heads["HEAD"] == heads["GET"], path
            assert heads["HEAD"]["status"] == heads["GET"]["status"], path


FETCH = """
const [address, path] = process.argv.slice(1);
const form = new FormData();
form.append("file", new Blob([require("fs").readFileSync(path)]), "blob");
fetch(address + "/predict", {method: "POST", body: form})
  .then(answer => answer.text()).then(text => process.stdout.write(text));
"""
CLIENTS = {
    "curl with a form": ["curl", "-sS", "-F", "file=@{image}", "{address}/predict"],
    "curl without a name": ["curl", "-sS", "-F", "file=<{image}", "{address}/predict"],
    "curl with base64": [
        "sh", "-c", """base64 {image} | awk '{{printf "%s\\\\n", $0}}' |
        (printf '{{"images": ["'; cat; printf '"]}}') |
        curl -sS -H 'Content-Type: application/json' --data-binary @- {address}/predict""",
    ],
    "fetch of JavaScript": ["node", "-e", FETCH.replace("{", "{{").replace("}", "}}"),
                            "{address}", "{image}"],
}  # fmt: skip


def test_clients_of_the_day_get_the_same_answer(server, numbers, tmp_path):
    _, port = server
    content = saved(numbers[0], "PNG")
    expected = ask(port, "POST", "/predict", form(content), HEADERS)[1]
    image = tmp_path / "0.png"
    image.write_bytes(content)
    for name, line in CLIENTS.items():
        if shutil.which(line[0]) is None or shutil.which("curl") is None:
            continue
        filled = [one.format(image=image, address=f"http://127.0.0.1:{port}") for one in line]
        done = subprocess.run(filled, capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout or "{}") == expected, (name, done.stdout, done.stderr)
    probe = {"User-Agent": "kube-probe/1.31", "Accept": "*/*", "Connection": "close"}
    assert ask(port, "GET", "/readyz", headers=probe) == (200, {"status": "ready"})


def test_ctrl_c_ends_it_too(server):
    process, _ = server
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--workdir: give the folder of a trained model"),
        (["--workdir=nothing"], "--workdir=nothing: no such folder"),
        (["--workdir=x=nothing"], "--workdir=nothing: no such folder"),
        (["--artifact=nothing.onnx"], "nothing.onnx: no such file"),
        (["--artifact=README.md"], "--artifact=README.md: is no .onnx file"),
        (["--workdir={run}", "--workdir={run}"], "two models are called"),
        (["--workdir={run}", "--token-file=nothing"], "--token-file=nothing: cannot be read"),
        (["--workdir={run}", "--cors-origin=example.org"], "expected an origin"),
        (["--workdir={run}", "--port={busy}"], "cannot listen there"),
        (["--workdir={run}", "--port=70000"], "cannot listen there"),
        (["--workdir={run}", "--wrokdir=x"], "--wrokdir: no such flag (did you mean workdir?)"),
        (["--workdir={run}", "--max-batch=0"], "--max-batch"),
    ],
)
def test_a_mistake_gets_one_line(command, workdir, arguments, told):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        filled = {"run": workdir, "busy": busy.getsockname()[1]}
        given = [one.format(**filled) for one in arguments]
        if not any(one.startswith("--port") for one in given):
            given.append("--port=0")
        done = command(*given, check=2, module="jaxcnn.serve")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and told in lines[0], done.stderr
    assert "Traceback" not in done.stderr
