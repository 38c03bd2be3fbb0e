"""What a service tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one service.

    Attributes:
        registry: All of them.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "comdefend_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "comdefend_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("path",),
            registry=registry,
        )
        self.accepted = Gauge(
            "comdefend_accepted_images", "Accepted and not answered yet.", registry=registry
        )
        self.pixels = Counter(
            "comdefend_accepted_pixels", "Pixels of accepted images.", registry=registry
        )
        self.batches = Histogram(
            "comdefend_batch_images",
            "Images or tiles that the engine computed at once.",
            buckets=_BATCHES,
            registry=registry,
        )
        self.engine_seconds = Counter(
            "comdefend_engine_seconds", "Time that the engine computed.", registry=registry
        )
