"""Closed loops against real daemons, from plan to result, in processes of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from speakerd_client import AudioFormat, InvalidLoad
from speakerd_client.load import runs
from speakerd_client.load.orders import Progress
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track, tracks_of
from support.daemon import Daemon
from support.speech import VOICES

CALL = VOICES / "slt-call.flac"


@pytest.mark.parametrize(("kind", "processes"), [("embed", 1), ("verify", 2)])
def test_a_closed_loop_has_a_row_for_each_concurrency(
    light: Daemon, kind: str, processes: int
) -> None:
    tracks = tracks_of([CALL, VOICES / "rms-call.flac"])
    plan = ClosedPlan(light.address, kind, (1, 4), 1.0, processes=processes)
    result = asyncio.run(runs.run_closed(plan, tracks))
    assert [row.concurrency for row in result.rows] == [1, 4]
    for row in result.rows:
        assert row.errors == ()
        assert row.latency_ms.count == row.calls
        assert 0 < row.throughput <= row.calls
        assert row.audio_per_s / row.throughput == pytest.approx(4.0, abs=3.0)
        assert len(row.generator.cores) == processes
    assert (result.kind, len(result.tracks), result.interrupted) == (kind, 2, False)


def test_calls_that_fail_in_a_closed_loop_are_counted_by_reason(light: Daemon) -> None:
    (track,) = tracks_of([CALL])
    silent = Track("silence", type(track.audio)(bytes(64_000), AudioFormat()))
    plan = ClosedPlan(light.address, "embed", (2,), 0.5)
    result = asyncio.run(runs.run_closed(plan, [track, silent]))
    (row,) = result.rows
    (error,) = row.errors
    assert error.reason == "AUDIO_WITHOUT_VOICE"
    assert 0 < error.share < 1
    assert row.throughput > 0


def test_a_recording_that_is_too_long_for_a_whole_one_is_named(light: Daemon) -> None:
    (track,) = tracks_of([CALL])
    long = Track("long.wav", type(track.audio)(bytes(601 * 32_000), AudioFormat()))
    with pytest.raises(InvalidLoad, match=r"long\.wav: the recording has 601\.0 s"):
        asyncio.run(runs.run_closed(ClosedPlan(light.address, "embed"), [long]))


def test_a_closed_loop_that_is_stopped_keeps_its_rows(light: Daemon) -> None:
    async def stopped() -> Any:
        stop = asyncio.Event()

        def watch(progress: Progress, elapsed_s: float) -> None:
            if progress.done > 3:
                stop.set()

        plan = ClosedPlan(light.address, "embed", (2, 4), 60.0)
        return await runs.run_closed(plan, tracks_of([CALL]), watch=watch, stop=stop)

    result = asyncio.run(stopped())
    assert (result.interrupted, len(result.rows)) == (True, 1)
    assert result.rows[0].latency_ms.count > 3
    assert result.rows[0].errors == ()
