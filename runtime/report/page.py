"""From the data of `catalog.campaigns.report` to a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from catalog.repositories.crawl_series import Bucket, percentile_s
from runtime.cli._output import duration, size
from runtime.report.charts import Line, Span, bars, lines, stacked

MAX_STEPS = 120
"""More would be thinner than a line."""
EXAMPLES = 3
"""URLs of a class that are seen at once; the others unfold."""
SHOWN_URLS = 25
SHOWN_ITEMS = 200
_STATUS_STYLES = {"2xx": "ok", "3xx": "moved", "4xx": "client", "5xx": "server", "no answer": "none"}
_GROUP_STYLES = ("a", "b", "c", "d", "e")


def render(report: Mapping[str, Any]) -> str:
    """The page. All text of the web in it is escaped; it names no other file and no server to load from."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, size=size, moment=_moment, milliseconds=_milliseconds, web=_web)
    return environment.get_template("report.html").render(
        report=report,
        sources=[{**source, "charts": _charts(source)} for source in report["sources"]],
        errors=_errors(report["sources"]),
        examples=EXAMPLES,
        shown_urls=SHOWN_URLS,
        shown_items=SHOWN_ITEMS,
    )


def _charts(source: Mapping[str, Any]) -> dict[str, Markup]:
    buckets = _merged([_bucket(each) for each in source["series"]])
    if not buckets:
        return {}
    spans = [Span(each.started_at.timestamp(), each.started_at.timestamp() + each.width_s) for each in buckets]
    by_class = {
        name: (style, [_of_class(each.statuses, name) for each in buckets]) for name, style in _STATUS_STYLES.items()
    }
    found, total = [], 0
    for each in buckets:
        total += each.items
        found.append(float(total))
    return {
        "requests": stacked(spans, by_class, "requests"),
        "latency": lines(
            spans,
            [
                Line("95 % within", "server", [percentile_s(each.latency, 0.95) for each in buckets]),
                Line("half within", "ok", [percentile_s(each.latency, 0.5) for each in buckets]),
            ],
            "seconds",
        ),
        "items": lines(spans, [Line("items found", "a", found)], "items, all so far"),
        "budget": lines(spans, _budget_lines(source, buckets), "requests a minute"),
    }


def _budget_lines(source: Mapping[str, Any], buckets: Sequence[Bucket]) -> list[Line]:
    totals: dict[str, int] = {}
    for each in buckets:
        for group, count in each.groups.items():
            totals[group] = totals.get(group, 0) + count
    busiest = sorted(totals, key=lambda group: (-totals[group], group))[: len(_GROUP_STYLES)]
    result = [
        Line(group, style, [each.groups.get(group, 0) / each.width_s * 60 for each in buckets])
        for group, style in zip(busiest, _GROUP_STYLES, strict=False)
    ]
    delays = {float(source["groups"].get(group, {}).get("delay_s") or 0.0) for group in busiest} - {0.0}
    result += [Line(f"allowed: {60 / delay:g}", "none", [60 / delay] * len(buckets), True) for delay in sorted(delays)]
    return result


def _errors(sources: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    classes: dict[str, dict[str, Any]] = {}
    for source in sources:
        for each in source["incidents"]:
            entry = classes.setdefault(
                each["class"],
                {"class": each["class"], "remedy": each["remedy"], "count": 0, "passing": 0, "urls": [], "sources": {}},
            )
            entry["count"] += each["count"]
            entry["sources"][source["source"]] = each["count"]
            entry["urls"] += [{**url, "source": source["source"]} for url in each["urls"]]
            entry["passing"] += sum(not url["final"] for url in each["urls"])
    ranked = sorted(classes.values(), key=lambda entry: (-entry["count"], entry["class"]))
    return {"classes": ranked, "chart": bars([(each["class"], each["count"], "server") for each in ranked])}


def _bucket(values: Mapping[str, Any]) -> Bucket:
    started = values["started_at"]
    known = {name: values[name] for name in Bucket.__dataclass_fields__ if name != "started_at"}
    return Bucket(datetime.fromisoformat(started) if isinstance(started, str) else started, **known)


def _merged(buckets: Sequence[Bucket]) -> list[Bucket]:
    """At most `MAX_STEPS` steps; a pause stays a gap."""
    steps = max(1, -(-len(buckets) // MAX_STEPS))
    result = []
    for start in range(0, len(buckets), steps):
        first = buckets[start]
        for other in buckets[start + 1 : start + steps]:
            first.merge(other)
        result.append(first)
    return result


def _of_class(statuses: Mapping[str, int], name: str) -> float:
    if name == "no answer":
        return float(statuses.get("none", 0))
    return float(sum(count for status, count in statuses.items() if status[:1] == name[0] and status != "none"))


def _moment(value: Any) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else "–"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value * 1000:,.0f} ms"


def _web(url: str) -> str:
    """The URL where a browser may follow it, else nothing: a page may have named any scheme."""
    return url if url.startswith(("http://", "https://")) else ""
