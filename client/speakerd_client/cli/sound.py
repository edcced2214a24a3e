"""What `verify` is given to send: a file, raw samples or Ogg/Opus, and its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from speakerd_client.audio import Encoding, OggOpus, StreamFormat, read_audio
from speakerd_client.cli import options
from speakerd_client.cli.raw import opus_pieces, standard_input
from speakerd_client.source import pace


@dataclass(frozen=True, slots=True)
class Raw:
    """What is said of raw samples on standard input; None: not given."""

    encoding: Encoding | None
    """How one is written."""
    rate_hz: int | None
    """Samples per second."""
    channels: int | None
    """Channels whose samples take turns."""


def of(
    file: str, message_ms: int, realtime: bool, channel: int | None, raw: Raw, opus: bool
) -> tuple[StreamFormat, Iterator[bytes]]:
    """Give the format and the pieces to send; raises AudioFileError.

    Raises typer.BadParameter for options that would do nothing.
    """
    idle = {"encoding": raw.encoding, "rate": raw.rate_hz, "raw-channels": raw.channels}
    if opus:
        options.refuse_idle("Ogg/Opus says it itself", **idle, realtime=realtime or None)
        return OggOpus(None if channel is None else channel + 1), opus_pieces(file)
    if file == "-":
        wire_format = options.raw_format(raw.encoding, raw.rate_hz, raw.channels, channel)
        pieces = standard_input(wire_format, message_ms)
    else:
        options.refuse_idle("the file says it itself", **idle)
        audio = read_audio(file, channel)
        wire_format, pieces = audio.format, audio.pieces(message_ms)
    return wire_format, pace(pieces, wire_format) if realtime else pieces
