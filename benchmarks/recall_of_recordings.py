"""How often a distorted copy of a real track is recognised, and how often a stranger is taken for one.

The tracks are those of Debian's music packages. Each is distorted by FFmpeg, analysed as at ingest, and asked for in
the way of identity (index, alignment, and on a miss the other speeds and tempi), in a database that holds all the
originals.
``TRACKS`` (environment) is the number of tracks that are distorted, each in every way: 100 for the figures.

How often different recordings are taken for one is measured by `benchmarks.false_merges`.

Nothing was tuned on these tracks: the thresholds of `identity.thresholds` are older than this benchmark.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
from sqlalchemy.orm import Session

from benchmarks import _debian_music, _stack
from benchmarks._figures import Figure, at_least
from catalog.database import Database
from catalog.models import AudioFingerprint, Candidate, Observation, Song, Version
from identity.evidence import Verdict
from identity.recording.index import SegmentIndex
from identity.recording.items import Items, fingerprint_bytes
from identity.recording.service import SPEED_OBSERVATION, OtherSpeed, is_missed, other_speed, propose
from media import speeds
from media.analysis import analyse
from media.types import AudioError, AudioFeatures

FIGURES = ("recall_copies", "recall_speeds", "recall_damaged")
TRACKS = int(os.environ.get("TRACKS", "12"))

_NOISE = "anoisesrc=color=pink:amplitude=0.03"
_ROOM = "aecho=0.8:0.7:23|37|53|71:0.5|0.4|0.3|0.2,highpass=120,lowpass=7000"


@dataclass(frozen=True, slots=True)
class Distortion:
    """``before``: input options; ``filters``: of the sound; ``after``: output options; ``mixed``: a source mixed in."""

    group: str
    name: str
    suffix: str = "mp3"
    before: tuple[str, ...] = ()
    filters: str = ""
    after: tuple[str, ...] = ()
    mixed: str = ""


def _rate(speed: float) -> str:
    return f"aresample=44100,asetrate={round(44100 * speed)},aresample=44100"


DISTORTIONS = (
    Distortion("copies", "mp3 64k", after=("-b:a", "64k")),
    Distortion("copies", "mp3 32k", after=("-b:a", "32k", "-ar", "22050")),
    Distortion("copies", "opus 32k", "opus", after=("-b:a", "32k")),
    Distortion("copies", "aac 64k", "m4a", after=("-b:a", "64k")),
    Distortion("copies", "8 dB softer", filters="volume=-8dB"),
    Distortion("copies", "3 s of silence first", filters="adelay=3000:all=1"),
    Distortion("copies", "start trimmed by 15 s", before=("-ss", "15")),
    Distortion("copies", "clip of 15 s", before=("-ss", "20"), after=("-t", "15")),
    Distortion("copies", "clip of 30 s", before=("-ss", "20"), after=("-t", "30")),
    Distortion("speeds", "speed +3 %", filters=_rate(1.03)),
    Distortion("speeds", "speed -3 %", filters=_rate(0.97)),
    Distortion("speeds", "speed +1 %", filters=_rate(1.01)),
    Distortion("speeds", "pitch +3 %", filters=f"{_rate(1.03)},atempo={1 / 1.03:.6f}"),
    Distortion("speeds", "pitch -2 %", filters=f"{_rate(0.98)},atempo={1 / 0.98:.6f}"),
    Distortion("damaged", "tempo +3 %", filters="atempo=1.03"),
    Distortion("damaged", "tempo -3 %", filters="atempo=0.97"),
    Distortion("damaged", "clip of 10 s", before=("-ss", "20"), after=("-t", "10.5")),
    Distortion("damaged", "noise", mixed=_NOISE),
    Distortion("damaged", "equaliser", filters="bass=g=10,treble=g=-8"),
    Distortion("damaged", "compressor", filters="acompressor=threshold=0.05:ratio=8:makeup=4"),
    Distortion("damaged", "telephone", filters="highpass=300,lowpass=3400,aresample=8000", after=("-b:a", "24k")),
    Distortion("damaged", "a room", filters=_ROOM),
    Distortion("damaged", "3 s of tone first", filters="adelay=3000:all=1", mixed="sine=f=440:d=3"),
)


def _distort(source: Path, distortion: Distortion, target: Path) -> None:
    inputs = [*distortion.before, "-t", "140", "-i", str(source)]
    filters = distortion.filters or "anull"
    if distortion.mixed:
        inputs += ["-f", "lavfi", "-i", distortion.mixed]
        graph = f"[0:a]{filters}[a];[a][1:a]amix=inputs=2:duration=first:normalize=0[o]"
        chosen = ["-filter_complex", graph, "-map", "[o]"]
    else:
        chosen = ["-map", "0:a:0", "-af", filters]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-threads", "1"]
    subprocess.run([*command, *inputs, *chosen, *distortion.after, str(target)], check=True)


def _store(session: Session, name: str, items: Items, duration_s: float) -> uuid.UUID:
    """A published recording; the version's id."""
    song = Song(slug=name, title=name)
    session.add(song)
    session.flush()
    version = Version(song_id=song.id, title=name)
    session.add(version)
    session.flush()
    candidate = Candidate(source="bench", source_key=name, url="https://bench.example/", item_digest="")
    candidate.version_id = version.id
    session.add(candidate)
    session.flush()
    row = AudioFingerprint(candidate_id=candidate.id, duration_s=duration_s, items=fingerprint_bytes(items))
    session.add(row)
    session.flush()
    SegmentIndex().add(session, row.id, items)
    return version.id


def _answer(database: Database, features: AudioFeatures) -> tuple[set[uuid.UUID | None], set[uuid.UUID | None]]:
    """Versions that are (the same, the same or for review), as the ingest path would propose; nothing is kept."""
    items, duration_s = features.fingerprint, features.info.duration_s
    with database.transaction() as session:
        candidate = Candidate(source="bench", source_key=str(uuid.uuid4()), url="https://b.example/", item_digest="")
        session.add(candidate)
        session.flush()
        if is_missed(session, items):
            start_s = speeds.start_s(features.pcm)
            tried = [OtherSpeed(speed, found, start_s) for speed, found in speeds.undone(features.pcm)]
            if (other := other_speed(session, tried)) is not None:
                data = other.to_json()
                session.add(Observation(candidate_id=candidate.id, kind=SPEED_OBSERVATION, data=data))
                session.flush()
        proposals = propose(session, items, duration_s, exclude_candidate=candidate.id)
        session.expunge_all()
        session.get_transaction().rollback()  # type: ignore[union-attr]
    same = {proposal.version_id for proposal in proposals if proposal.verdict is Verdict.SAME}
    return same, same | {proposal.version_id for proposal in proposals if proposal.verdict is Verdict.REVIEW}


def _measure(database: Database) -> list[Figure]:
    paths = _debian_music.tracks()
    originals = {path: items for path in paths if (items := _debian_music.fingerprint(path)) is not None}
    long = [path for path, items in originals.items() if items.size >= 480]
    versions: dict[Path, uuid.UUID] = {}
    with database.transaction() as session:
        for number, (path, items) in enumerate(originals.items()):
            versions[path] = _store(session, f"track-{number}", items, items.size * 0.12383)
    chosen = long[:: max(1, len(long) // TRACKS)][:TRACKS]
    found: defaultdict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)

    def ask(work: tuple[Path, Distortion]) -> None:
        path, distortion = work
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / f"copy.{distortion.suffix}"
            _distort(path, distortion, target)
            try:
                same, near = _answer(database, analyse(target))
            except AudioError:
                same, near = set(), set()
        right = versions[path]
        found[distortion.name].append((right in same, right in near, bool(same - {right})))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(ask, [(path, distortion) for path in chosen for distortion in DISTORTIONS]))
    strangers = sum(stranger for answers in found.values() for _, _, stranger in answers)

    def recall(group: str) -> tuple[float, str]:
        names = [each.name for each in DISTORTIONS if each.group == group]
        answers = [answer for name in names for answer in found[name]]
        detail = ", ".join(
            f"{name} {_share([near for _, near, _ in found[name]]):.2f} "
            f"(merged {_share([same for same, _, _ in found[name]]):.2f})"
            for name in names
        )
        return _share([near for _, near, _ in answers]), detail

    about = (
        f"{len(chosen)} real tracks, {len(originals)} in the catalog; {strangers} of {sum(map(len, found.values()))} "
        "distorted copies merged with a stranger; share merged or put before a moderator"
    )
    result = []
    for name, group, goal in (
        (FIGURES[0], "copies", 0.99),
        (FIGURES[1], "speeds", 0.95),
        (FIGURES[2], "damaged", None),
    ):
        share, detail = recall(group)
        result.append(
            at_least(
                name, "recall", [(share, 1.0)], reference_name="all of them", goal=goal, detail=f"{about}: {detail}"
            )
        )
    return result


def _share(answers: Sequence[bool]) -> float:
    return round(sum(answers) / max(1, len(answers)), 4)


def measure() -> list[Figure]:
    """The figures, from a database of its own; none where there is no real music."""
    try:
        _debian_music.tracks()
    except _debian_music.NoMusicError as error:
        print(f"recall_of_recordings is skipped: {error}")
        return []
    with _stack.running("postgres") as stack:
        database = Database(stack.connections.database_url)
        try:
            return _measure(database)
        finally:
            database.dispose()
