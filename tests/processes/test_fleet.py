from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.calls.places import Places
from speakerd_server.errors import (
    DeviceUnavailable,
    ModelRefused,
    ProcessFailed,
    StoreUnavailable,
    StoreUnusable,
)
from speakerd_server.processes import fleet as fleet_module
from speakerd_server.processes.fleet import engine_names
from speakerd_server.processes.messages import DrainNow, SessionsNow, UsesNow
from support.bundles import small_bundle
from support.fake_engine import BROKEN, ENDS, ONLY, REFUSED, SLOW
from support.fleets import built, children_now, eventually, running

pytestmark = pytest.mark.timeout(60)
"""Each test starts several processes, on a machine that may be busy."""

TWO = "cpu,cpu"


@given(st.lists(st.sampled_from(["cpu", "gpu:0", "gpu:1", "gpu:10"]), max_size=20))
def test_every_engine_has_a_name_of_its_own_that_says_its_device(devices: list[str]) -> None:
    names = engine_names(devices)
    assert len(set(names)) == len(names) == len(devices)
    for name, device in zip(names, devices, strict=True):
        assert name.split()[:2] == ["engine", device]


async def test_a_fleet_is_one_store_an_engine_for_each_device_and_the_front_ends(
    tmp_path: Path,
) -> None:
    before = children_now()
    async with running(tmp_path, engine__devices=TWO) as whole:
        fleet = whole.fleet
        names = [child.name for child in fleet.children]
        assert names == ["store", "engine cpu", "engine cpu (2)", "worker 0", "worker 1"]
        assert all(child.is_up for child in fleet.children)
        assert len(children_now() - before) == 5
        assert fleet.health().serving
        assert await fleet.tell_workers(SessionsNow()) == {"worker 0": [], "worker 1": []}
    assert children_now() == before


async def test_a_killed_front_end_is_started_again_and_no_other(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        fleet, (dying, other) = whole.fleet, whole.fleet.workers
        others = {child.name: child.pid for child in fleet.children if child is not dying}
        fleet.counts[0] = fleet.counts[1] = 3
        fleet.counts[3] = 1
        pid = await whole.killed(dying)
        await eventually(lambda: list(fleet.counts) == [0, 0, 0, 1, 0, 0])
        fleet.counts[3] = 0
        assert (await fleet.tell_workers(SessionsNow())).keys() >= {other.name}
        await whole.ready(dying)
        assert dying.pid != pid
        assert dying.restarts == 1
        assert {child.name: child.pid for child in fleet.children if child is not dying} == others
        told = await fleet.tell_workers(UsesNow())
        assert told["worker 0"] == told["worker 1"] == {1: 0}


async def test_a_front_end_that_comes_back_knows_that_the_daemon_drains(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        await whole.administration.drain(resume=False, wait_s=0)
        assert not whole.fleet.health().serving
        await whole.killed(whole.fleet.workers[0])
        await whole.ready()
        assert whole.fleet.draining
        await whole.administration.drain(resume=True, wait_s=0)
        assert whole.fleet.health().serving


async def test_whatever_operators_ask_is_answered_while_processes_die(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        fleet, ask = whole.fleet, whole.administration
        stopped = asyncio.Event()
        answered = 0

        async def operate() -> None:
            nonlocal answered
            while not stopped.is_set():
                await ask.server()
                await ask.models()
                await ask.sessions()
                await ask.drain(resume=True, wait_s=0)
                await fleet.tell_models()
                answered += 1
                await asyncio.sleep(0.01)

        operating = asyncio.create_task(operate())
        for child in (fleet.workers[0], fleet.engines["engine cpu"], fleet.workers[1]):
            await whole.killed(child)
            await whole.ready()
        stopped.set()
        await operating
        assert answered > 20


async def test_the_live_gauges_of_a_process_that_is_gone_are_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        fleet = whole.fleet

        def gauges(pid: int) -> list[Path]:
            return list(fleet.metrics_folder.glob(f"gauge_live*_{pid}.db"))

        assert gauges(fleet.workers[0].pid)
        pid = await whole.killed(fleet.workers[0])
        await whole.ready()
        assert not gauges(pid)
        assert gauges(fleet.workers[1].pid)


async def test_a_killed_engine_has_its_models_again_before_health_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        fleet = whole.fleet
        engine = fleet.engines["engine cpu"]
        await whole.killed(engine)
        assert not fleet.health().serving
        await eventually(lambda: engine.is_up)
        assert fleet.health().serving == engine.ready
        await whole.ready(engine)
        assert fleet.health().serving
        (model,) = await whole.administration.models()
        assert [one.dead for one in model.devices] == [None]


async def test_health_is_well_while_one_of_two_engines_is(tmp_path: Path) -> None:
    async with running(tmp_path, engine__devices=TWO) as whole:
        await whole.killed(whole.fleet.engines["engine cpu (2)"])
        assert whole.fleet.health().serving
        (model,) = await whole.administration.models()
        assert [one.device for one in model.devices] == ["cpu", "cpu (2)"]
        await whole.ready()


async def test_an_engine_that_comes_back_while_a_model_is_loaded_gets_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_bundle(tmp_path, version="9")
    monkeypatch.setenv(SLOW, "9=3.0")
    monkeypatch.setenv(ONLY, "engine cpu (2)")
    async with running(tmp_path, engine__devices=TWO, model__folder=str(tmp_path)) as whole:
        first = whole.fleet.engines["engine cpu"]
        loading = asyncio.create_task(
            whole.administration.load_model("small/9", "", make_default=False)
        )
        await asyncio.sleep(0.5)
        assert not loading.done()
        await whole.killed(first)
        state = await loading
        await whole.ready(first)
        assert state.card.identity.name == "small"
        for model in await whole.administration.models():
            assert [one.dead for one in model.devices] == [None, None]


async def test_a_killed_store_comes_back_with_what_was_enrolled(tmp_path: Path) -> None:
    async with running(tmp_path) as whole:
        assert await whole.enrolments.count() == 0
        await whole.killed(whole.fleet.store)
        with pytest.raises(StoreUnavailable):
            await whole.enrolments.count()
        async with asyncio.timeout(10):
            await whole.enrolments.ready()
        assert await whole.enrolments.count() == 0
        assert (await whole.administration.server()).speakers == 0


async def test_a_process_that_cannot_start_is_tried_again_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv(BROKEN, str(broken))
    monkeypatch.setattr(fleet_module, "_DELAYS_S", (0.0, 0.05))
    async with running(tmp_path) as whole:
        engine = whole.fleet.engines["engine cpu"]
        broken.touch()
        await whole.killed(engine)
        await eventually(lambda: engine.restarts >= 3)
        assert not whole.fleet.health().serving
        assert all(worker.ready for worker in whole.fleet.workers)
        broken.unlink()
        await whole.ready()
        assert whole.fleet.health().serving


async def test_what_has_no_name_does_not_end_the_watch_over_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "_DELAYS_S", (0.0, 0.05))
    async with running(tmp_path) as whole:
        worker = whole.fleet.workers[0]
        start, failures = worker.start, 2

        async def fails_twice(*arguments: object, **more: object) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise RuntimeError("no reason at all")
            await start(*arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(worker, "start", fails_twice)
        await whole.killed(worker)
        await whole.ready()
        assert failures < 0
        assert worker.restarts >= 3


async def test_a_fleet_that_stops_starts_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children_now()
    monkeypatch.setattr(fleet_module, "_DELAYS_S", (0.1,))
    async with running(tmp_path) as whole:
        os.kill(whole.fleet.workers[0].pid, signal.SIGKILL)
        await whole.killed(whole.fleet.engines["engine cpu"])
    await asyncio.sleep(0.3)
    assert children_now() == before


async def test_a_fleet_that_stops_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    before = children_now()
    async with built(tmp_path) as whole:
        starting = asyncio.create_task(whole.fleet.start())
        await eventually(lambda: any(child.is_up for child in whole.fleet.engines.values()))
        starting.cancel()
        await asyncio.wait([starting])
    assert children_now() == before


async def test_a_store_that_cannot_be_opened_stops_the_start_by_name(tmp_path: Path) -> None:
    before = children_now()
    async with built(tmp_path, store__path=str(tmp_path)) as whole:
        with pytest.raises(StoreUnusable):
            await whole.fleet.start()
    assert children_now() == before


async def test_an_engine_that_ends_while_it_starts_stops_the_start_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    monkeypatch.setenv(BROKEN, str(broken))
    async with built(tmp_path) as whole:
        with pytest.raises(ProcessFailed, match="engine cpu cannot be started: it ended"):
            await whole.fleet.start()


@pytest.mark.parametrize(
    ("variable", "error", "said"),
    [(REFUSED, DeviceUnavailable, "found: nothing"), (ENDS, ModelRefused, "an engine ended")],
)
async def test_a_default_model_that_an_engine_does_not_load_stops_the_start_by_name(
    variable: str,
    error: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv(ONLY, "engine cpu (2)")
    async with built(tmp_path, engine__devices=TWO) as whole:
        with pytest.raises(error, match=said):
            await whole.fleet.start()


async def test_the_fleet_is_quiet_when_no_process_counts_a_call(tmp_path: Path) -> None:
    async with built(tmp_path) as whole:
        counts = whole.fleet.counts
        assert len(counts) == Places.cells(2)
        counts[4] = 1
        quiet = asyncio.create_task(whole.fleet.quiet())
        await asyncio.sleep(0.1)
        assert not quiet.done()
        counts[4] = 0
        await asyncio.wait_for(quiet, 5)
        assert await whole.fleet.tell_workers(DrainNow(draining=True)) == {}
