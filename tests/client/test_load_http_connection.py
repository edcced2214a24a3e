"""A connection over HTTP, against servers that behave, and that do not."""

from __future__ import annotations

import asyncio

import pytest
from speakerd_client.errors import NotReachable, TooSlow
from speakerd_client.load.http_answer import BadAnswer, NotHttp
from speakerd_client.load.http_connection import HttpConnection, http_request
from speakerd_client.status import CONNECTION_LOST
from support.raw_server import FORGET, answer, raw_server

ASKED = http_request("POST", "here", "/", b"body")


def test_a_request_says_where_to_and_how_long_it_is() -> None:
    assert http_request("POST", "h:1", "/a", b"xyz", Content_Type="t") == (
        b"POST /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nContent-Type: t\r\n\r\nxyz"
    )


async def test_one_connection_carries_many_requests() -> None:
    async with raw_server(answer(b"1"), answer(b"2")) as server:
        connection = HttpConnection(server.address, 5.0)
        bodies = [(await connection.ask(ASKED)).body for _ in range(5)]
        connection.close()
    assert (bodies, server.connections) == ([b"1", b"2", b"2", b"2", b"2"], 1)


async def test_a_connection_that_the_server_ends_is_opened_again() -> None:
    async with raw_server(answer(b"1", Connection="close")) as server:
        connection = HttpConnection(server.address, 5.0)
        for _ in range(3):
            assert (await connection.ask(ASKED)).body == b"1"
            assert not connection.is_open
    assert server.connections == 3


@pytest.mark.parametrize("cut", [FORGET, answer(b"1234", Connection="close")[:-1]])
async def test_a_connection_that_is_lost_is_named_and_opened_again(cut: bytes) -> None:
    async with raw_server(cut, answer(b"1")) as server:
        connection = HttpConnection(server.address, 5.0)
        with pytest.raises(NotReachable, match="was lost before its answer") as caught:
            await connection.ask(ASKED)
        assert (await connection.ask(ASKED)).body == b"1"
        connection.close()
    assert caught.value.reason == CONNECTION_LOST


async def test_nobody_at_the_address_is_named() -> None:
    for address in ("127.0.0.1:1", "[::1]:1", "none.invalid:1", f"{'x' * 300}.com:1", "h:99999999"):
        with pytest.raises(NotReachable, match="no server answers at"):
            await HttpConnection(address, 5.0).ask(ASKED)


async def test_a_server_that_says_nothing_is_too_slow() -> None:
    async with raw_server(None) as server:
        connection = HttpConnection(server.address, 0.1)
        with pytest.raises(TooSlow, match=r"did not answer within 0\.1 s"):
            await connection.ask(ASKED)
        assert not connection.is_open


@pytest.mark.parametrize(
    ("sent", "kind"), [(b"\0\0\x12\4\0\0\0\0\0", NotHttp), (b"HTTP/1.1 x\r\n\r\n", BadAnswer)]
)
async def test_what_is_no_answer_ends_the_connection(sent: bytes, kind: type[Exception]) -> None:
    async with raw_server(sent) as server:
        connection = HttpConnection(server.address, 5.0)
        with pytest.raises(kind):
            await connection.ask(ASKED)
        assert not connection.is_open


async def test_a_request_that_is_broken_off_ends_the_connection() -> None:
    async with raw_server(None) as server:
        connection = HttpConnection(server.address, 60.0)
        asking = asyncio.create_task(connection.ask(ASKED))
        await asyncio.sleep(0.1)
        assert connection.is_open
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not connection.is_open


async def test_an_answer_before_the_whole_request_ends_the_connection() -> None:
    answered, ended = asyncio.Event(), asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"too large", "413 Too Large"))
        await answered.wait()
        writer.transport.abort()
        ended.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        connection = HttpConnection(f"{host}:{port}", 5.0)
        found = await connection.ask(http_request("POST", "here", "/", bytes(30_000_000)))
        answered.set()
        await ended.wait()
        await asyncio.sleep(0.01)
    assert (found.head.status, connection.is_open) == (413, False)
