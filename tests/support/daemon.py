"""A real daemon process: start it, find its addresses, signal it, read what it said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from support import fake_daemon

START_S = 30.0
_SERVES = re.compile(
    r"serves on (?P<grpc>\S+?)(, HTTP on http://(?P<http>\S+?))?"
    r"(, metrics on http://(?P<metrics>\S+)/metrics)?$"
)


class DaemonFailed(Exception):
    """The daemon ended instead of serving."""

    def __init__(self, code: int, errors: str) -> None:
        self.code, self.errors = code, errors
        super().__init__(f"the daemon ended with {code}: {errors}")


class Daemon:
    """`speakerd serve`, or a program with the same flags, with ports and a store of its own.

    The speech gate is off and any audio is good enough unless a flag says otherwise: most tests are
    about all of the audio they send, noise as well.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "speakerd_server", "serve"),
    ) -> None:
        self.folder = folder
        self.store = folder / "speakerd.db"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SPEAKERD_")}
        defaults = {
            "--server-address": "127.0.0.1:0",
            "--server-metrics-address": "127.0.0.1:0",
            "--kserve-http-address": "127.0.0.1:0",
            "--store-path": str(self.store),
            "--gate-enabled": "false",
            "--quality-minimum-snr-db": "-20",
            "--quality-maximum-clipping-share": "1",
            "--quality-minimum-level-dbfs": "-100",
        }
        chosen = [f"{k}={v}" for k, v in defaults.items() if not _names(flags, k)]
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(
            [sys.executable, *program, *chosen, *flags],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=clean | dict(environment or {}),
            cwd=folder,
            text=True,
        )
        self.address = ""
        self.metrics = ""
        self.http = ""

    def wait_until_serving(self) -> Self:
        """Read the addresses; raises DaemonFailed when it ends instead."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline().strip()
        finally:
            watchdog.cancel()
        found = _SERVES.search(line)
        if found is None:
            code = self.process.wait(10)
            raise DaemonFailed(code, self.errors())
        self.address = found["grpc"]
        self.metrics, self.http = found["metrics"] or "", found["http"] or ""
        return self

    def errors(self) -> str:
        """Give what it wrote to standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def terminate(self) -> None:
        """Ask it to drain."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word, as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Drain it and give its exit code."""
        if self.process.poll() is None:
            self.terminate()
        code = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()
        return code

    def __enter__(self) -> Self:
        return self.wait_until_serving()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def over_fake_engine(folder: Path, *flags: str, delay_s: float = 0.0) -> Daemon:
    """Make a daemon whose one backend is a `FakeBackend`; each batch takes so long."""
    tests = str(Path(fake_daemon.__file__).parents[1])
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    return Daemon(
        folder,
        *flags,
        environment={"PYTHONPATH": path},
        program=(str(fake_daemon.__file__), str(delay_s)),
    )


def _names(flags: tuple[str, ...], name: str) -> bool:
    return any(flag == name or flag.startswith(f"{name}=") for flag in flags)
