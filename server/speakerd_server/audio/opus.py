"""Ogg/Opus as it comes in -> float32 samples of one channel at 16 kHz. Source: RFC 7845.

libopus decodes at 16 kHz itself, from whatever the stream carries, so that nothing is resampled.
"""

from __future__ import annotations

import ctypes
import struct
import weakref

import numpy as np
from opuslib_next.api import (  # type: ignore[import-untyped]
    c_float_pointer,
    decoder,
)

from speakerd_server.audio.ogg import OggReader, Page
from speakerd_server.errors import AudioFileInvalid, ChannelsUnsupported, ChannelUnknown, NoAudio
from speakerd_server.values import Float32, OggOpus

OPUS_RATE_HZ = 48_000
"""The clock of pre-skip and positions, whatever is decoded."""
_HEAD = struct.Struct("<8sBBHIhB")
_LONGEST_PACKET_S = 0.12
_GAIN_STEPS = 256.0
"""The gain of a header is in steps of 1/256 dB."""


class OpusDecoder:
    """Decodes one stream; what comes out does not depend on how the bytes were split.

    Args:
        wanted: What the client says of the stream.

    Raises AudioFileInvalid, ChannelsUnsupported and ChannelUnknown.
    """

    def __init__(self, wanted: OggOpus) -> None:
        self._wanted = wanted
        self._rate_hz = wanted.sample_rate_hz
        self._reader = OggReader()
        self._headers = 0
        self._stream: _Stream | None = None

    @property
    def samples(self) -> int:
        """Samples decoded so far, without those that the header tells to skip."""
        return 0 if self._stream is None else self._stream.given

    def push(self, chunk: bytes) -> Float32:
        """Take the next bytes; give float32[n] of the pages that are whole by them."""
        parts = [self._samples(page) for page in self._reader.push(chunk)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def end(self) -> None:
        """Raise AudioFileInvalid where the stream was cut in the middle of a page or a packet.

        NoAudio where nothing came at all.
        """
        self._reader.end()
        if not self._headers:
            raise NoAudio
        if self._headers < 2:
            raise AudioFileInvalid("it is cut off: it has no audio")

    def _samples(self, page: Page) -> Float32:
        packets = list(page.packets)
        while packets and self._headers < 2:
            self._header(packets.pop(0))
        if self._stream is None or not packets:
            return np.empty(0, np.float32)
        return self._stream.decode(packets, page)

    def _header(self, packet: bytes) -> None:
        if self._headers == 0:
            self._stream = self._opened(packet)
        elif not packet.startswith(b"OpusTags"):
            raise AudioFileInvalid("it is damaged: its comments are missing")
        self._headers += 1

    def _opened(self, packet: bytes) -> _Stream:
        """Read the header. Source: RFC 7845, section 5.1."""
        if not packet.startswith(b"OpusHead") or len(packet) < _HEAD.size:
            raise AudioFileInvalid("it is an Ogg stream of something else than Opus")
        _, version, channels, skipped, _, gain, mapping = _HEAD.unpack_from(packet)
        if version >> 4:
            raise AudioFileInvalid(f"version {version} of Opus in Ogg is not known")
        if channels not in (1, 2) or self._wanted.channels not in (0, channels):
            raise ChannelsUnsupported(channels, self._wanted.channels)
        channel = self._wanted.channel
        if channel > channels or (channels == 2 and not channel):
            raise ChannelUnknown(channel, channels)
        if mapping:
            raise AudioFileInvalid(f"channel mapping {mapping} is not known, 0 is")
        return _Stream(self._rate_hz, channels, max(channel, 1) - 1, skipped, gain)


class _Stream:
    """The audio behind the headers."""

    def __init__(self, rate_hz: int, channels: int, channel: int, skipped: int, gain: int) -> None:
        self._rate_hz, self._channels, self._channel = rate_hz, channels, channel
        self._skipped = skipped
        self._scale = np.float32(10.0 ** (gain / _GAIN_STEPS / 20.0))
        self._room = round(_LONGEST_PACKET_S * rate_hz)
        self._buffer = np.empty((self._room, channels), np.float32)
        self._pointer = self._buffer.ctypes.data_as(c_float_pointer)
        self._state = decoder.create_state(rate_hz, channels)
        weakref.finalize(self, decoder.destroy, self._state)
        self._decoded = 0
        self._begins: int | None = None
        self.given = 0

    def decode(self, packets: list[bytes], page: Page) -> Float32:
        """Give float32[n] of one page: what is to be heard of it."""
        found = np.concatenate([self._packet(packet) for packet in packets])
        before = self._decoded
        self._decoded += len(found)
        wanted = self._decoded * OPUS_RATE_HZ // self._rate_hz
        if self._begins is None:
            # A stream that was joined late begins at a later position than 0.
            self._begins = 0 if page.is_last else max(0, page.granule - wanted)
        if page.is_last:
            wanted = min(wanted, self._end(page, before))
        until = max(0, (wanted - self._skipped) * self._rate_hz // OPUS_RATE_HZ)
        skipped = self._skipped * self._rate_hz // OPUS_RATE_HZ
        first = max(0, skipped - before)
        heard = found[first : first + max(0, until - self.given)]
        self.given += len(heard)
        return heard

    def _end(self, page: Page, before: int) -> int:
        """Give where the stream ends, by the clock of positions: within its last page."""
        end = page.granule - (self._begins or 0)
        if end < before * OPUS_RATE_HZ // self._rate_hz:
            raise AudioFileInvalid("it is damaged: its last page ends before it begins")
        return end

    def _packet(self, packet: bytes) -> Float32:
        count = 0
        if packet:
            count = decoder.libopus_decode_float(
                self._state, packet, len(packet), self._pointer, self._room, 0
            )
        if count <= 0:
            raise AudioFileInvalid(
                f"a packet is damaged, {self._decoded / self._rate_hz:.2f} s from its beginning"
            )
        samples: Float32 = self._buffer[:count, self._channel] * self._scale
        return samples


assert ctypes.sizeof(ctypes.c_float) == np.dtype(np.float32).itemsize
