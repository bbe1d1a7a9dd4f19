"""Prometheus metrics of one application; each has a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from catalog.reads.crawl_stats import CrawlStats
from catalog.reads.stats import Stats
from catalog_api.crawl_metrics import CrawlMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts requests, and shows the catalog's figures as they are when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "versions_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "versions_http_request_seconds",
            "Time to the end of the answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._candidates = Gauge("versions_candidates", "Candidates by state.", ["state"], registry=self.registry)
        self._open_reviews = Gauge("versions_open_reviews", "Review cases nobody decided.", registry=self.registry)
        self._feed = Gauge("versions_feed_position", "Newest event of the change feed.", registry=self.registry)
        self._crawls = CrawlMetrics()
        self.registry.register(self._crawls)
        self._database_up = Gauge("versions_database_up", "1: the figures are fresh.", registry=self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one finished request; ``route`` is the template, never the path: labels stay few."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def show(self, stats: Stats | None, crawls: CrawlStats | None = None) -> bytes:
        """The exposition text; None: the database could not be asked."""
        self._crawls.stats = crawls
        self._database_up.set(stats is not None)
        if stats is not None:
            self._candidates.clear()
            for state, count in stats.candidates.items():
                self._candidates.labels(state).set(count)
            self._open_reviews.set(stats.open_reviews)
            self._feed.set(stats.feed_position)
        return generate_latest(self.registry)
