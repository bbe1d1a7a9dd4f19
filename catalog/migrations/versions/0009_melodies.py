"""melodies

Revision: 0009
Follows: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # 0001 makes it too; here for a database where an operator had removed what nothing used.
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "audio_melodies",
        sa.Column("candidate_id", sa.Uuid(), nullable=False),
        sa.Column("frames", sa.LargeBinary(), nullable=False),
        sa.Column("tuning", sa.Float(), nullable=False),
        sa.Column("embedding", HALFVEC(96), nullable=False),
        sa.Column("embedding_version", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"],
            ["candidates.id"],
            name=op.f("fk_audio_melodies_candidate_id_candidates"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("candidate_id", name=op.f("pk_audio_melodies")),
    )
    op.create_index(
        "ix_audio_melodies_embedding",
        "audio_melodies",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
    )
    op.create_index("ix_audio_melodies_embedding_version", "audio_melodies", ["embedding_version"])


def downgrade() -> None:
    op.drop_table("audio_melodies")
