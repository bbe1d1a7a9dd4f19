"""What the pages say to machines: schema.org in JSON-LD."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup


def _people(credits: list[dict[str, Any]], role: str) -> list[dict[str, str]]:
    return [{"@type": "Person", "name": c["artist"]["name"]} for c in credits if c["role"] == role]


def song(data: dict[str, Any], base_url: str) -> dict[str, Any]:
    """A MusicComposition with its recordings."""
    result: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "MusicComposition",
        "@id": f"{base_url}/songs/{data['slug']}",
        "name": data["title"],
        "alternateName": data["titles"],
        "inLanguage": data["language"],
        "iswcCode": data["identifiers"].get("iswc"),
        "composer": _people(data["credits"], "composer"),
        "lyricist": _people(data["credits"], "lyricist"),
        "recordedAs": [_recording(version, base_url) for version in data["versions"]],
    }
    return _without_empty(result)


def _recording(version: dict[str, Any], base_url: str) -> dict[str, Any]:
    duration = version["duration_s"]
    return _without_empty(
        {
            "@type": "MusicRecording",
            "@id": f"{base_url}/api/v1/versions/{version['id']}",
            "name": version["title"],
            "duration": f"PT{round(duration)}S" if duration else None,
            "isrcCode": version["identifiers"].get("isrc"),
            "byArtist": [{"@type": "MusicGroup", "name": c["artist"]["name"]} for c in version["credits"]],
            "sameAs": [s["url"] for s in version["sources"] if s["url"] and s["availability"] == "available"],
        }
    )


def artist(data: dict[str, Any], base_url: str) -> dict[str, Any]:
    """A MusicGroup (which schema.org uses for soloists too)."""
    return _without_empty(
        {
            "@context": "https://schema.org",
            "@type": "MusicGroup",
            "@id": f"{base_url}/artists/{data['slug']}",
            "name": data["name"],
            "alternateName": data["aliases"],
        }
    )


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if v not in (None, "", [], {})}


def for_script(value: dict[str, Any]) -> Markup:
    """JSON that is safe inside <script>: no `<`, `>`, `&` or line separator can end or change the element."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped just above
