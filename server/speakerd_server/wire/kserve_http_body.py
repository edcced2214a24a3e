"""Bodies of HTTP requests: read within limits of size, time and memory, and decompressed."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.web_request import BaseRequest

from speakerd_server.errors import BodyInvalid, BodyTooLarge, BodyTooSlow, TooManyCalls

_STEP_BYTES = 256 << 10
"""Decompressed at once; between two steps other calls go on."""
_GZIP_OR_ZLIB = zlib.MAX_WBITS + 32
_FAST = 1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
Pieces = list[bytes]


class Bodies:
    """Room for the bodies of all requests of a process.

    Args:
        largest_bytes: Of one body, decompressed.
        timeout_s: Within which it must come.
        room_mib: Of all of them at once, in MiB.
    """

    def __init__(self, largest_bytes: int, timeout_s: float, room_mib: int) -> None:
        self._largest_bytes, self._timeout_s = largest_bytes, timeout_s
        self._room_mib = room_mib
        self.held_bytes = 0
        """Of all bodies that are read or worked on now."""
        self._open = 0

    @contextmanager
    def one(self) -> Iterator[Body]:
        """Hold a body until its request is answered."""
        body = Body(self)
        self._open += 1
        try:
            yield body
        finally:
            self._open -= 1
            self.held_bytes -= body.held_bytes

    def take(self, size_bytes: int) -> None:
        """Take room; raises TooManyCalls."""
        if self.held_bytes + size_bytes > self._room_mib << 20:
            raise TooManyCalls(self._open, self._room_mib)
        self.held_bytes += size_bytes

    def check_size(self, size_bytes: int) -> None:
        """Raise BodyTooLarge for more than one body may have."""
        if size_bytes > self._largest_bytes:
            raise BodyTooLarge(self._largest_bytes)

    def in_time(self) -> asyncio.Timeout:
        """Limit the time in which a body is read."""
        return asyncio.timeout(self._timeout_s)

    def too_slow(self) -> BodyTooSlow:
        """Say that it was exceeded."""
        return BodyTooSlow(self._timeout_s)


class Body:
    """The body of one request."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held_bytes = 0
        """Taken of the room."""

    async def read(self, request: BaseRequest) -> Pieces:
        """Read all of it, decompressed; nothing is copied where it was not compressed.

        Raises BodyTooLarge, BodyTooSlow, BodyInvalid and TooManyCalls.
        """
        coding = request.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip", "deflate"):
            raise BodyInvalid("has a Content-Encoding that is not gzip, deflate or identity")
        self._bodies.check_size(request.content_length or 0)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # what is counted there is the answer
        try:
            async with self._bodies.in_time():
                pieces = await self._received(request)
        except TimeoutError:
            raise self._bodies.too_slow() from None
        except web.RequestPayloadError as error:
            raise BodyInvalid(f"is not as its headers say ({error})") from None
        return await self._decompressed(pieces) if coding in ("gzip", "deflate") else pieces

    async def _received(self, request: BaseRequest) -> Pieces:
        content, pieces, size_bytes = request.content, [], 0
        while not content.at_eof():
            piece, _ = await content.readchunk()
            size_bytes += len(piece)
            self._bodies.check_size(size_bytes)
            self._take(len(piece))
            pieces.append(piece)
        return pieces

    async def _decompressed(self, pieces: Pieces) -> Pieces:
        coder, out, size_bytes = zlib.decompressobj(_GZIP_OR_ZLIB), [], 0
        try:
            for piece in pieces:
                rest, part = piece, b"."
                while rest or len(part) == _STEP_BYTES:
                    part = coder.decompress(rest, _STEP_BYTES)
                    rest = coder.unconsumed_tail
                    size_bytes += len(part)
                    self._bodies.check_size(size_bytes)
                    self._take(len(part))
                    out.append(part)
                    if len(part) == _STEP_BYTES:
                        await asyncio.sleep(0)
        except zlib.error as error:
            raise BodyInvalid(f"cannot be decompressed ({error})") from None
        if not coder.eof or coder.unused_data:
            raise BodyInvalid("is not one whole compressed stream")
        return out

    def _take(self, size_bytes: int) -> None:
        self._bodies.take(size_bytes)
        self.held_bytes += size_bytes


def parted(pieces: Pieces, at_bytes: int) -> tuple[bytes, bytes]:
    """Join what comes before a place, and what comes after it; each byte is copied once at most.

    Raises BodyInvalid where the body ends before it.
    """
    head: list[bytes | memoryview] = []
    missing_bytes = at_bytes
    for number, piece in enumerate(pieces):
        if missing_bytes < len(piece):
            view = memoryview(piece)
            head.append(view[:missing_bytes])
            rest: list[bytes | memoryview] = [view[missing_bytes:], *pieces[number + 1 :]]
            return b"".join(head), b"".join(rest)
        head.append(piece)
        missing_bytes -= len(piece)
    if missing_bytes:
        raise BodyInvalid(f"ends before the {at_bytes} bytes of Inference-Header-Content-Length")
    return b"".join(head), b""


def joined(pieces: Pieces) -> bytes:
    """Give a body as one; a single piece is not copied."""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def coding_for(accepted: str) -> str:
    """Choose gzip, deflate or nothing for an answer, by the client's Accept-Encoding."""
    wanted = []
    for one in accepted.lower().split(","):
        name, _, quality = one.partition(";")
        if quality.replace(" ", "").rstrip("0.") != "q=":
            wanted.append(name.strip())
    return next((name for name in ("gzip", "deflate") if name in wanted), "")


def compressed(content: bytes, coding: str) -> bytes:
    """Compress an answer by gzip or deflate."""
    if coding == "gzip":
        return gzip.compress(content, _FAST, mtime=0)
    return zlib.compress(content, _FAST)
