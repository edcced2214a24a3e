"""How the audio files of a command are read: `--channel` and `--raw`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from speakerd_server.offline.recordings import Reading

F = TypeVar("F", bound=Callable[..., Any])


def reading_options(command: F) -> F:
    """Give a command the parameters `channel: int | None` and `raw: str | None`."""
    raw = click.option(
        "--raw",
        metavar="ENCODING:RATE[:CHANNELS]",
        help="What files without a header hold, such as pcm16le:8000 (pcm16le, float32le, mulaw,"
        " alaw).",
    )
    channel = click.option(
        "--channel", type=click.IntRange(min=0), help="Channel of files with several, from 0."
    )
    return channel(raw(command))


def reading(channel: int | None, raw: str | None) -> Reading:
    """Give what the two options say. Raises OptionInvalid and SampleRateUnsupported."""
    from speakerd_server.offline.recordings import Reading, raw_reading

    return Reading(channel) if raw is None else raw_reading(raw, channel)
