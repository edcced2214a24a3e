"""What operators are told, as messages."""

from __future__ import annotations

from speakerd.v1 import admin_pb2 as pb
from speakerd.v1 import audio_pb2

from speakerd_server import __version__
from speakerd_server.calls.administration import ModelState, ModelStatus, ServerState
from speakerd_server.calls.sessions import LiveSession
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.values import ScoreScale
from speakerd_server.windows.arithmetic import LONGEST_WINDOW_SAMPLES, lowest_samples_per_chunk
from speakerd_server.wire import convert

_STATUS = {
    ModelStatus.LOADED: pb.MODEL_STATUS_LOADED,
    ModelStatus.UNLOADING: pb.MODEL_STATUS_UNLOADING,
    ModelStatus.UNLOADED: pb.MODEL_STATUS_UNLOADED,
}


def server_info(state: ServerState) -> pb.GetServerInfoResponse:
    """Give what the daemon is and how it does."""
    return pb.GetServerInfoResponse(
        version=__version__,
        start_time=convert.timestamp(state.started_unix_s),
        default_model=convert.identity(state.default_model),
        domains=state.domains,
        live_streams=state.live_streams,
        maximum_streams=state.maximum_streams,
        queued_windows=state.queued_windows,
        maximum_queued_windows=state.maximum_queued_windows,
        windows_embedded=state.windows_embedded,
        speakers=state.speakers,
        draining=state.draining,
        processes=[
            pb.Process(
                name=one.name,
                pid=one.pid,
                start_time=convert.timestamp(one.started_unix_s),
                restarts=one.restarts,
            )
            for one in state.processes
        ],
    )


def model(state: ModelState) -> pb.Model:
    """Give one model and how it does."""
    card = state.card
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
        is_default=state.is_default,
        answers_to_name=state.answers_to_name,
        status=_STATUS[state.status],
        open_calls=state.open_calls,
        devices=[_work(one) for one in state.devices],
    )


def session(value: LiveSession) -> pb.Session:
    """Give one live call."""
    message = pb.Session(
        request_id=value.request_id,
        rpc=value.rpc,
        domain=value.domain,
        model=value.model,
        speaker_ids=value.speaker_ids,
        whole_domain=value.whole_domain,
        group=value.group,
        worker=value.process,
        start_time=convert.timestamp(value.started_unix_s),
        audio_received=convert.duration_of_seconds(value.audio_received_s),
        net_speech=convert.duration_of_seconds(value.net_speech_s),
        window_count=value.window_count,
    )
    if value.decision is not None:
        message.decision = convert.decision(value.decision)
    return message


def _work(value: EngineStatistics) -> pb.DeviceWork:
    message = pb.DeviceWork(
        device=value.device,
        available=value.dead is None,
        queued_windows=value.queued_windows,
        maximum_queued_windows=value.maximum_queued_windows,
        windows_embedded=value.windows_embedded,
        batches=value.batches,
        failed_batches=value.failed_batches,
        live_windows=value.live_windows,
        live_queue_time=convert.duration_of_seconds(value.live_queue_s),
        offline_windows=value.offline_windows,
        offline_queue_time=convert.duration_of_seconds(value.offline_queue_s),
        compute_time=convert.duration_of_seconds(value.compute_s),
        batch_sizes=[
            pb.BatchSize(windows=windows, batches=batches)
            for windows, batches in value.batch_sizes.items()
        ],
    )
    if value.cost is not None:
        message.chosen_batch_windows = value.cost.best_windows
        message.batch_cost.CopyFrom(convert.duration_of_seconds(value.cost.fixed_s))
        message.window_cost.CopyFrom(convert.duration_of_seconds(value.cost.window_s))
    return message


def _cosine(value: float | None) -> audio_pb2.Score | None:
    return None if value is None else convert.score(value, ScoreScale.COSINE)
