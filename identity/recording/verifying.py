"""Looks a recording up: what the index proposes is read and aligned, first what stands out, the rest only on a miss.

Two recordings of a million that are not the same share no item or one; a copy shares a third of them and more. So a few
of the terms are enough to tell a copy, and what shares no more of these than strangers do is neither read nor aligned,
as long as something else is the same recording without a doubt. Other copies share as many terms as the best, so they
are looked at too. Where nothing is, all terms are asked, and the best are compared however little they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from identity.evidence import Alignment, Verdict
from identity.recording.align import Aligned, align_alike, align_all
from identity.recording.index import Choose, Hits, RecordingIndex, Search
from identity.recording.items import Items
from identity.recording.reading import Source
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

FEW_SINGLES = 5 * VERIFIED_CANDIDATES
"""Where more share one term only, the right one would be among the twenty that are read in one case of five."""

_READ_AT_ONCE = (2 * VERIFIED_CANDIDATES, 10 * VERIFIED_CANDIDATES, _MOST_HITS)


class Target(Protocol):
    """A stored recording that may be compared."""

    @property
    def fingerprint_id(self) -> int: ...

    @property
    def items(self) -> Items: ...


T = TypeVar("T", bound=Target)

Ask = Callable[[Choose, int], Sequence[T]]
"""Searches, and reads the first so many of what is chosen that are targets."""

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


def look_up(session: Session, index: RecordingIndex, items: Items, source: Source[T]) -> Compared[T]:
    """The targets that were compared with a recording, those first that share most with it."""
    found = terms(items, FINEST_SAMPLING_BITS)
    few = few_of(found)
    asked = [(found, _MOST_HITS)]
    if few.size < found.size:
        asked.insert(0, (few, VERIFIED_CANDIDATES))
    return verified(items, asked, lambda choose, most: index.look(session, choose, source, most))


def verified(items: Items, asked: Sequence[tuple[Terms, int]], ask: Ask[T]) -> Compared[T]:
    """`look_up` with any search.

    Args:
        asked: terms, each time more of them, and how many hits are wanted.
    """
    compared: dict[int, tuple[T, Aligned | None]] = {}
    seen: set[int] = set()
    hits: Hits = []
    chosen: list[int] = []
    left = list(asked)

    def choose(search: Search) -> Sequence[int]:
        """By the first question in which something stands out; where nothing does, what is worth a look."""
        nonlocal hits, chosen, left
        for place, (wanted, limit) in enumerate(questions, start=1):
            hits, left = search(wanted, limit), questions[place:]
            best = hits[:VERIFIED_CANDIDATES]
            chosen = [found for found, shared in best if shared > SHARED_BY_CHANCE and found not in seen]
            if chosen:
                return chosen
        chosen = [found for found in _worth_a_look(hits)[: _READ_AT_ONCE[0]] if found not in seen]
        return chosen

    def compare(choosing: Choose) -> None:
        targets = ask(choosing, VERIFIED_CANDIDATES - len(compared))
        seen.update(chosen)
        for target, aligned in zip(targets, _aligned(items, targets, dict(hits)), strict=True):
            compared[target.fingerprint_id] = (target, aligned)

    while left and len(compared) < VERIFIED_CANDIDATES:
        questions = left
        compare(choose)
        if any(aligned and _is_sure(aligned.alignment) for _, aligned in compared.values()):
            return list(compared.values())
    worth = _worth_a_look(hits)
    for start, end in zip((0, *_READ_AT_ONCE), _READ_AT_ONCE, strict=False):
        chosen = [found for found in worth[start:end] if found not in seen]
        if chosen and len(compared) < VERIFIED_CANDIDATES:
            compare(partial(_as_chosen, chosen))
    ranks = {found: rank for rank, (found, _) in enumerate(hits)}
    return sorted(compared.values(), key=lambda pair: ranks.get(pair[0].fingerprint_id, len(ranks)))


def _worth_a_look(hits: Hits) -> list[int]:
    """Those that share more than one term, and those that share one where these are few (`FEW_SINGLES`)."""
    several = [found for found, shared in hits if shared > 1]
    if len(hits) - len(several) > FEW_SINGLES:
        return several
    return [found for found, _ in hits]


def _as_chosen(chosen: Sequence[int], _: Search) -> Sequence[int]:
    return chosen


def _aligned(items: Items, targets: Sequence[Target], shared: Mapping[int, int]) -> list[Aligned | None]:
    """`align_all`, but what is alike enough to be sure is found the short way. ``shared``: terms by fingerprint."""
    result = [
        align_alike(items, target.items) if shared.get(target.fingerprint_id, 0) > SHARED_BY_CHANCE else None
        for target in targets
    ]
    others = [place for place, found in enumerate(result) if not (found and _is_sure(found.alignment))]
    found = align_all(items, [targets[place].items for place in others], WEAK_BIT_ERROR_RATE)
    for place, aligned in zip(others, found, strict=True):
        result[place] = aligned
    return result


def _is_sure(alignment: Alignment) -> bool:
    """Whether it is the same recording without a doubt, or would be if more of it were compared."""
    return alignment.bit_error_rate <= SAME_BIT_ERROR_RATE and verdict_of(alignment) is not None
