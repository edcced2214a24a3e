from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from speakerd_server.calls.administration import ModelState, ModelStatus
from speakerd_server.cards import Bundle
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import Draining, EngineDead, ModelIsDefault, ModelRefused, ModelUnknown
from support.administered import SMALL_DIM, administered, opened, until
from support.batching import Dying, window
from support.bundles import bundle_of_nan, bundle_of_nothing, damage, small_bundle
from support.recordings import recording

pytestmark = pytest.mark.timeout(60)


def names(states: list[ModelState]) -> list[tuple[str, str]]:
    return [(one.card.identity.name, one.card.identity.version) for one in states]


async def test_the_state_of_the_server_adds_up_what_calls_and_models_did(tmp_path: Path) -> None:
    begun_s = time.time()
    async with administered(tmp_path) as one:
        model = one.serving.models.default
        for seed in range(3):
            await model.engine.submit(window(seed))
        await one.serving.enrolments.enrol(
            "other", "alice", recording(1, SMALL_DIM, model.card.identity), None
        )
        with one.serving.places.stream(), one.serving.places.unary(100):
            state = await one.administration.server()
        assert begun_s <= state.started_unix_s <= time.time()
        assert state.default_model == model.card.identity
        assert (state.domains, state.speakers) == (("default", "other"), 1)
        assert (state.live_streams, state.maximum_streams) == (1, 1000)
        assert (state.queued_windows, state.maximum_queued_windows) == (0, 512)
        assert (state.windows_embedded, state.draining, state.processes) == (3, False, ())


async def test_a_model_is_warm_before_any_call_can_name_it(tmp_path: Path) -> None:
    may_open, opens = threading.Event(), threading.Event()

    def slowly(bundle: Bundle) -> Lanes:
        if bundle.card.identity.version == "2":
            opens.set()
            may_open.wait(20)
        return opened(bundle)

    async with administered(tmp_path, open_lanes=slowly, version_policy="newest") as one:
        small_bundle(one.folder, "small", "2")
        models = one.serving.models
        loading = asyncio.create_task(one.administration.load_model("small", "", make_default=True))
        await asyncio.to_thread(opens.wait, 20)
        assert models.named("small").reference == models.default.reference == "small/1"
        with pytest.raises(ModelUnknown):
            models.named("small/2")
        assert (await models.default.engine.submit(window(0))).shape == (SMALL_DIM,)
        assert names(await one.administration.models()) == [("small", "1")]
        may_open.set()
        state = await loading
        assert (state.status, state.is_default, state.answers_to_name) == (
            ModelStatus.LOADED,
            True,
            True,
        )
        assert state.load_s > 0.0
        (done,) = state.devices
        assert done.cost is not None
        assert (done.windows_embedded, done.batches) == (0, 0)
        assert models.default.reference == "small/2"


async def test_models_are_listed_by_name_and_version_with_what_they_mean(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        for name, version in (("small", "2"), ("another", "1")):
            small_bundle(one.folder, name, version)
            await one.administration.load_model(f"{name}/{version}", "cpu", make_default=False)
        states = await one.administration.models()
        assert names(states) == [("another", "1"), ("small", "1"), ("small", "2")]
        assert [one.is_default for one in states] == [False, True, False]
        assert [one.answers_to_name for one in states] == [True, True, False]
        with one.serving.models.held("small/2"), one.serving.models.held("small/2"):
            states = await one.administration.models()
        assert [one.open_calls for one in states] == [0, 0, 2]


async def test_what_is_loaded_already_stays_and_can_become_the_default(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        small_bundle(one.folder, "other", "1")
        await one.administration.load_model("other", "", make_default=False)
        loaded = one.serving.models.named("other")
        state = await one.administration.load_model("other/1", "", make_default=True)
        assert (state.load_s, state.is_default) == (0.0, True)
        assert one.serving.models.default is loaded
        assert names(await one.administration.models()) == [("other", "1"), ("small", "1")]


async def test_another_file_under_a_loaded_name_is_refused_until_that_is_unloaded(
    tmp_path: Path,
) -> None:
    async with administered(tmp_path) as one:
        folder = small_bundle(one.folder, "other", "1")
        await one.administration.load_model("other", "", make_default=False)
        network = bundle_of_nan(tmp_path / "elsewhere", "other", "1")
        for name in ("model.onnx", "card.toml"):
            (folder / name).write_bytes((network / name).read_bytes())
        with pytest.raises(ModelRefused, match="unload it first"):
            await one.administration.load_model("other", "", make_default=True)
        assert one.serving.models.default.reference == "small/1"
        await one.administration.unload_model("other")
        with pytest.raises(ModelRefused, match="not finite"):
            await one.administration.load_model("other", "", make_default=True)
        assert one.serving.models.default.reference == "small/1"


async def test_a_model_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        bundle_of_nan(one.folder)
        damage(small_bundle(one.folder, "damaged", "1"))
        bundle_of_nothing(one.folder)
        small_bundle(one.folder, "placed", "1")
        before = await one.administration.models()
        for reference, device in (
            ("nan", ""),
            ("damaged", ""),
            ("nothing", ""),
            ("placed", "gpu:3"),
        ):
            with pytest.raises(ModelRefused):
                await one.administration.load_model(reference, device, make_default=True)
        with pytest.raises(ModelUnknown):
            await one.administration.load_model("nosuch", "", make_default=True)
        assert await one.administration.models() == before
        assert one.serving.models.default.reference == "small/1"


async def test_two_orders_for_one_model_load_it_once(tmp_path: Path) -> None:
    opens: list[str] = []

    def counted(bundle: Bundle) -> Lanes:
        opens.append(bundle.card.identity.name)
        return opened(bundle)

    async with administered(tmp_path, open_lanes=counted) as one:
        small_bundle(one.folder, "other", "1")
        orders = [one.administration.load_model("other", "", make_default=False) for _ in range(3)]
        states = await asyncio.gather(*orders)
        assert opens == ["small", "other"]
        assert [state.load_s > 0.0 for state in states] == [True, False, False]


async def test_an_order_whose_client_is_gone_is_still_carried_out(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        small_bundle(one.folder, "other", "1")
        order = asyncio.create_task(one.administration.load_model("other", "", make_default=False))
        await asyncio.sleep(0.005)
        order.cancel()
        await asyncio.wait([order])
        await until(lambda: one.serving.models.find("other/1") is not None)


async def test_a_model_without_calls_is_given_back_before_the_answer(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        small_bundle(one.folder, "other", "1")
        await one.administration.load_model("other", "", make_default=False)
        key = one.serving.models.named("other").key
        state = await one.administration.unload_model("other")
        assert (state.status, state.devices, state.open_calls) == (ModelStatus.UNLOADED, (), 0)
        assert (state.is_default, state.answers_to_name) == (False, False)
        assert not one.batcher.has(key)
        assert names(await one.administration.models()) == [("small", "1")]
        with pytest.raises(ModelUnknown):
            await one.administration.unload_model("other")


async def test_a_model_with_calls_is_given_back_when_the_last_of_them_ends(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        small_bundle(one.folder, "small", "2")
        await one.administration.load_model("small/2", "", make_default=True)
        with one.serving.models.held("small/1") as held:
            state = await one.administration.unload_model("small/1")
            assert (state.status, state.open_calls) == (ModelStatus.UNLOADING, 1)
            assert len(state.devices) == 1
            states = await one.administration.models()
            assert [one.status for one in states] == [ModelStatus.UNLOADING, ModelStatus.LOADED]
            assert (await held.engine.submit(window(0))).shape == (SMALL_DIM,)
            assert one.batcher.has(held.key)
            await one.administration.load_model("small/1", "", make_default=False)
            assert len(await one.administration.models()) == 3
        await until(lambda: not one.serving.models.leaving)
        assert not one.batcher.has(held.key)
        assert len(await one.administration.models()) == 2


async def test_models_can_be_listed_at_every_moment_of_an_unload(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        small_bundle(one.folder, "other", "1")
        counts = []
        for _ in range(5):
            await one.administration.load_model("other", "", make_default=False)
            await one.serving.models.named("other").engine.submit(window(0))
            unload = asyncio.create_task(one.administration.unload_model("other"))
            while not unload.done():
                await one.administration.models()
                counts.append((await one.administration.server()).windows_embedded)
                await asyncio.sleep(0)
        assert counts == sorted(counts)
        assert (await one.administration.server()).windows_embedded == 5


async def test_the_only_version_of_the_default_model_stays(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        with pytest.raises(ModelIsDefault):
            await one.administration.unload_model("small")
        (state,) = await one.administration.models()
        assert (state.status, state.is_default) == (ModelStatus.LOADED, True)


async def test_a_drain_refuses_new_calls_tells_the_health_and_can_be_lifted(
    tmp_path: Path,
) -> None:
    async with administered(tmp_path) as one:
        places = one.serving.places
        with places.stream():
            assert await one.administration.drain(resume=False, wait_s=0.0) == 1
            assert (await one.administration.server()).draining
            with pytest.raises(Draining), places.stream():
                pass
        assert await one.administration.drain(resume=True, wait_s=0.0) == 0
        with places.stream(), places.unary(1):
            assert not (await one.administration.server()).draining
        assert one.health == [False, True]


async def test_a_drain_that_waits_answers_when_the_last_call_ends_or_in_time(
    tmp_path: Path,
) -> None:
    async with administered(tmp_path) as one:
        with one.serving.places.unary(1):
            begun_s = time.monotonic()
            assert await one.administration.drain(resume=False, wait_s=0.05) == 1
            assert time.monotonic() - begun_s >= 0.05
            order = asyncio.create_task(one.administration.drain(resume=False, wait_s=60.0))
            await asyncio.sleep(0.02)
            assert not order.done()
        async with asyncio.timeout(5):
            assert await order == 0


async def test_a_daemon_that_stops_takes_no_calls_again(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        one.serving.places.draining = one.serving.places.stopping = True
        with pytest.raises(Draining):
            await one.administration.drain(resume=True, wait_s=0.0)
        assert one.serving.places.draining
        assert one.health == []


async def test_lifting_a_drain_makes_no_dead_engine_well(tmp_path: Path) -> None:
    def mortal(bundle: Bundle) -> Lanes:
        return Lanes(SMALL_DIM, [Dying(SMALL_DIM)])

    async with administered(tmp_path, open_lanes=mortal) as one:
        with pytest.raises(EngineDead):
            await one.serving.models.default.engine.submit(window(0, level=1000.0))
        await one.administration.drain(resume=True, wait_s=0.0)
        assert one.health == [False]


async def test_live_calls_are_told_as_they_are(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        assert await one.administration.sessions() == []
        opening = one.serving.sessions.opened(
            request_id="a", rpc="StreamVerify", domain="default", model="small/1"
        )
        with opening:
            assert [live.request_id for live in await one.administration.sessions()] == ["a"]
