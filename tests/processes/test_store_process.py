from __future__ import annotations

import os
from pathlib import Path

import pytest
from speakerd_server import config
from speakerd_server.errors import StoreUnavailable, StoreUnusable
from speakerd_server.processes.messages import Begin, StatisticsNow, Whereabouts
from speakerd_server.processes.store_process import StoreProcess
from support.recordings import DOMAIN, recording
from support.store_over_link import asking


async def nobody(question: object) -> None:
    raise AssertionError(f"nobody was to ask {question}")


def first_word(folder: Path, path: Path) -> Begin:
    settings = config.load(flags={"store.path": str(path)})
    return Begin(settings, Whereabouts(folder, ()), "store", 0)


async def test_it_serves_the_store_of_the_settings_and_keeps_what_was_stored(
    tmp_path: Path,
) -> None:
    for enrolled in range(3):
        process = StoreProcess(nobody)
        await process.begin(first_word(tmp_path, tmp_path / "speakerd.db"))
        async with asking(tmp_path / "store") as remote:
            await remote.ready()
            assert await remote.count() == enrolled
            await remote.enrol(DOMAIN, f"speaker-{enrolled}", recording(enrolled), None)
            await process.close()
            with pytest.raises(StoreUnavailable):
                await remote.count()


async def test_a_store_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    process = StoreProcess(nobody)
    with pytest.raises(StoreUnusable):
        await process.begin(first_word(tmp_path, tmp_path))
    assert "store" not in os.listdir(tmp_path)
    await process.close()


async def test_the_supervisor_asks_it_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a store cannot answer StatisticsNow"):
        await StoreProcess(nobody).answer(StatisticsNow())
