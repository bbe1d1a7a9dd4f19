"""what is known of pages and sources

Revision: 0003
Follows: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "source_freezes",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_freezes")),
    )
    op.create_index(
        "uq_source_freezes_active",
        "source_freezes",
        ["source"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "page_history",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("crawl_run_id", sa.Uuid(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("last_modified", sa.Text(), nullable=True),
        sa.Column("lastmod", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("links", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("visits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("observed_s", sa.Double(), server_default="0", nullable=False),
        sa.Column("interval_s", sa.Double(), server_default="0", nullable=False),
        sa.Column("body_object_key", sa.Text(), nullable=True),
        sa.Column("body_offset", sa.BigInteger(), nullable=True),
        sa.Column("body_length", sa.BigInteger(), nullable=True),
        sa.Column("body_url", sa.Text(), nullable=True),
        sa.Column("body_date", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["body_object_key"],
            ["stored_objects.key"],
            name=op.f("fk_page_history_body_object_key_stored_objects"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["crawl_run_id"],
            ["crawl_runs.id"],
            name=op.f("fk_page_history_crawl_run_id_crawl_runs"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("source", "request_key", name=op.f("pk_page_history")),
    )
    op.create_index(op.f("ix_page_history_crawl_run_id"), "page_history", ["crawl_run_id"], unique=False)
    op.create_table(
        "trap_counters",
        sa.Column("crawl_run_id", sa.Uuid(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reported", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["crawl_run_id"],
            ["crawl_runs.id"],
            name=op.f("fk_trap_counters_crawl_run_id_crawl_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("crawl_run_id", "pattern", name=op.f("pk_trap_counters")),
    )
    op.create_table(
        "availability_checks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("version_source_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("crawl_run_id", sa.Uuid(), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "verdict IN ('available', 'removed', 'private', 'geo_blocked', 'age_restricted', 'auth_required', 'rate_limited', 'adapter_broken', 'unknown')",
            name=op.f("ck_availability_checks_verdict"),
        ),
        sa.ForeignKeyConstraint(
            ["crawl_run_id"],
            ["crawl_runs.id"],
            name=op.f("fk_availability_checks_crawl_run_id_crawl_runs"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["version_source_id"],
            ["version_sources.id"],
            name=op.f("fk_availability_checks_version_source_id_version_sources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_availability_checks")),
    )
    op.create_index(op.f("ix_availability_checks_crawl_run_id"), "availability_checks", ["crawl_run_id"], unique=False)
    op.create_index("ix_availability_checks_source", "availability_checks", ["source", "checked_at"], unique=False)
    op.create_index(
        op.f("ix_availability_checks_version_source_id"), "availability_checks", ["version_source_id"], unique=False
    )
    op.add_column("crawl_runs", sa.Column("publication", sa.Text(), server_default="open", nullable=False))
    op.add_column("crawl_runs", sa.Column("publication_detail", sa.Text(), server_default="", nullable=False))
    op.create_check_constraint(
        op.f("ck_crawl_runs_publication"),
        "crawl_runs",
        "publication IN ('open', 'probation', 'held', 'released', 'discarded')",
    )
    op.add_column("page_snapshots", sa.Column("body_object_key", sa.Text(), nullable=True))
    op.add_column("page_snapshots", sa.Column("body_offset", sa.BigInteger(), nullable=True))
    op.add_column("page_snapshots", sa.Column("body_length", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_page_snapshots_body_object_key_stored_objects"),
        "page_snapshots",
        "stored_objects",
        ["body_object_key"],
        ["key"],
    )
    op.add_column("version_sources", sa.Column("checks", sa.Integer(), server_default="0", nullable=False))
    op.add_column("version_sources", sa.Column("vanished", sa.Integer(), server_default="0", nullable=False))
    op.add_column("version_sources", sa.Column("suspected_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("version_sources", sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_version_sources_next_check", "version_sources", ["source", "next_check_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_version_sources_next_check", table_name="version_sources")
    op.drop_column("version_sources", "next_check_at")
    op.drop_column("version_sources", "suspected_at")
    op.drop_column("version_sources", "vanished")
    op.drop_column("version_sources", "checks")
    op.drop_constraint(op.f("fk_page_snapshots_body_object_key_stored_objects"), "page_snapshots", type_="foreignkey")
    op.drop_column("page_snapshots", "body_length")
    op.drop_column("page_snapshots", "body_offset")
    op.drop_column("page_snapshots", "body_object_key")
    op.drop_column("crawl_runs", "publication_detail")
    op.drop_constraint(op.f("ck_crawl_runs_publication"), "crawl_runs", type_="check")
    op.drop_column("crawl_runs", "publication")
    op.drop_index(op.f("ix_availability_checks_version_source_id"), table_name="availability_checks")
    op.drop_index("ix_availability_checks_source", table_name="availability_checks")
    op.drop_index(op.f("ix_availability_checks_crawl_run_id"), table_name="availability_checks")
    op.drop_table("availability_checks")
    op.drop_table("trap_counters")
    op.drop_index(op.f("ix_page_history_crawl_run_id"), table_name="page_history")
    op.drop_table("page_history")
    op.drop_index(
        "uq_source_freezes_active", table_name="source_freezes", postgresql_where=sa.text("released_at IS NULL")
    )
    op.drop_table("source_freezes")
