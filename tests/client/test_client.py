"""The asynchronous client against a real daemon."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
from speakerd_client import (
    AsyncClient,
    Audio,
    AudioFormat,
    CallEnded,
    Decision,
    Encoding,
    Enrollment,
    EnrollmentProgress,
    Everyone,
    Health,
    InvalidRequest,
    NotFound,
    NotPossible,
    NotReachable,
    Policy,
    ScoreScale,
    SequentialPolicy,
    SpeakerState,
    read_audio,
)
from support.daemon import Daemon
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")
ENROL = read_audio(VOICES / "slt-enrol.flac")
OTHER = read_audio(VOICES / "awb-call.flac")


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(daemon.address) as running:
        yield running


async def test_an_enrolled_voice_is_accepted_and_another_rejected(client: AsyncClient) -> None:
    stored = await client.enroll("sdk-slt", ENROL, display_name="Slt", request_id="e1")
    assert stored.speaker.state is SpeakerState.ENROLLED
    assert stored.speaker.display_name == "Slt"
    assert stored.speaker.recordings[0].recording_id == stored.recording_id
    assert stored.settings.request_id == "e1"
    genuine = await client.verify("sdk-slt", CALL, request_id="v1")
    assert genuine.accepted
    assert genuine.is_final
    assert genuine.settings.request_id == "v1"
    assert genuine.net_speech_s == pytest.approx(CALL.duration_s, abs=0.01)
    assert genuine.scores[0].scale is ScoreScale.COSINE
    assert (await client.verify("sdk-slt", OTHER)).decision is Decision.REJECT
    assert await client.delete_speaker("sdk-slt") == 1


async def test_a_streamed_call_ends_with_what_the_whole_recording_gives(
    client: AsyncClient,
) -> None:
    await client.enroll("sdk-stream", ENROL)
    source = CALL.pieces(70)
    updates = [
        each
        async for each in client.verify_stream(
            "sdk-stream", source, CALL.format, samples_per_chunk=16000
        )
    ]
    whole = await client.verify("sdk-stream", CALL, samples_per_chunk=16000)
    assert len(updates) == 6
    final = updates[-1]
    assert (final.is_final, final.window_count) == (True, whole.window_count)
    assert final.scores[0].score == pytest.approx(whole.scores[0].score, abs=1e-6)
    await client.delete_speaker("sdk-stream")


async def test_every_kind_of_target_is_understood(client: AsyncClient) -> None:
    await client.enroll("sdk-target", ENROL)
    several = await client.verify(["sdk-target", "sdk-nobody"], CALL)
    assert [each.decision for each in several.scores] == [
        Decision.ACCEPT,
        Decision.SPEAKER_NOT_ENROLLED,
    ]
    anyone = await client.verify(Everyone(top_k=1), CALL)
    assert len(anyone.scores) == 1
    assert anyone.accepted
    assert (await client.verify("sdk-nobody", CALL)).decision is Decision.SPEAKER_NOT_ENROLLED
    assert (await client.verify(None, CALL)).decision is Decision.SPEAKER_NOT_PROVIDED
    await client.delete_speaker("sdk-target")


async def test_a_margin_is_told_and_one_that_is_asked_for_holds(client: AsyncClient) -> None:
    for twin in ("sdk-twin-a", "sdk-twin-b"):
        await client.enroll(twin, ENROL)
    demanding = Policy(minimum_margin=1.5)
    result = await client.verify(Everyone(top_k=1), CALL, policy=demanding)
    assert result.settings.policy.minimum_margin == 1.5
    assert (result.decision, len(result.scores)) == (Decision.UNDECIDED, 1)
    assert "less than the minimum margin" in result.reason
    claimed = await client.verify(["sdk-twin-a", "sdk-twin-b"], CALL)
    assert claimed.margin == pytest.approx(0.0, abs=1e-6)
    assert claimed.accepted
    for twin in ("sdk-twin-a", "sdk-twin-b"):
        assert (await client.verify(twin, CALL)).margin is None
        await client.delete_speaker(twin)


async def test_the_policy_is_used_and_echoed_on_its_scale(client: AsyncClient) -> None:
    await client.enroll("sdk-policy", ENROL)
    strict = Policy(ScoreScale.SIMILARITY, accept_at=0.99, minimum_speech_s=2.5)
    result = await client.verify("sdk-policy", CALL, policy=strict)
    assert result.decision is Decision.REJECT
    assert result.settings.policy.scale is ScoreScale.SIMILARITY
    assert result.settings.policy.accept_at == 0.99
    assert result.settings.policy.minimum_speech_s == 2.5
    assert result.settings.policy.maximum_speech_s is None
    await client.delete_speaker("sdk-policy")


async def test_a_sequential_policy_is_used_and_echoed(client: AsyncClient) -> None:
    await client.enroll("sdk-sequential", ENROL)
    wanted = SequentialPolicy(target_far=0.01, target_frr=0.05)
    result = await client.verify(
        "sdk-sequential", CALL, policy=Policy(sequential=wanted), speech_gate=True
    )
    policy = result.settings.policy
    assert result.decision is Decision.ACCEPT
    assert "boundary" in result.reason
    assert policy.sequential == wanted
    assert (policy.accept_at, policy.reject_below, policy.maximum_speech_s) == (None, None, 20.0)
    unknown = Policy(sequential=SequentialPolicy(0.3, 0.3))
    with pytest.raises(InvalidRequest, match="has them for") as caught:
        await client.verify("sdk-sequential", CALL, policy=unknown, speech_gate=True)
    assert caught.value.reason == "SEQUENTIAL_UNAVAILABLE"
    await client.delete_speaker("sdk-sequential")


async def test_maximum_speech_settles_a_live_call(client: AsyncClient) -> None:
    await client.enroll("sdk-maximum", ENROL)
    policy = Policy(maximum_speech_s=2.5)
    results = [
        each
        async for each in client.verify_stream(
            "sdk-maximum", CALL.pieces(), CALL.format, policy=policy, samples_per_chunk=16000
        )
    ]
    assert results[-1].is_final
    assert results[-1].net_speech_s <= 2.5
    await client.delete_speaker("sdk-maximum")


async def test_two_recordings_are_compared_on_every_scale(client: AsyncClient) -> None:
    result = await client.compare(CALL, ENROL, request_id="c1")
    assert result.decision is Decision.ACCEPT
    assert result.request_id == "c1"
    values = {each.scale: each.value for each in result.scores}
    assert values[ScoreScale.SIMILARITY] == pytest.approx((values[ScoreScale.COSINE] + 1) / 2)


async def test_an_embedding_comes_as_plain_floats(client: AsyncClient) -> None:
    result = await client.embed(CALL, samples_per_chunk=-1)
    (model,) = [each for each in await client.list_models() if each.is_default]
    assert len(result.vector) == model.dim
    assert all(type(value) is float for value in result.vector)
    assert result.window_count == 1
    assert str(result.model) == str(model.identity)


async def test_a_streamed_enrolment_says_how_far_it_is(client: AsyncClient) -> None:
    async with client.stream_enroll("sdk-live", ENROL.format, minimum_speech_s=4.0) as call:
        assert call.settings is not None
        assert call.settings.minimum_speech_s == 4.0
        await call.send(ENROL.content)
        await call.end()
        progress = [each async for each in call]
        stored = await call.finish()
    assert [each.percent for each in progress] == [49, 99]
    assert stored.recording_id == (await client.get_speaker("sdk-live")).recordings[0].recording_id
    await client.delete_speaker("sdk-live")


async def test_a_source_can_be_enrolled_in_one_go(client: AsyncClient) -> None:
    steps = [each async for each in client.enroll_stream("sdk-go", ENROL.pieces(), ENROL.format)]
    assert [type(each) for each in steps] == [EnrollmentProgress, EnrollmentProgress, Enrollment]
    await client.delete_speaker("sdk-go")


async def test_speakers_are_listed_over_pages_and_changed(client: AsyncClient) -> None:
    for number in range(3):
        await client.enroll(f"sdk-page-{number}", ENROL, domain="other")
    pages = client.list_speakers(domain="other", page_size=2)
    listed = [each.speaker_id async for each in pages if each.speaker_id.startswith("sdk-page-")]
    assert listed == ["sdk-page-0", "sdk-page-1", "sdk-page-2"]
    speaker = await client.get_speaker("sdk-page-0", domain="other")
    changed = await client.update_speaker(
        "sdk-page-0",
        domain="other",
        display_name="Nobody",
        remove_recording_ids=[speaker.recordings[0].recording_id],
    )
    assert (changed.display_name, changed.recordings) == ("Nobody", ())
    assert (changed.state, changed.model) == (SpeakerState.PENDING, None)
    for name in listed:
        await client.delete_speaker(name, domain="other")


async def test_who_opts_out_is_refused_by_name_until_allowed(client: AsyncClient) -> None:
    await client.enroll("sdk-out", ENROL)
    assert await client.opt_out("sdk-out") == 1
    speaker = await client.get_speaker("sdk-out")
    assert (speaker.state, speaker.recordings) == (SpeakerState.OPTED_OUT, ())
    assert speaker.opted_out is not None
    assert speaker.opted_out.tzinfo is not None
    assert (await client.verify("sdk-out", CALL)).decision is Decision.SPEAKER_OPTED_OUT
    with pytest.raises(NotPossible) as refused:
        await client.enroll("sdk-out", ENROL)
    assert refused.value.reason == "SPEAKER_OPTED_OUT"
    allowed = await client.allow("sdk-out")
    assert (allowed.state, allowed.opted_out) == (SpeakerState.PENDING, None)
    assert await client.delete_speaker("sdk-out") == 0


async def test_a_daemon_tells_what_it_is(client: AsyncClient) -> None:
    info = await client.server_info()
    assert info.version
    assert info.started.tzinfo is not None
    assert {"default", "other"} <= set(info.domains)
    assert await client.health() is Health.SERVING


async def test_wrong_audio_names_its_reason_and_field(client: AsyncClient) -> None:
    odd = Audio(CALL.content, AudioFormat(Encoding.PCM16LE, 7999))
    with pytest.raises(InvalidRequest, match="7999 Hz") as caught:
        await client.verify("sdk-slt", odd)
    assert caught.value.reason == "SAMPLE_RATE_UNSUPPORTED"
    assert caught.value.code == "INVALID_ARGUMENT"
    assert "sample_rate_hz" in caught.value.field_violations[0].field
    assert caught.value.retry_after_s is None


async def test_what_is_not_there_is_not_found(client: AsyncClient) -> None:
    with pytest.raises(NotFound) as caught:
        await client.get_speaker("sdk-nobody")
    assert caught.value.reason == "SPEAKER_UNKNOWN"
    with pytest.raises(NotFound) as caught:
        await client.verify("a", CALL, model="nothing")
    assert caught.value.reason == "MODEL_UNKNOWN"
    with pytest.raises(NotFound) as caught:
        _ = [each async for each in client.list_speakers(domain="nowhere")]
    assert caught.value.reason == "DOMAIN_UNKNOWN"


async def test_too_little_speech_is_not_possible_to_enrol(client: AsyncClient) -> None:
    with pytest.raises(NotPossible, match="nothing was stored") as caught:
        await client.enroll("sdk-short", Audio(ENROL.content[:64000], ENROL.format))
    assert caught.value.reason == "NOT_ENOUGH_SPEECH"


async def test_a_refused_config_is_known_when_the_stream_opens(client: AsyncClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        async with client.stream_verify("a", CALL.format, samples_per_chunk=0):
            pytest.fail("the call must not open")
    assert caught.value.reason == "SAMPLES_PER_CHUNK_INVALID"


async def test_values_that_no_message_can_hold_are_refused_before_sending(
    client: AsyncClient,
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        await client.verify("a", CALL, samples_per_chunk=10**12)
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        await client.verify("a", CALL, policy=Policy(minimum_speech_s=float("nan")))
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        client.stream_verify("\ud800", CALL.format)


async def test_an_unknown_option_is_a_type_error_at_once(client: AsyncClient) -> None:
    with pytest.raises(TypeError, match="treshold"):
        await client.verify("a", CALL, treshold=1)  # type: ignore[call-arg]


async def test_no_daemon_is_an_error_that_names_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with AsyncClient(address) as client:
        with pytest.raises(NotReachable, match=rf"no daemon answers at {address}; is .speakerd"):
            await client.server_info()
        with pytest.raises(NotReachable, match=address):
            async with client.stream_verify("a", CALL.format):
                pytest.fail("the call must not open")


async def test_a_closed_client_says_so(daemon: Daemon) -> None:
    client = AsyncClient(daemon.address)
    await client.close()
    with pytest.raises(CallEnded, match="closed"):
        await client.server_info()
