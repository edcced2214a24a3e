"""The audio of unary calls: samples, or a file that says itself what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from speakerd.v1 import audio_pb2

from speakerd_server.audio.containers import ContainedAudio
from speakerd_server.errors import AudioTooLong, NoAudio
from speakerd_server.values import AudioFormat
from speakerd_server.wire import convert

UNARY_AUDIO_S = 600


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One whole recording."""

    audio_format: AudioFormat
    """Of the bytes."""
    content: bytes | Iterator[bytes]
    """All of them, or piece by piece as they are read out of a file."""


def whole_sound(message: audio_pb2.AudioFormat, content: bytes) -> Sound:
    """Read the format of a recording and refuse one of more than 10 minutes by AudioTooLong.

    Raises EncodingUnsupported, SampleRateUnsupported, ChannelsUnsupported, ChannelUnknown and
    NoAudio, and of files what ContainedAudio raises, also while the pieces are read.
    """
    wanted = convert.container_format(message)
    if wanted is None:
        audio_format = convert.audio_format(message)
        if len(content) > UNARY_AUDIO_S * audio_format.bytes_per_second:
            raise AudioTooLong(UNARY_AUDIO_S, "send it as a stream, or in parts")
    if not content:
        raise NoAudio
    if wanted is None:
        return Sound(audio_format, content)
    contained = ContainedAudio(content, wanted, UNARY_AUDIO_S)
    return Sound(contained.audio_format, contained.pieces())
