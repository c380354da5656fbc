"""What Prometheus reads at /metrics."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.serving.served import Served

# Seconds; the last bounds tell how near requests come to their limit of time.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one server; nothing is shared with another in the same process."""

    def __init__(self, models: Mapping[str, Served]):
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Histogram,
            PlatformCollector,
            ProcessCollector,
        )

        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        keep: Any = {"registry": self.registry}
        self.requests = Counter(
            "jaxcnn_requests", "Requests, by path and status.", ("path", "status"), **keep
        )
        self.seconds = Histogram(
            "jaxcnn_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            **keep,
        )
        self.images = Counter("jaxcnn_images", "Images answered, by model.", ("model",), **keep)
        self.registry.register(_Batches(models))

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class _Batches:
    """What the queues count by themselves, read when it is asked for."""

    def __init__(self, models: Mapping[str, Served]):
        self._models = models

    def collect(self) -> list[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        waiting = GaugeMetricFamily(
            "jaxcnn_waiting_images", "Images in the queue.", labels=["model"]
        )
        batches = CounterMetricFamily("jaxcnn_batches", "Batches run.", labels=["model"])
        images = CounterMetricFamily(
            "jaxcnn_batched_images", "Images in these batches.", labels=["model"]
        )
        for name, model in self._models.items():
            sizes = dict(model.answers.sizes)
            waiting.add_metric([name], model.answers.queued)
            batches.add_metric([name], sum(sizes.values()))
            images.add_metric([name], sum(size * count for size, count in sizes.items()))
        return [waiting, batches, images]
