from __future__ import annotations

import json

import pytest
from speakerd_server import errors
from speakerd_server.errors import SpeakerdError
from speakerd_server.wire.kserve_http_status import STATUSES, http_error, http_status_of
from speakerd_server.wire.status import CODES, code_of, retry_after_s
from support.named import all_kinds, made
from support.papers import table
from support.shared import ROOT

OF_HTTP_ALONE = {errors.BodyTooLarge, errors.MethodUnsupported}
KINDS = pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)


@KINDS
def test_every_error_has_a_status_that_says_whose_fault_it_is(kind: type[SpeakerdError]) -> None:
    status = http_status_of(kind)
    ours = (
        issubclass(kind, errors.EngineFailed | errors.NotAvailable | errors.StoreCorrupt)
        or http_status_of(kind) == STATUSES[SpeakerdError]
    )
    assert (status >= 500) == ours
    assert status in (400, 404, 405, 408, 409, 413, 429, 500, 503)


@KINDS
def test_every_error_is_told_in_words_and_by_its_reason(kind: type[SpeakerdError]) -> None:
    error = made(kind)
    answer = http_error(error)
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {"error": error.told}
    assert answer.headers["Speakerd-Reason"] == kind.reason
    assert answer.content_type == "application/json"
    wanted = retry_after_s(error)
    assert answer.headers.get("Retry-After") == (None if wanted is None else str(round(wanted)))


def test_every_family_of_grpc_is_one_of_http() -> None:
    assert set(STATUSES) == set(CODES) | OF_HTTP_ALONE


def test_a_wait_below_a_second_is_not_told_as_none() -> None:
    error = errors.Draining()
    error.retry_after_s = 0.25
    assert http_error(error).headers["Retry-After"] == "1"


def test_the_paper_has_the_statuses() -> None:
    rows = table(ROOT / "protos" / "README.md", "statuses")
    found = {code: int(status) for code, status, _ in rows}
    families = {kind: code_of(kind).name for kind in STATUSES.keys() - OF_HTTP_ALONE}
    assert found == {code: STATUSES[kind] for kind, code in families.items()}
