"""Files become audio, or a sentence that says why not."""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import Audio, AudioFileError, AudioFormat, Encoding, read_audio, read_wav
from support.speech import VOICES


def wav(
    content: bytes, *, kind: int = 1, channels: int = 1, rate_hz: int = 8000, bits: int = 16
) -> bytes:
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * align, align, bits)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("kind", "bits", "encoding"),
    [
        (1, 16, Encoding.PCM16LE),
        (3, 32, Encoding.FLOAT32LE),
        (6, 8, Encoding.ALAW),
        (7, 8, Encoding.MULAW),
    ],
)
def test_every_wire_encoding_is_read_as_it_is(
    tmp_path: Path, kind: int, bits: int, encoding: Encoding
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(range(64)), kind=kind, bits=bits))
    assert read_wav(path) == Audio(bytes(range(64)), AudioFormat(encoding, 8000))
    assert read_audio(path) == read_wav(path)


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_other_sample_formats_are_refused_by_name_and_read_with_the_extra(
    tmp_path: Path, bits: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(960), bits=bits))
    with pytest.raises(AudioFileError, match=f"{bits} bits a sample"):
        read_wav(path)
    assert read_audio(path).format == AudioFormat(Encoding.PCM16LE, 8000)


def test_the_extensible_kind_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(80, np.int16), 16000, format="WAVEX", subtype="PCM_16")
    assert read_wav(path) == Audio(bytes(160), AudioFormat(Encoding.PCM16LE, 16000))


@given(
    channels=st.integers(1, 4),
    frames=st.integers(0, 50),
    encoding=st.sampled_from([(1, 16), (3, 32), (7, 8)]),
    data=st.data(),
)
def test_the_chosen_channel_is_taken_from_interleaved_samples(
    tmp_path_factory: pytest.TempPathFactory,
    channels: int,
    frames: int,
    encoding: tuple[int, int],
    data: st.DataObject,
) -> None:
    kind, bits = encoding
    channel = data.draw(st.integers(0, channels - 1))
    size = bits // 8
    content = data.draw(
        st.binary(min_size=frames * channels * size, max_size=frames * channels * size)
    )
    path = tmp_path_factory.getbasetemp() / "interleaved.wav"
    path.write_bytes(wav(content, kind=kind, channels=channels, bits=bits))
    samples = [content[at : at + size] for at in range(0, len(content), size)]
    assert read_wav(path, channel).content == b"".join(samples[channel::channels])


def test_several_channels_ask_for_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(64), channels=2))
    for read in (read_wav, read_audio):
        with pytest.raises(AudioFileError, match="2 channels; choose one"):
            read(path)
        with pytest.raises(AudioFileError, match="no channel 2"):
            read(path, 2)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_without_a_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.wav"
    for body in (content, b"RIFF\0\0\0\0WAVE" + content, wav(content)[: len(content)]):
        path.write_bytes(body)
        with suppress(AudioFileError):
            read_wav(path)


def test_flac_is_read_exactly() -> None:
    samples, rate_hz = soundfile.read(VOICES / "slt-call.flac", dtype="int16")
    audio = read_audio(VOICES / "slt-call.flac")
    assert audio == Audio(samples.tobytes(), AudioFormat(Encoding.PCM16LE, rate_hz))
    assert audio.duration_s == pytest.approx(len(samples) / rate_hz)


def test_without_the_extra_the_advice_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(AudioFileError, match=r"pip install 'speakerd-client\[files\]'"):
        read_audio(VOICES / "slt-call.flac")


def test_a_missing_file_and_a_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="No such file"):
        read_audio(tmp_path / "nothing.wav")
    text = tmp_path / "a.txt"
    text.write_text("hello")
    with pytest.raises(AudioFileError, match="not an audio file"):
        read_audio(text)


@given(st.binary(max_size=500), st.integers(1, 30), st.sampled_from(Encoding))
def test_pieces_are_whole_samples_and_make_up_the_audio(
    content: bytes, piece_ms: int, encoding: Encoding
) -> None:
    pieces = list(Audio(content, AudioFormat(encoding, 8000)).pieces(piece_ms))
    assert b"".join(pieces) == content
    assert all(len(piece) == 8 * piece_ms * encoding.sample_bytes for piece in pieces[:-1])
