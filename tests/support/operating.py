"""What operators do to a daemon that serves, and calls that go on meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from speakerd.v1 import admin_pb2 as admin
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import VOICES, pcm16, read

SPEECH = pcm16(read(VOICES / "slt-call.flac"))
HALF = len(SPEECH) // 4 * 2
WINDOWS = 3


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[Daemon, wire.Stubs]]:
    """Run a daemon whose folder of models is folder/models."""
    (folder / "models").mkdir(exist_ok=True)
    with (
        Daemon(folder, f"--model-folder={folder / 'models'}", *flags) as daemon,
        wire.connected(daemon.address) as stubs,
    ):
        yield daemon, stubs


class Stream:
    """A live call that sends what it is given and tells what comes back."""

    def __init__(self, stubs: wire.Stubs, **config: Any) -> None:
        self._out: queue.Queue[pb.StreamVerifyRequest | None] = queue.Queue(100)
        wanted = pb.VerificationConfig(audio_format=wire.PCM16, **config)
        self._out.put(pb.StreamVerifyRequest(config=wanted))
        requests = iter(self._out.get, None)
        self._answers = stubs.verification.StreamVerify(requests, timeout=wire.DEADLINE_S)
        self.opened = next(self._answers).opened

    def send(self, audio: bytes) -> None:
        """Send audio."""
        self._out.put(pb.StreamVerifyRequest(audio=audio))

    def update(self) -> pb.VerificationResult:
        """Wait for the next update."""
        return next(self._answers).update

    def cancel(self) -> None:
        """Give the call up."""
        self._out.put(None)
        self._answers.cancel()

    def end(self) -> pb.VerificationResult:
        """End the audio and give the final."""
        self._out.put(None)
        return list(self._answers)[-1].final


def load(stubs: wire.Stubs, model: str, **more: Any) -> admin.Model:
    """Load a model."""
    request = admin.LoadModelRequest(model=model, **more)
    return stubs.admin.LoadModel(request, timeout=wire.DEADLINE_S).model


def unload(stubs: wire.Stubs, model: str) -> admin.Model:
    """Unload a model."""
    request = admin.UnloadModelRequest(model=model)
    return stubs.admin.UnloadModel(request, timeout=wire.DEADLINE_S).model


def listed(stubs: wire.Stubs) -> dict[str, admin.Model]:
    """List the models by NAME/VERSION."""
    models = stubs.admin.ListModels(admin.ListModelsRequest()).models
    return {f"{one.identity.name}/{one.identity.version}": one for one in models}


def embed(stubs: wire.Stubs, model: str = "") -> pb.EmbedResponse:
    """Embed SPEECH."""
    audio = pb.Audio(format=wire.PCM16, content=SPEECH)
    request = pb.EmbedRequest(audio=audio, model=model)
    return stubs.verification.Embed(request, timeout=wire.DEADLINE_S)


def verify(stubs: wire.Stubs, **config: Any) -> pb.VerifyResponse:
    """Verify SPEECH."""
    wanted = pb.VerificationConfig(audio_format=wire.PCM16, **config)
    request = pb.VerifyRequest(config=wanted, audio=SPEECH)
    return stubs.verification.Verify(request, timeout=wire.DEADLINE_S)


def refused(work: Callable[[], object]) -> wire.Refusal:
    """Give the named error that something ends with."""
    with pytest.raises(grpc.RpcError) as failed:
        work()
    return wire.refusal(failed.value)


def gone(stubs: wire.Stubs, reference: str) -> bool:
    """Wait until a model is not listed any more."""
    waiting = threading.Event()
    return any(not waiting.wait(0.05) and reference not in listed(stubs) for _ in range(200))


def own_memory_mib(pid: int) -> float:
    """Give the resident memory of a process that is in no file, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024
