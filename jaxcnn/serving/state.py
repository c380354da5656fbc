"""What one server knows while it runs."""

import gc
import logging
import threading
from collections.abc import Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxcnn.errors import printable
from jaxcnn.serving.batching import Batcher
from jaxcnn.serving.limits import Limits, Refused
from jaxcnn.serving.metrics import Metrics
from jaxcnn.serving.served import Served
from jaxcnn.serving.upload import Memory

logger = logging.getLogger(__name__)


class State:
    """ready: the models are warm. draining: the server answers, and is about to stop."""

    def __init__(
        self,
        models: Mapping[str, Served],
        limits: Limits,
        metrics: Metrics,
        pool: ThreadPoolExecutor,
    ):
        self.models = models
        self.limits = limits
        self.metrics = metrics
        self.pool = pool
        self.memory = Memory(limits.held_bytes)
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

    def chosen(self, name: str | None) -> Served:
        """The model of that name, or the first; Refused where there is none."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            known = ", ".join(self.models)
            raise Refused(404, f"no model {printable(name[:80])!r}; there is {known}")
        return self.models[name]

    @staticmethod
    def note(scope: MutableMapping[str, Any], **told: Any) -> None:
        """Adds to what is logged of a request."""
        scope.get("jaxcnn", {}).update(told)

    def close(self) -> None:
        for batcher in self.batchers:
            batcher.close()
        self.pool.shutdown(wait=True)
