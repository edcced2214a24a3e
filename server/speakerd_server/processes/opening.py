"""How the settings' devices compute: which backends are opened, and how much goes into a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from speakerd_server import scheduling
from speakerd_server.calls.networks import takes_features
from speakerd_server.cards import Bundle
from speakerd_server.config import Settings
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.cpu import cpu_lanes, processors
from speakerd_server.engine.devices import check_one_onnxruntime, parse_device, remote_address
from speakerd_server.engine.lanes import Lanes
from speakerd_server.engine.opening import Opening, open_backends
from speakerd_server.engine.remote_opening import open_remote
from speakerd_server.errors import EngineDead
from speakerd_server.offline.gpu_networks import networks_of

_CPU_BATCH_WINDOWS = 8
_CPU_BATCH_FRAMES = 2400
_WINDOW_FRAMES = 300

OpenLanes = Callable[[Bundle, str, Settings], Lanes]


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """How a device computes."""

    workers: int
    """Batches at the same time."""
    batch_windows: int
    """Largest batch that may be chosen."""
    batch_frames: int
    """Frames of a batch of several windows."""


def limits_of(device: str, settings: Settings) -> DeviceLimits:
    """Give how a device computes; raises DeviceUnavailable for what is none."""
    engine, remote = settings.engine, settings.remote
    if remote_address(device) is not None:
        frames = engine.maximum_batch_frames or remote.batch_windows * _WINDOW_FRAMES
        return DeviceLimits(engine.workers or remote.lanes, remote.batch_windows, frames)
    if parse_device(device).gpu is None:
        # Engines on the processors divide them.
        beside = settings.engine.devices.count(device) or 1
        workers = engine.workers or math.ceil(processors() / beside)
        frames = engine.maximum_batch_frames or _CPU_BATCH_FRAMES
        return DeviceLimits(workers, _CPU_BATCH_WINDOWS, frames)
    windows = settings.gpu.batch_windows
    frames = engine.maximum_batch_frames or windows * _WINDOW_FRAMES
    return DeviceLimits(engine.workers or settings.gpu.lanes, windows, frames)


def batcher_of(
    device: str,
    settings: Settings,
    on_death: Callable[[EngineDead], None] | None = None,
    on_away: Callable[[str | None], None] | None = None,
) -> Batcher:
    """Make the batcher of a device; raises DeviceUnavailable for what is none."""
    limits = limits_of(device, settings)
    return Batcher(
        limits.workers,
        settings.engine,
        device=device,
        most_windows=limits.batch_windows,
        most_frames=limits.batch_frames,
        on_death=on_death,
        on_away=on_away,
    )


def open_lanes(bundle: Bundle, device: str, settings: Settings) -> Lanes:
    """Open a model on a device, or on the processors where it takes features.

    Raises what `open_backends` does, ExtraMissing among it.
    """
    check_one_onnxruntime()
    limits = limits_of(device, settings)
    address = remote_address(device)
    # A network alone is cut out when it is asked for: no engine of a GPU was built of it, and no
    # other server has it.
    on_processors = takes_features(bundle.card)
    if address is not None and not on_processors:
        return open_remote(bundle, address, settings.remote, limits.workers)
    if on_processors or parse_device(device).gpu is None:
        threads = settings.engine.threads_per_worker
        return cpu_lanes(bundle, limits.workers, threads, processors())
    opening = Opening(
        bundle,
        settings.gpu,
        parse_device(device),
        lambda: networks_of(bundle),
        bundle.card.samples_per_chunk,
        lanes=limits.workers,
    )
    with scheduling.forward():
        return Lanes(bundle.card.dim, open_backends(opening), side_by_side=False)
