"""FFmpeg's log, read even where the file's own tags imitate it."""

from __future__ import annotations

import pytest

from media.probe import channel_count, last_words, out_seconds, read_probe

LOG = """Input #0, mp3, from 'fd:':
  Metadata:
    title           : Duration: 09:00:00.00
                    :   Stream #0:0: Audio: fake, 1 Hz, mono
  Duration: 00:03:05.50, start: 0.025057, bitrate: 194 kb/s
  Stream #0:0: Video: mjpeg (Baseline), yuvj420p(pc), 500x500, 90k tbr (attached pic)
  Stream #0:1(rus): Audio: mp3 (mp3float), 44100 Hz, 5.1(side), fltp, 192 kb/s (default)
Stream mapping:
  Stream #0:1 (mp3float) -> aresample:default
out_time_us=5000000
out_time_us=120000000
progress=end
"""


def test_the_header() -> None:
    probe = read_probe(LOG)
    assert (probe.container, probe.codec, probe.sample_rate, probe.channels) == ("mp3", "mp3", 44_100, 6)
    assert (probe.header_s, probe.bit_rate, probe.estimated) == (185.5, 192_000, False)
    assert out_seconds(LOG) == 120


def test_a_header_without_duration() -> None:
    probe = read_probe(
        "Input #0, matroska,webm, from 'fd:':\n  Duration: N/A, start: 0.0, bitrate: N/A\n"
        "  Stream #0:0: Audio: opus, 48000 Hz, stereo, fltp\n"
    )
    assert (probe.container, probe.header_s, probe.bit_rate) == ("matroska", None, None)


def test_an_unknown_file() -> None:
    assert read_probe("Error opening input").container == ""
    assert out_seconds("") == 0
    assert last_words("[in#0 @ 0x55aa] Error opening input: Invalid data\n\nok\n") == (
        "[in#0] Error opening input: Invalid data"
    )


@pytest.mark.parametrize(
    ("layout", "count"),
    [("mono", 1), ("stereo", 2), ("2.1", 3), ("5.1(side)", 6), ("7.1.4", 12), ("3 channels", 3), ("odd", 0)],
)
def test_layouts(layout: str, count: int) -> None:
    assert channel_count(layout) == count
