"""The contract of versions."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from catalog_api.schemas import SONG_REF_EXAMPLE, VERSION_EXAMPLE, SongRef, Version, example


class VersionDetail(Version):
    """A version with its song and waveform."""

    model_config = example(
        {
            **VERSION_EXAMPLE,
            "song": SONG_REF_EXAMPLE,
            "quality": {"codec": "flac", "sample_rate": 44100, "channels": 1},
            "waveform": [0.02, 0.4, 0.71, 0.66, 0.1],
        }
    )

    song: SongRef
    quality: dict[str, Any] = Field(description="Of the preferred source's audio.")
    waveform: list[float] | None = Field(description="Peaks in 0..1, evenly spaced over the whole recording.")
