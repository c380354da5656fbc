"""Trains with several processes on this machine, and looks after them.

    python launch/local.py --processes 2 --devices 4 --config experiments/digits.py
    python launch/local.py --processes 2 --gpus 4 --config experiments/cifar10.py

--processes N: how many. --devices M: CPU devices of each. --gpus M: GPUs of each instead, those of
CUDA_VISIBLE_DEVICES in order. All other words are for `jaxcnn train`; of those,
--heartbeat-seconds is how long a process may be silent before it counts as dead.

What the first process says is printed as it is, what another says after its number: `[1] ...`.
Ctrl-C and SIGTERM stop all of them at one step, after saving. When one dies, the others are ended
too, and the same command goes on from the last checkpoint.

Exit codes are those of jaxcnn train: 0 done · 2 your mistake · 130 Ctrl-C · 143 SIGTERM · 134 a
process has died or hangs.
"""

import argparse
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, NoReturn

# How long those that are left may take to end by themselves: for their own line, or the last bytes
# of a checkpoint.
_GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.05
# A process that JAX has aborted, because another did not answer.
_ABORTED = (-signal.SIGABRT, 134)

_STEP = re.compile(r"\bstep (\d+)\b")
_SAVED = re.compile(r"stopped, step (\d+) is saved")
# XLA aborts when devices do not meet within 40 s, for which busy cores may need longer.
_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds"
_GLOO = "connected peer ranks is"
# Dozens of lines, with a stack trace in C++, say that another process has gone.
_JAX_ABORTS = re.compile(r"[EF]\d{4} .*(coordination_service|client\.h)")


def main() -> NoReturn:
    options, rest = _parse(sys.argv[1:])
    group = Group(options, rest)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, group.forward)
    code, line = group.wait()
    if line:
        print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def _parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    if not words or {"-h", "--help"} & {*words}:
        print(__doc__.strip())
        sys.exit(0 if words else 2)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int)
    parser.add_argument("--gpus", type=int)
    parser.error = _fail  # type: ignore[method-assign]
    options, rest = parser.parse_known_args(words)
    for name in ("processes", "devices", "gpus"):
        value = getattr(options, name)
        if value is not None and value < 1:
            _fail(f"--{name}={value}: expected 1 or more")
    if options.devices and options.gpus:
        _fail("--devices and --gpus: give one of them")
    for word in rest:
        name = word.partition("=")[0]
        if name in ("--coordinator", "--num-processes", "--process-id"):
            _fail(f"{name}: is given to each process by this command; leave it out")
    return options, rest


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


class Group:
    """The processes of a run, from their start to the last one's end."""

    def __init__(self, options: argparse.Namespace, rest: list[str]):
        self._lock = threading.Lock()
        self._step: str | None = None  # the last that any of them has told of
        self._mistakes: dict[int, str] = {}  # the `error:` line of a process
        self._saved: str | None = None
        self._asked: int | None = None  # the signal this process was sent
        self._first: int | None = None  # the process that failed first
        address = f"127.0.0.1:{_free_port()}"
        self._processes: list[subprocess.Popen[str]] = []
        for i in range(options.processes):
            where = [f"--coordinator={address}", f"--num-processes={options.processes}"]
            line = [sys.executable, "-m", "jaxcnn.main", *rest, *where, f"--process-id={i}"]
            self._processes.append(
                subprocess.Popen(
                    line,
                    env=_environment(options, i),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # Ctrl-C reaches this process, which passes it on
                    preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                )
            )
        self._readers = [
            threading.Thread(target=self._read, args=(i, pipe, out), daemon=True)
            for i, process in enumerate(self._processes)
            for pipe, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        ]
        for reader in self._readers:
            reader.start()
        numbers = ", ".join(str(process.pid) for process in self._processes)
        print(f"processes: {numbers}", file=sys.stderr, flush=True)

    def forward(self, number: int, frame: object) -> None:
        """Passes a signal on to all."""
        del frame
        self._asked = self._asked or number
        for process in self._processes:
            process.send_signal(number)

    def wait(self) -> tuple[int, str | None]:
        """Waits for all; the exit code, and the line that says why if it is not 0."""
        codes: list[int | None] = [None] * len(self._processes)
        end = float("inf")
        while None in codes:
            time.sleep(_POLL_SECONDS)
            codes = [process.poll() for process in self._processes]
            failed = [i for i, code in enumerate(codes) if code]
            if failed and self._first is None:
                # Of several at once, one that JAX has aborted is not the cause.
                self._first = min(failed, key=lambda i: codes[i] in _ABORTED)
                end = time.monotonic() + _GRACE_SECONDS
            if time.monotonic() > end:
                hanging = [i for i, code in enumerate(codes) if code is None]
                self._kill()
                if hanging and codes[self._first] in _ABORTED:
                    return self._result(134, f"process {hanging[0]} hangs")
                break
        for reader in self._readers:
            reader.join(timeout=5)
        return self._outcome(self._first, codes)

    def _outcome(self, first: int | None, codes: list[int | None]) -> tuple[int, str | None]:
        code = 0 if first is None else codes[first] or 0
        if code == 0:
            return 0, None
        if code == 2 or code in _ABORTED:  # the others say the same, or what follows
            for number in (first, *range(len(codes))):
                if codes[number] == 2 and number in self._mistakes:
                    return 2, self._mistakes[number]
        if code in (130, 143) or (self._asked and -code == self._asked):
            saved = "nothing new" if self._saved is None else f"step {self._saved}"
            again = shlex.join([sys.executable, *sys.argv])
            return code if code > 0 else 128 - code, (
                f"stopped, {saved} is saved; resume with: {again}"
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return self._result(134 if code < 0 else code, f"process {first} died ({how})")

    def _result(self, code: int, what: str) -> tuple[int, str]:
        when = "before its first step" if self._step is None else f"at step {self._step}"
        return code, f"error: {what} {when}; start again to resume"

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _read(self, number: int, pipe: IO[str], out: IO[str]) -> None:
        """Prints what a process says, but for what this command says in its place."""
        aborted = False
        for line in pipe:
            aborted = aborted or _JAX_ABORTS.match(line) is not None
            if aborted or _GLOO in line:
                continue
            with self._lock:
                if found := _STEP.search(line):
                    self._step = found[1]
                if found := _SAVED.match(line):
                    self._saved = found[1]
                elif line.startswith("error: "):
                    self._mistakes[number] = line.rstrip()
                elif self._first in (None, number):  # what the others say then follows from that
                    out.write(line if number == 0 else f"[{number}] {line}")
                    out.flush()


def _environment(options: argparse.Namespace, number: int) -> dict[str, str]:
    """The environment of process `number`, with the devices that are its own."""
    if options.gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = options.processes * options.gpus
        names = visible.split(",") if visible else [str(i) for i in range(count)]
        if len(names) < count:
            _fail(f"--gpus={options.gpus}: CUDA_VISIBLE_DEVICES={visible} names fewer than {count}")
        own = names[number * options.gpus : (number + 1) * options.gpus]
        return os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(own)}
    flags = os.environ.get("XLA_FLAGS", "")
    if options.devices:
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", flags)
        flags += f" --xla_force_host_platform_device_count={options.devices}"
    if _PATIENCE not in flags:
        flags += f" {_PATIENCE}=600"
    return os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}


def _end_with_parent() -> None:
    """In a new process: SIGTERM, to save and stop, when this command is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
