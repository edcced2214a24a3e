from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from speakerd_server import config
from speakerd_server.errors import ProcessFailed, SpeakerUnknown
from speakerd_server.processes import child as child_module
from speakerd_server.processes.arena import mapped, shared_file
from speakerd_server.processes.child import Child
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import Begin, Whereabouts
from support.odd_process import PROGRAM
from support.shared_ends import until

FIRST_WORD = Begin(config.load(), Whereabouts(Path("nowhere"), ()), "odd 0", 0)


async def nobody(question: Any) -> None:
    raise AssertionError(f"nobody was to ask {question}")


async def doubled(question: Any) -> Any:
    return 2 * question


def made(program: Sequence[str] = PROGRAM, **environment: str) -> Child:
    return Child("odd", "odd 0", doubled, environment, program)


@asynccontextmanager
async def started(**environment: str) -> AsyncIterator[Child]:
    child = made(**environment)
    await child.start()
    try:
        yield child
    finally:
        child.kill()
        await child.ended()


async def soon(child: Child, *question: Any) -> Any:
    async with asyncio.timeout(10):
        return await child.ask(question)


async def test_a_process_imports_nothing_from_the_folder_where_the_daemon_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    child = Child("store", "store", nobody, {})
    await child.start()
    try:
        with pytest.raises(RuntimeError, match="a store cannot answer"):
            await soon(child, "what it cannot answer")
    finally:
        child.kill()
        await child.ended()


async def test_nothing_is_freed_in_a_process_that_is_not_yet_its_program() -> None:
    told, telling = os.pipe()
    is_telling = [True]

    def tell() -> None:
        if is_telling:
            os.write(telling, b"collects" if gc.isenabled() else b"leaves it")

    os.register_at_fork(after_in_child=tell)
    try:
        async with started():
            assert os.read(told, 100) == b"leaves it"
        assert gc.isenabled()
    finally:
        is_telling.clear()
        os.close(told)
        os.close(telling)


async def test_a_process_is_asked_and_asks() -> None:
    async with started() as child:
        assert child.is_up
        assert await soon(child, "echo", [1, "two"]) == [1, "two"]
        assert await soon(child, "ask back", 21) == 42
        with pytest.raises(SpeakerUnknown):
            await soon(child, "raise", "anna")


async def test_operators_are_told_of_it_while_it_is_there() -> None:
    child = made()
    assert child.state.pid == 0
    await child.start()
    child.restarts = 3
    assert child.state.pid > 0
    assert (child.state.name, child.state.restarts) == ("odd 0", 3)
    assert await soon(child, "echo", 1) == 1
    with open(f"/proc/{child.state.pid}/cmdline", "rb") as command:  # noqa: ASYNC230
        assert command.read().endswith(b"\0odd 0\0")
    await child.stop()
    assert child.state.pid == 0
    assert child.state.started_unix_s > 0


async def test_it_has_an_environment_and_files_of_its_own() -> None:
    descriptor = shared_file(10)
    memory = mapped(descriptor)
    memory[:4] = b"here"
    child = made(SPEAKERD_TEST_WORD="given")
    await child.start(pass_fds=[descriptor])
    os.close(descriptor)
    assert await soon(child, "environment", "SPEAKERD_TEST_WORD") == "given"
    assert (await soon(child, "read", descriptor))[:4] == b"here"
    await child.stop()
    memory.close()


async def test_an_interrupt_at_the_terminal_is_not_for_it() -> None:
    async with started() as child:
        assert await soon(child, "session", None) == child.state.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_only_the_supervisor_ends_it(number: signal.Signals) -> None:
    async with started() as child:
        assert await soon(child, "echo", 1) == 1
        os.kill(child.state.pid, number)
        assert await soon(child, "echo", 2) == 2


async def test_who_asked_a_process_that_is_killed_is_told() -> None:
    async with started() as child:
        await soon(child, "echo", 1)
        child.ready = True
        asked = [asyncio.create_task(child.ask(("wait", number))) for number in range(3)]
        await asyncio.sleep(0.01)
        os.kill(child.state.pid, signal.SIGKILL)
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, LinkLost)
        assert await child.ended() == "signal 9"
        assert not child.is_up
        assert not child.ready
        with pytest.raises(LinkLost):
            await child.ask(("echo", 1))


async def test_a_process_that_ends_by_itself_has_an_exit_code() -> None:
    async with started() as child:
        with pytest.raises(LinkLost):
            await soon(child, "end", 7)
        assert await child.ended() == "exit code 7"


async def test_a_process_that_cannot_even_begin_is_known_to_have_ended() -> None:
    child = made(program=("-c", "raise SystemExit(9)"))
    await child.start()
    with pytest.raises(LinkLost):
        await soon(child, "echo", 1)
    assert await child.ended() == "exit code 9"


async def test_a_process_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = len(os.listdir("/proc/self/fd"))
    child = made()
    with pytest.raises(FileNotFoundError):
        await child.start()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not child.is_up
    await child.stop()


async def test_one_that_is_not_started_can_be_neither_asked_nor_stopped() -> None:
    child = made()
    with pytest.raises(LinkLost):
        await child.ask(("echo", 1))
    child.kill()
    await child.stop()
    assert child.stopping


async def test_one_that_is_stopped_finishes_what_it_must(tmp_path: Path) -> None:
    async with started() as child:
        await child.ask(FIRST_WORD)
        await soon(child, "mark when closed", str(tmp_path / "mark"))
        await child.stop()
        assert await child.ended() == "exit code 0"
        assert (tmp_path / "mark").read_text() == "closed"
        await child.stop()


async def test_one_that_does_not_finish_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_PATIENCE_S", 0.2)
    async with started() as child:
        await child.ask(FIRST_WORD)
        await soon(child, "hang when closed", None)
        await child.stop()
        assert await child.ended() == "signal 9"


async def test_one_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started() as child:
        await soon(child, "echo", 1)
        monkeypatch.setattr(child_module, "_PATIENCE_S", 0.1)
        os.kill(child.state.pid, signal.SIGSTOP)
        await child.stop()
        assert await child.ended() == "signal 9"


async def test_one_that_ended_can_be_started_again() -> None:
    child = made()
    pids = set()
    for _ in range(3):
        await child.start()
        assert not child.ready
        child.ready = True
        assert await soon(child, "echo", 1) == 1
        pids.add(child.state.pid)
        child.kill()
        await child.ended()
        await until(lambda: not child.is_up)
    assert len(pids) == 3


async def test_the_end_of_an_earlier_process_is_not_taken_for_that_of_the_next() -> None:
    child = made()
    await child.start()
    await soon(child, "echo", 1)
    earlier = child._link
    assert earlier is not None
    child.kill()
    await child.ended()
    await child.start()
    earlier._lose()
    assert child.is_up
    assert await soon(child, "echo", 2) == 2
    await child.stop()


async def test_one_that_talks_nonsense_is_given_up_and_ends() -> None:
    async with started() as child:
        await soon(child, "echo", 1)
        with open(f"/proc/{child.state.pid}/cmdline", "rb") as command:  # noqa: ASYNC230
            descriptor = int(command.read().split(b"\0")[-3])
        with pytest.raises(LinkLost):
            await soon(child, "garbage", descriptor)
        async with asyncio.timeout(5):
            assert await child.ended() == "exit code 1"


async def test_a_step_of_a_start_that_fails_names_the_process() -> None:
    async with started() as child:
        assert await child.order(("echo", 1)) == 1
        with pytest.raises(SpeakerUnknown):
            await child.order(("raise", "anna"))
        with pytest.raises(ProcessFailed, match=r"odd 0.*KeyError"):
            await child.order(("no such word", None))
        with pytest.raises(ProcessFailed, match=r"odd 0.*it ended"):
            await child.order(("end", 7))
