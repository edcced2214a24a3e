"""Bodies as they come over a connection: lies about lengths, slowness, and too much."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from support import over_http
from support.http_served import over, refused, serving
from support.over_http import LENGTH, Line, written
from support.speech import noise

SECOND = noise(1.0)[None]
PATH = "/v2/models/speaker/infer"
CHUNKED = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LIVE = written("GET", "/v2/health/live")


async def test_who_waits_for_100_continue_is_told_to(tmp_path: Path) -> None:
    def work(line: Line) -> None:
        request = over_http.binary_request(SECOND, Expect="100-continue")
        head, _, body = request.partition(b"\r\n\r\n")
        line.send(head + b"\r\n\r\n")
        assert line.line() == b"HTTP/1.1 100 Continue\r\n"
        assert line.line() == b"\r\n"
        line.send(body)
        assert line.answer().status == 200

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_a_chunked_body_is_read_wherever_its_chunks_end(tmp_path: Path) -> None:
    body = over_http.in_json(SECOND)

    def work(line: Line) -> None:
        line.send(CHUNKED)
        for at in range(0, len(body), 30_011):
            piece = body[at : at + 30_011]
            line.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        line.send(b"0\r\n\r\n")
        assert line.answer().status == 200

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_a_broken_chunk_is_a_body_that_never_ends(tmp_path: Path) -> None:
    def work(line: Line) -> None:
        line.send(CHUNKED + b"5\r\nabcde\r\n")
        time.sleep(0.1)
        refused(line, b"xyz\r\nabc\r\n", 408, "BODY_TOO_SLOW")

    async with serving(tmp_path, http_body_timeout_s=0.5) as (address, _):
        await over(address, work)


async def test_a_body_that_is_said_to_be_too_large_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    def work(line: Line) -> None:
        head = written("POST", PATH, Content_Length=str(100 << 20))
        refused(line, head, 413, "BODY_TOO_LARGE")

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_json_of_a_hundred_mib_is_refused_and_the_connection_kept(tmp_path: Path) -> None:
    body = b'{"inputs":[{"name":"WAV","data":[' + b"0.25," * (20 << 20) + b"1]}]}"
    assert len(body) > 100 << 20

    def work(line: Line) -> None:
        refused(line, written("POST", PATH, body), 413, "BODY_TOO_LARGE")
        line.send(LIVE)
        assert line.answer().status == 200

    async with serving(tmp_path) as (address, _):
        await over(address, work)


async def test_a_body_without_an_end_is_refused_once_it_is_too_large(tmp_path: Path) -> None:
    chunk = b"%x\r\n%b\r\n" % (1 << 16, bytes(1 << 16))

    def work(line: Line) -> None:
        line.send(CHUNKED)
        for _ in range(17):
            line.send(chunk)
        refused(line, b"", 413, "BODY_TOO_LARGE")

    async with serving(tmp_path, http_body_mib=1) as (address, _):
        await over(address, work)


async def test_a_body_that_grows_when_decompressed_is_refused(tmp_path: Path) -> None:
    bomb = over_http.gzipped(bytes(20 << 20))
    async with serving(tmp_path, http_body_mib=16) as (address, _):
        request = written("POST", PATH, bomb, Content_Encoding="gzip")
        await over(address, lambda line: refused(line, request, 413, "BODY_TOO_LARGE"))


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [("gzip", b"no gzip", 400), ("br", b"some", 400), ("gzip, deflate", b"", 400)],
)
async def test_what_cannot_be_decompressed_is_refused(
    tmp_path: Path, coding: str, body: bytes, status: int
) -> None:
    async with serving(tmp_path) as (address, _):
        request = written("POST", PATH, body, Content_Encoding=coding)
        await over(address, lambda line: refused(line, request, status, "BODY_INVALID"))


@pytest.mark.parametrize("change", [-1, 1, 4, 1 << 40])
async def test_a_size_of_binary_data_that_is_not_so_is_refused(tmp_path: Path, change: int) -> None:
    async with serving(tmp_path) as (address, _):
        body, length = over_http.in_binary(SECOND, SECOND.nbytes + change)
        headers = {LENGTH: length}
        request = written("POST", PATH, body, **headers)
        await over(address, lambda line: refused(line, request, 400, "TENSOR_INVALID"))


async def test_a_slow_body_ends_with_408_and_lets_others_be(tmp_path: Path) -> None:
    def slowly(line: Line) -> float:
        began_s = time.monotonic()
        request = over_http.binary_request(SECOND)
        line.send(request[:500])
        for at in range(500, 506):
            time.sleep(0.1)
            line.send(request[at : at + 1])
        refused(line, b"", 408, "BODY_TOO_SLOW")
        return time.monotonic() - began_s

    async with serving(tmp_path, http_body_timeout_s=0.5) as (address, inference):
        work = asyncio.create_task(over(address, slowly))
        await asyncio.sleep(0.2)
        request = over_http.binary_request(SECOND)
        assert (await asyncio.to_thread(over_http.asked, address, request)).status == 200
        assert await work < 3
        assert inference.serving.places.open_calls == 0


async def test_who_goes_away_within_a_body_leaves_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (address, inference):
        await over(address, lambda line: line.send(over_http.binary_request(SECOND)[:10_000]))
        await asyncio.sleep(0.1)
        (counted,) = inference.statistics("speaker", "")
        assert (counted.success.count, counted.fail.count) == (0, 0)
        assert (await asyncio.to_thread(over_http.get, address, "/v2")).status == 200
