"""A peer in a process of its own, which does what it is told and answers in JSON, line by line."""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is no answer

    def answer(content: dict) -> None:
        answers.write(json.dumps(content, default=np.ndarray.tolist) + "\n")

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers.task import Task

    name, *given = json.loads(sys.argv[1])
    network, batch_size, dtype, folder, steps = given
    try:
        peer = importlib.import_module(f"peers.{name}")
    except ModuleNotFoundError as error:
        answer({"missing": f"{error.name} is not installed"})
        return
    actions = peer.build(Task(network, batch_size, dtype, Path(folder), steps))
    answer({"value": actions["check"]()})
    for line in sys.stdin:
        action, *arguments = json.loads(line)
        started = time.perf_counter()
        try:
            value = actions[action](*arguments)
        except ModuleNotFoundError as error:
            answer({"missing": f"{error.name} is not installed"})
        else:
            answer({"seconds": time.perf_counter() - started, "value": value})


if __name__ == "__main__":
    main()
