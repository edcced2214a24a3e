"""A server on a raw socket that answers what a test tells it to, whatever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

FORGET = b""
"""In place of an answer: end the connection."""


class RawServer:
    """Gives the answers in turn, the last one again and again; one for each request."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self._answers = list(answers)
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self.connections = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._request(reader):
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if answer is None:
                    await reader.read()  # nothing is answered
                    break
                writer.write(answer)
                await writer.drain()
                if answer == FORGET or b"\r\nConnection: close" in answer:
                    break
        writer.close()

    async def end(self) -> None:
        """Break off every connection."""
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._open))

    async def _request(self, reader: asyncio.StreamReader) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.startswith(b"Content-Length: "):
                await reader.readexactly(int(line.partition(b":")[2]))
        return True


@asynccontextmanager
async def raw_server(*answers: bytes | None) -> AsyncIterator[RawServer]:
    """Run one on a free port; None: never answer."""
    made = RawServer(answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    made.address = f"{host}:{port}"
    async with server:
        try:
            yield made
        finally:
            await made.end()


def answer(body: bytes = b"{}", status: str = "200 OK", **fields: str) -> bytes:
    """Make an answer; `_` in the names of fields stands for `-`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join((*lines, "", "")).encode() + body
