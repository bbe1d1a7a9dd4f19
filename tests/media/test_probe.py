"""What the decoder tells of a file's header, and how it is read."""

from __future__ import annotations

from typing import Any

from media.probe import last_words, read_probe

TOLD: dict[str, Any] = {
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec": "aac",
    "sample_rate": 44_100,
    "channels": 6,
    "bit_rate": 194_000,
    "stream_bit_rate": None,
    "header_s": 185.5,
    "streams": 1,
    "log": "",
}


def test_the_header() -> None:
    probe = read_probe(TOLD)
    assert (probe.container, probe.codec, probe.sample_rate, probe.channels) == ("mp4", "aac", 44_100, 6)
    assert (probe.header_s, probe.bit_rate, probe.stream_bit_rate, probe.alone) == (185.5, 194_000, None, True)
    assert not probe.estimated
    assert read_probe({**TOLD, "stream_bit_rate": 96_000}).bit_rate == 96_000


def test_the_rate_of_a_film_is_not_that_of_its_sound() -> None:
    probe = read_probe({**TOLD, "streams": 2})
    assert (probe.alone, probe.bit_rate) == (False, None)


def test_what_the_libraries_doubt() -> None:
    doubt = "[mp3 @ 0x1] Estimating duration from bitrate, this may be inaccurate\n"
    assert read_probe({**TOLD, "log": doubt}).estimated
    assert read_probe({**TOLD, "log": "Format mp3 detected only with low score of 1, misdetection possible!"}).guessed


def test_an_unknown_file() -> None:
    assert read_probe({"error": "Invalid data", "log": ""}).container == ""
    assert last_words("[in#0 @ 0x55aa] Error opening input: Invalid data\n\nok\n") == (
        "[in#0] Error opening input: Invalid data"
    )
    assert last_words("[Errno 1094995529] Invalid data found when processing input: 'fd:'") == (
        "Invalid data found when processing input"
    )
