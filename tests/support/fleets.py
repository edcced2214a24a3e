"""A fleet of real processes over fake engines, with its supervisor's parts in this process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from speakerd.v1 import audio_pb2, verification_pb2_grpc
from speakerd.v1 import verification_pb2 as pb
from speakerd_server import config
from speakerd_server.config import Settings
from speakerd_server.life import Addresses
from speakerd_server.processes.child import Child
from speakerd_server.processes.fleet import Fleet
from speakerd_server.processes.fleet_administration import FleetAdministration
from speakerd_server.processes.remote_store import RemoteEnrolments
from speakerd_server.processes.supervisor import hold_port
from support import wire
from support.fake_engine import PROGRAMS

START_S = 15.0


def fleet_settings(folder: Path, **given: Any) -> Settings:
    """Make settings; `engine__devices="cpu,cpu"` sets engine.devices."""
    flags = {
        "server.address": "127.0.0.1:0",
        "server.workers": 2,
        "server.metrics_address": "",
        "store.path": str(folder / "speakerd.db"),
        "kserve.http_address": "",
        "engine.workers": 1,
        "logs.level": "warning",
    }
    return config.load(flags=flags | {name.replace("__", "."): v for name, v in given.items()})


@dataclass
class Whole:
    """A fleet and who answers operators for it."""

    fleet: Fleet
    administration: FleetAdministration
    enrolments: RemoteEnrolments
    address: str

    async def ready(self, *children: Child) -> None:
        """Return once processes, or all of them, are ready."""
        chosen = children or (*self.fleet.engines.values(), *self.fleet.workers)
        await eventually(lambda: all(child.ready for child in chosen))

    async def killed(self, child: Child) -> int:
        """Kill a process; gives its id once its end was seen."""
        pid, restarts = child.pid, child.restarts
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: child.restarts > restarts)
        return pid


@asynccontextmanager
async def built(folder: Path, **given: Any) -> AsyncIterator[Whole]:
    """A fleet that is not started yet; it is stopped in any case."""
    settings = fleet_settings(folder, **given)
    held, address = hold_port(settings.server.address, "server.address")
    place = folder / "fleet"
    place.mkdir()
    fleet = Fleet(settings, place, Addresses(address, ""), PROGRAMS)
    enrolments = RemoteEnrolments(fleet.whereabouts.store, settings.calls.pending_store_changes)
    administration = FleetAdministration(fleet, enrolments)
    fleet.operators = administration
    enrolments.open()
    try:
        yield Whole(fleet, administration, enrolments, address)
    finally:
        await enrolments.close()
        await fleet.stop()
        held.close()


@asynccontextmanager
async def running(folder: Path, **given: Any) -> AsyncIterator[Whole]:
    """A fleet that is started."""
    async with built(folder, **given) as whole:
        async with asyncio.timeout(START_S):
            await whole.fleet.start()
            await whole.enrolments.ready()
        yield whole


class LiveCall:
    """A live call to whichever front end the system gives it to."""

    def __init__(self, address: str, model: str = "") -> None:
        self._channel = grpc.aio.insecure_channel(address)
        stub = verification_pb2_grpc.VerificationServiceStub(self._channel)
        self._call: Any = stub.StreamVerify()
        self._model = model

    async def open(self, request_id: str = "") -> None:
        """Return once it is opened."""
        config = pb.VerificationConfig(
            speaker_id="nobody",
            audio_format=wire.PCM16,
            model=self._model,
            request_id=request_id,
            policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=0.5),
        )
        await self._call.write(pb.StreamVerifyRequest(config=config))
        assert (await self._call.read()).WhichOneof("response") == "opened"

    async def close(self) -> None:
        """Give it up."""
        self._call.cancel()
        await self._channel.close()


async def eventually(condition: Callable[[], object], seconds: float = START_S) -> None:
    """Return once a condition is true that wakes nobody."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def children_now() -> set[int]:
    """Give the processes that this one has started and that are still there."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(pid) for pid in file.read().split()}


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
