"""What is done to real music before it is asked for: by FFmpeg, with a voice of espeak-ng and a room made here."""

from __future__ import annotations

import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

RATE = 44_100
"""Of the sound that is distorted, stereo."""

SECONDS = 155
"""Of a track that are distorted: those that are fingerprinted, and what a trim needs."""

COPIES, SPEEDS, TEMPI, DAMAGED = "copies", "speeds", "tempi", "damaged"

_WORDS = (
    "Good evening, and welcome back to our programme. The next piece was sent to us by a listener, who found it on an "
    "old tape, and asks whether anybody knows it. Here it is."
)


@dataclass(frozen=True, slots=True)
class Distortion:
    """``before``: input options; ``filters``: of the sound; ``after``: output options; ``mixed``: a lavfi source that
    is added; ``beside``: a made file (``speech``, ``room``) that is the second input of the graph ``filters``."""

    group: str
    name: str
    suffix: str = "wav"
    before: tuple[str, ...] = ()
    filters: str = "anull"
    after: tuple[str, ...] = ()
    mixed: str = ""
    beside: str = ""


def _speed(factor: float) -> str:
    return f"asetrate={round(RATE * factor)},aresample={RATE}"


def _pitch(factor: float) -> str:
    return f"{_speed(factor)},atempo={1 / factor:.6f}"


def _codec(name: str, suffix: str, *options: str) -> Distortion:
    return Distortion(COPIES, name, suffix, after=options)


def _percent(factor: float) -> str:
    return f"{100 * (factor - 1):+.0f} %"


_FACTORS = (1.01, 0.98, 1.03, 0.97)
_VOICE = "[1:a]aresample=44100,aformat=channel_layouts=stereo"
_SPEECH_FIRST = f"{_VOICE}[s];[s][0:a]concat=n=2:v=0:a=1"
_SPEECH_OVER = f"{_VOICE},aloop=-1:882000,volume=0.3[s];[0:a][s]amix=inputs=2:duration=first:normalize=0"

DISTORTIONS = (
    _codec("mp3 64k", "mp3", "-b:a", "64k"),
    _codec("mp3 32k", "mp3", "-b:a", "32k", "-ar", "22050"),
    _codec("aac 64k", "m4a", "-b:a", "64k"),
    _codec("aac 32k", "m4a", "-b:a", "32k", "-ar", "22050"),
    _codec("opus 32k", "opus", "-b:a", "32k"),
    _codec("vorbis 32k", "ogg", "-c:a", "libvorbis", "-b:a", "32k", "-ar", "22050"),
    Distortion(COPIES, "20 dB softer", filters="volume=-20dB"),
    Distortion(COPIES, "6 dB louder, clipped", filters="volume=6dB"),
    Distortion(COPIES, "3 s of silence first", filters="adelay=3000:all=1"),
    Distortion(COPIES, "speech first", filters=_SPEECH_FIRST, beside="speech"),
    Distortion(COPIES, "start trimmed by 15 s", before=("-ss", "15")),
    Distortion(COPIES, "start trimmed by 30 s", before=("-ss", "30")),
    Distortion(COPIES, "clip of 30 s", before=("-ss", "21.3"), after=("-t", "30")),
    Distortion(COPIES, "clip of 15 s", before=("-ss", "21.3"), after=("-t", "15")),
    *(Distortion(SPEEDS, f"speed {_percent(factor)}", filters=_speed(factor)) for factor in _FACTORS),
    *(Distortion(SPEEDS, f"pitch {_percent(factor)}", filters=_pitch(factor)) for factor in _FACTORS),
    *(Distortion(TEMPI, f"tempo {_percent(factor)}", filters=f"atempo={factor}") for factor in _FACTORS),
    Distortion(DAMAGED, "clip of 10 s", before=("-ss", "21.3"), after=("-t", "10")),
    Distortion(DAMAGED, "noise", mixed="anoisesrc=color=pink:amplitude=0.03"),
    Distortion(DAMAGED, "speech over it", filters=_SPEECH_OVER, beside="speech"),
    Distortion(DAMAGED, "equaliser, dull", filters="bass=g=10,treble=g=-8"),
    Distortion(DAMAGED, "equaliser, thin", filters="bass=g=-10,treble=g=8"),
    Distortion(DAMAGED, "compressor", filters="acompressor=threshold=0.05:ratio=8:makeup=4"),
    Distortion(DAMAGED, "telephone", "mp3", filters="highpass=300,lowpass=3400,aresample=8000", after=("-b:a", "24k")),
    Distortion(DAMAGED, "echoes", filters="aecho=0.8:0.7:23|37|53|71:0.5|0.4|0.3|0.2,highpass=120,lowpass=7000"),
    Distortion(DAMAGED, "played in a room", filters="[0:a][1:a]afir=gtype=gn", beside="room"),
)  # fmt: skip


def missing() -> str | None:
    """What is not installed, in a sentence; None where all is there."""
    return None if shutil.which("espeak-ng") else "espeak-ng is not installed (Debian: apt install espeak-ng)"


def make_besides(folder: Path) -> None:
    """The files that distortions ask for beside the music."""
    subprocess.run(["espeak-ng", "-v", "en", "-w", str(folder / "speech.wav"), _WORDS], check=True)
    _write(folder / "room.wav", _room())


def decode(source: Path, target: Path) -> None:
    """The beginning of a track as WAV."""
    _ffmpeg("-t", str(SECONDS), "-i", str(source), "-map", "0:a:0", "-ar", str(RATE), "-ac", "2", str(target))


def distort(source: Path, distortion: Distortion, target: Path, besides: Path) -> None:
    """Writes the distorted copy of a decoded track."""
    command = [*distortion.before, "-i", str(source)]
    if distortion.beside:
        command += ["-i", str(besides / f"{distortion.beside}.wav")]
        command += ["-filter_complex", f"{distortion.filters}[o]", "-map", "[o]"]
    elif distortion.mixed:
        command += ["-f", "lavfi", "-i", distortion.mixed]
        graph = f"[0:a]{distortion.filters}[a];[a][1:a]amix=inputs=2:duration=first:normalize=0[o]"
        command += ["-filter_complex", graph, "-map", "[o]"]
    else:
        command += ["-af", distortion.filters]
    _ffmpeg(*command, *distortion.after, str(target))


def _ffmpeg(*arguments: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-threads", "1"]
    subprocess.run([*command, *arguments], check=True)


def _room() -> npt.NDArray[np.int16]:
    """The impulse response from a small loudspeaker to a telephone across a living room.

    Direct sound, and noise that falls by 60 dB in 0.4 s and holds as much energy as the direct sound: the statistical
    model of late reverberation (Polack, 1988). Neither end carries anything below 150 Hz or above 7 kHz.
    """
    dice = np.random.default_rng(4)
    seconds = np.arange(int(0.5 * RATE)) / RATE
    tail = dice.standard_normal(seconds.size) * 10 ** (-3 * seconds / 0.4)
    tail[: int(0.004 * RATE)] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    spectrum = np.fft.rfft(tail)
    hertz = np.fft.rfftfreq(tail.size, 1 / RATE)
    carried = 1 / (1 + (150 / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / 7000) ** 8)
    heard = np.fft.irfft(spectrum * carried, tail.size)
    return np.rint(heard / np.abs(heard).max() * 32000).astype(np.int16)


def _write(path: Path, samples: npt.NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
