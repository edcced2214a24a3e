"""The daemon, its models, devices and processes as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from speakerd_client.admin_records import DeviceWork, DrainState, Model, ServerInfo
from speakerd_client.cli.render import columns, time_text
from speakerd_client.records import Health
from speakerd_client.results import Score

_NONE = "-"


def status_text(health: Health, info: ServerInfo, models: Sequence[Model], address: str) -> str:
    """Give what a daemon is and how it does: facts, then processes, models and devices."""
    state = f"{health.name}{' (draining)' if info.draining else ''}"
    facts = [
        ("daemon", f"{address}  {state}"),
        ("version", info.version),
        ("started", time_text(info.started)),
        ("streams", f"{info.live_streams} of at most {info.maximum_streams}"),
        ("queue", f"{info.queued_windows} of at most {info.maximum_queued_windows} windows"),
        ("embedded", f"{info.windows_embedded} windows since the start"),
        ("speakers", f"{info.speakers} in domains {', '.join(info.domains)}"),
    ]
    parts = [columns(facts), _process_rows(info), model_rows(models), *_device_parts(models)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def model_rows(models: Sequence[Model]) -> list[str]:
    """Give the models, one a line."""
    rows = [("MODEL", "STATUS", "MEANT BY", "DEVICES", "CALLS", "WEIGHTS", "INPUT", "ACCEPT AT")]
    rows += [
        (
            str(each.identity),
            each.status.name,
            _meant_by(each),
            ", ".join(one.device for one in each.devices) or _NONE,
            str(each.open_calls),
            f"{each.precision}, {each.dim} values",
            f"{each.sample_rate_hz} Hz",
            _score_text(each.accept_at),
        )
        for each in models
    ]
    return columns(rows)


def drain_text(state: DrainState) -> str:
    """Give whether the daemon takes calls, and how many go on."""
    count = state.open_calls
    calls = "1 call goes on" if count == 1 else f"{count or 'no'} calls go on"
    return f"{'DRAINING' if state.draining else 'SERVING'}  {calls}"


def _process_rows(info: ServerInfo) -> list[str]:
    """Give the processes, one a line; nothing where one does everything."""
    if not info.processes:
        return []
    rows = [("PROCESS", "PID", "STARTED", "RESTARTS")]
    rows += [
        (
            each.name,
            str(each.pid) if each.pid else "DOWN",
            time_text(each.started),
            str(each.restarts),
        )
        for each in info.processes
    ]
    return columns(rows)


def _device_parts(models: Sequence[Model]) -> list[list[str]]:
    """Give what each device did with each model, and in batches of which sizes."""
    works = [(str(model.identity), work) for model in models for work in model.devices]
    if not works:
        return []
    head = ("MODEL", "DEVICE", "STATE", "QUEUED", "MOST QUEUED", "EMBEDDED", "BATCHES", "FAILED")
    rows: list[tuple[str, ...]] = [(*head, "LIVE WAIT", "OFFLINE WAIT", "COMPUTE")]
    rows += [(name, *_device_cells(work)) for name, work in works]
    sizes: list[tuple[str, ...]] = [("MODEL", "DEVICE", "CHOSEN", "MEAN", "BATCHES BY WINDOWS")]
    sizes += [(name, *_size_cells(work)) for name, work in works]
    return [columns(rows), columns(sizes)]


def _device_cells(work: DeviceWork) -> tuple[str, ...]:
    return (
        work.device,
        "UP" if work.available else "DOWN",
        str(work.queued_windows),
        str(work.maximum_queued_windows),
        str(work.windows_embedded),
        str(work.batches),
        str(work.failed_batches),
        _milliseconds(work.mean_live_queue_s),
        _milliseconds(work.mean_offline_queue_s),
        _milliseconds(work.mean_compute_s),
    )


def _size_cells(work: DeviceWork) -> tuple[str, ...]:
    mean = work.mean_batch_windows
    counts = (f"{each.windows}: {each.batches}" for each in work.batch_sizes)
    return (
        work.device,
        str(work.chosen_batch_windows or _NONE),
        _NONE if mean is None else f"{mean:.1f}",
        ", ".join(counts) or _NONE,
    )


def _meant_by(model: Model) -> str:
    """Give which calls mean this model, besides those that name it with its version."""
    words = [word for word, yes in _meanings(model) if yes]
    return ", ".join(words) or _NONE


def _meanings(model: Model) -> Sequence[tuple[str, bool]]:
    return ("default", model.is_default), ("its name", model.answers_to_name)


def _score_text(score: Score | None) -> str:
    return _NONE if score is None else f"{score.scale.value} {score.value:.3f}"


def _milliseconds(seconds: float | None) -> str:
    return _NONE if seconds is None else f"{seconds * 1000:.1f} ms"
