"""What /metrics shows, in a registry of the service's own."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
PATHS = ("/", "/detect", "/health", "/metrics", "/openapi.json")


class ServiceMetrics:
    """Counters of one service. Touched from its event loop alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry, "namespace": "pva_sae"}
        ProcessCollector(registry=self.registry)
        self.requests = Counter("requests_total", "Requests answered", ["path", "status"], **given)
        self.seconds = Histogram("request_seconds", "From a request's head to its answer", buckets=SECONDS, **given)
        self.in_flight = Gauge("requests_in_flight", "Requests under way", **given)
        text = "Connections without a whole request head"
        self.connections_waiting = Gauge("connections_waiting", text, **given)
        text = "Connections ended: slow, their request did not come in time; crowded, too many had none"
        self.connections_dropped = Counter("connections_dropped_total", text, ["reason"], **given)
        self.queue = Gauge("queue_texts", "Texts that wait for a batch", **given)
        self.detections = Counter("detections_total", "Texts by route and level", ["route", "level"], **given)
        self.tokens = Counter("tokens_total", "Tokens read", **given)
        self.batch_size = Histogram("batch_texts", "Texts in a batch", buckets=SIZES, **given)
        self.batch_seconds = Histogram("batch_seconds", "Seconds that a batch takes", buckets=SECONDS, **given)
        self.verifications = Counter("verifications_total", "Verifications by verdict", ["verdict"], **given)
        self.drift_texts = Gauge("drift_texts", "Last texts whose firings are compared", **given)
        self.drift_others = Gauge("drift_other_texts", "Texts of another population, by their form", **given)
        self.drift_moved = Gauge("drift_moved", "1 when a latent fires more or less often than at discovery", **given)
        self.rate = Gauge("latent_firing_rate", "Share of these texts on which a latent fires", ["latent"], **given)
        self.rate_then = Gauge("latent_firing_rate_at_discovery", "The same at discovery", ["latent"], **given)

    def answered(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels(path if path in PATHS else "other", str(status)).inc()
        if path == "/detect":
            self.seconds.observe(seconds)

    def detected(self, detection: dict[str, Any]) -> None:
        self.detections.labels(detection["route"], detection["level"] or "other population").inc()
        self.tokens.inc(detection["n_tokens"] or 0)

    def batch(self, size: int, seconds: float) -> None:
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def text(self, drift: dict[str, Any], n_waiting: int) -> bytes:
        """All of it in Prometheus' text format; `drift` is the monitor's report."""
        self.queue.set(n_waiting)
        self.drift_texts.set(drift["n"])
        self.drift_others.set(drift["n_other"])
        self.drift_moved.set(drift["moved"])
        for row in drift["latents"]:
            for gauge, rate in ((self.rate, row["rate"]), (self.rate_then, row["rate_at_discovery"])):
                if rate is not None:
                    gauge.labels(str(row["latent"])).set(rate)
        return generate_latest(self.registry)
