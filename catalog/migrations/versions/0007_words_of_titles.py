"""words of titles

Revision: 0007
Follows: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "song_titles",
        sa.Column(
            "words",
            postgresql.ARRAY(sa.Text()),
            sa.Computed("string_to_array(key, ' ')", persisted=True),
            nullable=False,
        ),
    )
    op.create_index("ix_song_titles_words", "song_titles", ["words"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_song_titles_words", "song_titles")
    op.drop_column("song_titles", "words")
