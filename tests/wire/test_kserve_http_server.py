"""Connections: what is no HTTP, floods, and clients that go away or do not come."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from speakerd_server.errors import AddressUnavailable
from speakerd_server.wire import kserve_http_server
from speakerd_server.wire.kserve_http_server import HttpServer
from support import over_http
from support.administered import until
from support.http_served import over, refused, serving, slow
from support.inferring import inferring
from support.over_http import LENGTH, Line, written
from support.speech import noise

SECOND = noise(1.0)[None]
PATH = "/v2/models/speaker/infer"
CHUNKED = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LIVE = written("GET", "/v2/health/live")


async def test_a_connection_is_kept_and_requests_may_be_sent_ahead(tmp_path: Path) -> None:
    def work(line: Line) -> None:
        one = over_http.binary_request(SECOND, said={"id": "one"})
        two = written("POST", PATH, over_http.in_json(SECOND, id="two"))
        line.send(one + LIVE + two + written("GET", "/none") + one[:-70_000])
        answers = [line.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 404]
        assert b'"id":"one"' in answers[0].body
        assert answers[2].json["id"] == "two"
        line.send(one[-70_000:])
        assert np.array_equal(line.answer().embeddings, answers[0].embeddings)

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_http_1_0_is_answered_and_closed_unless_it_asks_otherwise(tmp_path: Path) -> None:
    def closed(line: Line) -> None:
        line.send(LIVE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert line.answer().status == 200
        assert line.is_closed()

    def kept(line: Line) -> None:
        request = written("GET", "/v2/health/live", Connection="keep-alive")
        for _ in range(2):
            line.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert line.answer().status == 200

    async with serving(tmp_path) as (address, _):
        await over(address, closed)
        await over(address, kept)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v2 HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"X: a\r\n" * 500 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
async def test_what_is_no_http_is_told_so_and_closed(tmp_path: Path, content: bytes) -> None:
    def work(line: Line) -> None:
        answer = refused(line, content, 400, "HTTP_INVALID")
        assert answer.headers["Server"] == "speakerd"
        assert line.is_closed()

    async with serving(tmp_path) as (address, _):
        await over(address, work)
        assert (await asyncio.to_thread(over_http.get, address, "/v2")).status == 200


async def test_a_head_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kserve_http_server, "IDLE_S", 0.3)

    def work(line: Line) -> None:
        line.send(LIVE)
        assert line.answer().status == 200
        line.send(LIVE[:20])
        assert line.is_closed()

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_more_connections_than_allowed_are_told_so_and_closed(tmp_path: Path) -> None:
    async with serving(tmp_path, http_connections=2) as (address, _):

        def work(first: Line) -> None:
            with Line(address) as second:
                for line in (first, second):
                    line.send(LIVE)
                    assert line.answer().status == 200
                with Line(address) as third:
                    answer = third.answer()
                    assert answer.status == 503
                    assert "too many connections" in answer.json["error"]
                    assert third.is_closed()
            time.sleep(0.2)
            with Line(address) as again:
                again.send(LIVE)
                assert again.answer().status == 200

        await over(address, work)


async def test_who_goes_away_takes_the_request_back(tmp_path: Path) -> None:
    async with serving(tmp_path, slow) as (address, inference):

        def gone(line: Line) -> None:
            line.send(over_http.binary_request(SECOND))
            time.sleep(0.1)

        await over(address, gone)
        await until(lambda: inference.serving.places.open_calls == 0)
        (counted,) = inference.statistics("speaker", "")
        assert (counted.success.count, counted.fail.count) == (0, 1)


async def test_who_does_not_read_answers_is_cut_off(tmp_path: Path) -> None:
    async with inferring(tmp_path) as (inference, _):
        serving = inference.serving
        serving.settings = replace(serving.settings, write_timeout_s=0.3)
        server = HttpServer(inference, "127.0.0.1:0")
        many = written("GET", "/v2/models/stats") * 20_000

        def send_for_ever(line: Line) -> None:
            while True:
                line.send(many)

        address = await server.start()
        with pytest.raises(ConnectionError):
            await over(address, send_for_ever)
        await server.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/health/live/more HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n\r\n",
    ],
    ids=["connect", "options", "upgrade"],
)
async def test_what_is_not_offered_is_an_unknown_path(tmp_path: Path, content: bytes) -> None:
    async with serving(tmp_path) as (address, _):
        await over(address, lambda line: refused(line, content, 404, "PATH_UNKNOWN"))


async def test_an_answer_that_is_on_its_way_is_written_when_the_server_stops(
    tmp_path: Path,
) -> None:
    async with inferring(tmp_path, open_lanes=slow) as (inference, _):
        server = HttpServer(inference, "127.0.0.1:0")
        address = await server.start()
        request = over_http.binary_request(SECOND)
        asked = asyncio.create_task(asyncio.to_thread(over_http.asked, address, request))
        idle = asyncio.create_task(over(address, lambda line: line.is_closed()))
        await until(lambda: inference.serving.places.open_calls == 1)
        await server.stop()
        assert (await asked).status == 200
        assert await idle
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(over_http.get, address, "/v2")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", "256.0.0.1:0", "192.0.2.1:0"])
async def test_an_address_that_cannot_be_stops_the_start_by_name(
    tmp_path: Path, address: str
) -> None:
    async with inferring(tmp_path) as (inference, _):
        with pytest.raises(AddressUnavailable, match=r"kserve\.http_address"):
            await HttpServer(inference, address).start()


async def test_a_port_is_never_shared_unless_that_is_wanted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (address, inference):
        with pytest.raises(AddressUnavailable):
            await HttpServer(inference, address).start()
        with pytest.raises(AddressUnavailable):
            await HttpServer(inference, address, shared_port=True).start()
    async with inferring(tmp_path / "more") as (inference, _):
        servers = [HttpServer(inference, address, shared_port=True) for _ in range(2)]
        assert [await server.start() for server in servers] == [address, address]
        for server in servers:
            await server.stop()


@pytest.mark.timeout(120)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([b"GET ", b"POST "]),
            st.sampled_from([b"/v2", PATH.encode(), b"*", b"/v2/%ff", b"http://["]),
            st.sampled_from([b" HTTP/1.1\r\nHost: a\r\n", b" HTTP/1.0\r\n"]),
            st.sampled_from([b"Content-Length: 20\r\n", b"Transfer-Encoding: chunked\r\n", b""]),
            st.sampled_from([LENGTH.encode() + b": 9\r\n", b"Content-Encoding: gzip\r\n", b""]),
            st.just(b"\r\n"),
            st.binary(max_size=60),
        ).map(b"".join),
    )
)
def test_whatever_bytes_come_the_next_client_is_served(tmp_path: Path, content: bytes) -> None:
    async def main() -> None:
        async with serving(tmp_path / str(time.monotonic_ns())) as (address, _):
            await over(address, lambda line: line.send(content))
            assert (await asyncio.to_thread(over_http.get, address, "/v2")).status == 200

    asyncio.run(main())
