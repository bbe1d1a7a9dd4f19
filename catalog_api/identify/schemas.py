"""The contract of identification."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from catalog_api.schemas import example

_FOUND = {
    "question": "recording",
    "verdict": "same",
    "probability": 0.999,
    "sentence": "Same sound over 118 s (bit error rate 0.02), from the same start",
    "version_id": "01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c21",
    "song_id": "01990f3a-5b1e-7c2d-8a47-3f0d5e9b6c20",
    "slug": "kalinka",
    "title": "Калинка",
    "artists": ["Хор имени Примера"],
    "evidence": {"parts": [{"name": "bit_error_rate", "distance": 0.04, "weight": 1.0, "note": "2.0% differ"}]},
}


class IdentifyRequest(BaseModel):
    """Where the thing is."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://archive.org/details/kalinka-1958"}]}
    )

    url: str = Field(min_length=8, max_length=2000, description="A page that describes recordings, or an audio file.")


class FoundIdentity(BaseModel):
    """A version (same recording) or a song (same composition) that it may be."""

    model_config = example(_FOUND)

    question: str = Field(description="`recording` or `song`.")
    verdict: str = Field(description="`same`: sure; `review`: somebody should look; `weak`: evidence only.")
    probability: float = Field(ge=0, le=1)
    sentence: str = Field(description="Why, in one sentence.")
    version_id: UUID | None = Field(default=None, description="Of a recording.")
    song_id: UUID | None = None
    slug: str | None = Field(default=None, description="Of the song.")
    title: str = ""
    artists: list[str] = []
    evidence: dict[str, Any] = Field(description="The parts of the distance, and the alignment of the sound.")


class Known(BaseModel):
    """The version that has this very source already."""

    model_config = example({name: _FOUND[name] for name in ("version_id", "song_id", "slug", "title", "artists")})

    version_id: UUID
    song_id: UUID
    slug: str
    title: str
    artists: list[str]


_ANSWER: dict[str, Any] = {
    "item": {"source_key": "kalinka.mp3", "title": "Калинка", "duration_s": 185.0},
    "audio": {"duration_s": 185.0, "codec": "mp3", "sample_rate": 44100, "channels": 2, "items": 948, "content": None},
    "note": "",
    "known": None,
    "proposals": [_FOUND],
}


class Answer(BaseModel):
    """What one recording may be."""

    model_config = example(_ANSWER)

    item: dict[str, Any] = Field(description="As its page or its tags describe it.")
    audio: dict[str, Any] | None = Field(
        description="What was heard; null where nothing was. Its `content` has `kind` (`speech`, `tone`) and "
        "`sentence` where it seems not to be music, else it is null."
    )
    note: str = Field(description="Why nothing was heard.")
    known: Known | None = Field(description="Set where the catalog has this very source.")
    proposals: list[FoundIdentity] = Field(description="Best first; recordings before songs.")


class Answers(BaseModel):
    """One answer for each recording that was found there."""

    model_config = example({"items": [_ANSWER]})

    items: list[Answer]
