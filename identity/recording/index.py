"""Finds the recordings that share the most terms with a fingerprint."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from catalog.models import FingerprintTerm
from identity.recording.items import Items
from identity.recording.terms import terms
from identity.thresholds import MAX_POSTINGS_PER_TERM

# One statement for the hundred rows of a fingerprint.
_ADD = text(
    """
    INSERT INTO fingerprint_terms (term, fingerprint_id)
    SELECT term, :fingerprint_id FROM unnest(CAST(:terms AS integer[])) AS term
    ON CONFLICT DO NOTHING
    """
)

_SEARCH = text(
    """
    SELECT posting.fingerprint_id, count(*) AS shared
    FROM unnest(CAST(:terms AS integer[])) AS query (term)
    CROSS JOIN LATERAL (
        SELECT fingerprint_id FROM fingerprint_terms AS indexed
        WHERE indexed.term = query.term
        ORDER BY fingerprint_id
        LIMIT :postings
    ) AS posting
    GROUP BY posting.fingerprint_id
    ORDER BY shared DESC, posting.fingerprint_id
    LIMIT :limit
    """
)


class RecordingIndex(Protocol):
    """From items to fingerprints that probably sound alike. Callers own the transaction."""

    def add(self, session: Session, fingerprint_id: int, items: Items) -> None:
        """Indexes a stored fingerprint. Once more does nothing."""

    def search(self, session: Session, items: Items, limit: int = 20) -> list[tuple[int, int]]:
        """(fingerprint id, number of shared terms), most shared first, then by id."""

    def remove(self, session: Session, fingerprint_id: int) -> None:
        """Forgets a fingerprint; an unknown one is no error."""


class TermTable:
    """One row per (term, fingerprint) in a B-tree: the simplest form, for up to about a million recordings."""

    def add(self, session: Session, fingerprint_id: int, items: Items) -> None:
        """Indexes a stored fingerprint. Once more does nothing."""
        # Sorted terms: concurrent writers of the same rows take their locks in the same order.
        session.execute(_ADD, {"terms": terms(items).tolist(), "fingerprint_id": fingerprint_id})

    def search(self, session: Session, items: Items, limit: int = 20) -> list[tuple[int, int]]:
        """(fingerprint id, number of shared terms), most shared first, then by id. Reads at most
        `MAX_POSTINGS_PER_TERM` postings a term, those of the oldest fingerprints."""
        query = {"terms": terms(items).tolist(), "postings": MAX_POSTINGS_PER_TERM, "limit": limit}
        return [(row.fingerprint_id, row.shared) for row in session.execute(_SEARCH, query)]

    def remove(self, session: Session, fingerprint_id: int) -> None:
        """Forgets a fingerprint; an unknown one is no error."""
        session.execute(delete(FingerprintTerm).where(FingerprintTerm.fingerprint_id == fingerprint_id))
