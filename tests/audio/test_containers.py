from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.containers import ContainedAudio, Container, ContainerFormat
from speakerd_server.errors import (
    AudioFileInvalid,
    AudioTooLong,
    ChannelsUnsupported,
    ChannelUnknown,
    SampleRateContradicted,
    SampleRateUnsupported,
    SpeakerdError,
)
from speakerd_server.values import Encoding, Float32
from support.signals import noise

KINDS = {
    Container.WAV: ("WAV", "PCM_16"),
    Container.FLAC: ("FLAC", "PCM_16"),
    Container.OGG_OPUS: ("OGG", "OPUS"),
}
EVERY = pytest.mark.parametrize("container", Container)


def file_of(
    samples: Float32, container: Container, rate_hz: int = 16_000, subtype: str = ""
) -> bytes:
    written = io.BytesIO()
    kind, usual = KINDS[container]
    soundfile.write(written, samples, rate_hz, format=kind, subtype=subtype or usual)
    return written.getvalue()


def sides(samples: int = 16_000) -> Float32:
    """Give float32[n, 2], two channels that have nothing in common."""
    return np.stack([noise(samples, 1), 0.3 * noise(samples, 2)], axis=1)


def read(content: bytes, wanted: ContainerFormat, longest_s: float = 600.0) -> Float32:
    contained = ContainedAudio(content, wanted, longest_s)
    joined = b"".join(contained.pieces())
    if contained.audio_format.encoding is Encoding.FLOAT32LE:
        return np.frombuffer(joined, "<f4").astype(np.float32)
    return np.frombuffer(joined, "<i2").astype(np.float32) / np.float32(32_768)


@EVERY
def test_a_file_becomes_its_samples(container: Container) -> None:
    signal = noise(16_000) * np.float32(0.5)
    found = read(file_of(signal, container), ContainerFormat(container))
    assert len(found) == len(signal)
    expected, _ = soundfile.read(io.BytesIO(file_of(signal, container)), dtype="float32")
    assert np.abs(found - expected).max() < 1e-6


@EVERY
@pytest.mark.parametrize("channel", [1, 2])
def test_of_two_channels_the_chosen_one_is_heard(container: Container, channel: int) -> None:
    content = file_of(sides(), container)
    found = read(content, ContainerFormat(container, channel=channel))
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    assert np.abs(found - expected[:, channel - 1]).max() < 1e-6


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW", "ALAW"])
def test_every_usual_kind_of_wav_is_read(subtype: str) -> None:
    signal = noise(8_000) * np.float32(0.5)
    content = file_of(signal, Container.WAV, 8_000, subtype)
    assert np.abs(read(content, ContainerFormat(Container.WAV)) - signal).max() < 0.03


@EVERY
def test_what_the_format_says_must_be_what_the_file_says(container: Container) -> None:
    mono, stereo = file_of(noise(16_000), container), file_of(sides(), container)
    read(mono, ContainerFormat(container, 16_000, 1, 1))
    for content, wanted, error in (
        (mono, ContainerFormat(container, 8_000), SampleRateContradicted),
        (mono, ContainerFormat(container, channels=2, channel=1), ChannelsUnsupported),
        (mono, ContainerFormat(container, channel=2), ChannelUnknown),
        (stereo, ContainerFormat(container), ChannelUnknown),
        (stereo, ContainerFormat(container, channels=1), ChannelsUnsupported),
    ):
        with pytest.raises(error):
            read(content, wanted)


def test_three_channels_and_strange_rates_are_refused() -> None:
    three = file_of(np.stack([noise(4_000)] * 3, axis=1), Container.WAV)
    with pytest.raises(ChannelsUnsupported, match="3 channels"):
        read(three, ContainerFormat(Container.WAV, channel=1))
    with pytest.raises(SampleRateUnsupported):
        read(file_of(noise(4_000), Container.WAV, 96_000), ContainerFormat(Container.WAV))


@EVERY
def test_another_kind_of_file_is_named(container: Container) -> None:
    for other in Container:
        if other is not container:
            with pytest.raises(AudioFileInvalid, match=f"not {container.value}"):
                read(file_of(noise(4_000), other), ContainerFormat(container))
    vorbis = file_of(noise(4_000), Container.OGG_OPUS, 16_000, "VORBIS")
    with pytest.raises(AudioFileInvalid, match="VORBIS"):
        read(vorbis, ContainerFormat(Container.OGG_OPUS))


@EVERY
def test_a_file_that_is_cut_off_is_refused(container: Container) -> None:
    content = file_of(noise(32_000), container)
    for length in (len(content) // 2, len(content) - 200):
        with pytest.raises(AudioFileInvalid):
            read(content[:length], ContainerFormat(container))


def test_a_header_that_promises_too_much_is_refused() -> None:
    content = bytearray(file_of(noise(16_000), Container.WAV))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 10_000_000)
    with pytest.raises(AudioFileInvalid, match="10000000 bytes of audio are promised"):
        read(bytes(content), ContainerFormat(Container.WAV))


def test_a_header_of_a_program_that_wrote_to_a_pipe_is_understood() -> None:
    content = bytearray(file_of(noise(16_000), Container.WAV))
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    assert len(read(bytes(content), ContainerFormat(Container.WAV))) == 16_000


def test_a_header_of_a_program_that_did_not_finish_is_refused() -> None:
    """It promises no audio, and all of it follows: that is not a file without audio."""
    content = bytearray(file_of(noise(16_000), Container.WAV))
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    with pytest.raises(AudioFileInvalid, match="promises no audio and 32000 bytes follow"):
        read(bytes(content), ContainerFormat(Container.WAV))
    for empty in (content[: at + 4], content[: at + 4] + b"LIST\4\0\0\0INFO"):
        assert len(read(bytes(empty), ContainerFormat(Container.WAV))) == 0


def test_several_ogg_streams_are_refused_and_not_heard_in_part() -> None:
    one, other = (file_of(noise(16_000, seed), Container.OGG_OPUS) for seed in (1, 2))
    with pytest.raises(AudioFileInvalid, match="more than one stream"):
        read(one + other, ContainerFormat(Container.OGG_OPUS))
    with pytest.raises(AudioFileInvalid, match=f"no page begins at byte {len(one)}"):
        read(one + b"junk" + other, ContainerFormat(Container.OGG_OPUS))


@EVERY
def test_a_long_file_is_refused_before_it_is_read(container: Container) -> None:
    content = file_of(np.zeros(16_000 * 5, np.float32), container)
    with pytest.raises(AudioTooLong):
        ContainedAudio(content, ContainerFormat(container), 4.0)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Container), st.data())
def test_no_damage_is_more_than_a_named_error(container: Container, data: st.DataObject) -> None:
    content = bytearray(_GOOD[container])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(content) - 1, 400)))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        samples = read(bytes(content[:cut]), ContainerFormat(container, channel=1), 2.0)
    except SpeakerdError:
        return
    assert len(samples) <= 2 * 48_000


@given(st.sampled_from(Container), st.binary(max_size=300))
def test_random_bytes_are_no_file(container: Container, content: bytes) -> None:
    with pytest.raises(SpeakerdError):
        read(content, ContainerFormat(container))


_GOOD = {container: file_of(sides(4_000), container) for container in Container}
