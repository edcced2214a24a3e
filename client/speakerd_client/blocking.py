"""The blocking client: the asynchronous one on an event loop in a thread of its own.

Nothing is written twice. Each method here is the one of the same name on AsyncClient, or on its
calls, run on that loop; arguments, results, exceptions and documentation are those.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from speakerd_client.calls import VerificationCall
from speakerd_client.client import DEFAULT_ADDRESS, AsyncClient
from speakerd_client.results import CallerEnrolled, Verification
from speakerd_client.stream_call import StreamCall

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
Update = TypeVar("Update")
Final = TypeVar("Final")

_THREAD = "speakerd-client"
_END_LIMIT_S = 5.0
"""Longest wait for cancelled work to end."""


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Start the one event loop of all blocking clients; it ends with the process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True)
    thread.start()

    def stop() -> None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_break_off(), loop).result(_END_LIMIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    atexit.register(stop)
    return loop


def _run(work: Callable[Q, Coroutine[Any, Any, R]], *args: Q.args, **kwargs: Q.kwargs) -> R:
    """Run on the loop and wait; an interrupted wait, such as Ctrl-C, ends once the work has.

    The coroutine is made on the loop's thread, which no Ctrl-C interrupts: each that is made runs.
    """
    loop, ended = _loop(), threading.Event()
    tasks: list[asyncio.Task[R]] = []

    async def working() -> R:
        return await work(*args, **kwargs)

    def begin() -> None:
        tasks.append(loop.create_task(working()))
        tasks[0].add_done_callback(lambda _: ended.set())

    def cancel() -> None:
        if not tasks:  # the interrupt came before it was begun
            ended.set()
        for task in tasks:
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            task.cancel()

    try:
        loop.call_soon_threadsafe(begin)
        ended.wait()
    except BaseException:
        loop.call_soon_threadsafe(cancel)
        ended.wait(_END_LIMIT_S)
        raise
    return tasks[0].result()


async def _break_off() -> None:
    """End what is still going on when the process ends, generators left open among it."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _close(items: AsyncGenerator[R, None]) -> None:
    """Close a generator from wherever its blocking form is dropped.

    At the end of the process it was closed with the loop; on the loop's own thread, where nothing
    may wait, the loop closes it by its hook for generators that are dropped.
    """
    if not _loop().is_closed() and threading.current_thread().name != _THREAD:
        _run(items.aclose)


def _method(
    work: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Client, P], R]:
    """Make the blocking form of a coroutine method."""

    @functools.wraps(work)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _run(work, self.asynchronous, *args, **kwargs)

    return method


def _iterator(
    work: Callable[Concatenate[AsyncClient, P], AsyncIterator[R]],
) -> Callable[Concatenate[Client, P], Generator[R, None, None]]:
    """Make the blocking form of an asynchronous generator method."""

    @functools.wraps(work)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, None, None]:
        items: Any = work(self.asynchronous, *args, **kwargs)

        async def following() -> R | None:
            return await anext(items, None)

        try:
            while (item := _run(following)) is not None:
                yield item
        finally:
            _close(items)

    return method


def _verifying(
    work: Callable[Concatenate[AsyncClient, P], VerificationCall],
) -> Callable[Concatenate[Client, P], BlockingVerificationCall]:
    """Make the blocking form of the method that opens a verification."""

    @functools.wraps(work)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingVerificationCall:
        return BlockingVerificationCall(work(self.asynchronous, *args, **kwargs))

    return method


def _stream(
    work: Callable[Concatenate[AsyncClient, P], StreamCall[Update, Final]],
) -> Callable[Concatenate[Client, P], BlockingCall[Update, Final]]:
    """Make the blocking form of a method that opens a stream."""

    @functools.wraps(work)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingCall[Update, Final]:
        return BlockingCall(work(self.asynchronous, *args, **kwargs))

    return method


class BlockingCall(Generic[Update, Final]):
    """The blocking form of a StreamCall, in a `with`; send and iterate from two threads at will."""

    def __init__(self, call: StreamCall[Update, Final]) -> None:
        self._call = call

    def __enter__(self) -> Self:
        _run(self._call.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _run(self._call.abandon)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        """As StreamCall's iteration; in the same thread as `send` it waits for the next update."""
        try:
            return _run(self._call.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def request_id(self) -> str:
        """Id of the call."""
        return self._call.request_id

    @property
    def finished(self) -> bool:
        """True once more audio would not be used."""
        return self._call.finished

    def send(self, audio: bytes) -> None:
        """As StreamCall.send."""
        _run(self._call.send, audio)

    def end(self) -> None:
        """As StreamCall.end."""
        _run(self._call.end)

    def finish(self) -> Final:
        """As StreamCall.finish."""
        return _run(self._call.finish)


class BlockingVerificationCall(BlockingCall[Verification, Verification]):
    """The blocking form of a VerificationCall."""

    _call: VerificationCall

    def enroll_caller(
        self, group: str, speaker_id: str, *, display_name: str | None = None, force: bool = False
    ) -> CallerEnrolled:
        """As VerificationCall.enroll_caller."""
        enroll = self._call.enroll_caller
        return _run(enroll, group, speaker_id, display_name=display_name, force=force)


class Client:
    """Talks to one daemon; may be used from many threads. Use it in a `with`, or close it.

    Every method raises the exceptions of `speakerd_client.errors`.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 60.0) -> None:
        """Connect at the first call; the arguments are those of AsyncClient."""
        self.asynchronous = AsyncClient(address, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    close = _method(AsyncClient.close)
    verify = _method(AsyncClient.verify)
    compare = _method(AsyncClient.compare)
    embed = _method(AsyncClient.embed)
    enroll = _method(AsyncClient.enroll)
    get_speaker = _method(AsyncClient.get_speaker)
    update_speaker = _method(AsyncClient.update_speaker)
    delete_speaker = _method(AsyncClient.delete_speaker)
    opt_out = _method(AsyncClient.opt_out)
    allow = _method(AsyncClient.allow)
    create_group = _method(AsyncClient.create_group)
    get_group = _method(AsyncClient.get_group)
    update_group = _method(AsyncClient.update_group)
    delete_group = _method(AsyncClient.delete_group)
    server_info = _method(AsyncClient.server_info)
    list_models = _method(AsyncClient.list_models)
    load_model = _method(AsyncClient.load_model)
    unload_model = _method(AsyncClient.unload_model)
    drain = _method(AsyncClient.drain)
    resume = _method(AsyncClient.resume)
    health = _method(AsyncClient.health)
    extract = _iterator(AsyncClient.extract)
    watch_sessions = _iterator(AsyncClient.watch_sessions)
    list_speakers = _iterator(AsyncClient.list_speakers)
    list_groups = _iterator(AsyncClient.list_groups)
    verify_stream = _iterator(AsyncClient.verify_stream)
    enroll_stream = _iterator(AsyncClient.enroll_stream)
    stream_verify = _verifying(AsyncClient.stream_verify)
    stream_enroll = _stream(AsyncClient.stream_enroll)
