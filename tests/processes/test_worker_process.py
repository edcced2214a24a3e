from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd_server import config
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.processes.arena import mapped, shared_file
from speakerd_server.processes.messages import (
    AdminCall,
    Begin,
    DrainNow,
    HealthNow,
    Hosted,
    ModelsNow,
    Serve,
    SessionsNow,
    Stop,
    Unused,
    UsesNow,
    Whereabouts,
)
from speakerd_server.processes.supervisor import hold_port
from speakerd_server.processes.worker_process import RemoteAdministration, WorkerProcess
from support.bundles import named
from support.fleets import LiveCall
from support.shared_ends import ported, until
from support.signals import card
from support.sounds import DIM
from support.store_over_link import served_store

ENGINE = "engine cpu"


@dataclass
class Worker:
    """A front end in this process, and what it has asked its supervisor."""

    process: WorkerProcess
    address: str
    counts: memoryview[int]
    asked: list[Any] = field(default_factory=list)

    async def tell(self, question: Any) -> Any:
        async with asyncio.timeout(10):
            return await self.process.answer(question)


def hosted(number: int, name: str = "small", version: str = "1") -> Hosted:
    return Hosted(named(card(), name, version, dim=DIM), number, {ENGINE: 10.0})


def models_now(*models: Hosted, default: str = "small") -> ModelsNow:
    identities = [one.card.identity for one in models]
    preferred = {one.name: f"{one.name}/{one.version}" for one in identities}
    return ModelsNow(models, default, preferred)


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[Worker]:
    """A front end that serves one model; its store and its engine are in this process too."""
    asked: list[Any] = []

    async def ask(question: Any) -> None:
        asked.append(question)

    counts = shared_file(8 * 6)
    held, address = hold_port("127.0.0.1:0", "server.address")
    worker = Worker(WorkerProcess(ask), address, memoryview(mapped(counts)).cast("q"), asked)
    where = Whereabouts(folder, (ENGINE,))
    begin = Begin(config.load(), where, "worker 1", 1, address=address, counts=counts)
    async with served_store(folder), ported(where.engine(ENGINE), FakeBackend(DIM)):
        await worker.process.begin(begin)
        await worker.tell(models_now(hosted(1)))
        await worker.tell(Serve())
        try:
            yield worker
        finally:
            await worker.process.close()
            held.close()
            os.close(counts)


async def health(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return int((await check(health_pb2.HealthCheckRequest(), timeout=5)).status)


async def test_a_call_is_counted_among_those_of_its_process_and_listed(tmp_path: Path) -> None:
    async with working(tmp_path) as worker:
        call = LiveCall(worker.address)
        await call.open("call")
        assert list(worker.counts) == [0, 0, 0, 1, 0, 0]
        (session,) = await worker.tell(SessionsNow())
        assert (session.request_id, session.process) == ("call", 1)
        assert await worker.tell(UsesNow()) == {1: 1}
        await call.close()
        await until(lambda: not any(worker.counts))


async def test_health_is_as_the_supervisor_says(tmp_path: Path) -> None:
    async with working(tmp_path) as worker:
        for serving in (True, False, True):
            await worker.tell(HealthNow(serving))
            expected = health_pb2.HealthCheckResponse
            status = expected.SERVING if serving else expected.NOT_SERVING
            assert await health(worker.address) == status


async def test_a_drain_refuses_new_calls_until_it_is_over(tmp_path: Path) -> None:
    async with working(tmp_path) as worker:
        for draining in (True, False):
            await worker.tell(DrainNow(draining))
            call = LiveCall(worker.address)
            if draining:
                with pytest.raises(grpc.aio.AioRpcError, match="takes no new calls"):
                    await call.open()
            else:
                await call.open()
            await call.close()


async def test_calls_can_name_the_models_that_there_are_now(tmp_path: Path) -> None:
    async with working(tmp_path) as worker:
        two = models_now(hosted(1), hosted(2, "other"), default="other")
        assert await worker.tell(two) == {1: 0, 2: 0}
        assert await worker.tell(two) == {1: 0, 2: 0}
        for name in ("small", "other", "other/1", ""):
            call = LiveCall(worker.address, name)
            await call.open()
            await call.close()
        await until(lambda: not any(worker.counts))
        assert await worker.tell(models_now(hosted(1))) == {1: 0, 2: 0}
        await until(lambda: worker.asked == [Unused(2)])
        gone = LiveCall(worker.address, "other")
        with pytest.raises(grpc.aio.AioRpcError, match="no model 'other'"):
            await gone.open()
        await gone.close()
        assert await worker.tell(UsesNow()) == {1: 0}


async def test_a_model_that_left_is_held_until_its_last_call_and_may_come_back(
    tmp_path: Path,
) -> None:
    async with working(tmp_path) as worker:
        await worker.tell(models_now(hosted(1), hosted(2, "other")))
        call = LiveCall(worker.address, "other")
        await call.open()
        assert await worker.tell(models_now(hosted(1))) == {1: 0, 2: 1}
        again = models_now(hosted(1), hosted(3, "other"))
        assert await worker.tell(again) == {1: 0, 2: 1, 3: 0}
        assert worker.asked == []
        other = LiveCall(worker.address, "other")
        await other.open()
        assert await worker.tell(UsesNow()) == {1: 0, 2: 1, 3: 1}
        await call.close()
        await until(lambda: worker.asked == [Unused(2)])
        assert await worker.tell(UsesNow()) == {1: 0, 3: 1}
        await other.close()


async def test_whatever_else_it_is_told_it_refuses(tmp_path: Path) -> None:
    async with working(tmp_path) as worker:
        with pytest.raises(ValueError, match="a front end cannot answer Stop"):
            await worker.tell(Stop())


async def test_what_operators_ask_goes_to_the_supervisor_as_it_is() -> None:
    asked: list[AdminCall] = []

    async def ask(question: AdminCall) -> Any:
        asked.append(question)
        return 7 if question.method == "drain" else []

    remote = RemoteAdministration(ask)
    await remote.server()
    await remote.models()
    await remote.load_model("small/1", "gpu:0", make_default=True)
    await remote.unload_model("small/1")
    await remote.sessions()
    assert await remote.drain(resume=False, wait_s=3.0) == 7
    assert asked == [
        AdminCall("server", {}),
        AdminCall("models", {}),
        AdminCall("load_model", {"reference": "small/1", "device": "gpu:0", "make_default": True}),
        AdminCall("unload_model", {"reference": "small/1"}),
        AdminCall("sessions", {}),
        AdminCall("drain", {"resume": False, "wait_s": 3.0}),
    ]
