"""Are the sources of versions still there? Looks are recorded, removals confirmed, mass disappearances stopped.

A source that is found gone is suspected first; it counts as gone when a second look, long enough after, finds the same.
If much of one site seems gone at once, retraction is frozen for the whole site until an operator releases it: looks go
on, nothing is retracted. Callers own the transaction.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Float, cast, delete, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from catalog import feed
from catalog.campaigns import thresholds
from catalog.campaigns.errors import CampaignError
from catalog.models import AvailabilityCheck, Candidate, SourceFreeze, Version, VersionSource
from catalog.publishing import derive, lock_identity

GONE = ("removed", "private", "geo_blocked", "age_restricted", "auth_required")
"""Verdicts that retract a source, once confirmed."""
CONCLUSIVE = ("available", *GONE)
MASS_DISAPPEARANCE = "mass_disappearance"


class NotFrozenError(CampaignError):
    """Retraction is not frozen for this source."""

    code = "not_frozen"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a refresh campaign wants, in seconds.

    ``confirm_after_s``: between the first look that finds a source gone and the one that confirms it; ``min_s`` and
    ``max_s``: between two looks at an available one.
    """

    confirm_after_s: float
    min_s: float = thresholds.MIN_CHECK_INTERVAL_S
    max_s: float = thresholds.MAX_CHECK_INTERVAL_S


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of an item: ``verdict`` is an availability, `unknown` where nothing can be said."""

    source_key: str
    verdict: str
    reason: str = ""


def vanish_rate(session: Session, source: str) -> float:
    """Vanished sources of a site, a second and source, by its past and `PRIOR_YEARS_TO_VANISH`."""
    age_s = func.extract("epoch", func.now() - VersionSource.created_at)
    sums = func.coalesce(func.sum(VersionSource.vanished), 0), func.coalesce(cast(func.sum(age_s), Float), 0.0)
    vanished, observed_s = session.execute(select(*sums).where(VersionSource.source == source)).one()
    prior_s = thresholds.PRIOR_YEARS_TO_VANISH * 365 * 86_400
    return float((vanished + 1) / (observed_s + prior_s))


def interval_s(rate: float, vanished: int, bounds: Bounds) -> float:
    """Seconds to the next look at an available source; what vanished before is looked at sooner."""
    wanted_s = -math.log(1 - thresholds.GONE_BY_THEN) / rate / (1 + vanished)
    return min(max(wanted_s, bounds.min_s), bounds.max_s)


def due(session: Session, source: str, bounds: Bounds, limit: int) -> list[VersionSource]:
    """Sources that are to be looked at now: suspected ones first, then those that vanished before, then the longest
    waiting. A site that deletes fast has more of them due."""
    query = select(VersionSource).join(Version).where(Version.deleted_at.is_(None), *_is_due(session, source, bounds))
    return list(
        session.scalars(
            query.order_by(
                VersionSource.suspected_at.is_(None),
                VersionSource.vanished.desc(),
                func.coalesce(VersionSource.next_check_at, VersionSource.checked_at),
                VersionSource.id,
            ).limit(limit)
        )
    )


def count_due(session: Session, source: str, bounds: Bounds) -> int:
    """How many `due` would return without a limit."""
    query = select(func.count()).select_from(VersionSource).join(Version).where(Version.deleted_at.is_(None))
    return session.scalar(query.where(*_is_due(session, source, bounds))) or 0


def _is_due(session: Session, source: str, bounds: Bounds) -> tuple[ColumnElement[bool], ...]:
    never_s = interval_s(vanish_rate(session, source), 0, bounds)
    now = datetime.now(UTC)
    never_looked_at = VersionSource.next_check_at.is_(None)
    return (
        VersionSource.source == source,
        or_(
            VersionSource.next_check_at <= now,
            never_looked_at & (VersionSource.checked_at <= now - timedelta(seconds=never_s)),
        ),
    )


def record(
    session: Session, source: str, looks: Sequence[Look], bounds: Bounds, *, run_id: uuid.UUID | None = None
) -> Counter[str]:
    """Records what was seen and draws the consequences; counts ``available, suspected, removed, restored, frozen``
    (found gone again, but retraction is frozen) and ``unknown``."""
    by_key = {look.source_key: look for look in looks}
    rows = session.scalars(
        select(VersionSource)
        .where(VersionSource.source == source, VersionSource.source_key.in_(sorted(by_key)))
        .order_by(VersionSource.id)
        .with_for_update()
    ).all()
    if not rows:
        return Counter()
    now = datetime.now(UTC)
    session.add_all(
        AvailabilityCheck(
            version_source_id=row.id,
            source=source,
            crawl_run_id=run_id,
            checked_at=now,
            verdict=by_key[row.source_key].verdict,
            reason=by_key[row.source_key].reason[:500],
        )
        for row in rows
    )
    session.flush()
    is_frozen = frozen(session, source) is not None or _freeze_if_much_is_gone(session, source, now)
    rate = vanish_rate(session, source)
    done: Counter[str] = Counter()
    changed: list[tuple[VersionSource, str]] = []
    for row in rows:
        look = by_key[row.source_key]
        what = _draw_consequence(row, look, now, bounds, rate, is_frozen)
        done[what] += 1
        if what in ("removed", "restored"):
            changed.append((row, what))
    session.flush()
    if changed:
        _prefer_anew(session, changed)
    return done


def _prefer_anew(session: Session, changed: Sequence[tuple[VersionSource, str]]) -> None:
    """The versions of these sources prefer the best source that is there; their events say why."""
    lock_identity(session)
    ids = sorted({row.version_id for row, _ in changed})
    before, songs = _preferred(session, ids), session.scalars(select(Version.song_id).where(Version.id.in_(ids))).all()
    events = derive(session, songs, ids)
    after = _preferred(session, ids)
    for event in events:
        if (version_id := event["entity_id"]) not in after:
            continue
        best = after[version_id]
        event["payload"] |= {
            "sources": [
                {"source": row.source, "source_key": row.source_key, "availability": row.availability, "reason": what}
                for row, what in changed
                if row.version_id == version_id
            ],
            "preferred": {"source": best.source, "source_key": best.source_key},
            "switched": best.id != before[version_id].id,
        }
    if events:
        feed.record_all(session, events)


def _preferred(session: Session, version_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, VersionSource]:
    query = select(VersionSource).where(VersionSource.version_id.in_(version_ids))
    rows = session.scalars(query.order_by(VersionSource.rank.desc(), VersionSource.id.desc()))
    return {row.version_id: row for row in rows}


def _draw_consequence(
    row: VersionSource, look: Look, now: datetime, bounds: Bounds, rate: float, is_frozen: bool
) -> str:
    def look_again(seconds: float) -> None:
        row.next_check_at = now + timedelta(seconds=seconds)

    if look.verdict not in CONCLUSIVE:
        # A suspicion stays as it is: an error of the network neither confirms nor refutes it.
        look_again(min(bounds.confirm_after_s, bounds.min_s))
        return "unknown"
    row.checked_at = now
    row.checks += 1
    if look.verdict == "available":
        restored = row.availability != "available"
        row.availability, row.availability_reason, row.suspected_at = "available", None, None
        look_again(interval_s(rate, row.vanished, bounds))
        return "restored" if restored else "available"
    if row.availability == look.verdict:
        row.suspected_at = None
        look_again(bounds.max_s)
        return "removed_still"
    if row.suspected_at is None:
        row.suspected_at = now
        look_again(bounds.confirm_after_s)
        return "suspected"
    left_s = bounds.confirm_after_s - (now - row.suspected_at).total_seconds()
    if left_s > 0:
        look_again(left_s)
        return "suspected"
    if is_frozen:
        look_again(bounds.confirm_after_s)
        return "frozen"
    if row.availability == "available":
        row.vanished += 1
    row.availability, row.availability_reason, row.suspected_at = look.verdict, look.reason or None, None
    look_again(bounds.max_s)
    return "removed"


# -- the freeze ------------------------------------------------------------------------------------------------------


def frozen(session: Session, source: str) -> SourceFreeze | None:
    """The freeze of a source that nobody has released."""
    return session.scalar(select(SourceFreeze).where(SourceFreeze.source == source, SourceFreeze.released_at.is_(None)))


def frozen_sources(session: Session, sources: Iterable[str] | None = None) -> list[SourceFreeze]:
    """Freezes that nobody has released, of these sources or of all, oldest first."""
    wanted = true() if sources is None else SourceFreeze.source.in_(list(sources))
    query = select(SourceFreeze).where(SourceFreeze.released_at.is_(None), wanted)
    return list(session.scalars(query.order_by(SourceFreeze.frozen_at)))


def thaw(session: Session, source: str) -> SourceFreeze:
    """The operator has looked: removals of this source count again, from now on. Raises NotFrozenError.

    What is suspected needs one further look that finds it gone.
    """
    found = session.scalar(
        select(SourceFreeze).where(SourceFreeze.source == source, SourceFreeze.released_at.is_(None)).with_for_update()
    )
    if found is None:
        there = ", ".join(each.source for each in frozen_sources(session)) or "none"
        raise NotFrozenError(f"retraction is not frozen for {source!r}; frozen are: {there}")
    found.released_at = datetime.now(UTC)
    for row in session.scalars(
        select(VersionSource).where(VersionSource.source == source, VersionSource.suspected_at.is_not(None))
    ):
        row.next_check_at = found.released_at
    session.flush()
    return found


def _freeze_if_much_is_gone(session: Session, source: str, now: datetime) -> bool:
    since = now - timedelta(hours=thresholds.PASSING_CHECK_WINDOW_H)
    released = session.scalar(select(func.max(SourceFreeze.released_at)).where(SourceFreeze.source == source))
    # What an operator has judged once does not raise the alarm again.
    since = max(since, released) if released else since
    newest = (
        select(AvailabilityCheck.version_source_id, AvailabilityCheck.verdict)
        .ext(distinct_on(AvailabilityCheck.version_source_id))
        .where(AvailabilityCheck.source == source, AvailabilityCheck.checked_at > since)
        .where(AvailabilityCheck.verdict.in_(CONCLUSIVE))
        .order_by(AvailabilityCheck.version_source_id, AvailabilityCheck.id.desc())
        .subquery()
    )
    # Those that were known or suspected to be gone before are no news.
    is_news = or_(VersionSource.suspected_at.is_(None), VersionSource.suspected_at > since)
    looked_at, gone = session.execute(
        select(func.count(), func.count().filter(newest.c.verdict.in_(GONE), is_news))
        .select_from(newest)
        .join(VersionSource, VersionSource.id == newest.c.version_source_id)
        .where(or_(VersionSource.availability == "available", newest.c.verdict == "available"))
    ).one()
    if gone < thresholds.MASS_MIN_GONE or gone < thresholds.MASS_SHARE * looked_at:
        return False
    detail = f"{gone} of {looked_at} sources looked at since {since:%Y-%m-%d %H:%M} UTC seem gone"
    values = {"source": source, "reason": MASS_DISAPPEARANCE, "detail": detail}
    session.execute(insert(SourceFreeze).values(**values).on_conflict_do_nothing())
    return True


def hurry(session: Session, run_id: uuid.UUID) -> None:
    """What a crawl has seen of sources that count as gone, or heard to be gone, is looked at soon: a crawl's word alone
    neither brings back nor retracts."""
    seen = select(Candidate.id).where(Candidate.crawl_run_id == run_id)
    session.execute(
        update(VersionSource)
        .where(VersionSource.candidate_id.in_(seen), VersionSource.availability != "available")
        .values(next_check_at=func.now())
    )
    heard = seen.where(func.coalesce(Candidate.item["availability"].astext, "available") != "available")
    session.execute(
        update(VersionSource)
        .where(VersionSource.candidate_id.in_(heard), VersionSource.availability == "available")
        .values(next_check_at=func.now())
    )


def prune(session: Session, now: datetime | None = None) -> int:
    """Removes single checks that are older than `CHECKS_KEPT_DAYS`."""
    oldest = (now or datetime.now(UTC)) - timedelta(days=thresholds.CHECKS_KEPT_DAYS)
    removed = session.execute(
        delete(AvailabilityCheck).where(AvailabilityCheck.checked_at < oldest).returning(AvailabilityCheck.id)
    )
    return len(removed.all())
