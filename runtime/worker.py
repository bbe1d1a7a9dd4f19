"""The worker process: workflows and activities on all task queues, and the reconciler. More of it is scale-out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities import messages as m
from activities.campaigns import CampaignActivities
from activities.crawls import CrawlActivities
from activities.identify import IdentifyActivities
from activities.ingest import IngestActivities
from activities.resources import Resources
from adapters.contract import adapter_names
from catalog.database import Database
from crawlers.music_services import MusicServices
from crawlers.proxies import ProxyPool
from crawlers.yt_dlp_parts.accounts import Accounts
from media.store import ObjectStore
from runtime import collector
from runtime.connections import secret
from runtime.embedded import readiness
from runtime.index_keeper import IndexKeeper
from runtime.politeness import budget_of
from runtime.reconciler import Reconciler
from runtime.reporting import WorkerReporter
from runtime.scratch import own_folder
from runtime.settings import Settings
from runtime.temporal import RUNNER, WORKFLOWS, TemporalWorkflowClient, connect

logger = logging.getLogger(__name__)

DOWNLOADS_PER_CORE = 4
THREADS = 32
"""For steps in the database; more at once would only wait for connections."""
_GRACE = timedelta(seconds=8)


def build_workers(client: Client, resources: Resources, threads: ThreadPoolExecutor, slots: int) -> list[Worker]:
    """One Temporal worker per task queue; they share one process."""
    campaigns, ingest, crawls = (
        CampaignActivities(resources),
        IngestActivities(resources),
        CrawlActivities(resources),
    )
    common = {
        "graceful_shutdown_timeout": _GRACE,
        "max_heartbeat_throttle_interval": timedelta(seconds=2),
        "default_heartbeat_throttle_interval": timedelta(seconds=2),
        "activity_executor": threads,
    }
    control = Worker(
        client,
        task_queue=m.CONTROL_QUEUE,
        workflows=WORKFLOWS,
        workflow_runner=RUNNER,
        activities=[
            campaigns.open_crawl_runs,
            campaigns.set_run_state,
            campaigns.next_candidates,
            ingest.settle,
            ingest.settle_silent,
            ingest.apply_decision,
            ingest.remind_moderators,
            ingest.expire_case,
            ingest.give_up,
        ],
        max_concurrent_activities=THREADS,
        max_concurrent_local_activities=THREADS,
        **common,  # type: ignore[arg-type]
    )
    media = Worker(
        client,
        task_queue=m.MEDIA_QUEUE,
        activities=[ingest.fetch_and_fingerprint, ingest.ingest_near, IdentifyActivities(resources).identify],
        # Downloads wait for the network; FFmpeg has its own slots, one per core.
        max_concurrent_activities=slots * DOWNLOADS_PER_CORE,
        **common,  # type: ignore[arg-type]
    )
    crawl = [
        Worker(
            client,
            task_queue=m.crawl_queue(adapter),
            activities=[crawls.crawl],
            max_concurrent_activities=8,
            **common,  # type: ignore[arg-type]
        )
        for adapter in adapter_names()
    ]
    return [control, media, *crawl]


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then lets what is in flight finish for a few seconds."""
    if settings.database_url is None or settings.temporal_address is None or settings.s3_endpoint is None:
        raise SystemExit("worker: DATABASE_URL, TEMPORAL_ADDRESS and S3_ENDPOINT must be set (see `versions up`)")
    slots = settings.media_slots or os.cpu_count() or 1
    database = Database(settings.database_url.get_secret_value(), pool_size=20)
    objects = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key.get_secret_value(),
        settings.s3_secret_key.get_secret_value(),
        settings.s3_bucket,
    )
    client = await connect(settings.temporal_address, settings.temporal_namespace, timeout_s=120)
    await asyncio.to_thread(objects.ensure_bucket)
    temporary = own_folder(settings.data_dir / "tmp")
    urls = settings.proxies.get_secret_value().replace(",", " ").split()
    proxies = ProxyPool(urls, sticky=settings.proxies_sticky) if urls else None
    budget = budget_of(database, secret(settings.redis_url), proxies)
    resources = Resources(
        database=database,
        objects=objects,
        budget=budget,
        temporary=temporary,
        user_agent=settings.user_agent,
        max_audio_seconds=settings.max_audio_seconds,
        accounts=Accounts(settings.accounts_dir),
        analysis=asyncio.Semaphore(slots),
        services=MusicServices(
            budget,
            user_agent=settings.user_agent,
            acoustid_key=settings.acoustid_key.get_secret_value() if settings.acoustid_key else None,
            musicbrainz=settings.musicbrainz,
            acoustid_url=settings.acoustid_url,
            musicbrainz_url=settings.musicbrainz_url,
        ),
    )
    reconciler = Reconciler(database, TemporalWorkflowClient(client), objects)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="activity") as threads:
        async with contextlib.AsyncExitStack() as stack:
            for worker in build_workers(client, resources, threads, slots):
                await stack.enter_async_context(worker)
            reconciling = asyncio.create_task(reconciler.run_for_ever())
            indexing = asyncio.create_task(IndexKeeper(database, settings.segments_dir).run_for_ever())
            reporter = WorkerReporter(database, resources.crawls, proxies=proxies.states if proxies else dict)
            reporting = asyncio.create_task(reporter.run_for_ever())
            collector.settle()
            readiness.announce(settings.data_dir)
            logger.info("the worker is ready")
            await stop.wait()
            readiness.withdraw(settings.data_dir)
            logger.info("the worker ends: what is in flight may finish")
            reconciling.cancel()
            indexing.cancel()
        reporting.cancel()
        await asyncio.wait({reporting})
        await budget.close()
    database.dispose()
    shutil.rmtree(temporary, ignore_errors=True)


def main() -> None:
    """Entry point of ``python -m runtime.worker``."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Its lines hold whole URLs, those of signed media too.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
