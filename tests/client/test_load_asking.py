"""Each kind of request of a closed loop, asked of a real daemon."""

from __future__ import annotations

import pytest
from speakerd_client import Audio, AudioFormat, Client, InvalidLoad, NotFound, Policy, read_audio
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import InvalidRequest
from speakerd_client.load.asking import KINDS
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track, tracks_of
from speakerd_client.load.unary import UnaryAsking
from support.daemon import Daemon
from support.speech import VOICES

CALL = VOICES / "slt-call.flac"
TRACKS = tracks_of([CALL, VOICES / "rms-call.flac"])
OPTIONS = VerifyOptions(
    domain="other", samples_per_chunk=16_000, policy=Policy(minimum_speech_s=0.5)
)


@pytest.mark.parametrize("kind", ["embed", "verify"])
async def test_each_track_is_asked_in_turn_on_every_connection(daemon: Daemon, kind: str) -> None:
    options = OPTIONS if kind == "verify" else VerifyOptions(samples_per_chunk=16_000)
    asking = KINDS[kind](ClosedPlan(daemon.address, kind, options=options), TRACKS)
    await asking.connect(2)
    seconds = [await asking.ask(number) for number in range(4)]
    await asking.close()
    lengths_s = [track.audio.duration_s for track in TRACKS]
    assert seconds == lengths_s * 2


@pytest.mark.parametrize("kind", ["embed", "verify"])
async def test_a_refusal_has_the_daemons_reason(daemon: Daemon, kind: str) -> None:
    options = VerifyOptions(model="none")
    asking = KINDS[kind](ClosedPlan(daemon.address, kind, options=options), TRACKS)
    await asking.connect(1)
    with pytest.raises(NotFound) as caught:
        await asking.ask(0)
    await asking.close()
    assert caught.value.reason == "MODEL_UNKNOWN"


async def test_a_verification_claims_the_speaker(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.enroll("asking-slt", read_audio(VOICES / "slt-enrol.flac"), domain="other")
        plan = ClosedPlan(daemon.address, "verify", speaker_id="asking-slt", options=OPTIONS)
        asking = KINDS["verify"](plan, TRACKS)
        await asking.connect(1)
        assert await asking.ask(0) > 0
        await asking.close()
        client.delete_speaker("asking-slt", domain="other")


async def test_an_answer_that_is_an_error_without_a_reason_is_named(daemon: Daemon) -> None:
    asking = UnaryAsking(daemon.address, "/speakerd.v1.VerificationService/None", [b""], [1.0])
    await asking.connect(1)
    with pytest.raises(Exception, match="does not offer this call"):
        await asking.ask(0)
    await asking.close()


@pytest.mark.parametrize("kind", ["embed", "verify"])
def test_what_cannot_be_sent_whole_is_named(kind: str) -> None:
    long = Track("long.wav", Audio(bytes(601 * 8000), AudioFormat(sample_rate_hz=4000)))
    with pytest.raises(InvalidLoad, match=r"long\.wav: .* can be sent whole; cut it into parts"):
        KINDS[kind](ClosedPlan("127.0.0.1:1", kind), [long])
    huge = VerifyOptions(samples_per_chunk=10**12)
    with pytest.raises((InvalidLoad, InvalidRequest), match="cannot be sent"):
        KINDS[kind](ClosedPlan("127.0.0.1:1", kind, options=huge), TRACKS)
