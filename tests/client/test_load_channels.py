"""Connections of a load are as many as asked for, or there is a named reason why not."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from speakerd_client import InvalidLoad, NotReachable
from speakerd_client.load import channels
from speakerd_client.load.channels import check_descriptors, closed, connected
from support.daemon import Daemon


def sockets_to(address: str) -> int:
    """Count the TCP connections of this process that are open to a port of the loopback."""
    port = f"{int(address.rpartition(':')[2]):04X}"
    lists = [Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for text in lists for line in text.splitlines()[1:]]
    own = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return sum(
        row[2].endswith(f":{port}") and row[3] == "01" and f"socket:[{row[9]}]" in own
        for row in rows
    )


async def test_each_channel_has_a_connection_of_its_own(daemon: Daemon) -> None:
    before = sockets_to(daemon.address)
    opened = await connected(daemon.address, 5)
    assert sockets_to(daemon.address) == before + 5
    await closed(opened)


async def test_connections_that_do_not_open_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "CONNECT_S", 0.3)
    with pytest.raises(NotReachable, match=r"0 of 3 connections to 127\.0\.0\.1:1 were open"):
        await connected("127.0.0.1:1", 3)


async def test_a_process_without_streams_needs_no_connection(daemon: Daemon) -> None:
    assert await connected(daemon.address, 0) == []


def test_descriptors_are_counted_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1024))
    check_descriptors(224, 1)
    check_descriptors(448, 2)
    with pytest.raises(InvalidLoad) as caught:
        check_descriptors(449, 2)
    assert caught.value.message == (
        "449 connections of 2 generating processes need 257 file descriptors in each, and 256 are"
        " allowed: raise the limit (ulimit -n 257), or take fewer --connections or more --processes"
    )


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    check_descriptors(60_000, 1)
