"""A daemon of several processes that cannot start says why in one message, and leaves nobody."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from speakerd_server.engine.cpu import processors
from speakerd_server.models.bundle import shipped_bundle
from support import fleet
from support.daemon import Daemon, DaemonFailed

pytestmark = [pytest.mark.timeout(90), fleet.NEEDS_TWO_PROCESSORS]


def failure(daemon: Daemon) -> str:
    """Wait for a start that fails; gives its one message."""
    with suppress(DaemonFailed):
        daemon.wait_until_serving()
    assert daemon.process.wait(20) == 2
    said = daemon.errors()
    assert "Traceback" not in said
    (message,) = [line for line in said.splitlines() if line.startswith("speakerd: ")]
    assert fleet.left_over(daemon.folder) == []
    return message


def test_more_workers_than_processors_are_refused_by_name(daemons: fleet.Daemons) -> None:
    message = failure(daemons(f"--workers={processors() + 1}"))
    assert message.endswith("[SETTING_INVALID]")
    assert f"set it to {processors()} or fewer" in message


def test_a_gpu_that_is_named_twice_is_refused_by_name(daemons: fleet.Daemons) -> None:
    message = failure(daemons("--engine-devices=gpu:0,cpu,gpu:00"))
    assert message.endswith("[SETTING_INVALID]")
    assert "gpu:0 is there twice" in message


@pytest.mark.parametrize("flag", ["--server-address", "--server-metrics-address"])
def test_a_port_that_is_taken_stops_the_start_by_name(daemons: fleet.Daemons, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = failure(daemons(f"{flag}={address}"))
    assert message.endswith("[ADDRESS_UNAVAILABLE]")
    assert address in message


def test_two_daemons_never_share_a_port_or_a_store(daemons: fleet.Daemons, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    running = daemons().wait_until_serving()
    message = failure(daemons(f"--server-address={running.address}", folder=other))
    assert message.endswith("[ADDRESS_UNAVAILABLE]")
    message = failure(daemons(f"--store-path={running.store}", folder=other))
    assert message.endswith("[STORE_UNUSABLE]")


def test_a_damaged_model_stops_the_start_by_name(daemons: fleet.Daemons, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), bundle)
    with (bundle / "model.onnx").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"\xff\xff\xff\xff")
    assert failure(daemons(f"--model-default={bundle}")).endswith("[MODEL_DAMAGED]")


def test_a_device_that_is_not_there_stops_the_start_by_name(daemons: fleet.Daemons) -> None:
    message = failure(daemons("--engine-devices=cpu,gpu:99"))
    assert message.endswith("[DEVICE_UNAVAILABLE]")
    assert "gpu:99" in message


@pytest.mark.parametrize("kind", ["store", "engine", "worker"])
def test_a_process_that_is_killed_during_the_start_stops_it_by_name(
    daemons: fleet.Daemons, kind: str
) -> None:
    daemon = daemons()
    found = fleet.until(lambda: fleet.children(daemon.process.pid, kind))
    os.kill(found[0], signal.SIGKILL)
    with suppress(DaemonFailed):
        daemon.wait_until_serving()
    if daemon.address:  # it was killed late, and is started again
        with fleet.alone(daemon.address) as stubs:
            fleet.until(lambda: sum(part.restarts for part in fleet.parts(stubs).values()) == 1)
    else:
        assert kind in failure(daemon)
