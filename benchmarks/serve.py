"""Requests a second over loopback: jaxcnn.serve and two peers that serve the same ONNX file.

    pip install -e '.[cpu,serve,export]' litserve
    jaxcnn export --workdir RUN --format=onnx
    python benchmarks/serve.py --artifact RUN/export/model.onnx

Peers: a plain FastAPI app (one file a request, onnxruntime with its own defaults, in FastAPI's
thread pool), the same with one thread a session, and LitServe with batches of up to 32. A process
of its own keeps 32 connections busy, each sending one JPEG of CIFAR-10 after the other (LitServe
gets it as base64 in JSON); the class and the probability of every answer are compared with what the
file gives for that image by itself. Rounds are interleaved; the median of the rates, the worst of
the 99th percentiles, and the servers' CPU time and memory (with their children's) are told. Nothing
but the servers and the load should run meanwhile.
"""

import argparse
import asyncio
import base64
import collections
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CONNECTIONS, IMAGES, TOLERANCE = 32, 256, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, help="a model.onnx for 32x32x3 pixels")
    parser.add_argument("--workdir", type=Path, help="its run, to measure the JAX engine too")
    parser.add_argument("--images", default="../shared/data/cifar10_lossless_1000.npz")
    parser.add_argument("--requests", type=int, default=4000, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of servers, separated by commas")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # this file as one of the servers
    parser.add_argument("--load", help=argparse.SUPPRESS)  # this file as the load
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        PEERS[options.serve](options.artifact, options.port)
    elif options.load:
        print(json.dumps(asyncio.run(load(options))))
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    servers = {
        name: start(name, options)
        for name in ("jaxcnn", "jaxcnn, JAX", "plain", "plain, 1 thread", "litserve")
        if (not options.only or name in options.only.split(","))
        and (name != "jaxcnn, JAX" or options.workdir)
    }
    found: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    try:
        for number in range(options.rounds + 1):  # the first one warms up
            for name, (process, port) in servers.items():
                before, _ = usage(process.pid)
                one = run_load(name, port, options, warm=number > 0)
                after, one["memory"] = usage(process.pid)
                one["cpu"] = 1000 * (after - before) / options.requests
                if number:
                    found[name].append(one)
                    print(f"round {number}: {name:15} {told(one)}", flush=True)
    finally:
        for process, _ in servers.values():
            process.terminate()
        for process, _ in servers.values():
            process.wait(60)
    ours = statistics.median(one["rate"] for one in next(iter(found.values())))
    print(f"\n{'':15}  requests/s  ratio  p50 ms  p99 ms  CPU ms  wrong  lost  MB, first to last")
    for name, rounds in found.items():
        rate, middle, cpu = (
            statistics.median(one[key] for one in rounds) for key in ("rate", "p50", "cpu")
        )
        wrong, lost = (sum(one[key] for one in rounds) for key in ("wrong", "lost"))
        print(
            f"{name:15}  {rate:10.0f}  {ours / rate:5.2f}  {middle:6.1f}  "
            f"{max(one['p99'] for one in rounds):6.1f}  {cpu:6.2f}  {wrong:5}  {lost:4}  "
            f"{rounds[0]['memory']:.0f} to {rounds[-1]['memory']:.0f}"
        )


def told(one: dict[str, Any]) -> str:
    return (
        f"{one['rate']:6.0f} requests/s · p50 {one['p50']:5.1f} ms · p99 {one['p99']:5.1f} ms · "
        f"CPU {one['cpu']:.2f} ms a request · {one['wrong']} wrong, {one['lost']} lost · "
        f"{one['memory']:.0f} MB"
    )


def start(name: str, options: argparse.Namespace) -> tuple[subprocess.Popen, int]:
    """A server that answers, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if name.startswith("jaxcnn"):
        source = (
            ("--workdir", options.workdir) if "JAX" in name else ("--artifact", options.artifact)
        )
        command = [sys.executable, "-m", "jaxcnn.serve", *map(str, source), f"--port={port}"]
    else:
        own = ["--serve", name, "--artifact", str(options.artifact), "--port", str(port)]
        command = [sys.executable, __file__, *own]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                path = "/readyz" if name.startswith("jaxcnn") else "/docs"
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                if b" 200 " in connection.recv(100):
                    return process, port
        except OSError:
            pass
        if process.poll() is not None:
            raise SystemExit(f"{name}: did not start; run it by hand: {' '.join(command)}")
        time.sleep(0.1)
    raise SystemExit(f"{name}: does not answer")


def run_load(name: str, port: int, options: argparse.Namespace, warm: bool) -> dict[str, Any]:
    count = options.requests if warm else 10 * CONNECTIONS
    how = ["--load", name, "--port", str(port), "--requests", str(count)]
    how += ["--artifact", str(options.artifact), "--images", options.images]
    done = subprocess.run([sys.executable, __file__, *how], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def usage(pid: int) -> tuple[float, float]:
    """Seconds of CPU time that a process and its children took, and their MB of memory, of which
    what they share is counted once.
    """
    pids, ticks, kilobytes = [pid], 0, 0
    for one in pids:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:  # it has ended meanwhile
            continue
    return ticks / os.sysconf("SC_CLK_TCK"), kilobytes / 1024


async def load(options: argparse.Namespace) -> dict[str, Any]:
    """Keeps the connections busy until all requests are answered, one after another on each."""
    from PIL import Image

    pixels = np.load(options.images)["image"][:IMAGES]
    files = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    expected = by_themselves(options.artifact, files)
    requests = [(as_json if options.load == "litserve" else as_form)(file) for file in files]
    left = iter(range(options.requests))
    seconds: list[float] = []
    counts = collections.Counter()

    async def client() -> None:
        reader = writer = None
        for number in left:
            begun = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", options.port)
                writer.write(requests[number % len(requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
            except (OSError, EOFError, IndexError, asyncio.IncompleteReadError):
                counts["lost"] += 1
                writer = None
                continue
            seconds.append(time.perf_counter() - begun)
            if not head.startswith(b"HTTP/1.1 200"):
                counts["lost"] += 1
            elif not same(json.loads(body), expected[number % len(expected)]):
                counts["wrong"] += 1

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    passed = time.perf_counter() - started
    p50, p99 = np.percentile(seconds or [np.nan], [50, 99]) * 1000
    return {
        "rate": options.requests / passed, "p50": p50, "p99": p99,
        "wrong": counts["wrong"], "lost": counts["lost"],
    }  # fmt: skip


def by_themselves(artifact: Path, files: list[bytes]) -> list[tuple[str, float]]:
    """What the file gives for each image: the likeliest class and its probability."""
    run, names = session(artifact, threads=1)
    found = [run(pixels_of(file)[None])[0] for file in files]
    return [(names[one.argmax()], float(one.max())) for one in found]


def same(said: dict[str, Any], wanted: tuple[str, float]) -> bool:
    said = said.get("predictions", [said])[0]
    return said["label"] == wanted[0] and abs(said["probability"] - wanted[1]) < TOLERANCE


def as_form(file: bytes) -> bytes:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + file + b"\r\n--edge--\r\n"
    )
    return _request("multipart/form-data; boundary=edge", body)


def as_json(file: bytes) -> bytes:
    body = json.dumps({"image": base64.b64encode(file).decode()}).encode()
    return _request("application/json", body)


def _request(kind: str, body: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def session(artifact: Path, threads: int | None) -> tuple[Any, list[str]]:
    """A function uint8[n, 32, 32, 3] -> float32[n, K], and the names of the classes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    model = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
    card = model.get_modelmeta().custom_metadata_map["jaxcnn"]
    run = lambda image: model.run(["probabilities"], {"image": image})[0]  # noqa: E731
    return run, json.loads(card)["class_names"]


def pixels_of(file: bytes) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(file, colorspace="RGB")


def _plain(artifact: Path, port: int, threads: int | None = None) -> None:
    import uvicorn
    from fastapi import FastAPI, UploadFile

    run, names = session(artifact, threads)
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile):
        probabilities = run(pixels_of(file.file.read())[None])[0]
        best = int(probabilities.argmax())
        return {"label": names[best], "probability": float(probabilities[best])}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _plain_one_thread(artifact: Path, port: int) -> None:
    _plain(artifact, port, threads=1)


def _litserve(artifact: Path, port: int) -> None:
    api = LitServeApi(max_batch_size=32, batch_timeout=0.005)
    api.artifact = artifact
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=port, log_level="warning", generate_client_file=False
    )


if sys.argv[1:3] == ["--serve", "litserve"]:  # its processes look for the class in this module
    import litserve

    class LitServeApi(litserve.LitAPI):
        def setup(self, device):
            self.run, self.names = session(self.artifact, None)

        def decode_request(self, request):
            return pixels_of(base64.b64decode(request["image"]))

        def predict(self, image):
            return self.run(np.stack(image))

        def encode_response(self, output):
            best = int(output.argmax())
            return {"label": self.names[best], "probability": float(output[best])}


PEERS = {"plain": _plain, "plain, 1 thread": _plain_one_thread, "litserve": _litserve}

if __name__ == "__main__":
    main()
