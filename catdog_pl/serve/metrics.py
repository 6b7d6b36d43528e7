"""What the server counts, for Prometheus; no picture, name or address is among it."""

from collections.abc import Callable
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catdog_pl.prediction.predictor import Prediction


class Metrics:
    """The counters of one server.

    Args:
        load: gives how many pictures are being answered now.
    """

    def __init__(self, load: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("catdog_requests", "Requests", ("route", "status"), registry=registry)
        self._seconds = Histogram(
            "catdog_request_seconds", "From headers to answer", ("route",), registry=registry
        )
        self._pictures = Counter(
            "catdog_pictures", "Pictures by label or by fault", ("answer",), registry=registry
        )
        self.batch_size = Histogram(
            "catdog_batch_size", "Pictures computed at once", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        Gauge("catdog_pictures_in_work", "Pictures in work now", registry=registry).set_function(load)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_picture(self, prediction: Prediction) -> None:
        """Count one picture."""
        self._pictures.labels(prediction.label or prediction.fault or "no answer").inc()


class CountedRequests:
    """Counts each request by its route; those of unknown addresses together."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.count_request(route, status, perf_counter() - start)
