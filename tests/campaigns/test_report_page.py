"""The report as a page: whole, escaped, and without anything from elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from lxml import html
from sqlalchemy.orm import Session

from catalog.campaigns import repository
from catalog.campaigns.report import run_report
from catalog.models import CrawlIncident, PolitenessScope
from catalog.repositories import crawl_series
from catalog.repositories.crawl_series import Bucket
from runtime.report import render
from tests.campaigns import rows

EVIL = "<script>alert(1)</script>"
MINUTES = 300


def full_report(session: Session) -> dict[str, object]:
    campaign, _, _ = repository.apply(session, rows.spec())
    run, _ = repository.open_runs(session, campaign.id, "t")
    repository.set_run_state(session, run.id, "running", "crawling")
    begun = datetime(2026, 3, 1, 10, tzinfo=UTC)
    latency = crawl_series.add_latencies([], [0.02] * 18 + [0.4, 4.0])
    crawl_series._write(
        session,
        run.id,
        [
            Bucket(
                begun + timedelta(minutes=n),
                requests=21,
                items=3,
                statuses={"200": 15, "301": 1, "404": 2, "503": 1, "none": 2},
                groups={"a.example:80": 20, "b.example:443": 1},
                latency=latency,
            )
            for n in range(MINUTES)
        ],
    )
    session.add(PolitenessScope(key="group:a.example:80", state={"delay_s": 2.0}))
    rows.incident(session, run.id, "gone", detail=EVIL)
    session.add(CrawlIncident(crawl_run_id=run.id, request_key="js", failure="trap", url="javascript:alert(1)"))
    rows.candidate(session, run.id, "in_review", waiting_on="moderator", reason="similar", item={"title": EVIL})
    rows.candidate(session, run.id, "failed", reason="truncated", item={"title": "Половина"})
    return run_report(session, campaign.id, None, {"gone": "Nothing to do: it is gone."})


def test_the_page_is_whole_and_harmless(session: Session) -> None:
    report = full_report(session)
    text = render(json.loads(json.dumps(report, default=str)))
    page = html.fromstring(text)
    assert not page.xpath(
        "//script | //link | //img | //iframe | //object | //*[@src] | //*[starts-with(name(@*), 'on')]"
    )
    assert all(href.startswith(("#", "http://a.example/")) for href in page.xpath("//@href"))
    assert "url(" not in text
    assert "@import" not in text
    assert EVIL in page.text_content()
    charts = page.xpath("//svg[not(@class)]")
    assert len(charts) == 4
    rects = charts[0].xpath(".//rect")
    assert {rect.get("class") for rect in rects} == {"ok", "moved", "client", "server", "none"}
    # 300 minutes in at most 120 steps, and no request is lost on the way.
    assert len(rects) == 5 * MINUTES / 3
    told = [rect.xpath("title")[0].text for rect in rects]
    assert told[0] == "03-01 10:00: 2xx 45, 3xx 3, 4xx 6, 5xx 3, no answer 6"
    assert len(charts[1].xpath(".//polyline")) == 2
    assert [key.strip() for key in page.xpath("//span[@class='key']/text()") if "allowed" in key] == ["allowed: 30"]
    words = " ".join(page.text_content().split())
    assert "gone ×1 Nothing to do: it is gone." in words
    assert "a moderator: `versions review show" in words or "a moderator: `versions review list" in words
    assert "Половина" in words


def test_a_run_that_did_nothing_has_a_page(session: Session) -> None:
    campaign, _, _ = repository.apply(session, rows.spec())
    repository.open_runs(session, campaign.id, "t")
    page = html.fromstring(render(run_report(session, campaign.id)))
    assert "No request was answered." in page.text_content()
    assert page.xpath("//svg") == []


def test_the_data_of_the_report(session: Session) -> None:
    report = full_report(session)
    source = report["sources"][0]  # type: ignore[index]
    assert len(source["series"]) == MINUTES
    assert sum(bucket["requests"] for bucket in source["series"]) == 21 * MINUTES
    assert source["groups"]["a.example:80"]["requests"] == 20 * MINUTES
    assert source["groups"]["a.example:80"]["delay_s"] == 2.0
    assert {item["kind"] for item in report["waiting"]} == {"run", "candidate"}  # type: ignore[attr-defined]
