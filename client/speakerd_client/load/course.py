"""What every stream of a load has in common: what is sent, when, and what of it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speakerd.v1.verification_pb2 import StreamVerifyRequest

from speakerd_client.load.plan import LivePlan, message_samples
from speakerd_client.load.sound import Track
from speakerd_client.requests import sendable, verification_config


@dataclass(frozen=True, slots=True)
class Wire:
    """What streams of one track send, serialised once for all of them."""

    config: bytes
    """The first request."""
    messages: Sequence[bytes]
    """Every audio request of the track, in order; after the last comes the first again."""
    message_samples: int
    """Samples in each."""
    rate_hz: int
    """Of the samples."""


@dataclass(frozen=True, slots=True)
class Course:
    """How every stream goes. Times are on the clock of time.monotonic, which processes share."""

    address: str
    """Of the daemon, for messages of errors."""
    messages: int
    """That one stream sends."""
    message_s: float
    """Audio in one."""
    jitter_s: float
    """Each message is late by up to this."""
    begin_s: float
    """Begin of the load."""
    count_from_s: float
    """What is sent before is not counted."""
    count_until_s: float
    """What is sent after is not counted."""
    slot_s: float
    """Length of a slot of `LiveTally.lag_by_slot`."""

    def counts(self, at_s: float) -> bool:
        """Tell whether what is sent at `at_s` is counted."""
        return self.count_from_s <= at_s <= self.count_until_s

    def slot(self, at_s: float) -> int:
        """Give the slot of what is sent at `at_s`."""
        return int((at_s - self.begin_s) / self.slot_s)


def wire_of(track: Track, plan: LivePlan) -> Wire:
    """Cut a track into whole messages and serialise them.

    What fills no message at the track's end is left out; a track shorter than one is repeated.

    Raises:
        InvalidLoad: A message is no whole number of samples, or too large.
        InvalidRequest: An option cannot be sent.
    """
    audio = track.audio
    with sendable():
        config = verification_config(plan.speaker_id, audio.format, **plan.call_options)
    samples = message_samples(audio.format, plan.message_ms)
    size_bytes = samples * audio.format.encoding.sample_bytes
    content = audio.content * -(-size_bytes // len(audio.content))
    starts = range(0, len(content) - size_bytes + 1, size_bytes)
    return Wire(
        config=StreamVerifyRequest(config=config).SerializeToString(),
        messages=[
            StreamVerifyRequest(audio=content[start : start + size_bytes]).SerializeToString()
            for start in starts
        ],
        message_samples=samples,
        rate_hz=audio.format.sample_rate_hz,
    )
