"""How far the best speaker leads the second, through a real daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from speakerd_client import (
    Audio,
    AudioFormat,
    Client,
    Decision,
    Encoding,
    Everyone,
    InvalidRequest,
    Policy,
)
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, pcm16, read

DOMAIN = "search"


def sound(name: str) -> Audio:
    return Audio(pcm16(read(VOICES / f"{name}.flac")), AudioFormat(Encoding.PCM16LE, RATE_HZ))


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as connected:
        for name in ("slt", "rms", "awb"):
            connected.enroll(name, sound(f"{name}-enrol"), domain=DOMAIN)
        yield connected


def lead(client: Client) -> float:
    first, second = client.verify(Everyone(2), sound("slt-call"), domain=DOMAIN).scores
    assert first.score is not None
    assert second.score is not None
    return first.score - second.score


@pytest.mark.parametrize("top_k", [1, 2, 100])
def test_the_lead_is_told_however_many_are_asked_for(client: Client, top_k: int) -> None:
    result = client.verify(Everyone(top_k), sound("slt-call"), domain=DOMAIN)
    assert result.margin == pytest.approx(lead(client), abs=1e-6)
    assert len(result.scores) == min(top_k, result.speakers_compared)


def test_an_accept_that_leads_by_less_than_the_policy_asks_for_is_undecided(
    client: Client,
) -> None:
    call, found = sound("slt-call"), lead(client)
    for minimum, expected in ((found / 2, Decision.ACCEPT), (found + 0.01, Decision.UNDECIDED)):
        policy = Policy(minimum_margin=minimum)
        *_, final = client.verify_stream(
            Everyone(1), call.pieces(), call.format, domain=DOMAIN, policy=policy
        )
        assert final.settings.policy.minimum_margin == minimum
        assert (final.decision, final.scores[0].speaker_id) == (expected, "slt")
        assert final.scores[0].decision is Decision.ACCEPT
        assert ("less than the minimum margin" in final.reason) == (minimum > found)


def test_a_margin_is_refused_where_nobody_is_searched_for(client: Client) -> None:
    call, policy = sound("slt-call"), Policy(minimum_margin=0.1)
    with pytest.raises(InvalidRequest, match="minimum_margin") as claimed:
        client.verify(["slt", "rms"], call, domain=DOMAIN, policy=policy)
    with pytest.raises(InvalidRequest, match="minimum_margin") as compared:
        client.compare(call, call, policy=policy)
    assert claimed.value.reason == compared.value.reason == "POLICY_INVALID"
