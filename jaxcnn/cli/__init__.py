"""The commands and their flags, nothing else: `jaxcnn VERB`, each verb a file of this folder.

Only the verb that was asked for is imported, so that its flags alone are defined.
"""

import sys
import time
from importlib import import_module

from jaxcnn.cli.streams import checked_output, prepare_streams
from jaxcnn.errors import nearest
from jaxcnn.runtime import huge_pages

STARTED = time.perf_counter()  # the log of a run says how long imports took

VERBS = {
    "train": "train an image classifier, or go on with a run that was stopped",
    "evaluate": "say how good a trained model is, where it fails and what it looks at",
    "predict": "say what is in images, in videos and before a camera",
    "export": "write a trained model as files that other systems load: ONNX, Keras, ...",
    "serve": "answer over HTTP, with a page for people",
    "tune": "search for a better config",
    "check_data": "look at every image once, and say what training would stumble over",
    "compare": "say whether one trained model is better than another, or was lucky",
    "benchmark": "measure how fast a training is, or what models cost",
}


def start(verb: str) -> None:
    """Runs the command `verb` with the words of `sys.argv[1:]`, and ends the process.

    A process that is this command alone begins once more first, where that wins it huge pages.
    """
    prepare_streams()
    if huge_pages.is_command():
        huge_pages.start_again()  # before the imports that take long
    sys.argv[0] = f"jaxcnn {verb}"  # what commands that are printed begin with
    from jaxcnn.cli import process

    process.run(import_module(f"jaxcnn.cli.{verb}"))


def main() -> None:
    """Runs `jaxcnn VERB ...`: the script, and `python -m jaxcnn`."""
    prepare_streams()
    words = sys.argv[1:]
    if words[:1] == ["help"] and len(words) > 1:  # jaxcnn help VERB
        words = [words[1], "--help"]
        sys.argv[1:] = words
    if not words or words[0] in ("--help", "-h", "help"):
        with checked_output():
            print(_usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"jaxcnn {version('jaxcnn')}")
        sys.exit(0)
    verb = words[0].replace("-", "_")
    if verb not in VERBS:
        close = nearest(verb, VERBS)
        print(
            f"error: {words[0]!r}: no such verb{close}; jaxcnn --help lists them", file=sys.stderr
        )
        sys.exit(2)
    del sys.argv[1]
    start(verb)


def _usage() -> str:
    """The verbs, a sentence each."""
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "Train, check, explain, export and serve image classifiers.",
            "",
            "    jaxcnn train --config digits",
            "    jaxcnn VERB --help",
            "",
            "Verbs:",
            *(f"  {verb:{width}}  {sentence}" for verb, sentence in VERBS.items()),
        ]
    )
