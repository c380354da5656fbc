"""A search logs what it does itself; of its trials' trainings it logs warnings alone."""

import re

from tests.search.test_tune import EXPERIMENT

# Every line that such a search may have, in this order; each has a place in the code that logs it.
LINES = [
    r"imports \(.* s\)",
    r"trial 0 of 2: optimizer\.learning_rate=.*",
    r"trial 0 complete: accuracy .*% \(best: trial 0, .*\)",
    r"trial 1 of 2: optimizer\.learning_rate=.*",
    r"trial 1 complete: accuracy .*% \(best: trial \d, .*\)",
    r"best: trial \d with accuracy .*% on validation",
]


def test_a_search_logs_its_own_lines_and_none_of_its_trials(command, tmp_path):
    (tmp_path / "plain.py").write_text(EXPERIMENT)
    flags = ["--config", tmp_path / "plain.py", "--workdir", tmp_path / "tune", "--trials=2"]
    flags.append("--search.optimizer.learning_rate=log 1e-3 1")
    done = command(*flags, module="jaxcnn.tune", check=0)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == len(LINES), done.stderr
    for line, expected in zip(lines, LINES, strict=True):
        assert re.fullmatch(expected, line), line


def test_a_run_logs_the_lines_that_a_search_leaves_out(command, tmp_path):
    """So that the test above does not pass because they have other words."""
    (tmp_path / "plain.py").write_text(EXPERIMENT)
    flags = ["--config", tmp_path / "plain.py", "--workdir", tmp_path / "run"]
    done = command(*flags, check=0)
    for line in ("data: ", "state initialised", "compiled for ", "final test on ", "step 1 "):
        assert re.search(rf"^{line}", done.stderr, re.M), line
