"""Inference over tensors, as KServe's protocol has it: the work of it, without any protocol.

The doors, gRPC and HTTP, translate to and from the values of `inference_values` and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from speakerd_server.calls.administration import Administration
from speakerd_server.calls.inference_catalog import (
    FEATURES_MODEL,
    OVER_DEFAULT,
    THEIR_VERSION,
    Catalog,
    KserveSettings,
    Served,
    served,
)
from speakerd_server.calls.inference_models import Form, check_supported, in_utterance
from speakerd_server.calls.inference_statistics import Begun, ModelCounts
from speakerd_server.calls.inference_values import (
    InferenceReply,
    InferenceRequest,
    ModelStatistics,
    Tensor,
)
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.serving import Serving
from speakerd_server.cards import Card
from speakerd_server.engine.engine import Engine
from speakerd_server.errors import InvalidInput
from speakerd_server.pipeline import drop
from speakerd_server.values import Float32, Window

_SHORT_BYTES = 256 << 10
"""Of a request that is prepared at once; in a longer one other calls go on between utterances."""


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    """What the engine made of a request, and when."""

    embeddings: Float32
    ready_s: float
    embedded_s: float
    begun: list[Begun]


class Inference(Catalog):
    """Answers inference requests with the engine of all other calls; see Catalog for the models.

    It counts what this process answers.
    """

    def __init__(
        self,
        serving: Serving,
        administration: Administration,
        settings: KserveSettings | None = None,
        folder: str = "",
    ) -> None:
        super().__init__(serving, administration, settings or KserveSettings(), folder)
        self._counts: dict[tuple[str, str], ModelCounts] = {}

    async def infer(self, request: InferenceRequest) -> InferenceReply:
        """Embed every utterance of a request.

        Raises ModelUnknown, InvalidInput, Draining, TooManyCalls, and what the engine raises.
        """
        model = served(request.model, request.version)
        with self.held(model) as loaded:
            name, version = model.key(loaded)
            counts = self._counts.setdefault((name, version), ModelCounts())
            arrived_s = counts.arrived()
            try:
                done = await self._embedded(request, model, loaded)
            except BaseException:
                counts.failed(arrived_s)
                raise
            shape, name = done.embeddings.shape, model.form(loaded).output
            tensor = Tensor(name, "FP32", shape, done.embeddings.tobytes())
            counts.answered(arrived_s, done.ready_s, done.embedded_s, done.begun)
        return InferenceReply(request.model, version, request.id, (tensor,))

    def statistics(self, name: str, version: str) -> list[ModelStatistics]:
        """Give the counts of a model, or of all where the name is empty.

        Raises ModelUnknown.
        """
        if name:
            model = served(name, version)
            with self.held(model) as loaded:
                keys = [model.key(loaded)]
        else:
            identities = [one.card.identity for one in self.serving.models]
            keys = [(name, THEIR_VERSION) for name in OVER_DEFAULT]
            keys = sorted(keys + [(one.name, one.version) for one in identities])
        return [self._counts.get(key, ModelCounts()).statistics(*key) for key in keys]

    async def _embedded(
        self, request: InferenceRequest, model: Served, loaded: LoadedModel
    ) -> _Embedded:
        check_supported(request)
        size_bytes = sum(memoryview(one.data).nbytes for one in request.inputs)
        with self.serving.places.unary(size_bytes):
            windows = await self._windows(request, model.form(loaded), loaded.card, size_bytes)
            begun = [Begun() for _ in windows]
            ready_s = time.monotonic()
            if model.name == FEATURES_MODEL:
                with self.serving.models.held(await self.network(loaded)) as network:
                    embeddings = await _embeddings(network.engine, windows, begun)
            else:
                embeddings = await _embeddings(loaded.engine, windows, begun)
        return _Embedded(embeddings, ready_s, time.monotonic(), begun)

    async def _windows(
        self, request: InferenceRequest, form: Form, card: Card, size_bytes: int
    ) -> list[Window]:
        windows = []
        utterances = form.read(request, card, self.settings.maximum_batch)
        for number, inputs in enumerate(utterances):
            try:
                windows.append(form.window(inputs, card))
            except InvalidInput as error:
                raise in_utterance(error, form.inputs(card)[0].name, number) from None
            if size_bytes > _SHORT_BYTES:
                await asyncio.sleep(0)
        return windows


async def _embeddings(engine: Engine, windows: list[Window], begun: list[Begun]) -> Float32:
    """Give float32[B, dim]; whatever fails, no window is left behind."""
    out: list[asyncio.Future[Float32]] = []
    try:
        for window, one in zip(windows, begun, strict=True):
            out.append(await engine.submit_offline(window, one.told))
        return np.stack([await one for one in out])
    finally:
        for embedding in out:
            drop(embedding)
