from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from speakerd_server import config
from speakerd_server.cards import Bundle
from speakerd_server.config import Settings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import DeviceUnavailable, Draining, ModelRefused
from speakerd_server.processes.engine_process import EngineProcess
from speakerd_server.processes.messages import (
    Begin,
    Listen,
    LoadOrder,
    StatisticsNow,
    Stop,
    UnloadOrder,
    Whereabouts,
)
from speakerd_server.processes.windows_shared import MOST_VALUES
from support.bundles import named
from support.front_ends import front_end
from support.signals import card
from support.sounds import DIM, fake_embedding, window

NAME = "engine cpu"


async def nobody(question: object) -> None:
    raise AssertionError(f"nobody was to ask {question}")


class Device:
    """Opens fake models, and takes note of them."""

    def __init__(self, side_by_side: bool = True) -> None:
        self.backends: list[FakeBackend] = []
        self.failure: Exception | None = None
        self._side_by_side = side_by_side

    def open(self, bundle: Bundle, device: str, settings: Settings) -> Lanes:
        if self.failure is not None:
            raise self.failure
        made = [FakeBackend(bundle.card.dim, delay_s=0.001) for _ in range(settings.engine.workers)]
        self.backends += made
        return Lanes(bundle.card.dim, made, side_by_side=self._side_by_side)


def first_word(folder: Path, device: str = "cpu") -> Begin:
    settings = config.load(flags={"engine.workers": 2})
    return Begin(settings, Whereabouts(folder, (NAME,)), NAME, 0, device=device)


def bundle(version: str = "1", dim: int = DIM) -> Bundle:
    return Bundle(named(card(), "small", version, dim=dim), Path("model.onnx"))


@asynccontextmanager
async def begun(folder: Path, device: Device) -> AsyncIterator[EngineProcess]:
    process = EngineProcess(nobody, device.open)
    await process.begin(first_word(folder))
    yield process
    await process.close()


async def test_a_loaded_model_embeds_the_windows_of_front_ends_until_it_is_unloaded(
    tmp_path: Path,
) -> None:
    device, one = Device(), window(20)
    async with begun(tmp_path, device) as process:
        for number in (1, 2):
            assert (await process.answer(LoadOrder(bundle(str(number)), number))).windows_per_s > 0
        await process.answer(Listen())
        with front_end(tmp_path / "engine-0") as front:
            await front.greet()
            front.submit(0, one)
            _, embedding = await front.heard()
            np.testing.assert_array_equal(np.asarray(embedding), fake_embedding(one))
            did = await process.answer(StatisticsNow())
            assert {number: work.windows_embedded for number, work in did.items()} == {1: 1, 2: 0}
            await process.answer(UnloadOrder(1))
            assert [backend.closed for backend in device.backends] == [True, True, False, False]
            front.submit(1, one)
            _, refused = await front.heard()
            assert isinstance(refused, Draining)
            assert (await process.answer(StatisticsNow())).keys() == {2}
    assert all(backend.closed for backend in device.backends)


async def test_an_engine_whose_lanes_work_side_by_side_is_as_fast_as_all_of_them(
    tmp_path: Path,
) -> None:
    speeds: dict[bool, float] = {}
    for side_by_side in (True, False):
        async with begun(tmp_path, Device(side_by_side)) as process:
            loaded = await process.answer(LoadOrder(bundle(), 1))
            cost = (await process.answer(StatisticsNow()))[1].cost
            assert cost is not None
            seconds = dict(cost.measured)[cost.best_windows]
            speeds[side_by_side] = loaded.windows_per_s * seconds / cost.best_windows
    assert speeds == pytest.approx({True: 2.0, False: 1.0})


def absent(device: Device) -> Bundle:
    device.failure = DeviceUnavailable("gpu:3", "nothing")
    return bundle()


def refused_by_name(device: Device) -> Bundle:
    device.failure = ModelRefused("small/1", "found: nothing good")
    return bundle()


def too_long(device: Device) -> Bundle:
    return bundle(dim=MOST_VALUES + 1)


@pytest.mark.parametrize(
    ("spoil", "expected", "said"),
    [
        (absent, DeviceUnavailable, "found: nothing"),
        (refused_by_name, ModelRefused, "nothing good"),
        (too_long, ModelRefused, "at most 4096"),
    ],
)
async def test_a_model_that_cannot_be_loaded_is_refused_by_its_reason_and_leaves_nothing(
    spoil: Callable[[Device], Bundle],
    expected: type[Exception],
    said: str,
    tmp_path: Path,
) -> None:
    device = Device()
    async with begun(tmp_path, device) as process:
        with pytest.raises(expected, match=said):
            await process.answer(LoadOrder(spoil(device), 1))
        assert await process.answer(StatisticsNow()) == {}
        device.failure = None
        await process.answer(LoadOrder(bundle(), 1))


async def test_an_embedding_of_the_most_values_there_can_be_has_room(tmp_path: Path) -> None:
    async with begun(tmp_path, Device()) as process:
        await process.answer(LoadOrder(bundle(dim=MOST_VALUES), 1))
        await process.answer(Listen())
        with front_end(tmp_path / "engine-0") as front:
            await front.greet()
            short = window(3)
            front.submit(0, dataclasses.replace(short, pcm=short.pcm[:720]))
            _, embedding = await front.heard()
            assert np.asarray(embedding).shape == (MOST_VALUES,)


async def test_what_is_no_device_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):
        await EngineProcess(nobody, Device().open).begin(first_word(tmp_path, "tpu:0"))


@pytest.mark.parametrize("question", [None, Stop(), "load"])
async def test_whatever_else_it_is_asked_it_refuses(question: object, tmp_path: Path) -> None:
    async with begun(tmp_path, Device()) as process:
        with pytest.raises(ValueError, match="an engine cannot answer"):
            await process.answer(question)
