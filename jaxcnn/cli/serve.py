"""Answers over HTTP, with a page for people: which class is this image?

    jaxcnn serve --workdir runs/digits
    jaxcnn serve --artifact runs/digits/export/model.onnx --port 8080
    jaxcnn serve --workdir runs/digits --workdir flowers=runs/folder --host 0.0.0.0
    curl -F file=@seven.png http://localhost:8000/predict

A run is answered by JAX on whatever device there is; a file that jaxcnn export wrote by
onnxruntime, on the CPU. The page is at /, the interface is told at /docs, counts for Prometheus are
at /metrics. Of several models the first answers; ?model=NAME asks another. Each request is a line
of JSON on stdout. SIGTERM and Ctrl-C stop the server when all that it has accepted is answered.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from jaxcnn.errors import UserError, printable
from jaxcnn.files.paths import as_path

if TYPE_CHECKING:
    from jaxcnn.serving.served import Served

_WORKDIRS = flags.DEFINE_multi_string(
    "workdir", [], "A run directory, or NAME=FOLDER. May be given again, for another model."
)
_ARTIFACTS = flags.DEFINE_multi_string(
    "artifact", [], "A model.onnx that jaxcnn export wrote, or NAME=FILE. May be given again."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "best", "Which of a run's checkpoints: best (on validation), latest, or a step."
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Where to listen; 0.0.0.0 lets other machines ask."
)
_PORT = flags.DEFINE_integer("port", 8000, "Where to listen; 0: any free port.")
_BATCH = flags.DEFINE_integer(
    "max-batch", 32, "Images that are answered together, at most.", lower_bound=1, upper_bound=64
)
_DELAY = flags.DEFINE_float(
    "max-delay-ms",
    0.0,
    "How long an image waits for others. 0: batches are what comes while the last one is answered.",
    lower_bound=0.0,
    upper_bound=1000.0,
)
_THREADS = flags.DEFINE_integer(
    "threads",
    1,
    "Cores that answer one batch of an exported file; as many batches run at once as the machine "
    "has room for. 1: most answers a second; more: a large model answers a lone request sooner.",
    lower_bound=1,
)
_WAITING = flags.DEFINE_integer(
    "max-waiting", 512, "Images that may wait; more are told to come again (503).", lower_bound=1
)
_MEGABYTES = flags.DEFINE_integer("max-request-mb", 32, "Of a request.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("max-images", 64, "Of a request.", lower_bound=1)
_MEGAPIXELS = flags.DEFINE_float("max-megapixels", 50.0, "Of an image.", lower_bound=0.01)
_SECONDS = flags.DEFINE_float("timeout-s", 30.0, "Of a request.", lower_bound=0.1)
_TOKEN_FILE = flags.DEFINE_string(
    "token-file",
    None,
    "A file with a token that requests must show (Authorization: Bearer TOKEN). Default: the "
    "environment's JAXCNN_TOKEN; without it none is needed.",
)
_ORIGIN = flags.DEFINE_string(
    "cors-origin", None, "Of pages elsewhere that may ask, as https://example.org. Default: none."
)


def check() -> None:
    for name in ("fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn"):
        if find_spec(name) is None:
            raise UserError(
                f"{name} is not installed, which serving takes; pip install 'jaxcnn[serve]'"
            )
    _token(), _origin()
    if not _WORKDIRS.value and not _ARTIFACTS.value:
        raise UserError(
            "--workdir: give the folder of a trained model, --workdir=runs/digits, or an exported "
            "file, --artifact=model.onnx"
        )
    for value in [*_WORKDIRS.value, *_ARTIFACTS.value]:
        _named(value)
    for value in _ARTIFACTS.value:
        if (path := _named(value)[1]).suffix != ".onnx":
            raise UserError(f"--artifact={path}: is no .onnx file; give --workdir for a run")


def main() -> None:
    from jaxcnn.runtime.compile import enable_compile_cache
    from jaxcnn.serving.app import make_app
    from jaxcnn.serving.limits import Limits
    from jaxcnn.serving.log import Log
    from jaxcnn.serving.served import by_name
    from jaxcnn.serving.server import listen, run

    token, origin = _token(), _origin()
    listener = listen(_HOST.value, _PORT.value)
    enable_compile_cache()
    workers = max(1, (os.cpu_count() or 1) // _THREADS.value)
    models = by_name(
        [_load(value, workers=1) for value in _WORKDIRS.value]
        + [_load(value, workers=workers) for value in _ARTIFACTS.value]
    )
    limits = Limits(
        request_bytes=_MEGABYTES.value * 2**20,
        images=_IMAGES.value,
        pixels=int(_MEGAPIXELS.value * 1e6),
        seconds=_SECONDS.value,
        waiting=_WAITING.value,
    )
    threads = os.cpu_count() or 1
    log = Log()
    app = make_app(models, limits, token=token, cors_origin=origin, threads=threads, log=log.write)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    names = ", ".join(printable(name) for name in models)
    print(f"serving {names} at http://{shown}:{port}", file=sys.stderr, flush=True)
    number = run(app, listener)
    log.close()
    print("stopped; all that was accepted is answered", file=sys.stderr, flush=True)
    if number is not None:
        sys.exit(128 + number)


def _load(value: str, workers: int) -> "Served":
    from jaxcnn.inference.classifier import load_classifier
    from jaxcnn.serving.served import serve_model

    name, path = _named(value)
    classifier = load_classifier(path, _CHECKPOINT.value, threads=_THREADS.value)
    numbers = _BATCH.value, _DELAY.value / 1000, _WAITING.value, workers
    return serve_model(name or classifier.name, classifier, *numbers)


def _named(value: str) -> tuple[str, Path]:
    """("name", path) of NAME=PATH; the name is "" where there is none, or a file of all that."""
    name, equals, rest = value.partition("=")
    if not value or (equals and not rest):
        raise UserError(f"--workdir or --artifact: {value!r} names no path")
    whole = as_path(value)
    if not equals or "/" in name or whole.exists():
        return "", whole
    return name, as_path(rest)


def _token() -> str:
    if _TOKEN_FILE.value is None:
        token = os.environ.get("JAXCNN_TOKEN", "")
        where = "JAXCNN_TOKEN"
    else:
        where = f"--token-file={_TOKEN_FILE.value}"
        try:
            token = Path(_TOKEN_FILE.value).expanduser().read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no ASCII text"
            raise UserError(f"{where}: cannot be read ({reason}); give another file") from error
        if not token:
            raise UserError(f"{where}: is empty; write a token into it")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{where}: a token is one line of ASCII characters without spaces")
    return token


def _origin() -> str:
    origin = _ORIGIN.value or ""
    if origin and origin != "*" and not origin.startswith(("http://", "https://")):
        raise UserError(f"--cors-origin={origin}: expected an origin, as https://example.org")
    return origin.rstrip("/")
