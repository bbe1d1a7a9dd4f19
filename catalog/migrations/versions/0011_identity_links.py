"""links with their evidence, and what must not be linked

Revision: 0011
Follows: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_links",
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("candidate_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("song_id", sa.Uuid(), nullable=True),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"],
            ["candidates.id"],
            name=op.f("fk_identity_links_candidate_id_candidates"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_identity_links_version_id_versions")),
        sa.ForeignKeyConstraint(["song_id"], ["songs.id"], name=op.f("fk_identity_links_song_id_songs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_links")),
    )
    op.create_index("ix_identity_links_candidate_id", "identity_links", ["candidate_id", "question"])
    op.create_index("ix_identity_links_version_id", "identity_links", ["version_id"])
    op.create_index("ix_identity_links_song_id", "identity_links", ["song_id"])
    op.create_table(
        "must_not_links",
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("first_id", sa.Uuid(), nullable=False),
        sa.Column("second_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("first_id < second_id", name=op.f("ck_must_not_links_order")),
        sa.ForeignKeyConstraint(
            ["first_id"], ["candidates.id"], name=op.f("fk_must_not_links_first_id_candidates"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["second_id"], ["candidates.id"], name=op.f("fk_must_not_links_second_id_candidates"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("question", "first_id", "second_id", name=op.f("pk_must_not_links")),
    )
    op.create_index("ix_must_not_links_second_id", "must_not_links", ["second_id"])


def downgrade() -> None:
    op.drop_table("must_not_links")
    op.drop_table("identity_links")
