"""What one server knows while it runs."""

import gc
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from jaxcnn.errors import printable
from jaxcnn.serving.batching import Batcher
from jaxcnn.serving.limits import Limits, Refused
from jaxcnn.serving.metrics import Metrics
from jaxcnn.serving.served import Served
from jaxcnn.serving.upload import Memory

logger = logging.getLogger(__name__)

# How many requests of the largest size may be held in memory together.
_HELD = 8


class State:
    """ready: the models are warm. failed: why they cannot be. draining: the server answers, and is
    about to stop. pool: the threads that decode images.
    """

    def __init__(self, models: Mapping[str, Served], limits: Limits, threads: int):
        self.models = models
        self.limits = limits
        self.metrics = Metrics(models)
        self.pool = ThreadPoolExecutor(threads, "decode")
        self.memory = Memory(_HELD * limits.request_bytes)
        self.ready = threading.Event()
        self.failed = ""
        self.draining = False

    @property
    def batchers(self) -> list[Batcher]:
        return [batcher for model in self.models.values() for batcher in model.batchers]

    def warm_up(self) -> None:
        """Runs every model, and then says that it is ready."""
        try:
            for model in self.models.values():
                logger.info("%s: warm (%.1f s)", printable(model.name), model.warm_up())
        except Exception as error:
            logger.exception("a model cannot be run")
            self.failed = f"a model cannot be run ({type(error).__name__}); see the server's log"
            return
        # What is there now stays: the collector need not look at it again for every few requests.
        gc.collect()
        gc.freeze()
        self.ready.set()

    def check_ready(self) -> None:
        """Refused while requests should go elsewhere."""
        if self.failed:
            raise Refused(503, self.failed)
        if not self.ready.is_set():
            raise Refused(503, "the model is being loaded; try again in a second", retry_after=1)

    def close(self) -> None:
        for batcher in self.batchers:
            batcher.close()
        self.pool.shutdown(wait=True)
