"""What processes tell each other survives the way, errors with all they say included."""

from __future__ import annotations

import pickle

import pytest
from speakerd_client import Audio, AudioFormat, Exhausted, InvalidLoad, NotReachable, Policy
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import SpeakerdError
from speakerd_client.load.orders import (
    HEAD_BYTES,
    Broken,
    Go,
    Material,
    Progress,
    body_bytes,
    framed,
)
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.sound import Track


def test_a_frame_is_its_length_and_the_message() -> None:
    plan = LivePlan("a:1", options=VerifyOptions(policy=Policy(maximum_speech_s=3.0)))
    material = Material(plan, (Track("call.wav", Audio(b"ab", AudioFormat())),))
    frame = framed(material)
    assert body_bytes(frame[:HEAD_BYTES]) == len(frame) - HEAD_BYTES
    assert pickle.loads(frame[HEAD_BYTES:]) == material
    assert pickle.loads(framed(Go(12.5))[HEAD_BYTES:]) == Go(12.5)


@pytest.mark.parametrize(
    "error",
    [
        InvalidLoad("too many"),
        NotReachable("gone", code="UNAVAILABLE"),
        Exhausted("full", reason="TOO_MANY_STREAMS", retry_after_s=1.0, request_id="7"),
    ],
)
def test_an_error_arrives_as_it_was(error: SpeakerdError) -> None:
    arrived = pickle.loads(framed(Broken(error))[HEAD_BYTES:]).error
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_progress_of_processes_is_added() -> None:
    assert Progress(1, 2, 3, 4) + Progress(10, 20, 30, 40) == Progress(11, 22, 33, 44)
