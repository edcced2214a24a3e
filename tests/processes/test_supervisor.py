from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from speakerd.v1 import admin_pb2, admin_pb2_grpc
from speakerd_server.engine.cpu import processors
from speakerd_server.errors import AddressUnavailable, SettingInvalid, StoreUnusable
from speakerd_server.life import Addresses
from speakerd_server.processes import fleet as fleet_module
from speakerd_server.processes import supervisor
from speakerd_server.processes.supervisor import check_workers, private_folder
from support.fake_engine import PROGRAMS, SLOW
from support.fleets import LiveCall, children_now, eventually, fleet_settings, is_running

pytestmark = pytest.mark.timeout(60)
"""Each test starts several processes, on a machine that may be busy."""

ANY = "127.0.0.1:0"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the daemon makes its private folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_in(place: Path) -> list[int]:
    """Give the modes of the daemon's folders that are there."""
    return [stat.S_IMODE(folder.stat().st_mode) for folder in place.iterdir()]


@asynccontextmanager
async def supervised(folder: Path, **given: Any) -> AsyncIterator[tuple[Addresses, Any]]:
    """A daemon whose supervisor is this process, and the task that is its life."""
    settings = fleet_settings(folder, **{"server__workers": 1} | given)
    announced: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    life = asyncio.create_task(supervisor.run(settings, announced.set_result, PROGRAMS))
    ends: list[asyncio.Future[Any]] = [life, announced]
    await asyncio.wait(ends, timeout=15, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        await life
    try:
        yield await announced, life
    finally:
        life.cancel()
        await asyncio.wait([life])
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def server_info(address: str) -> admin_pb2.GetServerInfoResponse:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        answer: admin_pb2.GetServerInfoResponse = await stub.GetServerInfo(
            admin_pb2.GetServerInfoRequest(), timeout=10
        )
        return answer


def test_more_front_ends_than_processors_are_refused_by_the_settings_name(tmp_path: Path) -> None:
    settings = fleet_settings(tmp_path)
    for workers in range(1, processors() + 1):
        server = dataclasses.replace(settings.server, workers=workers)
        check_workers(dataclasses.replace(settings, server=server))
    server = dataclasses.replace(settings.server, workers=processors() + 1)
    with pytest.raises(SettingInvalid, match=rf"server\.workers.*{processors()} or fewer"):
        check_workers(dataclasses.replace(settings, server=server))


def test_the_folder_of_a_daemon_is_its_own_and_nobody_cleans_it_up(place: Path) -> None:
    with private_folder() as folder, private_folder() as other:
        assert folder != other
        assert left_in(place) == [0o700, 0o700]
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        (folder / "store").touch()
    assert left_in(place) == []


def test_a_folder_that_somebody_removed_all_the_same_ends_no_daemon(place: Path) -> None:
    with private_folder() as folder:
        folder.rmdir()
    with pytest.raises(ValueError, match="inside"), private_folder():
        raise ValueError("inside")
    assert left_in(place) == []


async def test_it_serves_until_it_is_told_to_stop_and_leaves_nothing(
    tmp_path: Path, place: Path
) -> None:
    before = children_now()
    async with supervised(tmp_path, server__metrics_address=ANY) as (addresses, life):
        assert {process.name for process in (await server_info(addresses.grpc)).processes} == {
            "store",
            "engine cpu",
            "worker 0",
        }
        assert left_in(place) == [0o700], "others can reach the sockets"
        page = await asyncio.to_thread(
            urllib.request.urlopen, f"http://{addresses.metrics}/metrics", timeout=5
        )
        with page:
            assert b"speakerd_windows_embedded_total" in page.read()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(life, 15)
    assert left_in(place) == []
    assert children_now() == before


async def test_a_call_may_finish_within_the_grace_and_a_second_signal_ends_it(
    tmp_path: Path, place: Path
) -> None:
    async with supervised(tmp_path, server__drain_grace_s=60.0) as (addresses, life):
        call = LiveCall(addresses.grpc)
        await call.open()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not life.done()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(life, 15)
        await call.close()
    assert left_in(place) == []


async def test_the_end_comes_with_the_last_call_or_with_the_grace(tmp_path: Path) -> None:
    async with supervised(tmp_path, server__drain_grace_s=60.0) as (addresses, life):
        call = LiveCall(addresses.grpc)
        await call.open()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        await call.close()
        await asyncio.wait_for(life, 15)
    async with supervised(tmp_path, server__drain_grace_s=0.2) as (addresses, life):
        call = LiveCall(addresses.grpc)
        await call.open()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(life, 15)
        await call.close()


async def test_a_signal_during_the_start_ends_it_in_order_and_leaves_nothing(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "1=60")
    before = children_now()
    settings = fleet_settings(tmp_path, server__workers=1)
    life = asyncio.create_task(supervisor.run(settings, lambda _: None, PROGRAMS))
    await eventually(lambda: len(children_now() - before) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(life, 15)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
    assert left_in(place) == []
    assert children_now() == before


async def test_a_front_end_that_hangs_does_not_keep_the_daemon_from_stopping(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "PATIENCE_S", 0.3)
    async with supervised(tmp_path) as (addresses, life):
        processes = (await server_info(addresses.grpc)).processes
        (pid,) = [process.pid for process in processes if process.name == "worker 0"]
        os.kill(pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(life, 15)
        assert not is_running(pid)
    assert left_in(place) == []


async def test_a_folder_in_which_no_socket_file_can_be_stops_the_start_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("x" * 100)).mkdir()
    for folder in (tmp_path / "absent", tmp_path / ("x" * 100)):
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with pytest.raises(SettingInvalid, match=r"TMPDIR.*socket files"):
            async with supervised(tmp_path):
                raise AssertionError("it has started")
    assert left_in(folder) == []


async def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path, place: Path) -> None:
    before = children_now()
    with pytest.raises(StoreUnusable):
        async with supervised(tmp_path, store__path=str(tmp_path)):
            raise AssertionError("it has started")
    assert left_in(place) == []
    assert children_now() == before


@pytest.mark.parametrize("setting", ["server__address", "server__metrics_address"])
async def test_a_port_that_is_taken_stops_the_start_and_leaves_nothing(
    setting: str, tmp_path: Path, place: Path
) -> None:
    before = children_now()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressUnavailable, match=setting.replace("__", r"\.")):
            async with supervised(tmp_path, **{setting: taken}):
                raise AssertionError("it has started")
    assert left_in(place) == []
    assert children_now() == before


async def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "support" / "fake_fleet.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        str(tmp_path),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(program.parents[1]), "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert len(pids) == 3
    assert all(map(is_running, pids))
    process.kill()
    await process.wait()
    await eventually(lambda: not any(map(is_running, pids)))
    assert await process.stdout.read() == b""
