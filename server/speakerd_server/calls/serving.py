"""What every call shares: models, enrolments, places, and who is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from speakerd_server.calls.enrolments import Enrolments
from speakerd_server.calls.last_uses import LastUses
from speakerd_server.calls.models import LoadedModel, Models
from speakerd_server.calls.places import Places
from speakerd_server.calls.sessions import Sessions
from speakerd_server.errors import DomainUnknown, EngineBusy
from speakerd_server.gate.gate import Gate
from speakerd_server.gate.settings import GateSettings
from speakerd_server.quality.limits import QualitySettings


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How much a client may ask for, and how long it may take."""

    domains: tuple[str, ...] = field(
        default=("default",),
        metadata={"each": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "contains": "default"},
    )
    """Sets of speakers that exist; nothing crosses from one to another. `default` is one of them:
    calls that name none mean it."""
    maximum_streams: int = field(default=1000, metadata={"minimum": 1, "maximum": 100_000})
    """Most live calls at once; one more is refused with TOO_MANY_STREAMS."""
    maximum_wait_s: float = field(default=2.0, metadata={"minimum": 0.01, "maximum": 3600.0})
    """While live windows wait longer for the engine, new live calls are refused: ENGINE_BUSY."""
    maximum_unary_calls: int = field(default=256, metadata={"minimum": 1, "maximum": 100_000})
    """Most unary calls that embed at once; one more is refused with TOO_MANY_CALLS."""
    maximum_unary_audio_mib: int = field(default=512, metadata={"minimum": 64, "maximum": 1 << 20})
    """Most audio of unary calls at once, in MiB; more is refused with TOO_MANY_CALLS."""
    windows_in_flight: int = field(default=4, metadata={"minimum": 1, "maximum": 256})
    """Windows of one call that may wait for the engine; the call is not read further meanwhile."""
    idle_timeout_s: float = field(default=30.0, metadata={"minimum": 0.1, "maximum": 86_400.0})
    """A live call that sends nothing for so long ends with STREAM_IDLE."""
    write_timeout_s: float = field(default=30.0, metadata={"minimum": 0.1, "maximum": 86_400.0})
    """A live call that does not read our answer for so long ends with CLIENT_NOT_READING."""
    enroll_minimum_speech_s: float = field(default=3.0, metadata={"minimum": 0.0, "maximum": 600.0})
    """Net speech that a recording needs where the client names none."""
    pending_store_changes: int = field(default=256, metadata={"minimum": 1, "maximum": 100_000})
    """Changes, or reads, that may wait for the store; one more is refused with STORE_BUSY."""

    def places(self, counts: memoryview[int] | None = None, process: int = 0) -> Places:
        """Make the places of one process; see Places."""
        return Places(
            self.maximum_streams,
            self.maximum_unary_calls,
            self.maximum_unary_audio_mib,
            counts,
            process,
        )


class Serving:
    """What every call of one process shares."""

    def __init__(
        self,
        models: Models,
        enrolments: Enrolments,
        settings: CallSettings,
        places: Places | None = None,
        sessions: Sessions | None = None,
        gate: Gate | None = None,
        gate_settings: GateSettings | None = None,
        quality: QualitySettings | None = None,
    ) -> None:
        self.models = models
        self.enrolments = enrolments
        self.settings = settings
        self.places = settings.places() if places is None else places
        self.sessions = Sessions() if sessions is None else sessions
        self.quality = quality or QualitySettings()
        self.gate = gate
        """None: no call can ask for speech alone."""
        self._gate_settings = gate_settings or GateSettings(enabled=False)
        self.gate_rule = self._gate_settings.rule
        self.uses = LastUses(enrolments)
        self.started_unix_s = time.time()

    def gated(self, wanted: bool | None) -> bool:
        """Tell whether a call hears speech alone, by what it wants; None: as it is set."""
        return self._gate_settings.enabled if wanted is None else wanted

    def domain(self, name: str) -> str:
        """Give the domain a request means; raises DomainUnknown."""
        name = name or "default"
        if name not in self.settings.domains:
            raise DomainUnknown(name)
        return name

    @contextmanager
    def live_model(self, name: str) -> Iterator[LoadedModel]:
        """Keep the model of a live call; raises ModelUnknown, and EngineBusy at once.

        Models may compute on different devices: only how busy its own are counts.
        """
        with self.models.held(name) as model:
            waited_s = model.engine.waited_s
            if waited_s > self.settings.maximum_wait_s:
                raise EngineBusy(waited_s, self.settings.maximum_wait_s)
            yield model
