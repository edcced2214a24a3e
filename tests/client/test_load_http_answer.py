"""HTTP answers read off a connection: however they come in pieces, and whatever else comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client.errors import SpeakerdError
from speakerd_client.load import http_answer
from speakerd_client.load.http_answer import Answer, BadAnswer, NotHttp, head_of, read_answer
from support.raw_server import answer


def read(*pieces: bytes) -> Answer:
    """Read an answer that comes in pieces, then ends."""

    async def fed() -> Answer:
        reader = asyncio.StreamReader(limit=http_answer.HEAD_LIMIT_BYTES)
        reading = asyncio.create_task(read_answer(reader))
        for piece in pieces:
            reader.feed_data(piece)
            await asyncio.sleep(0)
        reader.feed_eof()
        return await reading

    return asyncio.run(fed())


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({cut % len(data) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def in_chunks(body: bytes, sizes: Sequence[int]) -> bytes:
    parts = []
    for size in sizes:
        if body[:size]:
            parts.append(b"%x;note=a\r\n%s\r\n" % (len(body[:size]), body[:size]))
        body = body[size:]
    if body:
        parts.append(b"%X\r\n%s\r\n" % (len(body), body))
    return b"".join((*parts, b"0\r\nExpires: never\r\n\r\n"))


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 50), max_size=5),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
    framing=st.sampled_from(["length", "chunks", "end"]),
)
def test_the_body_is_the_same_however_it_comes(
    body: bytes, sizes: list[int], cuts: list[int], framing: str
) -> None:
    sent = {
        "length": answer(body),
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(body, sizes),
        "end": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]
    found = read(*pieces_of(sent, cuts))
    assert (found.head.status, found.body) == (200, body)
    assert found.head.keeps_open is (framing != "end")


@given(data=st.binary(max_size=200), begin=st.sampled_from([b"", b"HTTP/", b"HTTP/1.1 200 OK\r\n"]))
def test_whatever_comes_is_an_answer_or_a_named_error(data: bytes, begin: bytes) -> None:
    try:
        found = read(begin + data)
    except (SpeakerdError, asyncio.IncompleteReadError):
        return
    assert 200 <= found.head.status <= 599


@given(data=st.binary(max_size=100))
def test_whatever_a_chunk_is_said_to_be_is_read_or_a_named_error(data: bytes) -> None:
    with pytest.raises((BadAnswer, asyncio.IncompleteReadError)):
        read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nz" + data)


@pytest.mark.parametrize(
    ("head", "keeps_open"),
    [
        (b"1.1 200 OK\r\n\r\n", True),
        (b"1.1 200\r\n\r\n", True),
        (b"1.1 200 OK\r\nConnection: Close\r\n\r\n", False),
        (b"1.1 200 OK\r\nconnection: x, close\r\n\r\n", False),
        (b"1.0 200 OK\r\n\r\n", False),
        (b"1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_connection_is_used_again_where_both_sides_agree(head: bytes, keeps_open: bool) -> None:
    assert head_of(head).keeps_open is keeps_open


def test_fields_are_found_by_their_name_in_small_letters() -> None:
    fields = head_of(b"1.1 200 OK\r\nRetry-After:  7 \r\nA: 1\r\na:2\r\n\r\n").fields
    assert fields == {"retry-after": "7", "a": "1, 2"}


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert read(interim * 3 + answer(b"yes")).body == b"yes"
    with pytest.raises(BadAnswer, match="no final one"):
        read(interim * 20)


def test_an_answer_that_has_no_body_takes_none() -> None:
    assert read(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").body == b""


@pytest.mark.parametrize("begin", [b"\x00\x00\x12\x04\x00\x00\x00", b"SSH-2.0-x\r\n", b"http/1.1 "])
def test_another_protocol_is_named(begin: bytes) -> None:
    with pytest.raises(NotHttp, match="does not speak HTTP"):
        read(begin)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"HTTP/2 200 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 999 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "no field"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "no field"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "length '-1'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "length ''"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "length '1, 2'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "over 64 MiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "encoded as gzip"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "chunk of length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "over 64 MiB"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", "ends with 'bc'"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 20,
            "too many trailers",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, "head of the server's answer is too long"),
    ],
)
def test_what_no_server_should_send_is_named(sent: bytes, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        read(sent)


@pytest.mark.parametrize("size", range(len(answer(b"abc"))))
def test_an_answer_that_ends_early_is_no_answer(size: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(answer(b"abc")[:size])


def test_a_body_up_to_the_end_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_answer, "BODY_LIMIT_BYTES", 10)
    assert read(b"HTTP/1.1 200 OK\r\n\r\n", b"12345", b"67890").body == b"1234567890"
    with pytest.raises(BadAnswer, match="over"):
        read(b"HTTP/1.1 200 OK\r\n\r\n", b"12345", b"678901")
