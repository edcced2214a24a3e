"""Another voice takes over in a call, through a real daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from speakerd_client import Audio, AudioFormat, Client, Decision, Encoding, Policy
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, pcm16, read

FORMAT = AudioFormat(Encoding.PCM16LE, RATE_HZ)


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        enrolment = Audio(pcm16(read(VOICES / "slt-enrol.flac")), FORMAT)
        connected.enroll("handed-over", enrolment)
        yield connected


def call(*names: str) -> list[bytes]:
    whole = b"".join(pcm16(read(VOICES / f"{name}-call.flac")) for name in names)
    return [whole[at : at + 3200] for at in range(0, len(whole), 3200)]


def test_updates_say_when_another_voice_took_over(client: Client) -> None:
    results = list(client.verify_stream("handed-over", call("slt", "awb"), FORMAT))
    first_s = len(read(VOICES / "slt-call.flac")) / RATE_HZ
    before = [one for one in results if one.audio_received_s < first_s + 2]
    assert all(one.handover is None for one in before)
    final = results[-1]
    assert final.handover is not None
    assert final.handover.cosine < 0.55
    assert final.handover.audio_time_s == pytest.approx(first_s, abs=2.0)
    assert final.handover.window < final.window_count


def test_a_policy_may_turn_the_decision_back(client: Client) -> None:
    sound = call("slt", "slt", "awb")
    kept = list(client.verify_stream("handed-over", sound, FORMAT))
    revoking = Policy(revoke_at_handover=True)
    revoked = list(client.verify_stream("handed-over", sound, FORMAT, policy=revoking))
    assert revoked[0].settings.policy.revoke_at_handover
    at = next(i for i, one in enumerate(revoked) if one.handover is not None)
    assert kept[at].decision is Decision.ACCEPT
    assert revoked[at].decision is Decision.UNDECIDED
    assert "another voice took over" in revoked[at].reason
    assert all(one.decision is Decision.ACCEPT for one in revoked[1:at])
    assert kept[at].scores[0].score == pytest.approx(revoked[at].scores[0].score, abs=1e-4)


def test_one_voice_hands_nothing_over(client: Client) -> None:
    results = list(client.verify_stream("handed-over", call("slt", "slt", "slt"), FORMAT))
    assert all(one.handover is None for one in results)
    whole = Audio(b"".join(call("slt", "awb")), FORMAT)
    assert client.verify("handed-over", whole).handover is not None
