"""Links of a test: two ends of one connection, or one end and a plain socket."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from speakerd_server.processes.link import Handler, Link


async def nothing(question: Any) -> None:
    raise AssertionError(f"nobody was to ask {question}")


async def end(
    connection: socket.socket, handler: Handler, on_lost: Callable[[], None] | None = None
) -> Link:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    return Link(reader, writer, handler, on_lost)


@asynccontextmanager
async def linked(here: Handler, there: Handler) -> AsyncIterator[tuple[Link, Link]]:
    one, other = socket.socketpair()
    ends = await end(one, here), await end(other, there)
    yield ends
    for one_end in ends:
        await one_end.close()


@asynccontextmanager
async def bare(handler: Handler = nothing) -> AsyncIterator[tuple[Link, socket.socket, list[str]]]:
    """A link whose other end is a plain socket; the list tells when the link is lost."""
    one, other = socket.socketpair()
    lost: list[str] = []
    link = await end(one, handler, lambda: lost.append("lost"))
    other.setblocking(False)
    with other:
        yield link, other, lost
    await link.close()


def framed(content: Any) -> bytes:
    body = pickle.dumps(content)
    return struct.pack("<I", len(body)) + body
