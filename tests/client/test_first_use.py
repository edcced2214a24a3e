"""The mistakes of a first day with the SDK are named where they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from speakerd_client import (
    AsyncClient,
    Audio,
    AudioFormat,
    Client,
    Encoding,
    InvalidRequest,
    Policy,
    SpeakerdError,
    pace,
)

FORMAT = AudioFormat()
AUDIO = Audio(bytes(3200), FORMAT)
NOWHERE = "127.0.0.1:1"


def call(method: str, *arguments: Any, **options: Any) -> Any:
    with Client(NOWHERE, timeout_s=1) as client:
        return getattr(client, method)(*arguments, **options)


@pytest.mark.parametrize(
    ("kind", "words", "mistake"),
    [
        (TypeError, "read_audio", lambda: call("verify", "x", b"abc")),
        (TypeError, "read_audio", lambda: call("enroll", "x", "file.wav")),
        (TypeError, "Encoding.MULAW, not 'mulaw'", lambda: AudioFormat("mulaw", 8000)),  # type: ignore[arg-type]
        (TypeError, "not 8000.0", lambda: AudioFormat(Encoding.MULAW, 8000.0)),  # type: ignore[arg-type]
        (ValueError, "above 0", lambda: AudioFormat(Encoding.MULAW, 0)),
        (TypeError, "tobytes", lambda: Audio([1, 2], FORMAT)),  # type: ignore[arg-type]
        (TypeError, "an AudioFormat", lambda: Audio(b"", 16000)),  # type: ignore[arg-type]
        (TypeError, "ScoreScale.COSINE", lambda: Policy(scale="cosine")),  # type: ignore[arg-type]
        (TypeError, "SequentialPolicy", lambda: Policy(sequential=(0.01, 0.05))),  # type: ignore[arg-type]
        (TypeError, "a Policy", lambda: call("verify", "x", AUDIO, policy=0.5)),
        (TypeError, "an AudioFormat", lambda: call("stream_verify", "x", 16000)),
        (ValueError, "`with`", lambda: call("stream_verify", "x", FORMAT).send(b"ab")),
        (ValueError, "`with`", lambda: call("stream_verify", "x", FORMAT).finish()),
        (ValueError, "`with`", lambda: next(call("stream_verify", "x", FORMAT))),
        (ValueError, "speed", lambda: pace([b"a"], FORMAT, speed=0)),
        (ValueError, "host:port", lambda: Client("")),
        (ValueError, "host:port", lambda: Client("localhost")),
        (TypeError, "address", lambda: AsyncClient(8001)),  # type: ignore[arg-type]
        (ValueError, "timeout_s", lambda: Client(timeout_s=0)),
    ],
)
def test_a_mistake_is_told_in_the_callers_words(
    kind: type[Exception], words: str, mistake: Callable[[], object]
) -> None:
    with pytest.raises(kind, match=words) as caught:
        mistake()
    assert not isinstance(caught.value, SpeakerdError)


@pytest.mark.parametrize("method", ["verify", "enroll", "compare", "embed"])
def test_a_misspelt_option_is_a_type_error(method: str) -> None:
    arguments = {"compare": (AUDIO, AUDIO), "embed": (AUDIO,)}.get(method, ("x", AUDIO))
    with pytest.raises(TypeError, match="modle"):
        call(method, *arguments, modle="campplus")


LONG = Audio(bytes(601 * 8000), AudioFormat(Encoding.MULAW, 8000))
LARGE = Audio(bytes(64 << 20), AudioFormat(Encoding.FLOAT32LE, 48000))
HALF = Audio(bytes(33 << 20), AudioFormat(Encoding.FLOAT32LE, 48000))


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("verify", ("x", LONG), r"601\.0 s; at most 600 s \(10 minutes\).*use verify_stream"),
        ("verify", ("x", LARGE), "67108864 bytes; one message holds at most.*use verify_stream"),
        ("enroll", ("x", LARGE), "use enroll_stream"),
        ("compare", (HALF, HALF), "take a shorter part"),
        ("embed", (LONG,), "take a shorter part"),
    ],
)
def test_a_recording_that_no_message_carries_is_refused_before_sending(
    method: str, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        call(method, *arguments)
    assert caught.value.reason in {"AUDIO_TOO_LONG", "AUDIO_MESSAGE_TOO_LARGE"}
