"""one politeness budget: scopes, and the operator's limits

Revision: 0012
Follows: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "politeness_scopes",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_politeness_scopes")),
        postgresql_with={"fillfactor": "40"},
    )
    op.create_table(
        "politeness_limits",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_politeness_limits")),
    )
    # A budget is of the moment: nothing of it is carried over.
    op.drop_table("politeness_groups")


def downgrade() -> None:
    op.create_table(
        "politeness_groups",
        sa.Column("server_group", sa.Text(), nullable=False),
        sa.Column("delay_s", sa.Float(), server_default="1", nullable=False),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("server_group", name=op.f("pk_politeness_groups")),
    )
    op.drop_table("politeness_limits")
    op.drop_table("politeness_scopes")
