"""segments of recordings

The index of recordings becomes packed segments. Nothing is copied: the index follows from the stored fingerprints, and
is marked stale where there are any; the first worker that starts builds it (about a minute for a million), and identity
waits for it. `versions index rebuild` does the same at once.

Revision: 0008
Follows: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recording_index",
        sa.Column("sole", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sampling_bits", sa.SmallInteger(), server_default="3", nullable=False),
        sa.Column("stale", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("sole", name=op.f("ck_recording_index_sole")),
        sa.PrimaryKeyConstraint("sole", name=op.f("pk_recording_index")),
    )
    op.execute("INSERT INTO recording_index (stale) SELECT EXISTS (SELECT FROM audio_fingerprints)")
    op.create_table(
        "recording_segments",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("state", sa.Text(), server_default="building", nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("offset_bits", sa.SmallInteger(), nullable=False),
        sa.Column("bucket_bits", sa.SmallInteger(), nullable=False),
        sa.Column("sampling_bits", sa.SmallInteger(), nullable=False),
        sa.Column("recordings", sa.Integer(), server_default="0", nullable=False),
        sa.Column("postings", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('building', 'active', 'retired')", name=op.f("ck_recording_segments_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_segments")),
    )
    op.create_index("ix_recording_segments_state", "recording_segments", ["state"])
    op.create_table(
        "recording_postings",
        sa.Column("segment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", "bucket", name=op.f("pk_recording_postings")),
    )
    # Hashed numbers do not compress, and a row is read whole: it stays in its page as it is.
    op.execute("ALTER TABLE recording_postings ALTER COLUMN data SET STORAGE MAIN")
    op.execute("ALTER TABLE recording_postings SET (toast_tuple_target = 8160)")
    op.create_table(
        "recording_terms",
        sa.Column("fingerprint_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "transaction",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            nullable=False,
        ),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["fingerprint_id"],
            ["audio_fingerprints.id"],
            name=op.f("fk_recording_terms_fingerprint_id_audio_fingerprints"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("fingerprint_id", name=op.f("pk_recording_terms")),
    )
    op.create_index(op.f("ix_recording_terms_transaction"), "recording_terms", ["transaction"])
    op.drop_table("fingerprint_terms")


def downgrade() -> None:
    op.create_table(
        "fingerprint_terms",
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("fingerprint_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["fingerprint_id"],
            ["audio_fingerprints.id"],
            name=op.f("fk_fingerprint_terms_fingerprint_id_audio_fingerprints"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("term", "fingerprint_id", name=op.f("pk_fingerprint_terms")),
    )
    op.create_index(op.f("ix_fingerprint_terms_fingerprint_id"), "fingerprint_terms", ["fingerprint_id"])
    op.drop_table("recording_terms")
    op.drop_table("recording_postings")
    op.drop_table("recording_segments")
    op.drop_table("recording_index")
