"""Audio on its way to the daemon: the pace of a call, and any iterable without blocking."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing, suppress

from speakerd_client.audio import Audio, AudioFormat
from speakerd_client.checks import require, require_piece

AudioSource = bytes | Iterable[bytes] | AsyncIterable[bytes]
Wanted = asyncio.Future[bytes | None]


def pace(pieces: Iterable[bytes], audio_format: AudioFormat, speed: float = 1.0) -> Iterator[bytes]:
    """Give the pieces no earlier than a call would bring them, `speed` times as fast.

    It sleeps between pieces; the clients read such an iterable in a thread of its own.

    Raises:
        ValueError: `speed` is not above 0.
    """
    require(audio_format, AudioFormat, "audio_format", "an AudioFormat, such as audio.format")
    if not speed > 0:
        raise ValueError(f"speed must be above 0 (1: the pace of a call), not {speed!r}")
    return _paced(pieces, audio_format.bytes_per_second * speed)


async def each(source: AudioSource) -> AsyncGenerator[bytes, None]:
    """Iterate over audio of any kind without ever blocking the event loop.

    Raises:
        TypeError: The source, or a piece of it, is no audio.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield bytes(source)
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            require_piece(piece)
            yield piece
    elif isinstance(source, list | tuple):
        for piece in source:
            require_piece(piece)
            yield piece
    else:
        if isinstance(source, Audio) or not isinstance(source, Iterable):
            wanted = "bytes or an iterable of bytes, such as audio.pieces()"
            raise TypeError(f"the source must be {wanted}, not {type(source).__name__}")
        async with aclosing(_from_thread(iter(source))) as pieces:
            async for piece in pieces:
                yield piece


def _paced(pieces: Iterable[bytes], bytes_per_second: float) -> Iterator[bytes]:
    start_s, sent_bytes = time.monotonic(), 0
    for piece in pieces:
        sent_bytes += len(piece)
        due_s = start_s + sent_bytes / bytes_per_second
        time.sleep(max(0.0, due_s - time.monotonic()))
        yield piece


async def _from_thread(iterator: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Take pieces in one daemon thread, so that a silent source cannot hold the exit."""
    loop = asyncio.get_running_loop()
    wishes: queue.Queue[Wanted | None] = queue.Queue(2)
    arguments = (iterator, wishes, loop)
    threading.Thread(target=_read, args=arguments, name="speakerd-source", daemon=True).start()
    try:
        while True:
            wanted: Wanted = loop.create_future()
            wishes.put_nowait(wanted)
            piece = await wanted
            if piece is None:
                return
            yield piece
    finally:
        wishes.put_nowait(None)


def _read(
    iterator: Iterator[bytes],
    wishes: queue.Queue[Wanted | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Read one piece for each wish, until there is no more wish."""
    end = object()
    while (wanted := wishes.get()) is not None:
        piece: bytes | None = None
        failure: Exception | None = None
        try:
            got = next(iterator, end)
            if got is not end:
                require_piece(got)
                piece = got  # type: ignore[assignment]
        # The edge of a thread: whatever the user's source raises belongs to the waiting task.
        except Exception as error:  # noqa: BLE001
            failure = error
        # The loop may have been closed while the source was waited for.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, wanted, piece, failure)


def _deliver(wanted: Wanted, piece: bytes | None, failure: Exception | None) -> None:
    if wanted.done():
        return
    if failure is None:
        wanted.set_result(piece)
    else:
        wanted.set_exception(failure)
