from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from speakerd_server import config
from speakerd_server.errors import SpeakerUnknown
from speakerd_server.processes.child import Child
from speakerd_server.processes.entry import KINDS, Process
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import Begin, Stop, Whereabouts
from support.odd_process import PROGRAM


async def doubled(question: Any) -> Any:
    return 2 * question


@asynccontextmanager
async def started(kind: str = "odd", program: Sequence[str] = PROGRAM) -> AsyncIterator[Child]:
    child = Child(kind, f"{kind} 0", doubled, {}, program)
    await child.start()
    try:
        yield child
    finally:
        child.kill()
        await child.ended()


async def soon(child: Child, question: Any) -> Any:
    async with asyncio.timeout(10):
        return await child.ask(question)


def first_word(folder: Path, name: str) -> Begin:
    return Begin(config.load(), Whereabouts(folder, ()), name, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_process_is_there_and_does_what_a_process_does(kind: str) -> None:
    module, _, name = KINDS[kind].partition(":")
    found = getattr(importlib.import_module(module), name)
    for method in ("begin", "answer", "close"):
        wanted = inspect.signature(getattr(Process, method))
        assert inspect.iscoroutinefunction(getattr(found, method))
        assert list(inspect.signature(getattr(found, method)).parameters) == list(wanted.parameters)
    assert module.rpartition(".")[2] == f"{kind}_process"


async def test_the_first_word_tells_a_process_what_it_is_to_be(tmp_path: Path) -> None:
    async with started() as child:
        begin = first_word(tmp_path, "odd 0")
        assert await soon(child, ("begun", None)) is None
        await soon(child, begin)
        assert await soon(child, ("begun", None)) == begin


async def test_a_process_that_cannot_become_it_says_why_and_can_be_told_again(
    tmp_path: Path,
) -> None:
    async with started() as child:
        with pytest.raises(SpeakerUnknown):
            await soon(child, first_word(tmp_path, "refused"))
        await soon(child, first_word(tmp_path, "odd 0"))


async def test_a_process_asks_its_supervisor() -> None:
    async with started() as child:
        assert await soon(child, ("ask back", 4)) == 8


async def test_the_last_word_lets_a_process_finish_and_ends_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with started() as child:
        await soon(child, first_word(tmp_path, "odd 0"))
        await soon(child, ("mark when closed", str(mark)))
        waiting = asyncio.create_task(child.ask(("wait", None)))
        await soon(child, Stop())
        assert await child.ended() == "exit code 0"
        with pytest.raises(LinkLost):
            await waiting
    assert mark.read_text() == "closed"


async def test_a_process_whose_supervisor_is_gone_ends_at_once_whatever_it_does(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    async with started() as child:
        await soon(child, ("mark when closed", str(mark)))
        waiting = asyncio.create_task(child.ask(("wait", None)))
        await asyncio.sleep(0.01)
        assert child._link is not None
        await child._link.close()
        async with asyncio.timeout(5):
            assert await child.ended() == "exit code 1"
        with pytest.raises(LinkLost):
            await waiting
    assert not mark.exists()


async def test_a_process_that_only_lost_its_link_leaves_the_daemons_folder_alone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    async with started() as child:
        await soon(child, first_word(folder, "odd 0"))
        assert child._link is not None
        await child._link.close()
        async with asyncio.timeout(5):
            assert await child.ended() == "exit code 1"
    assert folder.exists()


async def test_a_process_that_never_became_anything_has_nothing_to_finish(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with started() as child:
        await soon(child, ("mark when closed", str(mark)))
        beginning = asyncio.create_task(child.ask(first_word(tmp_path, "hangs")))
        await asyncio.sleep(0.01)
        await soon(child, Stop())
        assert await child.ended() == "exit code 0"
        with pytest.raises(LinkLost):
            await beginning
    assert not mark.exists()


async def test_one_whose_supervisor_goes_while_it_finishes_does_not_stay_for_ever(
    tmp_path: Path,
) -> None:
    async with started() as child:
        await soon(child, first_word(tmp_path, "odd 0"))
        await soon(child, ("hang when closed", None))
        await soon(child, Stop())
        assert child._link is not None
        await child._link.close()
        async with asyncio.timeout(5):
            assert await child.ended() == "exit code 1"


async def test_what_nobody_understands_is_refused_and_the_process_goes_on() -> None:
    async with started("store", ()) as child:
        for question in (None, 7, "hello", ("echo", 1)):
            with pytest.raises(RuntimeError, match="a store cannot answer"):
                await soon(child, question)


async def test_a_kind_that_is_not_known_ends_before_it_says_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with started("cook", ()) as child:
        with pytest.raises(LinkLost):
            await soon(child, Stop())
        assert await child.ended() == "exit code 1"
    assert "KeyError: 'cook'" in capfd.readouterr().err


async def test_a_descriptor_that_is_none_ends_a_process(capfd: pytest.CaptureFixture[str]) -> None:
    program = ("-c", "import sys; sys.argv[2] = '999'; from speakerd_server.processes import entry;"
               "entry.main(lambda ask: None)")  # fmt: skip
    async with started("odd", program) as child:
        assert await child.ended() == "exit code 1"
    assert "Bad file descriptor" in capfd.readouterr().err
