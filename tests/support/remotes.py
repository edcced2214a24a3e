"""Servers that embed for a daemon: one in this process, another speakerd, a real Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.triton_repository import Repository, write_repository
from support.daemon import Daemon
from support.kserve_server import KserveServer, served
from support.triton import Triton

QUICK = (
    "--remote-deadline-ms=1500",
    "--remote-retries=1",
    "--remote-health-interval-s=0.1",
)
PYTHON = Repository("python", False, "float32", 8, 2, 1000)


class Remote(Protocol):
    """A server that embeds, somewhere else."""

    address: str

    def leave(self) -> None:
        """End without a word."""

    def come_back(self) -> None:
        """Be there again, at the same address."""


class MadeUp:
    """The protocol over the shipped model, in this process."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.server = KserveServer(OnnxRuntimeCpu(load_bundle(shipped_bundle())), 192)
        self._stack = stack.enter_context(ExitStack())
        self.address = self._stack.enter_context(served(self.server))

    def leave(self) -> None:
        self._stack.close()

    def come_back(self) -> None:
        self._stack.enter_context(served(self.server, self.address))


class OtherDaemon:
    """Another speakerd."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder, self.address = stack, folder, "127.0.0.1:0"
        self.come_back()
        self.address = self._daemon.address

    def leave(self) -> None:
        self._daemon.kill()

    def come_back(self) -> None:
        folder = Path(self._folder)
        folder.mkdir(exist_ok=True)
        daemon = Daemon(folder, f"--server-address={self.address}")
        self._daemon = self._stack.enter_context(daemon)


class RealTriton:
    """NVIDIA's server, over a repository of the shipped model."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        write_repository(folder, load_bundle(shipped_bundle()), PYTHON)
        self._triton = stack.enter_context(Triton(folder))
        self.address = self._triton.address

    def leave(self) -> None:
        self._triton.kill()

    def come_back(self) -> None:
        port = int(self.address.rpartition(":")[2])
        self._triton = self._stack.enter_context(Triton(self._folder, grpc_port=port))


KINDS: dict[str, Callable[[ExitStack, Path], Remote]] = {
    "made-up": MadeUp,
    "speakerd": OtherDaemon,
    "triton": RealTriton,
}
EVERY = [
    pytest.param(name, marks=[pytest.mark.triton] if name == "triton" else []) for name in KINDS
]


@contextmanager
def over(address: str, folder: Path, *flags: str) -> Iterator[Daemon]:
    """Run a daemon whose engine is at an address."""
    folder = folder / "daemon"
    folder.mkdir()
    daemon = Daemon(folder, f"--engine-devices=kserve:{address}", *QUICK, *flags)
    try:
        with daemon as running:
            yield running
    finally:
        # One that ended instead of serving was not stopped yet.
        daemon.stop()
