"""one politeness budget: why a request waits

Revision: 0002
Follows: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("frontier_requests", sa.Column("wait_reason", sa.Text(), nullable=True))
    op.add_column("frontier_requests", sa.Column("waiting_on", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("frontier_requests", "waiting_on")
    op.drop_column("frontier_requests", "wait_reason")
