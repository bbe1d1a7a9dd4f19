"""How a recording sounds is kept beside its fingerprint.

Revision: 0014
Follows: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Recordings that were heard before stay without; nothing is concluded from what is missing.
    op.add_column("audio_fingerprints", sa.Column("timbre", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("audio_fingerprints", "timbre")
