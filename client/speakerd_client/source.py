"""Audio on its way to the daemon: the pace of a call, and any iterable without blocking."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from speakerd_client.audio import AudioFormat

AudioSource = bytes | Iterable[bytes] | AsyncIterable[bytes]


def pace(pieces: Iterable[bytes], audio_format: AudioFormat, speed: float = 1.0) -> Iterator[bytes]:
    """Give the pieces no earlier than a call would bring them, `speed` times as fast.

    It sleeps between pieces; the clients read such an iterable in a thread of its own.
    """
    start_s, sent_bytes = time.monotonic(), 0
    for piece in pieces:
        sent_bytes += len(piece)
        due_s = start_s + sent_bytes / audio_format.bytes_per_second / speed
        time.sleep(max(0.0, due_s - time.monotonic()))
        yield piece


async def each(source: AudioSource) -> AsyncIterator[bytes]:
    """Iterate over audio of any kind without ever blocking the event loop."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield bytes(source)
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
    elif isinstance(source, list | tuple):
        for piece in source:
            yield piece
    else:
        iterator = iter(source)
        while (following := await _next_in_thread(iterator)) is not None:
            yield following


async def _next_in_thread(iterator: Iterator[bytes]) -> bytes | None:
    """Wait for the next piece in a daemon thread, so that a silent source cannot hold the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes | None] = loop.create_future()

    def deliver(piece: bytes | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(piece)
        else:
            future.set_exception(error)

    def read() -> None:
        piece, failure = None, None
        try:
            piece = next(iterator, None)
        # The edge of a thread: whatever the user's source raises belongs to the waiting task.
        except Exception as error:  # noqa: BLE001
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, piece, failure)

    threading.Thread(target=read, name="speakerd-source", daemon=True).start()
    return await future
