"""A recording is read whole or refused by name."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import AudioFileError, read_audio
from speakerd_client.loading import LARGEST_FILE_BYTES, load_whole
from support.speech import VOICES


def wav(path: Path, samples: int = 800, channels: int = 1) -> Path:
    soundfile.write(path, np.arange(samples * channels, dtype=np.int16).reshape(samples, -1), 16000)
    return path


@given(st.integers(0, 10**6))
def test_a_wav_file_that_was_cut_is_never_taken_for_the_whole(
    tmp_path_factory: pytest.TempPathFactory, draw: int
) -> None:
    path = wav(tmp_path_factory.getbasetemp() / "cut.wav")
    whole = path.read_bytes()
    path.write_bytes(whole[: draw % len(whole)])
    with pytest.raises(AudioFileError) as caught:
        load_whole(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_cut_is_told_in_numbers(tmp_path: Path) -> None:
    path = wav(tmp_path / "cut.wav")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioFileError, match=r"was cut: its header says 1600 bytes.*are 1500"):
        load_whole(path)


def test_an_ogg_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "call.ogg"
    samples, rate_hz = soundfile.read(VOICES / "slt-call.flac")
    soundfile.write(path, samples, rate_hz)
    whole = path.read_bytes()
    assert load_whole(path).duration_s == pytest.approx(len(samples) / rate_hz)
    last = whole.rindex(b"OggS")
    for kept_bytes in (5, len(whole) // 2, last, last + 5, last + 27, len(whole) - 1):
        path.write_bytes(whole[:kept_bytes])
        with pytest.raises(AudioFileError, match="the file was cut"):
            load_whole(path)


@pytest.mark.parametrize("stated_bytes", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFF0000])
def test_a_wav_file_written_into_a_pipe_states_no_length_and_is_read(
    tmp_path: Path, stated_bytes: int
) -> None:
    path = wav(tmp_path / "piped.wav")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + struct.pack("<I", stated_bytes) + content[at + 4 :])
    assert load_whole(path).content == content[at + 4 :]


def test_a_cut_flac_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    content = (VOICES / "slt-call.flac").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioFileError, match="not an audio file that can be read"):
        load_whole(path)


def test_whole_files_are_read_as_read_audio_does(tmp_path: Path) -> None:
    flac = VOICES / "slt-call.flac"
    assert load_whole(flac) == read_audio(flac)
    stereo = wav(tmp_path / "two.wav", channels=2)
    assert load_whole(stereo, 1) == read_audio(stereo, 1)
    with pytest.raises(AudioFileError, match="2 channels; choose one"):
        load_whole(stereo)


def test_what_is_no_plain_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    with open(tmp_path / "large.wav", "wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    for name, words in (
        ("none.wav", "No such file"),
        ("empty.wav", "the file is empty"),
        ("pipe.wav", "no plain file"),
        ("", "no plain file"),
        ("large.wav", "1024 MiB, too long.*cut it into parts"),
    ):
        with pytest.raises(AudioFileError, match=words):
            load_whole(tmp_path / name)
