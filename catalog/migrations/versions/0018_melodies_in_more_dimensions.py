"""embeddings of melodies in more dimensions

Revision: 0018
Follows: 0017
"""

from __future__ import annotations

from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _embeddings_of(dimensions: int) -> None:
    """Other embeddings cannot be converted: zeros stand for them, under their old version, until they are made again.

    The reconciler does that from the stored chroma, some hundreds a round; until then such recordings are not found.
    """
    op.drop_index("ix_audio_melodies_embedding", table_name="audio_melodies")
    op.alter_column(
        "audio_melodies",
        "embedding",
        type_=HALFVEC(dimensions),
        postgresql_using=f"array_fill(0::real, ARRAY[{dimensions}])::halfvec({dimensions})",
    )
    op.create_index(
        "ix_audio_melodies_embedding",
        "audio_melodies",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
    )


def upgrade() -> None:
    _embeddings_of(384)


def downgrade() -> None:
    _embeddings_of(256)
