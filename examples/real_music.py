"""Real music through the real stack: ``python -m examples.real_music --data-dir DIR [--music DIR…]``.

Takes the music of Debian's supertux-data and wesnoth-1.16-music (folders given by ``--music``, those of installed
packages, else fetched by ``apt-get download`` into the data folder), makes re-encoded, trimmed and louder copies of 20
tracks under other names and without tags, and ingests both as `versions ingest` does: once the originals first, once
the copies first, each into a catalog of its own. What comes out is compared with what was put in: tags as mutagen reads
them, durations as FFmpeg decodes them, and for merges which file each copy was made of. Status 0 only if every copy
found its version, no two tracks became one, and titles, artists and durations are right.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import mutagen
from rich.console import Console
from rich.live import Live
from rich.table import Table
from sqlalchemy import select

from catalog.campaigns import repository
from catalog.campaigns.progress import Progress, campaign_progress
from catalog.database import Database
from catalog.models import Candidate, ReviewCase, Song, Version, VersionCredit, VersionSource
from crawlers.download import local_path
from moderation import service
from moderation.settlement import WAITS_FOR_COPY
from runtime import ingest
from runtime.cli._progress import render
from runtime.connections import Connections
from runtime.embedded.state import StackError
from runtime.embedded.supervisor import Supervisor
from runtime.settings import Settings
from runtime.temporal import TemporalWorkflowClient, connect

PACKAGES = ("supertux-data", "wesnoth-1.16-music")
INSTALLED = (Path("/usr/share/games/supertux2/music"), Path("/usr/share/games/wesnoth/1.16/data/core/music"))
COPIED = 20
LEAST_S = 60.0
TIMEOUT_S = 1800.0
SLACK_S = 0.25

ENCODED = (
    ("mp3", ("-c:a", "libmp3lame", "-b:a", "64k")),
    ("opus", ("-c:a", "libopus", "-b:a", "48k")),
    ("m4a", ("-c:a", "aac", "-b:a", "96k")),
    ("flac", ("-c:a", "flac", "-ar", "32000")),
    ("mp3", ("-c:a", "libmp3lame", "-b:a", "192k", "-ar", "48000")),
    ("m4a", ("-c:a", "aac", "-b:a", "48k", "-ac", "1")),
)
"""Suffix and encoder of the copies, in turn."""

LOUDER_DB = 6


class ProofError(RuntimeError):
    """It cannot be shown here; the message is one line."""


@dataclass(frozen=True, slots=True)
class Track:
    """What is true of an original, read without any of our own code. ``duration_s``: by decoding all of it."""

    path: Path
    title: str | None
    artists: tuple[str, ...]
    duration_s: float

    @property
    def tagged(self) -> bool:
        return bool(self.title and self.artists)

    @property
    def named(self) -> tuple[str | None, tuple[str, ...]]:
        """Title and artists as a person reads them: "Artist - Title" without an artist's tag names both."""
        if self.title and not self.artists and self.title.count(" - ") == 1:
            artist, _, title = self.title.partition(" - ")
            return title, (artist,)
        return self.title, self.artists


@dataclass(slots=True)
class Found:
    """What the catalog holds of the files.

    ``asked``: what waited for a moderator; ``decided``: how much of it he was needed for; ``groups``: files by version;
    ``songs``: versions by song; ``told``: title, song's title, artists and seconds of each version.
    """

    order: str
    outcomes: list[ingest.Outcome]
    asked: list[str]
    decided: int
    seconds: float
    groups: dict[str, list[Path]] = field(default_factory=dict)
    songs: dict[str, set[str]] = field(default_factory=dict)
    told: dict[str, tuple[str, str, tuple[str, ...], float]] = field(default_factory=dict)
    states: dict[Path, tuple[str, str]] = field(default_factory=dict)


# -- the music ----------------------------------------------------------------------------------------------------


def find_music(given: Sequence[Path], data: Path) -> list[Path]:
    """The folders of both packages. Raises ProofError."""
    if given:
        return list(given)
    folders = []
    for package, installed in zip(PACKAGES, INSTALLED, strict=True):
        if installed.is_dir():
            folders.append(installed)
            continue
        unpacked = data / "packages" / package
        if not unpacked.is_dir():
            _fetch(package, unpacked)
        found = {path.parent for path in unpacked.rglob("*.ogg") if path.parent.name == "music"} or {
            path for path in unpacked.rglob("music") if path.is_dir()
        }
        folders += sorted(found)[:1]
    return folders


def _fetch(package: str, folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ProofError(f"{package} is not here and there is no apt to fetch it: name its music by --music")
    folder.parent.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["apt-get", "download", package], cwd=folder.parent, capture_output=True, text=True)
    archive = next(iter(sorted(folder.parent.glob(f"{package}_*.deb"))), None)
    if got.returncode or archive is None:
        raise ProofError(f"apt-get download {package}: {(got.stderr.strip().splitlines() or ['failed'])[-1]}")
    partial = folder.with_name(folder.name + ".part")
    subprocess.run(["dpkg", "-x", str(archive), str(partial)], check=True)
    partial.rename(folder)
    archive.unlink()


def read_tracks(folders: Sequence[Path]) -> list[Track]:
    """All Ogg files of the folders, links apart."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.ogg") if not path.is_symlink())
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_read, paths))


def _read(path: Path) -> Track:
    tags: dict[str, list[str]] = {}
    for name, value in mutagen.File(path).tags or []:
        tags.setdefault(name.lower(), []).append(value)
    artists = tuple(value for value in tags.get("artist", []) if value)
    return Track(path, next(iter(tags.get("title", [])), None), artists, decoded_s(path))


def decoded_s(path: Path) -> float:
    """Seconds of sound that FFmpeg decodes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1", "-i", str(path)]
    told = subprocess.run([*command, "-vn", "-progress", "-", "-f", "null", "-"], capture_output=True, text=True)
    return int(re.findall(r"out_time_us=(\d+)", told.stdout)[-1]) / 1e6


def choose(tracks: Sequence[Track]) -> list[Track]:
    """The tracks to copy, evenly over all that have a title, an artist and a minute."""
    fit = [track for track in tracks if track.tagged and track.duration_s >= LEAST_S]
    return [fit[number * len(fit) // COPIED] for number in range(COPIED)] if len(fit) > COPIED else list(fit)


def make_copies(tracks: Sequence[Track], folder: Path) -> dict[Path, Path]:
    """Three copies of each track, made once: another encoding; trimmed at the start, the end or both; louder.

    Returns the original of each copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs: dict[Path, tuple[Path, list[str]]] = {}
    encoders = itertools.cycle(ENCODED)
    for number, track in enumerate(tracks):
        cut, keep = 9 + number % 3 * 6, track.duration_s * 0.7
        trims = ((f"-ss {cut}",), (f"-t {keep:.1f}",), (f"-ss {cut}", f"-t {keep - cut:.1f}"))
        trimmed = [word for option in trims[number % 3] for word in option.split()]
        for form, before, filters in (
            ("encoded", [], []),
            ("trimmed", trimmed, []),
            ("louder", [], ["-af", f"volume={LOUDER_DB}dB,alimiter"]),
        ):
            suffix, encoder = next(encoders)
            name = hashlib.blake2b(f"{track.path.name} {form}".encode(), digest_size=5).hexdigest()
            options = [*before, "-i", str(track.path), "-map", "0:a:0", "-map_metadata", "-1", "-bitexact"]
            jobs[folder / f"{name}.{suffix}"] = (track.path, [*options, *filters, *encoder])

    def make(target: Path) -> None:
        if target.exists():
            return
        partial = target.with_name(f"part-{target.name}")
        quiet = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-threads", "1"]
        subprocess.run([*quiet, *jobs[target][1], str(partial)], check=True, stderr=subprocess.DEVNULL)
        partial.rename(target)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, jobs))
    return {target: original for target, (original, _) in jobs.items()}


# -- the catalog ----------------------------------------------------------------------------------------------------


async def take_in(
    connections: Connections, order: str, folders: Sequence[Sequence[Path]], show: Callable[[Progress], None]
) -> Found:
    """Ingests the folders, one group after the other, and reads what the catalog holds then."""
    database = Database(connections.database_url, pool_size=4)
    started = time.monotonic()
    try:
        client = TemporalWorkflowClient(await connect(connections.temporal_address, connections.temporal_namespace))
        outcomes = []
        for group in folders:
            spec = ingest.campaign(ingest.places(group))
            with database.transaction() as session:
                campaign, _, _ = repository.apply(session, spec)
            trigger = await client.start_campaign(str(campaign.id))
            progress = await _watch(database, campaign.id, trigger, show, started + TIMEOUT_S)
            with database.transaction() as session:
                outcomes.append(ingest.outcome(session, [run.run_id for run in progress.runs]))
        seconds = time.monotonic() - started
        with database.transaction() as session:
            asked = [
                f"{candidate.source_key}: {case.reason}: {case.detail}"
                for case, candidate in session.execute(
                    select(ReviewCase, Candidate).join(Candidate).where(ReviewCase.state == "open")
                )
            ]
        decided = await moderate(database, client)
        return _read_catalog(database, Found(order, outcomes, asked, decided, seconds))
    finally:
        database.dispose()


async def moderate(database: Database, client: TemporalWorkflowClient) -> int:
    """Plays the moderator: what is asked about songs is a song of its own; copies of it then settle by themselves."""
    decided, deadline = 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        with database.transaction() as session:
            open_cases = list(session.scalars(select(ReviewCase).where(ReviewCase.state.in_(("open", "decided")))))
            case = next((each for each in open_cases if each.state == "open" and each.reason != WAITS_FOR_COPY), None)
            if case is not None:
                service.decide(session, case.id, action="retarget", actor="proof", new_song=True)
        if not open_cases:
            break
        if case is None:
            await asyncio.sleep(0.5)
        else:
            decided += 1
            await client.decide(str(case.candidate_id), str(case.id))
    return decided


async def _watch(
    database: Database, campaign_id: Any, trigger: str, show: Callable[[Progress], None], deadline: float
) -> Progress:
    while True:
        with database.transaction() as session:
            runs = [run.id for run in repository.runs_of(session, campaign_id, trigger)]
            progress = campaign_progress(session, runs)
        show(progress)
        if progress.finished:
            return progress
        if time.monotonic() > deadline:
            raise ProofError(f"not over after {TIMEOUT_S:.0f} s: {progress.total('open')} candidates are not settled")
        await asyncio.sleep(1.0)


def _read_catalog(database: Database, found: Found) -> Found:
    with database.transaction() as session:
        rows = session.execute(
            select(Version, Song, VersionSource.url, Candidate)
            .join(Song, Song.id == Version.song_id)
            .join(VersionSource, VersionSource.version_id == Version.id)
            .join(Candidate, Candidate.id == VersionSource.candidate_id)
            .order_by(Version.id, VersionSource.rank)
        )
        for version, song, url, _ in rows:
            key = str(version.id)
            found.groups.setdefault(key, []).append(local_path(url))
            found.songs.setdefault(str(song.id), set()).add(key)
            artists = session.scalars(
                select(VersionCredit.credited_as)
                .where(VersionCredit.version_id == version.id, VersionCredit.role == "performer")
                .order_by(VersionCredit.position)
            )
            if key not in found.told:
                found.told[key] = (version.title, song.title, tuple(artists), version.duration_s or 0.0)
        for candidate in session.scalars(select(Candidate)):
            found.states[local_path(candidate.url)] = (candidate.state, candidate.reason)
    return found


# -- the comparison ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Verdict:
    """How what was found compares with what is true. Pairs are unordered pairs of files of one recording."""

    true_pairs: int
    found_pairs: int
    right_pairs: int
    wrong_merges: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    wrong_facts: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    songs: list[str] = field(default_factory=list)
    review: list[str] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        return self.right_pairs / self.found_pairs if self.found_pairs else 1.0

    @property
    def recall(self) -> float:
        return self.right_pairs / self.true_pairs if self.true_pairs else 1.0

    @property
    def good(self) -> bool:
        return self.precision == self.recall == 1.0 and not self.wrong_facts and not self.review


def compare(found: Found, tracks: Sequence[Track], copies: dict[Path, Path]) -> Verdict:
    """Counts pairs and facts. Files too short or silent to be compared are named by their reason, not counted."""
    recording: dict[Path, str] = {track.path.resolve(): track.path.name for track in tracks}
    recording |= {copy.resolve(): recording[original.resolve()] for copy, original in copies.items()}
    there = {path for path in recording if found.states.get(path, ("", ""))[0] not in ("failed", "unavailable")}
    true = _pairs([[path for path in there if recording[path] == name] for name in set(recording.values())])
    merged = _pairs(found.groups.values())
    verdict = Verdict(len(true), len(merged), len(true & merged))
    verdict.wrong_merges = [_spell(pair) for pair in sorted(merged - true, key=sorted)]
    verdict.missed = [_spell(pair) for pair in sorted(true - merged, key=sorted)]
    _check_facts(found, {track.path.resolve(): track for track in tracks}, verdict)
    for versions in found.songs.values():
        if len(versions) > 1:
            verdict.songs.append(
                " + ".join(sorted(f"{found.told[v][0]} ({found.groups[v][0].name})" for v in versions))
            )
    for path, (state, reason) in sorted(found.states.items()):
        if state == "in_review":
            verdict.review.append(f"{path.name}: {reason}")
        elif state in ("failed", "unavailable", "rejected"):
            verdict.errors.setdefault(reason, []).append(path.name)
    return verdict


def _check_facts(found: Found, tracks: dict[Path, Track], verdict: Verdict) -> None:
    """Of each version: what its tagged original says."""
    for key, paths in found.groups.items():
        originals = [tracks[path] for path in paths if path in tracks]
        if not originals:
            verdict.wrong_facts.append(f"no original among the sources of «{found.told[key][0]}»")
            continue
        title, song_title, artists, duration_s = found.told[key]
        track = originals[0]
        should, by = track.named
        facts: list[tuple[str, bool, object, object]]
        facts = [("duration", abs(duration_s - track.duration_s) <= SLACK_S, duration_s, track.duration_s)]
        if should:
            facts.append(("title", title == should, title, should))
            facts.append(("song title", song_title == title, song_title, title))
        if by:
            facts.append(("artist", artists == by, artists, by))
        for name, right, ours, theirs in facts:
            verdict.checked[name] = verdict.checked.get(name, 0) + 1
            verdict.right[name] = verdict.right.get(name, 0) + right
            if not right:
                verdict.wrong_facts.append(f"{track.path.name}: {name} is {ours!r}, should be {theirs!r}")


def _pairs(groups: Iterable[Sequence[Path]]) -> set[frozenset[Path]]:
    return {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}


def _spell(pair: Iterable[Path]) -> str:
    return " = ".join(sorted(path.name for path in pair))


# -- the command ----------------------------------------------------------------------------------------------------


def report(console: Console, found: Found, verdict: Verdict, copies: int) -> None:
    """The table of one order of arrival."""
    table = Table(title=f"{found.order} first", show_header=False, min_width=70, title_justify="left")
    table.add_row("files", str(sum(outcome.tracks for outcome in found.outcomes)))
    table.add_row("versions, songs", f"{len(found.groups)}, {len(found.songs)}")
    table.add_row("copies made, sources joined", f"{copies}, {sum(len(o.copies) for o in found.outcomes)}")
    table.add_row("pairs: true, found, right", f"{verdict.true_pairs}, {verdict.found_pairs}, {verdict.right_pairs}")
    table.add_row("precision, recall", f"{verdict.precision:.4f}, {verdict.recall:.4f}")
    for name, count in verdict.checked.items():
        table.add_row(f"{name}s right", f"{verdict.right[name]} of {count}")
    table.add_row("asked of a moderator", f"{len(found.asked)}; settled by {found.decided} decisions")
    table.add_row("in review still", str(len(verdict.review)))
    for reason, names in sorted(verdict.errors.items()):
        table.add_row(f"error {reason}", f"{len(names)}: {', '.join(names)}")
    table.add_row("time", f"{found.seconds:.0f} s")
    console.print(table)
    for title, lines in (
        ("merged wrongly", verdict.wrong_merges),
        ("not merged", verdict.missed),
        ("wrong", verdict.wrong_facts),
        ("songs of several versions", verdict.songs),
        ("asked of a moderator", found.asked),
        ("in review still", verdict.review),
    ):
        for line in lines:
            console.print(f"{title}: {line}", markup=False, highlight=False, soft_wrap=True)


def prove(data: Path, music: Sequence[Path], orders: Sequence[str], console: Console) -> int:
    """Both orders of arrival; the exit status."""
    folders = [folder.resolve() for folder in find_music(music, data)]
    with console.status("reading the music and making the copies …"):
        tracks = read_tracks(folders)
        chosen = choose(tracks)
        copies = make_copies(chosen, data / "copies")
    console.print(
        f"{len(tracks)} tracks in {', '.join(map(str, folders))}; {len(copies)} copies of {len(chosen)} of them"
    )
    good = True
    for order in orders:
        groups: list[Sequence[Path]] = [folders, [data / "copies"]]
        with Supervisor(Settings(data_dir=data / order), only=("postgres", "temporal", "s3", "worker")) as supervisor:
            connections = Connections.load(supervisor.settings)
            with Live(console=console, refresh_per_second=2) as live:
                found = asyncio.run(
                    take_in(
                        connections,
                        order,
                        groups if order == "originals" else groups[::-1],
                        _shower(live, order),
                    )
                )
        verdict = compare(found, tracks, copies)
        report(console, found, verdict, len(copies))
        good &= verdict.good
    return 0 if good else 1


def _shower(live: Live, order: str) -> Callable[[Progress], None]:
    return lambda progress: live.update(render(progress, f"{order} first"))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m examples.real_music``."""
    parser = argparse.ArgumentParser(prog="examples.real_music", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="about 700 MB are written there")
    parser.add_argument("--music", type=Path, action="append", default=[], help="a folder of the music; repeatable")
    parser.add_argument("--order", choices=("originals", "copies", "both"), default="both", help="what arrives first")
    options = parser.parse_args(arguments)
    console = Console()
    orders = ("originals", "copies") if options.order == "both" else (options.order,)
    try:
        return prove(options.data_dir.absolute(), options.music, orders, console)
    except (ProofError, StackError, ingest.IngestPathError, ingest.NoAudioFilesError) as error:
        console.print(f"real_music: {error}", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
