"""What a load sends to a server of KServe's protocol, and how it names what goes wrong."""

from __future__ import annotations

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import Audio, errors
from speakerd_client.load import kserve
from speakerd_client.load.http_answer import Answer, Head
from speakerd_client.load.kserve import FORMAT, grpc_error, http_error, http_inference
from speakerd_client.status import Status

SAMPLES = array("f", [0.5, -0.25, 1.0])
AUDIO = Audio(SAMPLES.tobytes(), FORMAT)


def answered(status: int, body: bytes = b"", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Answer(Head(status, named, keeps_open=True), body)


@pytest.mark.parametrize(
    ("model", "name", "version"),
    [("", "speaker", ""), ("a", "a", ""), ("campplus/1", "campplus", "1")],
)
def test_a_request_over_grpc_has_raw_samples(model: str, name: str, version: str) -> None:
    request = kserve.grpc_inference(model, AUDIO)
    assert (request.model_name, request.model_version) == (name, version)
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("WAV", "FP32", [1, 3])
    assert list(request.raw_input_contents) == [AUDIO.content]


def test_a_request_over_http_says_where_its_samples_begin() -> None:
    head, _, body = http_inference("h:8000", "campplus/1", AUDIO).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2/models/campplus/versions/1/infer HTTP/1.1"
    fields = dict(line.split(": ") for line in lines[1:])
    length = int(fields["Inference-Header-Content-Length"])
    said = json.loads(body[:length])
    assert said["inputs"] == [
        {
            "name": "WAV",
            "datatype": "FP32",
            "shape": [1, 3],
            "parameters": {"binary_data_size": 12},
        }
    ]
    assert said["parameters"] == {"binary_data_output": True}
    assert body[length:] == AUDIO.content
    assert int(fields["Content-Length"]) == len(body)


@given(name=st.text(max_size=20).filter(lambda text: "/" not in text))
def test_no_models_name_breaks_the_request(name: str) -> None:
    try:
        head, _, _ = http_inference("h:1", name, AUDIO).partition(b"\r\n\r\n")
    except UnicodeEncodeError:
        return
    assert head.count(b"\r\n") == 4
    assert head.split(b"\r\n")[0].count(b" ") == 2


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("NOT_FOUND", "unknown model: 'a'", errors.NotFound, "unknown model: 'a'"),
        ("UNAVAILABLE", "Exceeds maximum queue size", errors.Unavailable, "maximum queue"),
        ("UNAVAILABLE", "failed to connect to all addresses", errors.NotReachable, "no server"),
        ("UNAVAILABLE", "Socket closed", errors.NotReachable, "was lost during the call"),
        ("UNIMPLEMENTED", "", errors.NotOffered, "does not offer KServe's inference protocol"),
        ("INVALID_ARGUMENT", "unexpected shape", errors.InvalidRequest, "unexpected shape"),
        ("DEADLINE_EXCEEDED", "", errors.TooSlow, "did not answer in time"),
    ],
)
def test_the_end_of_a_call_is_named(
    code: str, message: str, kind: type[errors.SpeakerdError], words: str
) -> None:
    error = grpc_error(Status(code, message), "h:1")
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (404, errors.NotFound),
        (413, errors.InvalidRequest),
        (429, errors.Exhausted),
        (503, errors.Unavailable),
        (500, errors.ServerFailed),
        (418, errors.ServerFailed),
    ],
)
def test_a_status_of_http_is_named(status: int, kind: type[errors.SpeakerdError]) -> None:
    error = http_error(answered(status, b'{"error": "so it is"}'))
    assert type(error) is kind
    assert error.message == f"so it is (HTTP status {status})"
    assert (error.reason, error.retry_after_s) == ("", None)


def test_the_daemons_reason_is_kept_over_http() -> None:
    error = http_error(answered(429, b"", speakerd_reason="QUEUE_FULL", retry_after="3"))
    assert (error.reason, error.retry_after_s) == ("QUEUE_FULL", 3.0)


@given(body=st.binary(max_size=60), retry_after=st.text(max_size=8))
def test_whatever_stands_in_an_answer_makes_a_named_error(body: bytes, retry_after: str) -> None:
    error = http_error(answered(503, body, retry_after=retry_after))
    assert type(error) is errors.Unavailable


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"error": 5}', b"\xff", b"[" * 100_000])
def test_an_answer_that_says_nothing_is_told_as_that(body: bytes) -> None:
    assert http_error(answered(500, body)).message == "without a word on why (HTTP status 500)"
