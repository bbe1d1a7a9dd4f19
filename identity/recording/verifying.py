"""Looks a recording up: what the index proposes is read and aligned, first what stands out, the rest only on a miss.

Two recordings of a million that are not the same share no item or one; a copy shares a third of them and more. So a few
of the terms are enough to tell a copy, and what shares no more of these than strangers do is neither read nor aligned,
as long as something else is the same recording without a doubt. Other copies share as many terms as the best, so they
are looked at too. Where nothing is, all terms are asked, and the best are compared however little they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from identity.evidence import Alignment, Verdict
from identity.recording.align import Aligned, align_alike, align_all
from identity.recording.index import RecordingIndex
from identity.recording.items import Items
from identity.recording.terms import FINEST_SAMPLING_BITS, Terms, sampling_mask, terms
from identity.thresholds import (
    FEW_TERMS,
    MIN_DISTINCT_SHARE,
    MIN_OVERLAP_REVIEW_S,
    MIN_OVERLAP_S,
    REVIEW_BIT_ERROR_RATE,
    SAME_BIT_ERROR_RATE,
    SHARED_BY_CHANCE,
    VERIFIED_CANDIDATES,
    WEAK_BIT_ERROR_RATE,
)

_COARSEST_SAMPLING_BITS = 8

_MOST_HITS = 50 * VERIFIED_CANDIDATES
"""The index knows pending and deleted recordings too, so many of its answers may be no targets."""

_READ_AT_ONCE = (2 * VERIFIED_CANDIDATES, 10 * VERIFIED_CANDIDATES, _MOST_HITS)


class Target(Protocol):
    """A stored recording that may be compared."""

    @property
    def fingerprint_id(self) -> int: ...

    @property
    def items(self) -> Items: ...


T = TypeVar("T", bound=Target)

Hits = Sequence[tuple[int, int]]
"""(fingerprint id, number of shared terms), most shared first."""

Read = Callable[[Sequence[int], int], Sequence[T]]
"""The first so many of these fingerprints that are targets, in this order."""

Compared = list[tuple[T, Aligned | None]]
"""Targets, and how the recording lies on each; None: a bit error rate above `WEAK_BIT_ERROR_RATE`, or less than 10 s of
overlap."""


def verdict_of(alignment: Alignment) -> Verdict | None:
    """What an alignment says by itself; None: nothing.

    Under 20 s of overlap everything counts one step less; few distinct items (held notes, silence) prove nothing.
    """
    short = alignment.overlap_s < MIN_OVERLAP_S
    if alignment.overlap_s < MIN_OVERLAP_REVIEW_S or alignment.distinct_share < MIN_DISTINCT_SHARE:
        return None
    if alignment.bit_error_rate <= SAME_BIT_ERROR_RATE:
        return Verdict.REVIEW if short else Verdict.SAME
    if alignment.bit_error_rate <= REVIEW_BIT_ERROR_RATE:
        return Verdict.WEAK if short else Verdict.REVIEW
    if alignment.bit_error_rate <= WEAK_BIT_ERROR_RATE and not short:
        return Verdict.WEAK
    return None


def few_of(found: Terms) -> Terms:
    """A part of the terms that is chosen by content as they all are: `FEW_TERMS` and up to twice as many or some more;
    or all."""
    fewest = found
    for bits in range(FINEST_SAMPLING_BITS + 2, _COARSEST_SAMPLING_BITS + 1):
        part: Terms = fewest[(fewest & sampling_mask(bits)) == 0]
        if part.size < FEW_TERMS:
            break
        fewest = part
    return fewest


def look_up(session: Session, index: RecordingIndex, items: Items, read: Read[T]) -> Compared[T]:
    """The targets that were compared with a recording, those first that share most with it."""
    found = terms(items, FINEST_SAMPLING_BITS)
    few = few_of(found)
    searches = [partial(index.search_terms, session, found, _MOST_HITS)]
    if few.size < found.size:
        searches.insert(0, partial(index.search_terms, session, few, VERIFIED_CANDIDATES))
    return verified(items, searches, read)


def verified(items: Items, searches: Iterable[Callable[[], Hits]], read: Read[T]) -> Compared[T]:
    """`look_up` with any searches, each of which finds more than the one before; at most `VERIFIED_CANDIDATES`."""
    compared: dict[int, tuple[T, Aligned | None]] = {}

    def compare(ids: Sequence[int], *, alike: bool) -> None:
        """Those that are not compared yet; ``alike``: they share more than strangers do."""
        new = [each for each in ids if each not in compared]
        most = VERIFIED_CANDIDATES - len(compared)
        if new and most > 0:
            targets = read(new, most)
            for target, aligned in zip(targets, _aligned(items, targets, alike=alike), strict=True):
                compared[target.fingerprint_id] = (target, aligned)

    hits: Hits = ()
    for search in searches:
        hits = search()
        compare([found for found, shared in hits[:VERIFIED_CANDIDATES] if shared > SHARED_BY_CHANCE], alike=True)
        if any(aligned and _is_sure(aligned.alignment) for _, aligned in compared.values()):
            return list(compared.values())
    for start, end in zip((0, *_READ_AT_ONCE), _READ_AT_ONCE, strict=False):
        compare([found for found, _ in hits[start:end]], alike=False)
    ranks = {found: rank for rank, (found, _) in enumerate(hits)}
    return sorted(compared.values(), key=lambda pair: ranks.get(pair[0].fingerprint_id, len(ranks)))


def _aligned(items: Items, targets: Sequence[Target], *, alike: bool) -> list[Aligned | None]:
    """`align_all`, but what is alike enough to be sure is found the short way."""
    result = [align_alike(items, target.items) if alike else None for target in targets]
    others = [place for place, found in enumerate(result) if not (found and _is_sure(found.alignment))]
    found = align_all(items, [targets[place].items for place in others], WEAK_BIT_ERROR_RATE)
    for place, aligned in zip(others, found, strict=True):
        result[place] = aligned
    return result


def _is_sure(alignment: Alignment) -> bool:
    """Whether it is the same recording without a doubt, or would be if more of it were compared."""
    return alignment.bit_error_rate <= SAME_BIT_ERROR_RATE and verdict_of(alignment) is not None
