"""Opens the lanes to a server elsewhere, and tries whether it has the model that is meant."""

from __future__ import annotations

from contextlib import suppress

import grpc

from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.lanes import Lanes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.remote_client import RemoteAnswerWrong, RemoteClient
from speakerd_server.engine.remote_lane import RemoteLane, cause_of
from speakerd_server.engine.remote_settings import RemoteSettings
from speakerd_server.engine.remote_watch import RemoteWatch
from speakerd_server.engine.trial import LOWEST_COSINE, try_backend
from speakerd_server.errors import ModelUnusable, RemoteEngineRefused, RemoteEngineUnavailable
from speakerd_server.values import Float32, Int64

_START_S = 10.0
"""How long the first answer may take: a connection is made meanwhile."""


def open_remote(bundle: Bundle, address: str, settings: RemoteSettings, lanes: int) -> Lanes:
    """Open a bundle on a server elsewhere.

    Args:
        bundle: Verified; made-up sounds are embedded by it on this processor, and must have the
            same embeddings there.
        address: HOST:PORT.
        settings: How the server is asked.
        lanes: Batches in flight.

    Raises:
        RemoteEngineRefused: The server cannot be reached, or its model is none of windows, has
            another dimension, or gives other embeddings.
        ModelUnusable: The bundle cannot be loaded here.
    """
    watching = RemoteClient(address, settings.model)
    try:
        most = min(_described(watching, bundle), settings.batch_windows)
        trial = _Trial(bundle, address, settings, most)
        trial.run()
    except BaseException:
        watching.close()
        raise
    clients = [RemoteClient(address, settings.model) for _ in range(lanes)]

    def check() -> None:
        trial.run()
        for client in clients:
            client.connect(_START_S)

    watch = RemoteWatch(watching, settings.health_interval_s, check)
    opened = [RemoteLane(client, settings, most, watch) for client in clients]
    watch.start()
    return Lanes(bundle.card.dim, opened, watch=watch)


def _described(client: RemoteClient, bundle: Bundle) -> int:
    """Check what the server says of its model; gives the most windows of a batch."""
    try:
        if not client.is_ready(_START_S):
            problem = f"the server, or its model {client.model}, is not ready"
            raise RemoteEngineRefused(client.address, problem)
        model = client.describe(_START_S)
    except RemoteAnswerWrong as error:
        raise RemoteEngineRefused(client.address, str(error)) from error
    except grpc.RpcError as error:
        raise RemoteEngineRefused(client.address, cause_of(error)) from error
    if model.dim not in (-1, bundle.card.dim):
        problem = (
            f"embeddings of {model.server}'s model {client.model} have {model.dim} values, the"
            f" card of {bundle.card.identity.name} says {bundle.card.dim}"
        )
        raise RemoteEngineRefused(client.address, problem)
    return model.most_windows or (1 << 20)


class _Trial:
    """Compares the server with the bundle; what the processor gives is computed once."""

    def __init__(
        self, bundle: Bundle, address: str, settings: RemoteSettings, most_windows: int
    ) -> None:
        self._bundle, self._address = bundle, address
        self._settings, self._most = settings, most_windows
        self._wanted = _Remembered(bundle)

    def run(self) -> None:
        """Try the server; raises RemoteEngineRefused and ModelUnusable."""
        bundle, settings = self._bundle, self._settings
        client = RemoteClient(self._address, settings.model)
        window_frames = 1 + (bundle.card.samples_per_chunk - 400) // 160
        backend = RemoteLane(client, settings, self._most, _There())
        lowest = LOWEST_COSINE["float16"]
        try:
            try_backend(backend, bundle, window_frames, self._wanted, lowest)
        except ModelUnusable as error:
            problem = f"its model {settings.model} is another: {error.problem}"
            raise RemoteEngineRefused(self._address, problem) from error
        except RemoteEngineUnavailable as error:
            raise RemoteEngineRefused(self._address, error.cause) from error
        except RemoteAnswerWrong as error:
            raise RemoteEngineRefused(self._address, str(error)) from error
        except grpc.RpcError as error:
            raise RemoteEngineRefused(self._address, cause_of(error)) from error
        finally:
            with suppress(Exception):
                backend.close()


class _There:
    """The server as it is tried: whether it is there shows by itself."""

    away = None

    def doubted(self) -> None:
        """Do nothing."""


class _Remembered:
    """The bundle on this processor, for the trial's sounds; loaded for the first trial alone."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._known: dict[tuple[int, ...], Float32] = {}

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give plain memory; see `Backend.buffers`."""
        return plain_buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed the sounds of a shape, always the same ones."""
        if rows.shape not in self._known:
            backend = OnnxRuntimeCpu(self._bundle)
            self._known[rows.shape] = backend.embed(pcm, rows)
            backend.close()
        return self._known[rows.shape]

    def close(self) -> None:
        """Forget them."""
        self._known.clear()
