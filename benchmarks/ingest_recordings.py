"""Recordings a second through ingest, beside a bare loop of FFmpeg's chromaprint muxer on all cores; and peak memory.

Ours: a campaign of the folder adapter on local files, through the whole running stack: found, tagged, decoded,
fingerprinted, compared with all others, published. The reference fingerprints the same files and does nothing else.
Memory is what all parts of the stack hold together meanwhile, shared pages counted once.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import string
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from sqlalchemy import func, select

from benchmarks import _stack
from benchmarks._figures import Figure, at_least, at_most
from catalog.campaigns import repository
from catalog.campaigns.spec import CampaignSpec
from catalog.database import Database
from catalog.models import Candidate, CrawlRun
from media.types import FINGERPRINT_SECONDS
from runtime.temporal import TemporalWorkflowClient, connect
from tests.media import synth
from workflows.names import campaign_workflow_id

FIGURES = ("ingest_recordings", "peak_memory")
GOAL = 0.6
MEMORY_LIMIT_MIB = 1536.0
FILES = 40
ROUNDS = 2
SECONDS = (90, 180)
_ENCODINGS = {".mp3": ["-compression_level", "9"], ".opus": ["-compression_level", "0", "-ar", "48000"], ".flac": []}
"""Quick ones: a decoder has the same work with them."""
PUBLISHED = frozenset({"published"})
"""What comes of recordings that are like no other."""

CACHE = Path(__file__).resolve().parent.parent / ".data" / "benchmarks"


def words(seed: int, count: int) -> str:
    """So many words that no other seed has."""
    dice = random.Random(seed)
    return " ".join("".join(dice.choices(string.ascii_lowercase, k=9)).capitalize() for _ in range(count))


def make_file(folder: Path, number: int, shortest: int, longest: int) -> Path:
    """One piece of music of its own, with tags; kept from run to run."""
    suffix = list(_ENCODINGS)[number % len(_ENCODINGS)]
    target = folder / f"{number:03d}{suffix}"
    if target.exists():
        return target
    seconds = shortest + number * 37 % (longest - shortest + 1)
    instruments = list(synth.INSTRUMENTS)
    # In stretches: what one needs of memory grows with its length.
    stretches = [
        synth.render(1000 * number + part, min(30, seconds - start), instrument=instruments[number % len(instruments)])
        for part, start in enumerate(range(0, seconds, 30))
    ]
    wav = synth.write_wav(target.with_suffix(".wav"), np.concatenate(stretches))
    # Titles that have nothing in common, so that nothing waits for a moderator.
    title, singer = words(number, 3), words(1000 + number % 11, 2)
    tags = [f"title={title}", f"artist={singer}"]
    options = [word for tag in tags for word in ("-metadata", tag)]
    partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
    synth.encode(wav, partial, "-ac", "2", "-ar", "44100", *_ENCODINGS[suffix], *options)
    wav.unlink()
    return partial.rename(target)


def make_files(count: int, shortest: int = SECONDS[0], longest: int = SECONDS[1]) -> list[Path]:
    """So many different pieces of ``shortest`` to ``longest`` seconds: mp3, opus, flac in turn; stereo."""
    folder = CACHE / f"music-{shortest}-{longest}"
    folder.mkdir(parents=True, exist_ok=True)
    spread: list[Any] = [count * [folder], range(count), count * [shortest], count * [longest]]
    if count <= 2:
        return list(map(make_file, *spread))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make_file, *spread))


def on_all_cores(one: Callable[[Path], None], files: Sequence[Path]) -> float:
    """Seconds to do this with each file, as many at once as there are cores."""
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(one, files))
    return time.perf_counter() - started


def fingerprint_by_muxer(path: Path) -> None:
    """One FFmpeg with its chromaprint muxer."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(path)]
    command += ["-t", str(FINGERPRINT_SECONDS), "-f", "chromaprint", "-fp_format", "raw", "-"]
    if not subprocess.run(command, check=True, capture_output=True, timeout=120).stdout:
        raise RuntimeError(f"no fingerprint of {path.name}")


async def ours(
    stack: _stack.Stack, database: Database, name: str, folder: Path, count: int, settled: frozenset[str] = PUBLISHED
) -> float:
    """Seconds for one campaign on the folder, whose ``count`` files come to one of the states ``settled``."""
    spec = CampaignSpec.model_validate(
        {
            "version": 1,
            "name": name,
            "sources": [{"source": name, "adapter": "folder", "seeds": [str(folder)], "audio": "fingerprint_only"}],
            "approval": {"recording": "auto", "song": "auto", "new_song": "auto"},
        }
    )
    with database.transaction() as session:
        campaign, _, _ = repository.apply(session, spec)
        campaign_id = str(campaign.id)
    client = await connect(stack.connections.temporal_address, stack.connections.temporal_namespace)
    started = time.perf_counter()
    await TemporalWorkflowClient(client).start_campaign(campaign_id)
    await client.get_workflow_handle(campaign_workflow_id(campaign_id)).result()
    seconds = time.perf_counter() - started
    with database.transaction() as session:
        runs = select(CrawlRun.id).where(CrawlRun.campaign_id == uuid.UUID(campaign_id))
        query = select(Candidate.state, func.count()).where(Candidate.crawl_run_id.in_(runs)).group_by(Candidate.state)
        states = {row[0]: row[1] for row in session.execute(query)}
    if sum(states.values()) != count or not settled.issuperset(states):
        raise RuntimeError(f"{count} files became {states}")
    return seconds


@dataclass(frozen=True, slots=True)
class Taken:
    """``rates``: recordings a second, (ours, the reference's) by round; ``cpu``: milliseconds a recording of both."""

    rates: list[tuple[float, float]]
    cpu: str
    memory: _stack.PeakMemory


async def take(
    stack: _stack.Stack,
    groups: Sequence[tuple[Path, Sequence[Path]]],
    reference: Callable[[Path], None],
    name: str,
    settled: frozenset[str] = PUBLISHED,
) -> Taken:
    """Ingests each group (a folder and its files), and has the reference take the same files before and after."""
    database = Database(stack.connections.database_url)
    memory = _stack.PeakMemory(stack)
    rates: list[tuple[float, float]] = []
    used: list[dict[str, float]] = []
    reference_cpu = 0.0
    try:
        memory.start()
        for folder, files in groups:
            cpu = sum(os.times()[2:4])
            bare = await asyncio.to_thread(on_all_cores, reference, files)
            reference_cpu += sum(os.times()[2:4]) - cpu
            before = stack.cpu_s()
            mine = await ours(stack, database, folder.name, folder, len(files), settled)
            used.append(_stack.cpu_difference(before, stack.cpu_s()))
            again = await asyncio.to_thread(on_all_cores, reference, files)
            rates.append((len(files) / mine, 2 * len(files) / (bare + again)))
    finally:
        memory.stop()
        database.dispose()
    count = sum(len(files) for _, files in groups)
    cpu_text = f"CPU a recording: ours {_stack.per_item(used, count)}, {name} {reference_cpu * 1000 / count:.0f} ms"
    return Taken(rates, cpu_text, memory)


def figures(stack: _stack.Stack, files: Sequence[Path], count: int = FILES) -> list[Figure]:
    """The figures from a running stack; ``count`` files a round."""
    taken = asyncio.run(take(stack, grouped(stack.data_dir / "few", files, count), fingerprint_by_muxer, "the loop"))
    detail = (
        f"{len(files)} files (mp3, opus, flac; {SECONDS[0]} to {SECONDS[1]} s), {os.cpu_count()} cores; {taken.cpu}"
    )
    parts = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in sorted(taken.memory.parts.items()))
    return [
        at_least(
            FIGURES[0],
            "recordings/s",
            taken.rates,
            reference_name="bare loop of ffmpeg -f chromaprint on all cores",
            goal=GOAL,
            detail=detail,
        ),
        at_most(
            FIGURES[1],
            "MiB",
            taken.memory.peak / 2**20,
            MEMORY_LIMIT_MIB,
            detail=f"the whole stack without the browser, {len(files)} files ingested (MiB: {parts}); limit 1.5 GiB",
        ),
    ]


def grouped(folder: Path, files: Sequence[Path], count: int) -> list[tuple[Path, Sequence[Path]]]:
    """The files in folders of their own, so many in each; their names begin with the given one's."""
    groups: list[tuple[Path, Sequence[Path]]] = []
    for number, start in enumerate(range(0, len(files), count)):
        inner = folder.with_name(f"{folder.name}-{number}")
        inner.mkdir()
        groups.append((inner, [Path(shutil.copy(path, inner)) for path in files[start : start + count]]))
    return groups


def measure() -> list[Figure]:
    """The figures, from a stack of its own."""
    files = make_files(FILES * ROUNDS)
    with _stack.running() as stack:
        return figures(stack, files)
