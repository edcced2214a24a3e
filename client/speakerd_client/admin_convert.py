"""From the messages of AdminService to plain values."""

from __future__ import annotations

from speakerd.v1 import admin_pb2

from speakerd_client import admin_records as records
from speakerd_client.convert import decision, model_identity, moment, name_of, score, seconds


def model(message: admin_pb2.Model) -> records.Model:
    """One model of the daemon."""
    return records.Model(
        identity=model_identity(message.identity),
        dim=message.dim,
        sample_rate_hz=message.sample_rate_hz,
        samples_per_chunk=message.samples_per_chunk,
        minimum_samples_per_chunk=message.minimum_samples_per_chunk,
        maximum_samples_per_chunk=message.maximum_samples_per_chunk,
        accept_at=score(message.accept_at) if message.HasField("accept_at") else None,
        reject_below=score(message.reject_below) if message.HasField("reject_below") else None,
        precision=message.precision,
        licence=message.licence,
        sha256=message.sha256,
        is_default=message.is_default,
        answers_to_name=message.answers_to_name,
        status=_status(message.status),
        open_calls=message.open_calls,
        devices=tuple(_device(each) for each in message.devices),
    )


def model_load(message: admin_pb2.LoadModelResponse) -> records.ModelLoad:
    """A model that calls can name now."""
    return records.ModelLoad(model(message.model), seconds(message.load_time))


def server_info(message: admin_pb2.GetServerInfoResponse) -> records.ServerInfo:
    """What a daemon is and how it does."""
    return records.ServerInfo(
        version=message.version,
        started=moment(message.start_time),
        default_model=model_identity(message.default_model),
        domains=tuple(message.domains),
        live_streams=message.live_streams,
        maximum_streams=message.maximum_streams,
        queued_windows=message.queued_windows,
        maximum_queued_windows=message.maximum_queued_windows,
        windows_embedded=message.windows_embedded,
        speakers=message.speakers,
        draining=message.draining,
        processes=tuple(
            records.DaemonProcess(each.name, each.pid, moment(each.start_time), each.restarts)
            for each in message.processes
        ),
    )


def live_sessions(message: admin_pb2.WatchSessionsResponse) -> records.LiveSessions:
    """The live calls at one moment."""
    return records.LiveSessions(moment(message.time), tuple(map(_session, message.sessions)))


def drain_state(message: admin_pb2.DrainResponse) -> records.DrainState:
    """Whether the daemon takes calls."""
    return records.DrainState(message.draining, message.open_calls)


def _status(value: int) -> records.ModelStatus:
    """Where a model stands; a daemon that does not say it lists loaded models only."""
    if value == admin_pb2.MODEL_STATUS_UNSPECIFIED:
        return records.ModelStatus.LOADED
    name = name_of(admin_pb2.ModelStatus.items(), value, "MODEL_STATUS_")
    return records.ModelStatus[name]


def _device(message: admin_pb2.DeviceWork) -> records.DeviceWork:
    measured = message.HasField("batch_cost")
    return records.DeviceWork(
        device=message.device,
        available=message.available,
        queued_windows=message.queued_windows,
        maximum_queued_windows=message.maximum_queued_windows,
        windows_embedded=message.windows_embedded,
        batches=message.batches,
        failed_batches=message.failed_batches,
        live_windows=message.live_windows,
        live_queue_s=seconds(message.live_queue_time),
        offline_windows=message.offline_windows,
        offline_queue_s=seconds(message.offline_queue_time),
        compute_s=seconds(message.compute_time),
        batch_sizes=tuple(
            records.BatchSize(each.windows, each.batches)
            for each in sorted(message.batch_sizes, key=lambda each: each.windows)
        ),
        chosen_batch_windows=message.chosen_batch_windows if measured else None,
        batch_cost_s=seconds(message.batch_cost) if measured else None,
        window_cost_s=seconds(message.window_cost) if measured else None,
    )


def _session(message: admin_pb2.Session) -> records.LiveSession:
    return records.LiveSession(
        request_id=message.request_id,
        rpc=message.rpc,
        domain=message.domain,
        model=message.model,
        speaker_ids=tuple(message.speaker_ids),
        whole_domain=message.whole_domain,
        group=message.group,
        worker=message.worker,
        started=moment(message.start_time),
        audio_received_s=seconds(message.audio_received),
        net_speech_s=seconds(message.net_speech),
        window_count=message.window_count,
        decision=decision(message.decision) if message.decision else None,
    )
