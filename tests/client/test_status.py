"""Each family of gRPC codes becomes its exception."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import errors
from speakerd_client.status import Status, error_from, status_of
from support.scripted import details

ADDRESS = "host:1"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", errors.InvalidRequest),
        ("NOT_FOUND", errors.NotFound),
        ("FAILED_PRECONDITION", errors.NotPossible),
        ("RESOURCE_EXHAUSTED", errors.Exhausted),
        ("UNAVAILABLE", errors.Unavailable),
        ("DEADLINE_EXCEEDED", errors.TooSlow),
        ("INTERNAL", errors.ServerFailed),
        ("DATA_LOSS", errors.ServerFailed),
        ("PERMISSION_DENIED", errors.SpeakerdError),
    ],
)
def test_a_named_failure_keeps_its_words_reason_and_details(
    code: str, kind: type[errors.SpeakerdError]
) -> None:
    trailers = details("SOME_REASON", field="audio", retry_after_s=2, request_id="r")
    error = error_from(status_of(grpc.StatusCode[code], "what to do", trailers), ADDRESS)
    assert type(error) is kind
    assert (str(error), error.message) == ("what to do", "what to do")
    assert (error.reason, error.code, error.request_id) == ("SOME_REASON", code, "r")
    assert error.field_violations == (errors.FieldViolation("audio", "wrong"),)
    assert error.retry_after_s == 2.0


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("UNAVAILABLE", errors.NotReachable, "is `speakerd serve` running there"),
        ("CANCELLED", errors.NotReachable, "broke off the call"),
        ("DEADLINE_EXCEEDED", errors.TooSlow, "did not answer in time"),
        ("UNIMPLEMENTED", errors.NotOffered, "is it a speakerd daemon"),
    ],
)
def test_what_no_daemon_said_names_the_address(
    code: str, kind: type[errors.SpeakerdError], words: str
) -> None:
    error = error_from(Status(code, "core words"), ADDRESS)
    assert type(error) is kind
    assert ADDRESS in str(error)
    assert words in str(error)
    assert (error.reason, error.request_id) == ("", "")


@pytest.mark.parametrize(
    "words",
    [
        "Socket closed",
        "recvmsg:Connection reset by peer",
        "sendmsg: Broken pipe (32)",
        "GOAWAY received",
        "keepalive watchdog timeout",
        "Stream removed",
        "Cancelling all calls",
    ],
)
def test_a_connection_that_ended_is_told_from_one_that_was_never_made(words: str) -> None:
    error = error_from(Status("UNAVAILABLE", words), ADDRESS)
    assert type(error) is errors.NotReachable
    assert (error.reason, error.code) == ("CONNECTION_LOST", "UNAVAILABLE")
    assert str(error) == (
        f"the connection to the daemon at {ADDRESS} was lost during the call ({words}); whether the"
        " call was carried out is not known: see that the daemon runs, then make the call once more"
    )


def test_a_call_that_was_open_lost_its_connection_whatever_grpc_says_of_it() -> None:
    error = error_from(Status("UNAVAILABLE", "words to come"), ADDRESS, request_id="mine")
    assert (error.reason, error.request_id) == ("CONNECTION_LOST", "mine")
    assert error_from(Status("UNAVAILABLE", ""), ADDRESS, answered=True).reason == "CONNECTION_LOST"


@pytest.mark.parametrize(
    "words",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to"
        " connect to remote host: connect: Connection refused (111)",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: recvmsg:"
        "Connection reset by peer",
        "DNS resolution failed for nowhere:1: Domain name not found",
        "",
    ],
)
def test_a_connection_that_was_never_made_asks_for_the_daemon(words: str) -> None:
    error = error_from(Status("UNAVAILABLE", words), ADDRESS)
    assert type(error) is errors.NotReachable
    assert error.reason == ""
    assert f"no daemon answers at {ADDRESS}" in str(error)


@given(st.binary(max_size=100))
def test_details_that_cannot_be_read_do_no_harm(data: bytes) -> None:
    error = error_from(Status("INTERNAL", "words", data), ADDRESS)
    assert isinstance(error, errors.SpeakerdError)
