"""A daemon of several processes: which there are, who takes a call, and how one is killed."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
import pytest
from google.protobuf import duration_pb2
from speakerd.v1 import admin_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.engine.cpu import processors
from support import wire
from support.daemon import Daemon

T = TypeVar("T")
PATIENCE_S = 45.0
NEEDS_TWO_PROCESSORS = pytest.mark.skipif(
    processors() < 2, reason="more workers than processors are refused"
)
_NUMBERS = itertools.count()
_OFTEN = admin_pb2.WatchSessionsRequest(interval=duration_pb2.Duration(nanos=100_000_000))


def until(condition: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """Return what the condition gives once that is true."""
    end_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end_s, "it has never come true"
        time.sleep(0.02)
    return found


def parts(stubs: wire.Stubs) -> Mapping[str, admin_pb2.Process]:
    """Give the processes of a daemon by name."""
    info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=wire.DEADLINE_S)
    return {process.name: process for process in info.processes}


def sessions(stubs: wire.Stubs) -> Mapping[str, admin_pb2.Session]:
    """Give the live calls that go on by their request ids."""
    watch = stubs.admin.WatchSessions(_OFTEN, timeout=wire.DEADLINE_S)
    found = next(watch).sessions
    watch.cancel()
    return {session.request_id: session for session in found}


def live_streams(stubs: wire.Stubs) -> int:
    """Count the places that live calls have taken."""
    info = stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=wire.DEADLINE_S)
    return info.live_streams


def kill(pid: int) -> None:
    """End a process without a word; it is gone when this returns."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not running(pid))


def running(pid: int) -> bool:
    """Tell whether a process is there yet, or any thread of it, which would keep its files open."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return len(threads) > 1 or state not in "ZX"


def children(pid: int, kind: str = "") -> list[int]:
    """Give the processes of a kind, or all, that a supervisor has and that are running."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found = [int(child) for child in file.read().split()]
        return [child for child in found if running(child) and is_part(child, kind)]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_part(pid: int, kind: str) -> bool:
    """Tell whether a process is a part of a daemon, of a kind or of any."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            words = file.read().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "speakerd_server.processes.entry" in words and kind in ("", *words)


def left_over(folder: Path) -> list[int]:
    """Give the parts of daemons that are running in a folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and running(int(name)) and is_part(int(name), ""):
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd") == str(folder):
                    found.append(int(name))
    return found


class Daemons(Protocol):
    """Makes daemons of two workers that are not started yet."""

    def __call__(self, *flags: str, folder: Path | None = None, temporary: str = "") -> Daemon:
        """Give one; in the folder of the test and the system's one for temporary files."""


class LiveCall:
    """A StreamVerify on a connection of its own, opened; audio is sent as the test says.

    Args:
        stubs: Of that connection.
        request_id: Unlike all others.
    """

    def __init__(self, stubs: wire.Stubs, request_id: str, **config: object) -> None:
        self.stubs, self.request_id = stubs, request_id
        self._messages: queue.SimpleQueue[pb.StreamVerifyRequest | None] = queue.SimpleQueue()
        fields = {"speaker_id": "nobody", "audio_format": wire.PCM16} | config
        chosen = pb.VerificationConfig(request_id=request_id, **fields)  # type: ignore[arg-type]
        self._messages.put(pb.StreamVerifyRequest(config=chosen))
        self.answers = stubs.verification.StreamVerify(
            iter(self._messages.get, None), timeout=wire.DEADLINE_S
        )
        assert next(self.answers).WhichOneof("response") == "opened"

    def send(self, audio: bytes) -> None:
        """Send one message of audio."""
        self._messages.put(pb.StreamVerifyRequest(audio=audio))

    def end(self) -> pb.VerificationResult:
        """End the audio and give the final, or raise what the call ended with."""
        self._messages.put(None)
        return list(self.answers)[-1].final

    def error(self) -> wire.Refusal:
        """Wait until the call fails, and say how."""
        with pytest.raises(grpc.RpcError) as failed:
            list(self.answers)
        self._messages.put(None)
        return wire.refusal(failed.value)

    def cancel(self) -> None:
        """End the call as its client."""
        self.answers.cancel()
        self._messages.put(None)


def ended(call: LiveCall) -> pb.VerificationResult | wire.Refusal:
    """End the audio of a call; gives its final, or how it failed."""
    try:
        return call.end()
    except grpc.RpcError as error:
        return wire.refusal(error)


@contextmanager
def alone(address: str) -> Iterator[wire.Stubs]:
    """Connect by a connection of its own, which any front end may take."""
    with wire.connected(address, ("grpc.use_local_subchannel_pool", 1)) as stubs:
        yield stubs


@contextmanager
def every_worker(address: str, workers: int) -> Iterator[dict[int, LiveCall]]:
    """Give a live call at each front end, by its number, to be cancelled in the end."""
    found: dict[int, LiveCall] = {}
    end_s = time.monotonic() + PATIENCE_S
    with ExitStack() as stack:
        while len(found) < workers:
            assert time.monotonic() < end_s, f"only {sorted(found)} take calls"
            with ExitStack() as unless_found:
                stubs = unless_found.enter_context(alone(address))
                call = LiveCall(stubs, f"call {next(_NUMBERS)}")
                unless_found.callback(call.cancel)
                worker = sessions(stubs)[call.request_id].worker
                if worker not in found:
                    found[worker] = call
                    stack.push(unless_found.pop_all())
        yield found
