"""Watchlists on the wire: what a config asks for, hits, and callers who are enrolled."""

from __future__ import annotations

from collections.abc import Sequence

from speakerd.v1 import verification_pb2 as pb

from speakerd_server.calls.caller import Outcome, Wish
from speakerd_server.calls.watching import Hit, Watchlists
from speakerd_server.values import ScoreScale
from speakerd_server.wire import convert


def watchlists(config: pb.VerificationConfig) -> Watchlists:
    """Read what is to be looked through."""
    lists = config.watchlists
    hit_at = lists.hit_at if lists.HasField("hit_at") else None
    return Watchlists(tuple(lists.groups), hit_at)


def hits(found: Sequence[Hit], scale: ScoreScale, wire_rate_hz: int) -> list[pb.WatchlistHit]:
    """Give members who were noticed."""
    return [
        pb.WatchlistHit(
            group=one.group,
            speaker_id=one.speaker_id,
            score=convert.score(one.score, scale),
            hit_at=one.hit_at,
            window=one.window,
            audio_time=convert.duration(one.committed_samples, wire_rate_hz),
        )
        for one in found
    ]


def wish(message: pb.EnrollCaller) -> Wish:
    """Read what is to be enrolled."""
    name = message.display_name if message.HasField("display_name") else None
    return Wish(message.group, message.speaker_id, name, message.force)


def caller_enrolled(
    wanted: Wish, outcome: Outcome, speech_samples: int, rate_hz: int
) -> pb.CallerEnrolled:
    """Give what became of it."""
    error = outcome.error
    return pb.CallerEnrolled(
        group=wanted.group,
        speaker_id=wanted.speaker_id,
        recording_id=outcome.recording_id,
        net_speech=convert.duration(speech_samples, rate_hz),
        reason="" if error is None else error.reason,
        message="" if error is None else error.told,
    )
