"""Proposes songs that a recording may be a version of, by what it plays.

Comparing takes up to some tenths of a second of CPU time, so it is done with the audio (`find`) and recorded as an
observation (`record`); the settlement, which holds the identity lock, only reads it (`propose`).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import delete, or_, select, text
from sqlalchemy.orm import Session

from catalog.models import AudioMelody, Candidate, Observation, Song, Version
from identity.evidence import Part, Proposal, Question, Verdict
from identity.melody import embed, qmax
from identity.melody.thresholds import (
    ALIKE_LIKENESS,
    ALTERED_LIKENESS,
    COMPARED,
    COMPARED_LIKENESS,
    MIN_PASSAGE_S,
    MIN_SOUNDING_S,
    MOST_MATCHES,
    PROBABILITY_MIDDLE,
    PROBABILITY_SCALE,
    REVIEW_SHARE,
    SHORTLIST,
    WEAK_SHARE,
)
from media.types import FRAME_SECONDS, Chroma, Frames

KIND = "melody"
"""Of the observation."""

_UNSETTLED = ("fingerprinted", "matched", "in_review")

# The probes are read once: a cast beside the operator was done anew for each row, which took fifty times as long.
_NEAREST = text(
    """
    SELECT candidate_id, number, distance
    FROM (
        SELECT DISTINCT ON (found.candidate_id) found.candidate_id, tried.number, found.distance
        FROM unnest(CAST(CAST(:probes AS text[]) AS halfvec(384)[])) WITH ORDINALITY AS tried(probe, number)
        CROSS JOIN LATERAL (
            SELECT candidate_id, embedding <=> tried.probe AS distance
            FROM audio_melodies
            WHERE embedding_version = :version
            ORDER BY embedding <=> tried.probe
            LIMIT CAST(:most AS int) + 1
        ) AS found
        ORDER BY found.candidate_id, found.distance
    ) AS best
    WHERE candidate_id IS DISTINCT FROM CAST(:exclude AS uuid)
    ORDER BY distance, candidate_id
    LIMIT :most
    """
)


@dataclass(frozen=True, slots=True)
class Near:
    """A recording of the shortlist. ``factor``: the tempo at which ours comes nearest to it; ``likeness``: cosine."""

    candidate_id: uuid.UUID
    factor: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Match:
    """Two recordings that follow the same melody.

    Attributes:
        candidate_id: the other recording.
        score: Qmax, in frames of half a second.
        share: of the shorter one's moments on the path, 0..1 and a little more.
        semitones: how far ours lies above the other, -5..6.
        tempo: ours as a multiple of the other's.
        factor: at which ours was stretched for the comparison (for the picture).
        ours_s, theirs_s: where the passage begins and ends in either, seconds.
    """

    candidate_id: uuid.UUID
    score: float
    share: float
    semitones: int
    tempo: float
    factor: float
    ours_s: tuple[float, float]
    theirs_s: tuple[float, float]


def has_melody(views: Frames) -> bool:
    """Whether enough of it has a pitch."""
    return bool(np.count_nonzero(views.any(axis=1)) * FRAME_SECONDS >= MIN_SOUNDING_S)


def nearest(session: Session, views: Frames, *, exclude: uuid.UUID | None = None, most: int = SHORTLIST) -> list[Near]:
    """The shortlist: recordings nearest to any of the query's tempi, nearest first."""
    return _nearest_to(session, embed.probes(views), exclude, most)


def _nearest_to(session: Session, probes: embed.Vectors, exclude: uuid.UUID | None, most: int) -> list[Near]:
    # The index gives no more than it looks at, and 40 by default.
    session.execute(text(f"SET LOCAL hnsw.ef_search = {max(100, 2 * most)}"))
    rows = session.execute(
        _NEAREST,
        {
            "probes": [_vector_text(probe) for probe in probes],
            "version": embed.EMBEDDING_VERSION,
            "most": most,
            "exclude": exclude,
        },
    )
    return [Near(row.candidate_id, embed.PROBES[row.number - 1], 1 - float(row.distance)) for row in rows]


@dataclass(frozen=True, slots=True)
class Found:
    """``matches``: recordings that follow the same melody, best first.

    ``likeness``: of the nearest recording, whether or not it is among them (cosine); None: ours has no melody.
    ``near``: recordings that are as like ours as a damaged copy of them would be, nearest first.
    ``compared``: all that are like enough for their timbre to be asked, nearest first.
    ``embedding``: ours, which was needed for it.
    """

    matches: Sequence[Match] = ()
    likeness: float | None = None
    near: tuple[uuid.UUID, ...] = ()
    compared: tuple[uuid.UUID, ...] = ()
    embedding: embed.Vectors | None = field(default=None, repr=False, compare=False)

    @property
    def may_be_altered(self) -> bool:
        """Whether it may be a recording that is known, at another speed or pitch; chroma hardly changes by that."""
        return self.likeness is None or self.likeness >= ALTERED_LIKENESS


def find(session: Session, views: Frames, *, exclude: uuid.UUID | None = None) -> Found:
    """Recordings that follow the same melody: all that are worth an observation.

    Recordings that wait for their settlement are compared too: by the time ours is settled they may be published.
    """
    if not has_melody(views):
        return Found()
    probes = embed.probes(views)
    near_ones = _nearest_to(session, probes, exclude, SHORTLIST)
    shortlist = [near for near in near_ones if near.likeness >= COMPARED_LIKENESS][:COMPARED]
    likeness = near_ones[0].likeness if near_ones else 0.0
    rows = session.execute(
        select(AudioMelody.candidate_id, AudioMelody.frames, AudioMelody.leading)  # not the embedding: slow to read
        .join(Candidate, Candidate.id == AudioMelody.candidate_id)
        .where(AudioMelody.candidate_id.in_([near.candidate_id for near in shortlist]))
        .where(or_(Candidate.version_id.is_not(None), Candidate.state.in_(_UNSETTLED)))
    )
    theirs = {candidate_id: _views(frames, leading) for candidate_id, frames, leading in rows}
    pairs = [(near, theirs[near.candidate_id]) for near in shortlist if near.candidate_id in theirs]
    alike = tuple(near.candidate_id for near in near_ones[:COMPARED] if near.likeness >= ALTERED_LIKENESS)
    anything = tuple(near.candidate_id for near in near_ones if near.likeness >= ALIKE_LIKENESS)
    return Found(compare(views, pairs), likeness, alike, anything, probes[embed.PROBES.index(1.0)])


def compare(views: Frames, shortlist: Sequence[tuple[Near, Frames]]) -> list[Match]:
    """Those of the shortlist (nearest first) that follow the same melody, best first."""
    nears = shortlist[:COMPARED]
    at = {factor: embed.at_tempo(views, factor) for factor in {near.factor for near, _ in nears}}
    pairs = [(at[near.factor], embed.at_tempo(other, 1.0)) for near, other in nears]
    matches = []
    for (near, _), (ours, theirs), found in zip(nears, pairs, qmax.compare(pairs, WEAK_SHARE), strict=True):
        share = found.score / qmax.most_moments(ours, theirs)
        if share >= WEAK_SHARE and found.score * FRAME_SECONDS >= MIN_PASSAGE_S:
            matches.append(_match(near, found, share, ours, theirs))
    return sorted(matches, key=lambda match: (-match.share, str(match.candidate_id)))[:MOST_MATCHES]


def _match(near: Near, found: qmax.Match, share: float, ours: embed.Vectors, theirs: embed.Vectors) -> Match:
    path = qmax.trace(ours, theirs, found.rotation)
    # A moment is so many frames long itself.
    (ours_from, theirs_from), (ours_to, theirs_to) = path.points[0], path.points[-1]
    ours_s = (ours_from * FRAME_SECONDS * near.factor, (ours_to + qmax.TOGETHER) * FRAME_SECONDS * near.factor)
    theirs_s = (theirs_from * FRAME_SECONDS, (theirs_to + qmax.TOGETHER) * FRAME_SECONDS)
    return Match(
        candidate_id=near.candidate_id,
        score=round(found.score, 1),
        share=round(share, 3),
        semitones=semitones_above(found.rotation),
        tempo=round((theirs_s[1] - theirs_s[0]) / (ours_s[1] - ours_s[0]), 3),
        factor=near.factor,
        ours_s=(round(ours_s[0], 1), round(ours_s[1], 1)),
        theirs_s=(round(theirs_s[0], 1), round(theirs_s[1], 1)),
    )


def semitones_above(rotation: int) -> int:
    """How far ours lies above theirs (-5..6), if it fits after it was moved up by ``rotation``."""
    down = -rotation % 12
    return down if down <= 6 else down - 12


def record(
    session: Session, candidate_id: uuid.UUID, heard: Chroma, found: Found | None = None, *, first: bool = False
) -> None:
    """Keeps the melody of a candidate and what was found to be like it, in place of what was known before.

    ``found``: by `find`; ``first``: nothing was known before.
    """
    if not first:
        session.execute(delete(AudioMelody).where(AudioMelody.candidate_id == candidate_id))
        session.execute(delete(Observation).where(Observation.candidate_id == candidate_id, Observation.kind == KIND))
    if not has_melody(heard.views):
        return
    session.add(
        AudioMelody(
            candidate_id=candidate_id,
            frames=heard.frames.tobytes(),
            leading=heard.leading.tobytes(),
            tuning=heard.tuning,
            embedding=embed.embed(heard.views) if found is None or found.embedding is None else found.embedding,
            embedding_version=embed.EMBEDDING_VERSION,
        )
    )
    if found is not None and found.matches:
        matches = [{**asdict(match), "candidate_id": str(match.candidate_id)} for match in found.matches]
        session.add(Observation(candidate_id=candidate_id, kind=KIND, data={"matches": matches}))


def propose(session: Session, candidate_id: uuid.UUID, proposals: Sequence[Proposal]) -> list[Proposal]:
    """The proposals with what the melody says: a further part where it agrees, further proposals at the end.

    Never better than ``review``. Songs whose recording ours is anyway are left out: a copy has the same melody.
    """
    data = session.scalar(
        select(Observation.data)
        .where(Observation.candidate_id == candidate_id, Observation.kind == KIND)
        .order_by(Observation.id.desc())
        .limit(1)
    )
    return list(proposals) if data is None else beside(session, proposals, [_read(each) for each in data["matches"]])


def beside(session: Session, proposals: Sequence[Proposal], matches: Sequence[Match]) -> list[Proposal]:
    """`propose` of something whose matches (`find`) are not recorded."""
    rows = session.execute(
        select(Candidate.id, Version.id, Version.song_id)
        .join(Version, Version.id == Candidate.version_id)
        .join(Song, Song.id == Version.song_id)
        .where(Candidate.id.in_([match.candidate_id for match in matches]))
        .where(Version.deleted_at.is_(None), Song.deleted_at.is_(None))
    )
    of = {row[0]: (row[1], row[2]) for row in rows}
    copies = {each.version_id for each in proposals if each.version_id is not None and each.verdict is Verdict.SAME}
    known = {of[match.candidate_id][1] for match in matches if of.get(match.candidate_id, (None,))[0] in copies}
    said: dict[uuid.UUID, Proposal] = {}
    for match in matches:
        if match.candidate_id in of and (song_id := of[match.candidate_id][1]) not in known:
            said.setdefault(song_id, _proposal(match, song_id))
    result = []
    for proposal in proposals:
        also = said.get(proposal.song_id) if proposal.song_id is not None else None
        if also is not None and (proposal.verdict is not Verdict.WEAK or also.verdict is Verdict.WEAK):
            del said[also.song_id or uuid.UUID(int=0)]
            parts = tuple(replace(part, weight=0.0) for part in also.parts)
            proposal = replace(
                proposal,
                parts=proposal.parts + parts,
                sentence=f"{proposal.sentence}; {also.sentence}",
                extra={**proposal.extra, **also.extra},
            )
        result.append(proposal)
    return result + list(said.values())


def _proposal(match: Match, song_id: uuid.UUID) -> Proposal:
    verdict = Verdict.REVIEW if match.share >= REVIEW_SHARE else Verdict.WEAK
    probability = 1 / (1 + math.exp((PROBABILITY_MIDDLE - match.share) / PROBABILITY_SCALE))
    return Proposal(
        question=Question.SONG,
        probability=round(probability, 4),
        verdict=verdict,
        sentence=sentence(match),
        parts=(
            Part(
                "melody",
                round(max(0.0, min(1.0, 1 - match.share)), 4),
                1.0,
                f"{match.share:.0%} of the moments lie on one path, {match.ours_s[0]:.0f}–{match.ours_s[1]:.0f} s of "
                f"ours beside {match.theirs_s[0]:.0f}–{match.theirs_s[1]:.0f} s",
            ),
        ),
        song_id=song_id,
        extra={"melody": {**asdict(match), "candidate_id": str(match.candidate_id)}},
    )


def sentence(match: Match) -> str:
    """What was found, for people."""
    likeness = "The same melody" if match.share >= REVIEW_SHARE else "A similar melody"
    shift = abs(match.semitones)
    words = f"{'semitone' if shift == 1 else 'semitones'} {'higher' if match.semitones > 0 else 'lower'}"
    key = f"{shift} {words}" if shift else "in the same key"
    percent = round(100 * (match.tempo - 1))
    tempo = f"{abs(percent)} % {'faster' if percent > 0 else 'slower'}" if abs(percent) >= 2 else "at the same tempo"
    return f"{likeness} for {match.ours_s[1] - match.ours_s[0]:.0f} s, {key}, {tempo}: a possible version"


def _read(data: dict[str, Any]) -> Match:
    return Match(
        **{
            **data,
            "candidate_id": uuid.UUID(data["candidate_id"]),
            "ours_s": tuple(data["ours_s"]),
            "theirs_s": tuple(data["theirs_s"]),
        }
    )


def views_of(melody: AudioMelody) -> Frames:
    """The stored chroma: (time, 24), see `Chroma.views`.

    Of recordings heard before the leading voice was listened for, the whole band stands in its place.
    """
    return _views(melody.frames, melody.leading)


def _views(frames: bytes, leading: bytes | None) -> Frames:
    both = (np.frombuffer(data, dtype=np.uint8).reshape(-1, 12) for data in (frames, leading or frames))
    return np.hstack(list(both))


def refresh(session: Session, limit: int = 500) -> int:
    """Makes the embeddings again that an earlier version made; how many it did. Repeat until none is left."""
    stale = session.scalars(
        select(AudioMelody)
        .where(AudioMelody.embedding_version != embed.EMBEDDING_VERSION)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for melody in stale:
        melody.embedding = embed.embed(views_of(melody))
        melody.embedding_version = embed.EMBEDDING_VERSION
    return len(stale)


def _vector_text(vector: embed.Vectors) -> str:
    """As pgvector reads it, ten thousand times as long: whole numbers are written faster, and cosines do not mind."""
    return str(np.rint(vector * 10_000).astype(int).tolist())
