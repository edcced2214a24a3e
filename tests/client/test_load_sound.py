"""Files become tracks, or a sentence that says which file and why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_client import AudioFileError, AudioFormat, Encoding, InvalidLoad, read_audio
from speakerd_client.load import sound
from speakerd_client.load.sound import SYNTHETIC, tracks_of
from support.speech import RATE_HZ, VOICES, noise

CALL = VOICES / "slt-call.flac"


def test_files_are_tracks_in_their_own_formats(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "phone.wav", noise(0.5), 8000, subtype="ULAW")
    first, second = tracks_of([CALL, tmp_path / "phone.wav"])
    assert first.name == str(CALL)
    assert first.audio == read_audio(CALL)
    assert second.audio.format == AudioFormat(Encoding.MULAW, 8000)


def test_files_are_brought_into_one_format() -> None:
    (track,) = tracks_of([CALL], encoding=Encoding.ALAW, rate_hz=8000)
    assert track.audio.format == AudioFormat(Encoding.ALAW, 8000)
    assert track.audio.duration_s == pytest.approx(read_audio(CALL).duration_s, abs=0.001)


def test_without_files_there_is_a_synthetic_track() -> None:
    (track,) = tracks_of([], synthetic_s=0.5)
    assert (track.name, track.audio.format) == (SYNTHETIC, AudioFormat())
    (phone,) = tracks_of([], encoding=Encoding.MULAW, rate_hz=8000, synthetic_s=0.5)
    assert (len(phone.audio.content), phone.audio.format.sample_rate_hz) == (4000, 8000)


def test_a_channel_must_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([noise(0.2, 1), noise(0.2, 2)], 1), RATE_HZ)
    with pytest.raises(AudioFileError, match=r"two\.wav: 2 channels; choose one"):
        tracks_of([path])
    (track,) = tracks_of([path], channel=1)
    assert track.audio == read_audio(path, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (b"hello, this is no audio at all", "not an audio file"),
        (
            b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\0\0\0\0",
            "no audio",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "call.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((AudioFileError, InvalidLoad), match=rf"call\.wav: .*{words}"):
        tracks_of([CALL, path])


@pytest.mark.parametrize("rate_hz", [0, -8000, 7999, 48_001, 10**12])
def test_a_rate_that_no_daemon_takes_is_refused_before_anything_is_made(rate_hz: int) -> None:
    with pytest.raises(InvalidLoad, match="--rate must be 8000 to 48000"):
        tracks_of([], rate_hz=rate_hz)


def test_more_audio_than_a_process_should_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "LARGEST_BYTES", 3 * len(read_audio(CALL).content) // 2)
    assert len(tracks_of([CALL])) == 1
    with pytest.raises(InvalidLoad, match=r"slt-call\.flac: with this file the audio is over"):
        tracks_of([CALL, CALL])
