"""fingerprints in their rows

Revision: 0019
Follows: 0018

Two minutes of items are 3.8 kB: above PostgreSQL's usual limit, which would move them to another table, where a look-up
reads an index and several rows for each. Now only the timbre goes there. Rows that are there already stay as they are
until they are written anew.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE audio_fingerprints ALTER COLUMN items SET STORAGE MAIN")
    op.execute("ALTER TABLE audio_fingerprints SET (toast_tuple_target = 4500)")


def downgrade() -> None:
    op.execute("ALTER TABLE audio_fingerprints RESET (toast_tuple_target)")
    op.execute("ALTER TABLE audio_fingerprints ALTER COLUMN items SET STORAGE EXTENDED")
