"""Before a load, the daemon is asked whether it would take it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from speakerd_client import AudioFormat, Encoding, InvalidRequest, NotFound, NotReachable
from speakerd_client.audio import Audio
from speakerd_client.call_options import VerifyOptions
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.probe import require_answer, settings_of
from speakerd_client.load.sound import Track
from support.daemon import Daemon


def track(rate_hz: int = 16_000, encoding: Encoding = Encoding.PCM16LE) -> Track:
    return Track("a", Audio(bytes(100), AudioFormat(encoding, rate_hz)))


async def test_it_tells_what_calls_will_run_with(daemon: Daemon) -> None:
    options = VerifyOptions(samples_per_chunk=48_000, domain="other", update_interval_s=2.5)
    settings = await settings_of(LivePlan(daemon.address, options=options), [track()])
    assert (settings.samples_per_chunk, settings.model_sample_rate_hz) == (48_000, 16_000)
    assert (settings.domain, settings.update_interval_s) == ("other", 2.5)
    assert str(settings.model) == "campplus/1"


async def test_every_format_must_be_taken(daemon: Daemon) -> None:
    plan = LivePlan(daemon.address)
    await settings_of(plan, [track(), track(8000, Encoding.MULAW), track()])
    with pytest.raises(InvalidRequest) as caught:
        await settings_of(plan, [track(), track(96_000)])
    assert caught.value.reason == "SAMPLE_RATE_UNSUPPORTED"


@pytest.mark.parametrize("kind", ["live", "closed"])
async def test_an_unknown_speaker_is_refused_and_not_verified_in_vain(
    daemon: Daemon, kind: str
) -> None:
    name = "probe-nobody"
    asked: Coroutine[Any, Any, object]
    if kind == "live":
        asked = settings_of(LivePlan(daemon.address, speaker_id=name), [track()])
    else:
        asked = require_answer(ClosedPlan(daemon.address, "verify", speaker_id=name), [track()])
    with pytest.raises(NotFound) as caught:
        await asked
    assert caught.value.reason == "SPEAKER_UNKNOWN"


async def test_nobody_there_is_told_at_once() -> None:
    with pytest.raises(NotReachable):
        await settings_of(LivePlan("127.0.0.1:1"), [track()])
    with pytest.raises(NotReachable):
        await require_answer(ClosedPlan("127.0.0.1:1", "embed"), [track()])


@pytest.mark.parametrize("kind", ["embed", "verify"])
async def test_an_unknown_model_is_refused_and_a_bad_recording_is_not(
    daemon: Daemon, kind: str
) -> None:
    plan = ClosedPlan(daemon.address, kind, options=VerifyOptions(model="none"))
    with pytest.raises(NotFound) as caught:
        await require_answer(plan, [track()])
    assert caught.value.reason == "MODEL_UNKNOWN"
    await require_answer(ClosedPlan(daemon.address, kind), [track()])
