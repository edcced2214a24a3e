"""Speech for quantizing: recordings -> windows to calibrate on and windows to judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.cards import Card
from speakerd_server.errors import AudioFileUnusable, InvalidInput, ListInvalid, TooFewTrials
from speakerd_server.offline.lists import read_wav_scp
from speakerd_server.offline.recordings import RAW_SUFFIXES, Reading, read_recording
from speakerd_server.values import Window
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.variance import varies

LEAST_WINDOWS = 8
"""Fewer say nothing about what a network meets."""

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au", *RAW_SUFFIXES)
_HELD_OUT_OF = 4


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Windows of a model's length, with voice in them."""

    calibration: tuple[Window, ...]
    """What ranges are taken from."""
    held_out: tuple[Window, ...]
    """What the result is judged by: of other recordings where there are four or more."""
    recordings: int
    """That could be read."""
    unusable: tuple[AudioFileUnusable, ...]
    """Why others could not."""


def find_recordings(audio: Path, root: Path | None, limit: int | None) -> tuple[Path, ...]:
    """Give the audio files of a wav.scp, in its order, or of a folder and those in it, by name.

    Args:
        audio: The list or the folder.
        root: Folder that relative paths of a list are below; None: the current folder.
        limit: The most to give, spread evenly; None: all.

    Raises:
        ListInvalid: The list is not as it must be, or there is no audio file in the folder.
    """
    if audio.is_dir():
        found = sorted(path for path in audio.rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
        if not found:
            wanted = ", ".join(_AUDIO_SUFFIXES)
            raise ListInvalid(audio, None, f"no audio file is in this folder ({wanted})")
    else:
        found = [listed.path for listed in read_wav_scp(audio, root)]
    wanted_count = min(len(found), limit or len(found))
    return tuple(found[at * len(found) // wanted_count] for at in range(wanted_count))


def read_speech(
    card: Card, paths: Sequence[Path], reading: Reading, done: Callable[[int], None]
) -> Speech:
    """Cut recordings into windows of the model's default length; every fourth is held out.

    Args:
        card: Of the model.
        paths: One recording each; what cannot be read is left out and told.
        reading: How files are read.
        done: Told of each recording.

    Raises:
        TooFewTrials: Fewer than LEAST_WINDOWS windows have voice in them.
    """
    by_recording: list[list[Window]] = []
    unusable: list[AudioFileUnusable] = []
    for path in paths:
        try:
            by_recording.append(_windows(card, path, reading))
        except AudioFileUnusable as error:
            unusable.append(error)
        done(1)
    count = sum(map(len, by_recording))
    if count < LEAST_WINDOWS:
        if unusable and not by_recording:
            raise unusable[0]
        raise TooFewTrials("quantizing", count, LEAST_WINDOWS, "windows of speech")
    calibration, held_out = _parted([windows for windows in by_recording if windows])
    return Speech(calibration, held_out, len(by_recording), tuple(unusable))


def _parted(parts: list[list[Window]]) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """Hold every fourth recording out; of fewer than four, every fourth window."""
    if len(parts) < _HELD_OUT_OF:
        parts = [[window] for windows in parts for window in windows]
    sides: tuple[list[Window], list[Window]] = ([], [])
    for number, windows in enumerate(parts, 1):
        sides[number % _HELD_OUT_OF == 0].extend(windows)
    return tuple(sides[0]), tuple(sides[1])


def _windows(card: Card, path: Path, reading: Reading) -> list[Window]:
    samples = read_recording(
        path,
        card.sample_rate_hz,
        channel=reading.channel,
        raw=reading.raw,
        raw_channels=reading.raw_channels,
    )
    slicer = Slicer(card.samples_per_chunk, card.min_frames)
    try:
        windows = [*slicer.push(samples), *slicer.end()]
    except InvalidInput as error:
        raise AudioFileUnusable(path, str(error)) from error
    return [window for window in windows if varies(window)]
