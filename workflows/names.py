"""Workflow ids: the same thing always has the same id, so that it cannot run twice."""

from __future__ import annotations


def campaign_workflow_id(campaign_id: str) -> str:
    return f"campaign-{campaign_id}"


def crawl_run_workflow_id(crawl_run_id: str) -> str:
    return f"crawl-run-{crawl_run_id}"


def ingest_workflow_id(candidate_id: str) -> str:
    return f"ingest-{candidate_id}"


def schedule_id(campaign_id: str) -> str:
    return f"campaign-schedule-{campaign_id}"
