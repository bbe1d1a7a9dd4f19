"""The examples of the guides for consumers and moderators, run against the real application."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

import httpx

from catalog.database import Database
from tests.catalog_api.conftest import MemoryObjects, Opener, key_of, made
from tests.docs.pages import blocks

EXPECTED = {
    "songs/there-is-no-such-song": (404, "not_found"),
    r"songs\?limit=1000": (422, "validation_error"),
    r"songs\?cursor=nonsense": (400, "bad_cursor"),
    "/api/v1/reviews$": (401, "unauthorised"),
}
"""Examples that are meant to be refused: a pattern of the address, status and code."""


@dataclass
class Curl:
    """One ``curl`` command of a guide, with its variables filled in."""

    place: str
    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    follow: bool


def examples(document: str, variables: dict[str, str]) -> list[Curl]:
    result = []
    for block in blocks("sh"):
        if block.document != document:
            continue
        for line in block.text.splitlines():
            if not line.startswith("curl "):
                continue
            filled = re.sub(r"\$([A-Z]+)", lambda found: variables[found[1]].replace('"', '\\"'), line)
            curl = Curl(block.place, "GET", "", {}, None, False)
            words = shlex.split(filled)[1:]
            while words:
                match words.pop(0):
                    case "-s":
                        pass
                    case "-L":
                        curl.follow = True
                    case "-H":
                        name, _, value = words.pop(0).partition(": ")
                        curl.headers[name] = value
                    case "-d":
                        curl.method, curl.body = "POST", words.pop(0)
                    case url:
                        assert url.startswith("http://test/"), f"{block.place}: {line}"
                        curl.url = url
            result.append(curl)
    return result


async def run(client: httpx.AsyncClient, curl: Curl) -> httpx.Response:
    return await client.request(
        curl.method, curl.url, headers=curl.headers, content=curl.body, follow_redirects=curl.follow
    )


async def test_the_examples_for_consumers(open_client: Opener, database: Database) -> None:
    with made(database) as make:
        singer = make.artist("Хор Примера")
        song = make.song("Калинка", composers=[singer], language="ru")
        version = make.version(song, performers=[singer], kind="live", sources=0)
        make.source(version, audio_object="sound")
        other = make.song("Катюша")
        make.version(other)
        merged = make.song("Калинка-малинка")
        make.merge(merged, song)
        ids = {"SONG": song.id, "VERSION": version.id, "ARTIST": singer.id, "MERGED": merged.id}
    async with open_client(object_store=MemoryObjects(sound=b"x" * 1000)) as client:
        page = (await client.get("/api/v1/songs?limit=1")).json()
        feed = (await client.get("/api/v1/changes?since=0")).json()
        variables = {
            "API": "http://test",
            **{name: str(value) for name, value in ids.items()},
            "CURSOR": page["next"],
            "ETAG": (await client.get("/api/v1/songs/kalinka")).headers["ETag"],
            "SEQ": str(feed["next"] - 1),
        }
        curls = examples("docs/consumer.md", variables)
        assert len(curls) > 15
        for curl in curls:
            answer = await run(client, curl)
            refused = next((value for end, value in EXPECTED.items() if re.search(end, curl.url)), None)
            if refused is not None:
                assert (answer.status_code, answer.json()["code"]) == refused, curl
            elif "If-None-Match" in curl.headers:
                assert answer.status_code == 304, curl
            elif "Range" in curl.headers:
                assert (answer.status_code, len(answer.content)) == (206, 100), curl
            else:
                assert answer.status_code == 200, f"{curl}: {answer.text}"
                found: dict[str, Any] = answer.json()
                assert found.get("items", True), f"{curl}: an example that finds nothing explains nothing"
            if variables["MERGED"] in curl.url:
                assert answer.history[0].status_code == 308
                assert answer.json()["id"] == variables["SONG"]


async def test_the_examples_for_moderators(client: httpx.AsyncClient, database: Database) -> None:
    with made(database) as make:
        song = make.song("Калинка")
        case = make.case(target=make.version(song))
        case_id = str(case.id)
    token = key_of(database, "moderator")["Authorization"].removeprefix("Bearer ")
    curls = examples("docs/moderator.md", {"API": "http://test", "TOKEN": token, "CASE": case_id})
    assert [curl.method for curl in curls] == ["GET", "GET", "POST"]
    answers = [await run(client, curl) for curl in curls]
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    assert answers[0].json()["items"][0]["id"] == case_id
    decided = answers[2].json()
    assert decided["applied"] is False
    assert decided["case"]["decision"]["action"] == json.loads(curls[2].body or "")["action"]
    again = await run(client, curls[2])
    assert (again.status_code, again.json()["code"]) == (409, "case_closed")
