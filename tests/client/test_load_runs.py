"""Loads against real daemons, from plan to result, in processes of their own."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest
from speakerd_client import (
    Client,
    Encoding,
    InvalidLoad,
    NotFound,
    NotReachable,
    Policy,
    read_audio,
)
from speakerd_client.call_options import VerifyOptions
from speakerd_client.load import runs
from speakerd_client.load.live_result import LiveResult
from speakerd_client.load.orders import Progress
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.sound import Track, tracks_of
from support.daemon import Daemon, over_fake_engine
from support.light import PLACES
from support.speech import VOICES

SPEAKER = "load-slt"
CALL = VOICES / "slt-call.flac"
SHORT_WINDOWS = VerifyOptions(samples_per_chunk=8_000)


@pytest.fixture(scope="module")
def phone() -> tuple[Track, ...]:
    return tracks_of([CALL], encoding=Encoding.MULAW, rate_hz=8000)


def live(address: str, tracks: tuple[Track, ...], **fields: Any) -> LiveResult:
    return asyncio.run(runs.run_live(LivePlan(address, **fields), tracks))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_stream_window_and_message_is_accounted_for(
    light: Daemon, phone: tuple[Track, ...], processes: int
) -> None:
    seen: list[tuple[Progress, float]] = []
    plan = LivePlan(
        light.address,
        streams=5,
        seconds=2.0,
        jitter_ms=20.0,
        connections=3,
        processes=processes,
        options=SHORT_WINDOWS,
    )
    result = asyncio.run(runs.run_live(plan, phone, watch=lambda *what: seen.append(what)))
    streams = result.streams
    assert (streams.asked, streams.opened, streams.finished, streams.failed) == (5, 5, 5, 0)
    assert (result.messages, result.errors, result.interrupted) == (100, (), False)
    assert result.pace is not None
    assert 0 < result.pace <= 1
    # 48 frames a window: they end at 0.495 s, 0.975 s, 1.455 s and 1.935 s.
    assert (result.windows.expected, result.windows.answered) == (20, 20)
    assert result.windows.unforeseen == 0
    counts = [result.connect_ms.count, result.decision_lag_ms.count, result.finish_ms.count]
    assert counts == [5, 20, 5]
    assert result.send_lateness_ms.count == 100
    assert result.decisions == {"speaker_not_provided": 5}
    assert sum(slot.lag_ms.count for slot in result.lag_over_time) == 20
    assert len(result.generator.cores) == processes
    assert min(result.generator.cores) > 0
    settings = result.settings
    assert (settings.connections, settings.processes, settings.window_s) == (3, processes, 0.48)
    assert (settings.model, settings.domain) == ("campplus/1", "default")
    (sent,) = settings.tracks
    assert (sent.name, sent.encoding, sent.sample_rate_hz) == (str(CALL), "mulaw", 8000)
    assert seen[-1][0].open == 0 or seen[-1][0].done > 0
    assert max(progress.open for progress, _ in seen) > 0


def test_tracks_of_several_formats_go_side_by_side(light: Daemon) -> None:
    wide, narrow = tracks_of([CALL]), tracks_of([CALL], encoding=Encoding.ALAW, rate_hz=8000)
    result = live(light.address, (*wide, *narrow), streams=4, seconds=1.0, options=SHORT_WINDOWS)
    assert [track.encoding for track in result.settings.tracks] == ["pcm16le", "alaw"]
    assert (result.streams.finished, result.windows.answered) == (4, 8)


def test_what_is_sent_while_it_settles_is_not_counted(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    result = live(light.address, phone, streams=1, seconds=2.0, settle_s=1.2, options=SHORT_WINDOWS)
    assert 0 < result.windows.expected == result.windows.answered < 4
    assert 0 < result.send_lateness_ms.count < 20
    assert result.messages == 20


def test_one_window_over_all_has_no_updates_but_a_final(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    options = VerifyOptions(samples_per_chunk=-1)
    result = live(light.address, phone, streams=2, seconds=1.0, options=options)
    assert (result.streams.finished, result.finish_ms.count) == (2, 2)
    assert (result.windows.expected, result.decision_lag_ms.count) == (0, 0)
    assert result.settings.window_s == 0
    assert any("no updates, so no decision lag" in note for note in result.notes)


def test_fewer_updates_are_expected_where_fewer_are_asked_for(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    options = VerifyOptions(samples_per_chunk=8_000, update_interval_s=0.9)
    result = live(light.address, phone, streams=2, seconds=2.0, options=options)
    assert (result.windows.expected, result.windows.answered) == (4, 4)


def test_a_settled_decision_ends_streams_early_and_well(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    policy = Policy(minimum_speech_s=0.1, maximum_speech_s=1.0)
    options = VerifyOptions(samples_per_chunk=8_000, policy=policy)
    result = live(light.address, phone, streams=2, seconds=10.0, options=options)
    assert (result.streams.finished, result.streams.failed) == (2, 0)
    assert result.messages < 100
    assert (result.windows.expected, result.windows.answered) == (4, 4)
    assert result.finish_ms.count == 0


def test_a_claim_is_decided_and_the_time_to_it_measured(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.enroll(SPEAKER, read_audio(VOICES / "slt-enrol.flac"))
        result = live(daemon.address, tracks_of([CALL]), seconds=3.0, streams=2, speaker_id=SPEAKER)
        client.delete_speaker(SPEAKER)
    assert result.decisions == {"accept": 2}
    assert result.time_to_decision_ms.count == 2
    assert result.time_to_decision_ms.p50 is not None
    assert result.time_to_decision_ms.p50 > 1900
    assert result.settings.speaker_id == SPEAKER


def test_streams_without_a_place_are_counted_and_the_others_go_on(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    result = live(light.address, phone, streams=PLACES + 3, seconds=2.0, options=SHORT_WINDOWS)
    assert (result.streams.finished, result.streams.failed) == (PLACES, 3)
    (error,) = result.errors
    assert (error.reason, error.count) == ("TOO_MANY_STREAMS", 3)
    assert error.share == pytest.approx(3 / 9)


def test_a_daemon_that_dies_ends_every_stream_by_name(
    tmp_path: Path, phone: tuple[Track, ...]
) -> None:
    with over_fake_engine(tmp_path) as daemon:

        def watch(progress: Progress, elapsed_s: float) -> None:
            if progress.answers and daemon.process.poll() is None:
                daemon.kill()

        plan = LivePlan(daemon.address, streams=4, seconds=60.0, options=SHORT_WINDOWS)
        result = asyncio.run(runs.run_live(plan, phone, watch=watch))
    assert (result.streams.finished, result.streams.failed) == (0, 4)
    assert {error.reason for error in result.errors} == {"CONNECTION_LOST"}
    assert result.windows.answered > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_load_that_is_stopped_tells_what_it_has(
    light: Daemon, phone: tuple[Track, ...], processes: int
) -> None:
    async def stopped() -> LiveResult:
        stop = asyncio.Event()

        def watch(progress: Progress, elapsed_s: float) -> None:
            if progress.answers > 2:
                stop.set()

        plan = LivePlan(
            light.address, streams=4, seconds=60.0, processes=processes, options=SHORT_WINDOWS
        )
        return await runs.run_live(plan, phone, watch=watch, stop=stop)

    result = asyncio.run(stopped())
    assert result.interrupted
    assert (result.streams.opened, result.streams.finished, result.streams.failed) == (4, 0, 0)
    assert result.windows.answered > 2
    assert result.messages > 10


def test_a_load_that_is_stopped_before_it_begins_has_nothing(
    light: Daemon, phone: tuple[Track, ...]
) -> None:
    async def stopped() -> LiveResult:
        stop = asyncio.Event()
        stop.set()
        return await runs.run_live(LivePlan(light.address), phone, stop=stop)

    result = asyncio.run(stopped())
    assert (result.interrupted, result.messages, result.streams.opened) == (True, 0, 0)
    assert result.pace is None


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"speaker_id": "load-nobody"}, NotFound, "load-nobody"),
        ({"options": VerifyOptions(model="none")}, NotFound, "none"),
        ({"options": VerifyOptions(domain="none")}, NotFound, "none"),
    ],
)
def test_what_the_daemon_does_not_know_stops_the_start(
    light: Daemon,
    phone: tuple[Track, ...],
    fields: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    with pytest.raises(kind, match=words):
        live(light.address, phone, **fields)


def test_nobody_there_stops_the_start(phone: tuple[Track, ...]) -> None:
    with pytest.raises(NotReachable, match=r"no daemon answers at 127\.0\.0\.1:1"):
        live("127.0.0.1:1", phone)
    with pytest.raises(NotReachable, match=r"no daemon answers at 127\.0\.0\.1:1"):
        asyncio.run(runs.run_closed(ClosedPlan("127.0.0.1:1", "embed"), phone))


def test_what_cannot_be_sent_is_refused_before_anybody_is_asked() -> None:
    odd = tracks_of([], rate_hz=11_025, synthetic_s=0.1)
    with pytest.raises(InvalidLoad, match="take a multiple of 40"):
        live("127.0.0.1:1", odd, message_ms=20)


def test_too_few_descriptors_are_named_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, phone: tuple[Track, ...]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (100, 100))
    with pytest.raises(InvalidLoad, match=r"ulimit -n 532.*fewer --connections or more --proc"):
        live("127.0.0.1:1", phone, streams=1000, connections=1000, processes=2)
    plan = ClosedPlan("127.0.0.1:1", "embed", (8, 1000), connections=200)
    with pytest.raises(InvalidLoad, match="100 are allowed"):
        asyncio.run(runs.run_closed(plan, phone))
