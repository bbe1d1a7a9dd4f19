"""titles without spaces

Revision: 0017
Follows: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not concurrently: a million titles take a second or two.
    op.create_index("ix_song_titles_joined", "song_titles", [sa.text("replace(key, ' '::text, ''::text)")])


def downgrade() -> None:
    op.drop_index("ix_song_titles_joined", "song_titles")
