"""Crawls, budgets and workers as Prometheus metrics; the names stand in docs/operator.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from catalog.reads.crawl_stats import CrawlStats, SourceTotals
from catalog.repositories.crawl_series import LATENCY_BOUNDS_S

_COUNTERS = {
    "pages": "Pages that were read.",
    "items": "Items found, known ones included.",
    "bytes": "Bytes received.",
    "retries": "Requests that were put back to be asked again.",
}


class CrawlMetrics(Collector):
    """Shows the figures it was given last; the database is the only memory."""

    def __init__(self) -> None:
        self.stats: CrawlStats | None = None

    def collect(self) -> Iterable[Metric]:
        """Prometheus asks."""
        if self.stats is None:
            return
        yield from _sources(self.stats.sources)
        yield from _now(self.stats)
        yield from _scopes(self.stats)
        yield from _workers(self.stats)


def _sources(sources: Iterable[SourceTotals]) -> Iterable[Metric]:
    requests = CounterMetricFamily(
        "versions_crawl_requests", "Answered requests by HTTP status; none: no answer.", labels=["source", "status"]
    )
    errors = CounterMetricFamily(
        "versions_crawl_errors", "Requests that ended badly, by class.", labels=["source", "class"]
    )
    seconds = HistogramMetricFamily(
        "versions_crawl_request_seconds", "Time from a request to its answer, redirects included.", labels=["source"]
    )
    counters = {
        name: CounterMetricFamily(f"versions_crawl_{name}", text, labels=["source"]) for name, text in _COUNTERS.items()
    }
    for each in sources:
        for status, count in each.statuses.items():
            requests.add_metric([each.source, status], count)
        for failure, count in each.failures.items():
            errors.add_metric([each.source, failure], count)
        for name, family in counters.items():
            family.add_metric([each.source], each.counters.get(name, 0.0))
        seen, buckets = 0.0, []
        for place, bound in enumerate((*LATENCY_BOUNDS_S, "+Inf"), 1):
            seen += each.latency.get(str(place), 0.0)
            buckets.append((str(bound), seen))
        seconds.add_metric([each.source], buckets, sum_value=each.counters.get("latency_sum_s", 0.0))
    yield from (requests, *counters.values(), errors, seconds)


def _now(stats: CrawlStats) -> Iterable[Metric]:
    runs = GaugeMetricFamily("versions_crawl_runs", "Runs that have not ended.", labels=["source", "state"])
    queue = GaugeMetricFamily(
        "versions_crawl_queue", "Queued requests: due, or waiting for their time.", labels=["source", "state"]
    )
    depth: dict[tuple[str, str], int] = {}
    for each in stats.queues:
        runs.add_metric([each.source, each.state], each.runs)
        for state, count in (("due", each.due), ("waiting", each.waiting)):
            depth[each.source, state] = depth.get((each.source, state), 0) + count
    for labels, count in depth.items():
        queue.add_metric(labels, count)
    delay = GaugeMetricFamily(
        "versions_politeness_delay_seconds", "Between two requests to a server group.", labels=["group"]
    )
    rate = GaugeMetricFamily(
        "versions_politeness_requests_per_second", "Answered by a server group, last minute.", labels=["group"]
    )
    used = GaugeMetricFamily(
        "versions_politeness_budget_used_ratio", "Share of the allowed rate, last minute.", labels=["group"]
    )
    for group in stats.groups:
        delay.add_metric([group.server_group], group.delay_s)
        rate.add_metric([group.server_group], group.requests_per_s)
        if group.delay_s:
            used.add_metric([group.server_group], group.requests_per_s * group.delay_s)
    alerts = GaugeMetricFamily(
        "versions_operator_alerts",
        "Held runs and frozen sources that wait for an operator.",
        labels=["source", "reason"],
    )
    for alert in stats.alerts:
        alerts.add_metric([alert.source, alert.reason], alert.count)
    yield from (runs, queue, delay, rate, used, alerts)


def _scopes(stats: CrawlStats) -> Iterable[Metric]:
    breaker = GaugeMetricFamily("versions_breaker_open", "1: nobody may ask this source.", labels=["source"])
    today = {
        unit: GaugeMetricFamily(f"versions_politeness_{unit}_today", f"{unit.title()} of the day.", labels=["scope"])
        for unit in ("requests", "bytes")
    }
    budget = GaugeMetricFamily("versions_politeness_daily_budget", "At most a day.", labels=["scope", "unit"])
    for scope in stats.scopes:
        if scope.key.startswith("source:"):
            breaker.add_metric([scope.key.removeprefix("source:")], scope.breaker_open)
        for unit, used, limit in (
            ("requests", scope.requests_today, scope.per_day),
            ("bytes", scope.bytes_today, scope.bytes_per_day),
        ):
            today[unit].add_metric([scope.key], used)
            if limit is not None:
                budget.add_metric([scope.key, unit], limit)
    yield from (breaker, *today.values(), budget)


def _workers(stats: CrawlStats) -> Iterable[Metric]:
    count = GaugeMetricFamily("versions_workers", "Workers that live.")
    count.add_metric([], len(stats.workers))
    rss = GaugeMetricFamily("versions_worker_resident_bytes", "Memory of a worker.", labels=["worker"])
    cpu = CounterMetricFamily("versions_worker_cpu_seconds", "CPU time of a worker.", labels=["worker"])
    crawls = GaugeMetricFamily("versions_worker_crawls", "Crawls under way in a worker.", labels=["worker"])
    flight = GaugeMetricFamily(
        "versions_crawl_in_flight", "Requests sent and not answered yet.", labels=["worker", "source"]
    )
    proxies = GaugeMetricFamily("versions_proxies", "Proxies of a worker by state.", labels=["worker", "state"])
    for worker in stats.workers:
        figures = worker.figures
        for state, number in Counter(figures.get("proxies", {}).values()).items():
            proxies.add_metric([worker.name, state], number)
        rss.add_metric([worker.name], float(figures.get("rss_bytes", 0)))
        cpu.add_metric([worker.name], float(figures.get("cpu_s", 0)))
        crawls.add_metric([worker.name], len(figures.get("crawls", {})))
        for source, requests in worker.in_flight.items():
            flight.add_metric([worker.name, source], requests)
    yield from (count, rss, cpu, crawls, flight, proxies)
