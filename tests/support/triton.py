"""A real Triton: the server of NVIDIA's wheel `nvidia-pytriton`, with the Python backend alone."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from support.shared import cannot_run

START_S = 60.0
PACKAGE = "nvidia-pytriton"
_LEAST_GLIBC = (2, 35)


class TritonFailed(Exception):
    """Triton ended, or was not ready in time."""


def triton_folder() -> Path:
    """Give the folder of the wheel's server; skip the test, or fail it in CI, without one.

    Nothing of the wheel is imported: its Python library wants older packages than there are here.
    """
    try:
        files = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        cannot_run(f"{PACKAGE} is not installed; `make setup-triton` does that")
    kind, version = platform.libc_ver()
    found = tuple(map(int, version.split("."))) if kind == "glibc" else (0,)
    if found < _LEAST_GLIBC:
        cannot_run(f"the Triton of {PACKAGE} needs glibc 2.35, here is {kind} {version}")
    return Path(str(files.locate_file("pytriton"))) / "tritonserver"


class Triton:
    """One server over a model repository, on free ports of this host.

    The wheel has the backend and, for each Python, the program that runs a model in it: both are
    linked into one folder. That program takes the packages of the first python3 on the PATH.

    Args:
        repository: With one folder for each model.
        flags: More of Triton's flags.
        grpc_port: To listen on; 0: a free one.
    """

    def __init__(self, repository: Path, *flags: str, grpc_port: int = 0) -> None:
        wheel = triton_folder()
        self._folder = tempfile.TemporaryDirectory(prefix="triton")
        grpc_port = grpc_port or free_port()
        self.address, self.http = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{free_port()}"
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        libraries = wheel.parents[1] / "nvidia_pytriton.libs"
        self.process = subprocess.Popen(
            [
                str(wheel / "bin" / "tritonserver"),
                f"--model-repository={repository}",
                f"--backend-directory={_backends(wheel, Path(self._folder.name))}",
                "--grpc-address=127.0.0.1",
                f"--grpc-port={grpc_port}",
                "--http-address=127.0.0.1",
                f"--http-port={self.http.rpartition(':')[2]}",
                "--allow-metrics=false",
                "--exit-timeout-secs=5",
                *flags,
            ],
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "LD_LIBRARY_PATH": str(libraries),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self) -> Self:
        """Return when every model is loaded; raises TritonFailed with the end of its log."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if self.process.poll() is not None:
                raise TritonFailed(f"Triton ended with {self.process.returncode}: {self.log()}")
            try:
                with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TritonFailed(f"Triton is not ready after {START_S:g} s: {self.log()}")

    def log(self) -> str:
        """Give the end of what it wrote so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def pause(self) -> None:
        """Let it do nothing, its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word; the programs of its models end with it."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it in order, or by force where that takes long."""
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def free_port() -> int:
    """Give a port of this host that nothing listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def _backends(wheel: Path, folder: Path) -> Path:
    """Lay out the folder of backends that Triton looks for."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        cannot_run(f"the Triton of {PACKAGE} runs no models in Python {version}")
    python = folder / "python"
    python.mkdir()
    for source in (*(wheel / "backends" / "python").iterdir(), stub):
        (python / source.name).symlink_to(source)
    return folder
