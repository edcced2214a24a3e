from __future__ import annotations

import re
from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from speakerd_server import errors
from speakerd_server.errors import SpeakerdError
from speakerd_server.wire.status import (
    CODES,
    ERROR_DOMAIN,
    code_of,
    named_errors,
    retry_after_s,
    status_of,
)
from support.named import all_kinds, made

M = TypeVar("M", bound=Message)
KINDS = pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)


def details(status: status_pb2.Status, kind: type[M]) -> list[M]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


@KINDS
def test_every_error_carries_its_reason_and_the_call_it_ended(kind: type[SpeakerdError]) -> None:
    status = status_of(made(kind), "call-7")
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (kind.reason, ERROR_DOMAIN)
    assert dict(info.metadata) == {"request_id": "call-7"}


@KINDS
def test_every_error_says_in_words_what_went_wrong(kind: type[SpeakerdError]) -> None:
    status = status_of(made(kind))
    assert status.message == made(kind).told
    assert "speakerd.db" not in status.message
    assert len(status.message) >= 10
    assert not status.message.endswith(".")


@KINDS
def test_every_error_has_the_code_of_its_nearest_family(kind: type[SpeakerdError]) -> None:
    code = code_of(kind)
    assert status_of(made(kind)).code == code.value[0]
    family = next(ancestor for ancestor in kind.__mro__ if ancestor in CODES)
    assert code is CODES[family]
    assert code not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.CANCELLED)


@KINDS
def test_an_error_about_a_field_names_it(kind: type[SpeakerdError]) -> None:
    error = made(kind)
    violations = [
        violation
        for bad in details(status_of(error), error_details_pb2.BadRequest)
        for violation in bad.field_violations
    ]
    assert [violation.field for violation in violations] == ([error.field] if error.field else [])
    assert all(violation.description == str(error) for violation in violations)
    assert all(violation.reason == kind.reason for violation in violations)


@KINDS
def test_an_error_that_passes_says_when_to_try_again(kind: type[SpeakerdError]) -> None:
    error = made(kind)
    delays = [
        one.retry_delay.ToNanoseconds() / 1e9
        for one in details(status_of(error), error_details_pb2.RetryInfo)
    ]
    wanted = getattr(error, "retry_after_s", None)
    assert delays == ([] if wanted is None else [wanted])
    assert retry_after_s(error) == wanted


def test_bad_input_never_asks_to_be_sent_again() -> None:
    families = (errors.InvalidInput, errors.NotFound, errors.NotPossible)
    hopeless = [kind for kind in all_kinds() if issubclass(kind, families)]
    assert hopeless
    assert all(retry_after_s(made(kind)) is None for kind in hopeless)


def test_a_delay_below_a_second_is_kept() -> None:
    error = errors.Draining()
    error.retry_after_s = 0.25
    (retry,) = details(status_of(error), error_details_pb2.RetryInfo)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (0, 250_000_000)


def test_reasons_are_different_and_are_names() -> None:
    reasons = [kind.reason for kind in all_kinds()]
    twice = {reason for reason in reasons if reasons.count(reason) > 1}
    assert twice <= {"INTERNAL"}
    assert all(re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", reason) for reason in reasons)


def test_what_ends_the_start_is_no_answer_to_a_call() -> None:
    assert not [
        kind for kind in named_errors() if issubclass(kind, errors.StartFailed | errors.JobFailed)
    ]


def test_every_class_but_the_families_has_a_reason() -> None:
    families = set(CODES) | {errors.StartFailed, errors.JobFailed}
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, SpeakerdError) and kind not in families
    ]
    assert kinds
    assert [kind.__name__ for kind in kinds if "reason" not in vars(kind)] == []


def test_without_a_request_id_none_is_made_up() -> None:
    (info,) = details(status_of(errors.NoAudio()), error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {}
