"""What the daemon is and does, for those who operate it: plain frozen values.

Durations are float seconds (`_s`), times are aware datetimes in UTC. A member OTHER stands for a
value that this version of the SDK does not know yet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from speakerd_client.results import Decision, ModelIdentity, Score


class ModelStatus(enum.Enum):
    """Where a model stands."""

    LOADED = "loaded"
    """Calls can name it."""
    UNLOADING = "unloading"
    """No new call can name it; those that hold it finish on it."""
    UNLOADED = "unloaded"
    """Its memory was given back."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class BatchSize:
    """Batches of one size."""

    windows: int
    """Windows in each of them."""
    batches: int
    """How many there were."""


@dataclass(frozen=True, slots=True)
class DeviceWork:
    """What one device did with one model since it was loaded there."""

    device: str
    """Such as "cpu" or "gpu:0"."""
    available: bool
    """False while its process is down; the counts begin anew with the next one."""
    queued_windows: int
    """Windows of the model waiting now."""
    maximum_queued_windows: int
    """Most windows of all models that ever waited for the device."""
    windows_embedded: int
    """Embeddings handed out."""
    batches: int
    """Batches computed, failed ones included."""
    failed_batches: int
    """Batches in which at least one window got no embedding."""
    live_windows: int
    """Live windows that were taken from the queue."""
    live_queue_s: float
    """How long they waited, added up."""
    offline_windows: int
    """Windows of whole recordings that were taken from the queue."""
    offline_queue_s: float
    """How long they waited, added up."""
    compute_s: float
    """How long the batches took, added up."""
    batch_sizes: tuple[BatchSize, ...]
    """How many batches had how many windows, by windows."""
    chosen_batch_windows: int | None
    """Batch size chosen when the model was loaded, by what batches cost; None: not measured."""
    batch_cost_s: float | None
    """What a batch costs besides its windows, measured then."""
    window_cost_s: float | None
    """What each window adds to a batch, measured then."""

    @property
    def mean_batch_windows(self) -> float | None:
        """Windows in a batch, on average; None before the first."""
        windows = sum(each.windows * each.batches for each in self.batch_sizes)
        return _mean(windows, sum(each.batches for each in self.batch_sizes))

    @property
    def mean_live_queue_s(self) -> float | None:
        """How long a live window waited, on average; None before the first."""
        return _mean(self.live_queue_s, self.live_windows)

    @property
    def mean_offline_queue_s(self) -> float | None:
        """How long a window of a whole recording waited, on average; None before the first."""
        return _mean(self.offline_queue_s, self.offline_windows)

    @property
    def mean_compute_s(self) -> float | None:
        """How long a batch took, on average; None before the first."""
        return _mean(self.compute_s, self.batches)


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the daemon."""

    identity: ModelIdentity
    """Name, version, front end."""
    dim: int
    """Length of its embeddings."""
    sample_rate_hz: int
    """Samples per second it was trained for."""
    samples_per_chunk: int
    """Window length where a call names none."""
    minimum_samples_per_chunk: int
    """Smallest window it can take."""
    maximum_samples_per_chunk: int
    """Largest window it can take."""
    accept_at: Score | None
    """Default accept threshold; None where the model was not calibrated."""
    reject_below: Score | None
    """Default reject threshold; None where the model was not calibrated."""
    precision: str
    """How its weights are stored."""
    licence: str
    """SPDX identifier."""
    sha256: str
    """Of the model file, in hexadecimal."""
    is_default: bool
    """True for the model of calls that name none."""
    answers_to_name: bool
    """True for the version of calls that give its name alone."""
    status: ModelStatus
    """Where it stands."""
    open_calls: int
    """Calls that hold it now."""
    devices: tuple[DeviceWork, ...]
    """What was done with it, device by device, since it was loaded."""


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model that calls can name now."""

    model: Model
    """With what its batches cost."""
    load_s: float
    """How long loading and warming up took; 0 where it was loaded already."""


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """One of the processes that make up a daemon."""

    name: str
    """What it is, such as "worker 0", "engine gpu:0" or "store"."""
    pid: int
    """Its number on the daemon's host; 0 while it is down."""
    started: datetime
    """When this one was started."""
    restarts: int
    """How often it was started again."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a daemon is and how it does."""

    version: str
    """Of the server package."""
    started: datetime
    """When it was started."""
    default_model: ModelIdentity
    """The model of calls that name none."""
    domains: tuple[str, ...]
    """Sorted."""
    live_streams: int
    """Calls going on now."""
    maximum_streams: int
    """Most at once."""
    queued_windows: int
    """Windows waiting for the engine now."""
    maximum_queued_windows: int
    """Most waiting at once."""
    windows_embedded: int
    """Since the start."""
    speakers: int
    """In the store, all domains."""
    draining: bool
    """True while new calls are refused: after SIGTERM, and after a drain."""
    processes: tuple[DaemonProcess, ...]
    """Those that make up the daemon; empty where one does everything."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One live call: names and numbers, never audio or scores."""

    request_id: str
    """The client's id, or the daemon's where it gave none."""
    rpc: str
    """StreamVerify or StreamEnroll."""
    domain: str
    """The set of speakers it looks in."""
    model: str
    """As "name/version"."""
    speaker_ids: tuple[str, ...]
    """Claimed speakers, or the one that enrols."""
    whole_domain: bool
    """True when it looks for anyone of the domain."""
    group: str
    """The group among whose members it looks; empty: none."""
    worker: int
    """Number of the process that serves it, from 0."""
    started: datetime
    """When its config came."""
    audio_received_s: float
    """Audio received as of its last update."""
    net_speech_s: float
    """Net speech as of its last update."""
    window_count: int
    """Windows averaged as of its last update."""
    decision: Decision | None
    """Of its last update; None before the first, and for an enrolment."""


@dataclass(frozen=True, slots=True)
class LiveSessions:
    """The live calls at one moment."""

    time: datetime
    """When."""
    sessions: tuple[LiveSession, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class DrainState:
    """Whether the daemon takes calls, and how many go on."""

    draining: bool
    """True while new calls are refused."""
    open_calls: int
    """Calls that go on, live and unary."""


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
