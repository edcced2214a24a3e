"""The grammar of a live call, sentence by sentence, on a real daemon with real speech."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, noise, pcm16, read


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        wire.enroll(connected, "slt", speech("slt-enrol"))
        wire.enroll(connected, "rms", speech("rms-enrol"))
        yield connected


def speech(name: str) -> bytes:
    return pcm16(read(VOICES / f"{name}.flac"))


def config(**fields: Any) -> pb.VerificationConfig:
    defaults: dict[str, Any] = {"audio_format": wire.PCM16, "speaker_id": "slt"}
    return pb.VerificationConfig(**(defaults | fields))


def talk(
    stubs: wire.Stubs, content: bytes, *, size_bytes: int = 3200, **fields: Any
) -> list[pb.StreamVerifyResponse]:
    requests = wire.stream_requests(config(**fields), wire.pieces(content, size_bytes))
    return list(stubs.verification.StreamVerify(requests, timeout=wire.DEADLINE_S))


def kinds(answers: list[pb.StreamVerifyResponse]) -> list[str | None]:
    return [answer.WhichOneof("response") for answer in answers]


class LiveCall:
    """A call whose messages are sent one by one, with the answers read in between."""

    def __init__(self, stubs: wire.Stubs, **fields: Any) -> None:
        self._requests: queue.SimpleQueue[pb.StreamVerifyRequest | None] = queue.SimpleQueue()
        self._requests.put(pb.StreamVerifyRequest(config=config(**fields)))
        self.answers = stubs.verification.StreamVerify(
            iter(self._requests.get, None), timeout=wire.DEADLINE_S
        )

    def send(self, content: bytes) -> None:
        self._requests.put(pb.StreamVerifyRequest(audio=content))

    def half_close(self) -> None:
        self._requests.put(None)


def test_a_call_is_opened_then_updated_for_every_window_then_ends_with_one_final(
    stubs: wire.Stubs,
) -> None:
    content = pcm16(noise(4.1))
    answers = talk(stubs, content)
    assert kinds(answers) == ["opened", "update", "update", "final"]
    updates = [answer.update for answer in answers[1:3]]
    assert [update.window_count for update in updates] == [1, 2]
    assert [update.net_speech.ToMilliseconds() for update in updates] == [1980, 3960]
    assert [update.committed_samples for update in updates] == [31680, 63360]
    final = answers[-1].final
    assert final.window_count == 3
    assert final.committed_samples == len(content) // 2
    assert final.net_speech.ToMilliseconds() == 4100
    assert final.audio_received.ToMilliseconds() == 4100


def test_the_worked_exchange_of_the_contract_replays(stubs: wire.Stubs) -> None:
    content = speech("slt-call")[: 4 * RATE_HZ * 2]
    second = RATE_HZ * 2
    call = LiveCall(stubs)
    opened = next(call.answers).opened
    assert opened.samples_per_chunk == 32000
    for start in range(0, 3 * second, second):
        call.send(content[start : start + second])
    update = next(call.answers).update
    assert (update.window_count, update.net_speech.ToMilliseconds()) == (1, 1980)
    assert update.decision == audio_pb2.DECISION_ACCEPT
    call.send(content[3 * second :])
    call.half_close()
    update = next(call.answers).update
    assert (update.window_count, update.net_speech.ToMilliseconds()) == (2, 3960)
    final = next(call.answers).final
    assert (final.window_count, final.net_speech.ToMilliseconds()) == (3, 4000)
    assert final.decision == audio_pb2.DECISION_ACCEPT
    assert list(call.answers) == []


def test_an_update_does_not_wait_for_more_audio(stubs: wire.Stubs) -> None:
    call = LiveCall(stubs)
    assert next(call.answers).WhichOneof("response") == "opened"
    call.send(pcm16(noise(2.0)))
    assert next(call.answers).update.window_count == 1
    call.half_close()
    assert kinds(list(call.answers)) == ["final"]


def test_the_request_id_is_echoed_or_made(stubs: wire.Stubs) -> None:
    content = pcm16(noise(2.5))
    assert talk(stubs, content, request_id="call-7")[0].opened.request_id == "call-7"
    assert len(talk(stubs, content)[0].opened.request_id) == 32


def test_opened_tells_every_effective_setting(stubs: wire.Stubs) -> None:
    opened = talk(stubs, pcm16(noise(2.5)), update_interval=Duration(seconds=3))[0].opened
    assert opened.domain == "default"
    assert opened.model.name == "campplus"
    assert opened.model_sample_rate_hz == 16000
    assert opened.policy.scale == audio_pb2.SCORE_SCALE_COSINE
    assert -1 < opened.policy.reject_below <= opened.policy.accept_at < 1
    assert opened.policy.minimum_net_speech.ToMilliseconds() == 1000
    assert not opened.policy.HasField("maximum_net_speech")
    assert opened.update_interval.ToSeconds() == 3


def test_updates_keep_the_wanted_interval(stubs: wire.Stubs) -> None:
    answers = talk(stubs, pcm16(noise(12.2)), update_interval=Duration(seconds=5))
    assert [a.update.window_count for a in answers if a.WhichOneof("response") == "update"] == [
        3,
        6,
    ]
    assert answers[-1].final.window_count == 7


def test_whole_signal_windows_have_no_updates(stubs: wire.Stubs) -> None:
    answers = talk(stubs, speech("slt-call"), samples_per_chunk=-1)
    assert kinds(answers) == ["opened", "final"]
    assert answers[-1].final.window_count == 1
    assert answers[-1].final.decision == audio_pb2.DECISION_ACCEPT


def test_the_claimed_speaker_is_accepted_and_another_is_not(stubs: wire.Stubs) -> None:
    policy = pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=0.7, reject_below=0.6)
    genuine = talk(stubs, speech("slt-call"), policy=policy)[-1].final
    assert genuine.decision == audio_pb2.DECISION_ACCEPT
    assert genuine.scores[0].speaker_id == "slt"
    assert genuine.scores[0].score.scale == audio_pb2.SCORE_SCALE_COSINE
    assert genuine.speakers_compared == 1
    impostor = talk(stubs, speech("slt-call"), policy=policy, speaker_id="rms")[-1].final
    assert impostor.decision == audio_pb2.DECISION_REJECT
    assert impostor.reason


def test_an_uncertain_score_is_undecided_in_updates_and_final(stubs: wire.Stubs) -> None:
    policy = pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=0.999, reject_below=0.1)
    answers = talk(stubs, speech("slt-call"), policy=policy)
    assert {a.update.decision for a in answers if a.WhichOneof("response") == "update"} == {
        audio_pb2.DECISION_UNDECIDED
    }
    assert answers[-1].final.decision == audio_pb2.DECISION_UNDECIDED


def test_less_speech_than_the_minimum_is_not_enough(stubs: wire.Stubs) -> None:
    policy = pb.Policy(minimum_net_speech=Duration(seconds=3))
    answers = talk(stubs, speech("slt-call")[: 4 * RATE_HZ * 2], policy=policy)
    assert answers[1].update.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH
    assert answers[-1].final.decision == audio_pb2.DECISION_ACCEPT
    short = talk(stubs, speech("slt-call")[: RATE_HZ * 2 - 2])[-1].final
    assert short.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH


def test_the_most_speech_that_is_used_settles_the_call_at_once(stubs: wire.Stubs) -> None:
    policy = pb.Policy(maximum_net_speech=Duration(seconds=3))
    call = LiveCall(stubs, policy=policy)
    call.send(speech("slt-call")[: 5 * RATE_HZ * 2])
    answers = list(call.answers)
    assert kinds(answers) == ["opened", "update", "final"]
    assert answers[-1].final.net_speech.ToMilliseconds() == 3000
    whole = stubs.verification.Verify(
        pb.VerifyRequest(config=config(), audio=speech("slt-call")[: 3 * RATE_HZ * 2])
    )
    cut, short = answers[-1].final.scores[0].score.value, whole.result.scores[0].score.value
    assert cut == pytest.approx(short, abs=1e-6)
    call.half_close()


def test_several_speakers_are_each_answered_most_alike_first(stubs: wire.Stubs) -> None:
    speakers = pb.SpeakerList(speaker_ids=["rms", "stranger", "slt"])
    final = talk(stubs, speech("slt-call"), speaker_id=None, speakers=speakers)[-1].final
    assert [score.speaker_id for score in final.scores] == ["slt", "rms", "stranger"]
    assert final.scores[2].decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
    assert final.decision == final.scores[0].decision == audio_pb2.DECISION_ACCEPT
    assert final.speakers_compared == 2


def test_the_whole_domain_is_searched(stubs: wire.Stubs) -> None:
    for name in ("slt", "rms", "awb"):
        wire.enroll(stubs, name, speech(f"{name}-enrol"), domain="search")
    fields: dict[str, Any] = {
        "domain": "search",
        "speaker_id": None,
        "whole_domain": pb.WholeDomain(top_k=2),
    }
    final = talk(stubs, speech("slt-call"), **fields)[-1].final
    assert final.scores[0].speaker_id == "slt"
    assert len(final.scores) == 2
    assert final.decision == audio_pb2.DECISION_ACCEPT
    assert final.speakers_compared == 3


def test_a_domain_with_nobody_in_it_knows_nobody(stubs: wire.Stubs) -> None:
    fields: dict[str, Any] = {
        "speaker_id": None,
        "whole_domain": pb.WholeDomain(),
        "domain": "empty",
    }
    final = talk(stubs, speech("slt-call"), **fields)[-1].final
    assert final.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
    assert not final.scores


def test_silence_in_a_whole_domain_search_is_not_enough_speech(stubs: wire.Stubs) -> None:
    fields: dict[str, Any] = {"speaker_id": None, "whole_domain": pb.WholeDomain()}
    final = talk(stubs, bytes(96000), **fields)[-1].final
    assert final.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH
    assert not final.scores


def test_nothing_crosses_from_one_domain_to_another(stubs: wire.Stubs) -> None:
    final = talk(stubs, speech("slt-call"), domain="other")[-1].final
    assert final.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED


def test_silent_windows_are_told_and_left_out(stubs: wire.Stubs) -> None:
    content = bytes(2 * (2 * 31680 + 240)) + speech("slt-call")
    answers = talk(stubs, content)
    assert answers[1].update.windows_without_variance == 1
    assert answers[1].update.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH
    assert answers[-1].final.windows_without_variance == 2
    assert answers[-1].final.decision == audio_pb2.DECISION_ACCEPT


def test_verify_gives_what_the_final_of_a_stream_is(stubs: wire.Stubs) -> None:
    content = speech("slt-call")
    streamed = talk(stubs, content, size_bytes=777)[-1].final
    whole = stubs.verification.Verify(pb.VerifyRequest(config=config(), audio=content)).result
    assert whole.scores[0].score.value == pytest.approx(streamed.scores[0].score.value, abs=1e-6)
    for one, other in zip(whole.scores[0].all_scores, streamed.scores[0].all_scores, strict=True):
        assert one.scale == other.scale
        assert one.value == pytest.approx(other.value, abs=1e-4)
    for result in (streamed, whole):
        result.scores[0].score.value = 0.0
        del result.scores[0].all_scores[:]
    streamed.reason = whole.reason = ""
    assert whole == streamed


def test_compare_knows_same_from_different(stubs: wire.Stubs) -> None:
    def audio(name: str) -> pb.Audio:
        return pb.Audio(format=wire.PCM16, content=speech(name))

    policy = pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=0.7)
    same = stubs.verification.Compare(
        pb.CompareRequest(first=audio("slt-enrol"), second=audio("slt-call"), policy=policy)
    )
    other = stubs.verification.Compare(
        pb.CompareRequest(first=audio("rms-enrol"), second=audio("slt-call"), policy=policy)
    )
    assert same.decision == audio_pb2.DECISION_ACCEPT
    assert other.decision == audio_pb2.DECISION_REJECT
    cosine, similarity = (score.value for score in same.scores[:2])
    assert similarity == pytest.approx((cosine + 1) / 2)


def test_an_rpc_that_is_not_built_yet_is_unimplemented(daemon: Daemon) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        call: Any = channel.unary_unary("/speakerd.v1.EnrollmentService/ExportVoiceprints")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"")
    assert wire.refusal(failed.value).code == grpc.StatusCode.UNIMPLEMENTED
