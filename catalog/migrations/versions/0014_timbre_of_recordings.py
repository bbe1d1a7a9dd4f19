"""How a recording sounds is kept beside its fingerprint.

Revision ID: 0014
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # Recordings that were heard before stay without; nothing is concluded from what is missing.
    op.add_column("audio_fingerprints", sa.Column("timbre", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("audio_fingerprints", "timbre")
