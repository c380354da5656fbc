"""On the path of processes that shall not find TensorFlow, see `tests/processes.py`."""

raise ImportError("hidden from this test")
