"""The pictures of evidence in ``docs/images/``, drawn from a catalog: a copy on its original, a cover on a cover."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.models import AudioFingerprint, AudioMelody, Candidate, Version
from identity.melody import service as melody
from identity.melody.picture import melody_svg
from identity.recording.align import Aligned, align
from identity.recording.items import items_from_bytes
from identity.recording.picture import alignment_svg


def pictures(session: Session) -> Iterator[tuple[str, str]]:
    """(name, SVG) of what the catalog can show of ``alignment`` and ``melody``."""
    copies = [(pair, found) for pair in _pairs(session, of_song=False) if (found := _aligned(session, *pair))]
    if copies:
        # The one whose picture shows most: both begin elsewhere, and some bits differ.
        (ours, theirs), found = max(copies, key=lambda each: abs(each[1].offset) * each[1].alignment.bit_error_rate)
        yield (
            "alignment",
            alignment_svg(
                found.alignment,
                ours.waveform or [],
                theirs.waveform or [],
                candidate_duration_s=ours.duration_s or 0.0,
                target_duration_s=theirs.duration_s or 0.0,
                candidate_title=_title(ours),
                target_title=_title(theirs),
            ),
        )
    covers = [found for pair in _pairs(session, of_song=True) for found in _melodies(session, *pair)]
    if covers:
        # Of those in another key, the surest.
        yield "melody", max(covers, key=lambda each: (each[0].semitones != 0, each[0].share))[1]


def _pairs(session: Session, *, of_song: bool) -> list[tuple[Candidate, Candidate]]:
    """Published recordings of one version, or of two versions of one song."""
    rows = session.execute(
        select(Candidate, Version.id, Version.song_id)
        .join(Version, Version.id == Candidate.version_id)
        .join(AudioFingerprint, AudioFingerprint.candidate_id == Candidate.id)
        .where(Version.deleted_at.is_(None))
        .order_by(Candidate.source, Candidate.source_key)
    ).all()
    return [
        (ours, theirs)
        for (ours, version, song), (theirs, other_version, other_song) in itertools.combinations(rows, 2)
        if (song == other_song and version != other_version if of_song else version == other_version)
    ]


def _aligned(session: Session, ours: Candidate, theirs: Candidate) -> Aligned | None:
    query = select(AudioFingerprint.candidate_id, AudioFingerprint.items)
    rows = session.execute(query.where(AudioFingerprint.candidate_id.in_([ours.id, theirs.id]))).all()
    heard = {candidate_id: items_from_bytes(data) for candidate_id, data in rows}
    return align(heard[ours.id], heard[theirs.id])


def _melodies(session: Session, ours: Candidate, theirs: Candidate) -> list[tuple[melody.Match, str]]:
    rows = {each.candidate_id: each for each in (session.get(AudioMelody, one.id) for one in (ours, theirs)) if each}
    if len(rows) < 2:
        return []
    views, others = melody.views_of(rows[ours.id]), melody.views_of(rows[theirs.id])
    return [
        (
            match,
            melody_svg(
                views,
                others,
                factor=match.factor,
                semitones=match.semitones,
                title=f"{_title(ours)} against {_title(theirs)}",
            ),
        )
        for match in melody.compare(views, [(melody.Near(theirs.id, 1.0, 1.0), others)])
    ]


def _title(candidate: Candidate) -> str:
    return str(candidate.item.get("title", ""))
