"""The life of a daemon of several processes, top to bottom: build, start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from speakerd_server.calls.places import Places
from speakerd_server.config import Settings
from speakerd_server.engine.cpu import processors
from speakerd_server.engine.devices import parse_device
from speakerd_server.errors import AddressUnavailable, SettingInvalid
from speakerd_server.life import Addresses, quiet_or_again, stop_on_signals, unless_stopped
from speakerd_server.metrics_page import serve_metrics_of_all
from speakerd_server.processes.fleet import Fleet, Programs
from speakerd_server.processes.fleet_administration import FleetAdministration
from speakerd_server.processes.messages import DrainNow
from speakerd_server.processes.remote_store import RemoteEnrolments
from speakerd_server.wire.server import host_and_port

_log = logging.getLogger(__name__)

_LONGEST_FOLDER_BYTES = 96
"""A socket file's path has at most 107 bytes, and one here at most 11 behind the folder."""


async def run(
    settings: Settings, announce: Callable[[Addresses], None], programs: Programs | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the addresses once calls are answered.

    Raises SpeakerdError when the daemon cannot start.
    """
    check_workers(settings)
    check_devices(settings)
    stopping = asyncio.Event()
    with ExitStack() as held:
        addresses = hold_ports(settings, held)
        folder = held.enter_context(private_folder())
        metrics_server = None
        fleet = enrolments = None
        try:
            fleet = Fleet(settings, folder, addresses, programs or Programs())
            enrolments = RemoteEnrolments(
                fleet.whereabouts.store, settings.calls.pending_store_changes
            )
            fleet.operators = FleetAdministration(fleet, enrolments)
            metrics_server, metrics_address = serve_metrics_of_all(
                settings.server, fleet.metrics_folder
            )
            enrolments.open()
            stop_on_signals(stopping)
            if await unless_stopped(fleet.start(), stopping):
                announce(replace(addresses, metrics=metrics_address))
                told = {"address": addresses.grpc, "http": addresses.http}
                _log.info("serving", extra=told | {"metrics": metrics_address})
                await stopping.wait()
                await _drain(fleet, settings.server.drain_grace_s, stopping)
        finally:
            if metrics_server is not None:
                metrics_server.shutdown()
                metrics_server.server_close()
            if enrolments is not None:
                await enrolments.close()
            if fleet is not None:
                await fleet.stop()
    _log.info("stopped")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make the folder of a daemon's sockets and counts, and remove it at the end.

    It is locked: who cleans up what is old in such places, as systemd-tmpfiles does, lets it be.
    Raises SettingInvalid where none can be.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="speakerd-"))
    except OSError as error:
        problem = f"no folder for the daemon's socket files can be made ({error.strerror})"
        raise SettingInvalid("TMPDIR", "the environment", problem) from None
    if len(os.fsencode(folder)) > _LONGEST_FOLDER_BYTES:
        folder.rmdir()
        problem = f"{folder.parent} is too long for socket files; name a shorter folder"
        raise SettingInvalid("TMPDIR", "the environment", problem)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def check_workers(settings: Settings) -> None:
    """Raise SettingInvalid for more front ends than processors."""
    cores = processors()
    if settings.server.workers > cores:
        problem = (
            f"{settings.server.workers} processes on {cores} processor(s) only take them from each"
            f" other; set it to {cores} or fewer"
        )
        raise SettingInvalid("server.workers", "the settings", problem)


def check_devices(settings: Settings) -> None:
    """Raise SettingInvalid for a GPU that is there twice; its lanes are what share it."""
    named = [one for one in settings.engine.devices if one.startswith("gpu:")]
    gpus = list(map(parse_device, named))
    for gpu in gpus:
        if gpus.count(gpu) > 1:
            problem = f"{gpu} is there twice; name each GPU once, `gpu.lanes` is how many share it"
            raise SettingInvalid("engine.devices", "the settings", problem)


def hold_ports(settings: Settings, ports: ExitStack) -> Addresses:
    """Hold the ports of gRPC and, if there is one, of HTTP until the stack is closed.

    Raises AddressUnavailable.
    """
    held, grpc = hold_port(settings.server.address, "server.address")
    ports.enter_context(held)
    http = settings.kserve.http_address
    if http:
        held, http = hold_port(http, "kserve.http_address")
        ports.enter_context(held)
    return Addresses(grpc, "", http)


def hold_port(address: str, setting: str) -> tuple[socket.socket, str]:
    """Hold a port for this daemon alone, on which its processes listen together.

    Gives the socket that holds it, which never listens itself, and the address with the real port.
    Raises AddressUnavailable.
    """
    host, port = host_and_port(address, setting)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, where = found[0]
        # First without sharing: another daemon of several processes would share too.
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            where = alone.getsockname()
        held = socket.socket(family, kind, protocol)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(where)
        except OSError:
            held.close()
            raise
    except OSError as error:
        cause = "another program listens there, or this host has no such address"
        raise AddressUnavailable(address, setting, f"{cause} ({error.strerror})") from None
    return held, f"{host}:{held.getsockname()[1]}"


async def _drain(fleet: Fleet, grace_s: float, stopping: asyncio.Event) -> None:
    stopping.clear()
    calls = Places.open_calls_in(fleet.counts)
    _log.info("draining", extra={"open_calls": calls, "grace_s": grace_s})
    fleet.draining = fleet.stopping = True
    await fleet.tell_workers(DrainNow(draining=True, stopping=True))
    await fleet.tell_health()
    await quiet_or_again(fleet.quiet(), stopping, grace_s)
    calls = Places.open_calls_in(fleet.counts)
    if calls:
        _log.warning("grace is over", extra={"cancelled_calls": calls})
