"""Groups on a real daemon: made, filled, searched in calls, listed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from speakerd.v1 import audio_pb2, verification_pb2
from speakerd.v1 import enrollment_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import VOICES, pcm16, read

CALL = pcm16(read(VOICES / "slt-call.flac"))
VOICE_OF = {name: pcm16(read(VOICES / f"{name}-enrol.flac")) for name in ("slt", "rms", "awb")}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("groups")
    with Daemon(folder, "--calls-domains=default,other") as running:
        with wire.connected(running.address) as stubs:
            for name, content in VOICE_OF.items():
                wire.enroll(stubs, name, content)
            update(stubs, create(stubs, "men"), add=["rms", "awb"])
            update(stubs, create(stubs, "all.three"), add=list(VOICE_OF))
            create(stubs, "nobody")
        yield running


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def create(stubs: wire.Stubs, name: str, domain: str = "") -> str:
    request = pb.CreateGroupRequest(name=name, domain=domain)
    return stubs.enrollment.CreateGroup(request, timeout=wire.DEADLINE_S).group.name


def update(
    stubs: wire.Stubs, name: str, add: list[str] | None = None, remove: list[str] | None = None
) -> list[str]:
    request = pb.UpdateGroupRequest(
        name=name, add_speaker_ids=add or [], remove_speaker_ids=remove or []
    )
    answer = stubs.enrollment.UpdateGroup(request, timeout=wire.DEADLINE_S)
    return list(answer.group.speaker_ids)


def verified(stubs: wire.Stubs, group: str, **fields: Any) -> verification_pb2.VerificationResult:
    policy = fields.pop("policy", None)
    config = verification_pb2.VerificationConfig(
        audio_format=wire.PCM16,
        group=verification_pb2.GroupTarget(group=group, **fields),
        policy=policy,
    )
    request = verification_pb2.VerifyRequest(config=config, audio=CALL)
    return stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result


def refused(call: Callable[[], Any]) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    told = wire.refusal(failed.value)
    return told.code, told.reason


def test_a_call_is_compared_with_the_members_of_a_group_alone(stubs: wire.Stubs) -> None:
    among_men = verified(stubs, "men")
    assert {one.speaker_id for one in among_men.scores} == {"rms", "awb"}
    assert among_men.speakers_compared == 2
    assert among_men.decision == audio_pb2.DECISION_REJECT
    among_all = verified(stubs, "all.three", top_k=1)
    assert [one.speaker_id for one in among_all.scores] == ["slt"]
    assert among_all.decision == audio_pb2.DECISION_ACCEPT
    assert among_all.speakers_compared == 3
    second = max(one.score.value for one in among_men.scores)
    assert among_all.margin == pytest.approx(among_all.scores[0].score.value - second, abs=1e-6)


def test_a_margin_holds_an_accept_back_in_a_group_too(stubs: wire.Stubs) -> None:
    policy = verification_pb2.Policy(minimum_margin=1.9)
    result = verified(stubs, "all.three", policy=policy)
    assert result.decision == audio_pb2.DECISION_UNDECIDED
    assert "minimum margin" in result.reason


def test_a_group_without_anyone_enrolled_knows_nobody(stubs: wire.Stubs) -> None:
    result = verified(stubs, "nobody")
    assert result.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
    assert result.reason == "nobody is enrolled in the group nobody"
    assert not result.scores


def test_a_live_call_follows_the_members_as_they_are_now(stubs: wire.Stubs) -> None:
    create(stubs, "live")
    config = verification_pb2.VerificationConfig(
        audio_format=wire.PCM16, group=verification_pb2.GroupTarget(group="live")
    )
    half = len(CALL) // 4 * 2
    found: list[tuple[str, ...]] = []

    def requests() -> Iterator[verification_pb2.StreamVerifyRequest]:
        yield verification_pb2.StreamVerifyRequest(config=config)
        yield verification_pb2.StreamVerifyRequest(audio=CALL[:half])
        while not found:
            yield verification_pb2.StreamVerifyRequest(audio=b"")
        update(stubs, "live", add=["slt"])
        yield verification_pb2.StreamVerifyRequest(audio=CALL[half:])

    for answer in stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S):
        result = getattr(answer, answer.WhichOneof("response") or "")
        if answer.WhichOneof("response") != "opened":
            found.append(tuple(one.speaker_id for one in result.scores))
    assert found[0] == ()
    assert found[-1] == ("slt",)
    assert result.decision == audio_pb2.DECISION_ACCEPT


def test_what_a_group_is_and_who_is_in_it_can_be_read(stubs: wire.Stubs) -> None:
    group = stubs.enrollment.GetGroup(pb.GetGroupRequest(name="men")).group
    assert (group.name, group.domain, group.member_count) == ("men", "default", 2)
    assert list(group.speaker_ids) == ["awb", "rms"]
    assert group.update_time.ToNanoseconds() >= group.create_time.ToNanoseconds() > 0
    speaker = stubs.enrollment.GetSpeaker(pb.GetSpeakerRequest(speaker_id="rms")).speaker
    assert list(speaker.groups) == ["all.three", "men"]


def test_groups_are_listed_page_by_page(stubs: wire.Stubs) -> None:
    for name in ("a", "b", "c"):
        create(stubs, name, "other")
    names, token = [], ""
    while True:
        request = pb.ListGroupsRequest(domain="other", page_size=2, page_token=token)
        page = stubs.enrollment.ListGroups(request)
        names.append([one.name for one in page.groups])
        assert not any(one.speaker_ids or one.member_count for one in page.groups)
        token = page.next_page_token
        if not token:
            break
    assert names == [["a", "b"], ["c"]]


def test_a_deleted_group_is_gone_and_its_members_are_not(stubs: wire.Stubs) -> None:
    update(stubs, create(stubs, "short-lived"), add=["slt", "awb"])
    request = pb.DeleteGroupRequest(name="short-lived")
    assert stubs.enrollment.DeleteGroup(request).members == 2
    unknown = (StatusCode.NOT_FOUND, "GROUP_UNKNOWN")
    assert refused(lambda: stubs.enrollment.DeleteGroup(request)) == unknown
    assert refused(lambda: verified(stubs, "short-lived")) == unknown
    assert verified(stubs, "all.three").speakers_compared == 3


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda s: create(s, "men"), (StatusCode.ALREADY_EXISTS, "GROUP_EXISTS")),
        (lambda s: create(s, "a b"), (StatusCode.INVALID_ARGUMENT, "GROUP_NAME_INVALID")),
        (lambda s: create(s, "x", "nowhere"), (StatusCode.NOT_FOUND, "DOMAIN_UNKNOWN")),
        (lambda s: update(s, "men", ["who"]), (StatusCode.NOT_FOUND, "SPEAKER_UNKNOWN")),
        (lambda s: update(s, "men", ["a/b"]), (StatusCode.INVALID_ARGUMENT, "SPEAKER_ID_INVALID")),
        (lambda s: update(s, "no"), (StatusCode.NOT_FOUND, "GROUP_UNKNOWN")),
        (
            lambda s: update(s, "men", [f"p{n}" for n in range(1001)]),
            (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        ),
        (lambda s: verified(s, ""), (StatusCode.INVALID_ARGUMENT, "GROUP_NAME_INVALID")),
        (lambda s: verified(s, "men", top_k=101), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (
            lambda s: s.enrollment.ListGroups(pb.ListGroupsRequest(page_token="x")),
            (StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"),
        ),
        (
            lambda s: s.enrollment.ListGroups(pb.ListGroupsRequest(page_size=1001)),
            (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        ),
    ],
)
def test_bad_requests_are_named(
    stubs: wire.Stubs, call: Callable[[wire.Stubs], Any], expected: tuple[StatusCode, str]
) -> None:
    before = update(stubs, "men")
    assert refused(lambda: call(stubs)) == expected
    assert update(stubs, "men") == before
