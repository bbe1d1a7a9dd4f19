"""Writes ``docs/campaign.schema.json``: ``python -m catalog.campaigns.schema docs/campaign.schema.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from catalog.campaigns.spec import campaign_schema


def schema_text() -> str:
    """The file's text."""
    return json.dumps(campaign_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
