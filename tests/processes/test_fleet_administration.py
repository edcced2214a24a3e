from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from speakerd.v1 import verification_pb2 as pb
from speakerd.v1 import verification_pb2_grpc
from speakerd_server.calls.administration import Administration, ModelState, ModelStatus
from speakerd_server.errors import (
    Draining,
    ModelIsDefault,
    ModelRefused,
    ModelUnknown,
)
from speakerd_server.processes import fleet, fleet_administration
from speakerd_server.processes.fleet_administration import _METHODS, _added
from speakerd_server.processes.messages import AdminCall, StatisticsNow, Unused, UsesNow
from support.bundles import bundle_of_nan, small_bundle
from support.fake_engine import ONLY, REFUSED
from support.fleets import LiveCall, Whole, eventually, running
from support.recordings import DOMAIN, recording

pytestmark = pytest.mark.timeout(60)
"""Each test starts several processes, on a machine that may be busy."""


@asynccontextmanager
async def with_models(folder: Path, **given: Any) -> AsyncIterator[Whole]:
    for version in ("1", "2"):
        small_bundle(folder, version=version)
    async with running(folder, model__folder=str(folder), **given) as whole:
        yield whole


async def soon(answer: Any) -> Any:
    async with asyncio.timeout(10):
        return await answer


async def engine_models(whole: Whole) -> list[set[int]]:
    return [set(await child.ask(StatisticsNow())) for child in whole.fleet.engines.values()]


def by_reference(states: list[ModelState]) -> dict[str, ModelState]:
    return {f"{state.card.identity.name}/{state.card.identity.version}": state for state in states}


def test_uses_of_all_front_ends_are_added_up() -> None:
    assert _added([]) == {}
    assert _added([{1: 2, 2: 0}, {}, {1: 3, 7: 1}]) == {1: 5, 2: 0, 7: 1}


def test_front_ends_can_ask_whatever_operators_can() -> None:
    assert {name for name in vars(Administration) if not name.startswith("_")} == set(_METHODS)


async def test_the_state_of_the_daemon_is_that_of_all_its_processes(tmp_path: Path) -> None:
    async with running(tmp_path, engine__devices="cpu,cpu", calls__maximum_streams=77) as whole:
        await whole.enrolments.enrol(DOMAIN, "anna", recording(1), None)
        calls = [LiveCall(whole.address) for _ in range(5)]
        for call in calls:
            await soon(call.open())
        state = await whole.administration.server()
        assert (state.live_streams, state.maximum_streams, state.speakers) == (5, 77, 1)
        assert state.default_model.name == "campplus"
        assert state.domains == ("default",)
        assert not state.draining
        assert {process.name: process.pid for process in state.processes} == {
            child.name: child.pid for child in whole.fleet.children
        }
        for call in calls:
            await call.close()
        await eventually(lambda: not any(whole.fleet.counts))


async def test_sessions_of_all_front_ends_are_one_list_oldest_first(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        calls = []
        for number in range(10):
            calls.append(LiveCall(whole.address))
            await soon(calls[-1].open(f"call-{number}"))
        sessions = await whole.administration.sessions()
        assert [one.request_id for one in sessions] == [f"call-{number}" for number in range(10)]
        (model,) = await whole.administration.models()
        assert model.open_calls == 10
        for call in calls:
            await call.close()


async def test_a_model_is_loaded_for_all_and_its_loading_again_changes_nothing(
    tmp_path: Path,
) -> None:
    async with with_models(tmp_path, engine__devices="cpu,cpu") as whole:
        ask = whole.administration
        state = await ask.load_model("small/1", "", make_default=False)
        assert (state.status, state.is_default) == (ModelStatus.LOADED, False)
        assert [one.device for one in state.devices] == ["cpu", "cpu (2)"]
        assert await engine_models(whole) == [{1, 2}, {1, 2}]
        assert (await whole.fleet.tell_workers(UsesNow()))["worker 1"] == {1: 0, 2: 0}
        again = await ask.load_model("small/1", "", make_default=True)
        assert again.is_default
        assert await engine_models(whole) == [{1, 2}, {1, 2}]
        assert (await ask.server()).default_model.name == "small"


async def test_a_model_that_cannot_be_loaded_is_refused_by_name_and_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REFUSED, "2")
    monkeypatch.setenv(ONLY, "engine cpu (2)")
    async with with_models(tmp_path, engine__devices="cpu,cpu") as whole:
        ask = whole.administration
        with pytest.raises(ModelUnknown):
            await ask.load_model("no-such", "", make_default=False)
        with pytest.raises(ModelRefused, match="no device gpu:3"):
            await ask.load_model("small/1", "gpu:3", make_default=False)
        with pytest.raises(ModelRefused, match="found: nothing"):
            await ask.load_model("small/2", "", make_default=True)
        assert await engine_models(whole) == [{1}, {1}]
        assert len(await ask.models()) == 1


async def test_another_file_under_the_name_of_a_loaded_model_is_refused(tmp_path: Path) -> None:
    async with with_models(tmp_path) as whole:
        await whole.administration.load_model("small/1", "", make_default=False)
        bundle_of_nan(tmp_path, "small", "1")
        with pytest.raises(ModelRefused):
            await whole.administration.load_model("small/1", "", make_default=False)


async def test_a_model_that_nobody_holds_is_gone_when_it_is_unloaded(tmp_path: Path) -> None:
    async with with_models(tmp_path) as whole:
        ask = whole.administration
        await ask.load_model("small/1", "", make_default=False)
        state = await ask.unload_model("small")
        assert (state.status, state.open_calls) == (ModelStatus.UNLOADED, 0)
        assert await engine_models(whole) == [{1}]
        with pytest.raises(ModelUnknown):
            await ask.unload_model("small")
        with pytest.raises(ModelIsDefault):
            await ask.unload_model("campplus")


async def test_a_model_stays_with_the_engines_until_its_last_call_ends(tmp_path: Path) -> None:
    async with with_models(tmp_path) as whole:
        ask = whole.administration
        await ask.load_model("small/1", "", make_default=False)
        calls = [LiveCall(whole.address, "small") for _ in range(4)]
        for call in calls:
            await soon(call.open())
        state = await ask.unload_model("small/1")
        assert (state.status, state.open_calls) == (ModelStatus.UNLOADING, 4)
        assert await engine_models(whole) == [{1, 2}]
        with pytest.raises(ModelUnknown):
            await ask.unload_model("small/1")
        assert by_reference(await ask.models())["small/1"].status is ModelStatus.UNLOADING
        again = await ask.load_model("small/1", "", make_default=False)
        assert again.status is ModelStatus.LOADED
        assert await engine_models(whole) == [{1, 2, 3}]
        for call in calls:
            await call.close()
        await eventually(lambda: 2 not in whole.fleet.models.every)
        assert await engine_models(whole) == [{1, 3}]


async def test_a_killed_front_end_holds_no_model_any_more(tmp_path: Path) -> None:
    async with with_models(tmp_path) as whole:
        ask = whole.administration
        await ask.load_model("small/1", "", make_default=False)
        calls = [LiveCall(whole.address, "small") for _ in range(6)]
        for call in calls:
            await soon(call.open())
        await ask.unload_model("small/1")
        holders = whole.fleet.models.every[2].holders
        for worker in whole.fleet.workers:
            assert (2 in whole.fleet.models.every) == bool(holders)
            await whole.killed(worker)
        await eventually(lambda: 2 not in whole.fleet.models.every)
        assert await engine_models(whole) == [{1}]
        for call in calls:
            await call.close()


async def test_an_unloading_is_finished_though_who_asked_for_it_is_gone(tmp_path: Path) -> None:
    async with with_models(tmp_path) as whole:
        await whole.administration.load_model("small/1", "", make_default=False)
        unloading = asyncio.create_task(whole.administration.unload_model("small/1"))
        await asyncio.sleep(0)
        unloading.cancel()
        await asyncio.wait([unloading])
        await eventually(lambda: 2 not in whole.fleet.models.every)
        assert await engine_models(whole) == [{1}]


async def test_a_drain_refuses_calls_everywhere_and_waits_for_those_that_go_on(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as whole:
        ask, call = whole.administration, LiveCall(whole.address)
        await soon(call.open())
        assert await ask.drain(resume=False, wait_s=0.05) == 1
        assert (await ask.server()).draining
        for _ in range(6):
            # A unary call: a stream that ends while it is written to hides its status.
            async with grpc.aio.insecure_channel(whole.address) as channel:
                stub: Any = verification_pb2_grpc.VerificationServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as ended:
                    await soon(stub.Embed(pb.EmbedRequest()))
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        waiting = asyncio.create_task(ask.drain(resume=False, wait_s=10))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await call.close()
        assert await soon(waiting) == 0
        assert await ask.drain(resume=True, wait_s=10) == 0
        taken = LiveCall(whole.address)
        await soon(taken.open())
        await taken.close()


async def test_a_daemon_that_is_about_to_end_takes_no_calls_again(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        whole.fleet.stopping = whole.fleet.draining = True
        with pytest.raises(Draining):
            await whole.administration.drain(resume=True, wait_s=0)


async def test_what_a_front_end_may_not_ask_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, server__workers=1) as whole:
        ask = whole.administration
        state = await ask.answer("worker 0", AdminCall("server", {}))
        assert state.live_streams == 0
        await ask.answer("worker 0", Unused(99))
        for question in (AdminCall("let_go", {"worker": "worker 0"}), AdminCall("_work", {}), None):
            with pytest.raises(ValueError, match="nobody answers"):
                await ask.answer("worker 0", question)


async def test_processes_that_hang_hide_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_administration, "PATIENCE_S", 0.3)
    async with running(tmp_path, server__workers=1, engine__devices="cpu,cpu") as whole:
        fleet = whole.fleet
        hanging = (fleet.store, fleet.engines["engine cpu"])
        for child in hanging:
            os.kill(child.pid, signal.SIGSTOP)
        assert (await soon(whole.administration.server())).speakers == 0
        (model,) = await soon(whole.administration.models())
        assert [one.dead for one in model.devices] == ["its process does not answer", None]
        for child in hanging:
            child.kill()


async def test_a_store_that_is_down_hides_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, server__workers=1) as whole:
        await whole.killed(whole.fleet.store)
        state = await whole.administration.server()
        assert state.speakers == 0
        assert len(state.processes) == 3


async def test_a_process_that_stands_still_holds_up_no_operator_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_models(tmp_path) as whole:
        still, other = whole.fleet.workers
        for module in (fleet, fleet_administration):
            monkeypatch.setattr(module, "PATIENCE_S", 0.3)
        os.kill(still.pid, signal.SIGSTOP)
        try:
            await soon(whole.administration.load_model("small/1", "", make_default=True))
            assert (await whole.fleet.tell_workers(UsesNow())).keys() == {other.name}
            assert await whole.administration.drain(resume=False, wait_s=0) == 0
        finally:
            os.kill(still.pid, signal.SIGCONT)
        monkeypatch.setattr(fleet, "PATIENCE_S", 5.0)
        told = await whole.fleet.tell_workers(UsesNow())
        assert told["worker 0"] == told["worker 1"] == {1: 0, 2: 0}
        assert still.restarts == 0
