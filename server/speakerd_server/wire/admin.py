"""AdminService: what this daemon is and how it does."""

from __future__ import annotations

from speakerd.v1 import admin_pb2 as pb
from speakerd.v1 import admin_pb2_grpc, audio_pb2

from speakerd_server import __version__
from speakerd_server.calls.serving import LoadedModel, Serving
from speakerd_server.values import ScoreScale
from speakerd_server.windows.arithmetic import LONGEST_WINDOW_SAMPLES, lowest_samples_per_chunk
from speakerd_server.wire import convert, edge


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Tells operators about the daemon."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: edge.Context
    ) -> pb.GetServerInfoResponse:
        """Tell what this daemon is."""
        return await edge.answered(context, "GetServerInfo", lambda _: self._info())

    async def _info(self) -> pb.GetServerInfoResponse:
        serving = self._serving
        engines = [model.engine.statistics() for model in serving.models]
        return pb.GetServerInfoResponse(
            version=__version__,
            start_time=convert.timestamp(serving.started_unix_s),
            default_model=convert.identity(serving.models.default.card.identity),
            domains=sorted(serving.settings.domains),
            live_streams=serving.live_streams,
            maximum_streams=serving.settings.maximum_streams,
            queued_windows=sum(engine.queued_windows for engine in engines),
            maximum_queued_windows=sum(
                model.engine.queue_limit_windows for model in serving.models
            ),
            windows_embedded=sum(engine.windows_embedded for engine in engines),
            speakers=serving.store.count(),
            draining=serving.draining,
        )

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: edge.Context
    ) -> pb.ListModelsResponse:
        """List the loaded models."""
        return await edge.answered(context, "ListModels", lambda _: self._models())

    async def _models(self) -> pb.ListModelsResponse:
        models = self._serving.models
        named = sorted(models, key=lambda m: (m.card.identity.name, m.card.identity.version))
        return pb.ListModelsResponse(
            models=[_model(model, is_default=model is models.default) for model in named]
        )


def _model(model: LoadedModel, *, is_default: bool) -> pb.Model:
    card = model.card
    return pb.Model(
        identity=convert.identity(card.identity),
        dim=card.dim,
        sample_rate_hz=card.sample_rate_hz,
        samples_per_chunk=card.samples_per_chunk,
        minimum_samples_per_chunk=lowest_samples_per_chunk(card),
        maximum_samples_per_chunk=LONGEST_WINDOW_SAMPLES,
        accept_at=_cosine(card.accept_at),
        reject_below=_cosine(card.reject_below),
        precision=card.precision,
        licence=card.licence,
        sha256=card.sha256,
        is_default=is_default,
    )


def _cosine(value: float | None) -> audio_pb2.Score | None:
    return None if value is None else convert.score(value, ScoreScale.COSINE)
