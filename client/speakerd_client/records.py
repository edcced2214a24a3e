"""Who is enrolled, and whether the daemon is there: plain frozen values, never a protobuf object.

Durations are float seconds (`_s`), times are aware datetimes in UTC. A member OTHER stands for a
value that this version of the SDK does not know yet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from speakerd_client.results import Band, ModelIdentity, Quality


class SpeakerState(enum.Enum):
    """Where a speaker stands."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    OPTED_OUT = "opted_out"
    EXPIRED = "expired"
    OTHER = "other"


class EnrollFeedback(enum.Enum):
    """What a person who enrols should do."""

    OK = "ok"
    """Go on, or done."""
    TOO_SHORT = "too_short"
    """More speech is needed."""
    NO_VOICE = "no_voice"
    """No voice in the audio: a muted microphone, perhaps."""
    LOW_CONSISTENCY = "low_consistency"
    """Sent by older daemons: one of the last two."""
    POOR_AUDIO = "poor_audio"
    """Too noisy, clipped, or too quiet."""
    DIFFERENT_SPEAKER = "different_speaker"
    """The recording is unlike the speaker's earlier ones."""
    MULTIPLE_SPEAKERS = "multiple_speakers"
    """The recording is unlike itself: several people, perhaps."""
    OTHER = "other"


class Health(enum.Enum):
    """Whether the daemon takes calls."""

    SERVING = "serving"
    NOT_SERVING = "not_serving"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Recording:
    """One enrolled recording: numbers only, the audio is never kept."""

    recording_id: str
    """Unique in the store."""
    created: datetime
    """When it was stored."""
    net_speech_s: float
    """Its weight in the voiceprint."""
    window_count: int
    """Windows in its mean."""
    window_consistency: float
    """Cosine in [-1, 1]: how alike its windows are."""
    band: Band | None = None
    """How much of the spectrum the speech carries; None: not known."""
    quality: Quality | None = None
    """How good its audio was; None: not known."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One person of a domain."""

    speaker_id: str
    """As enrolled."""
    domain: str
    """Where the speaker belongs."""
    state: SpeakerState
    """OPTED_OUT, else PENDING without recordings, else EXPIRED or ENROLLED."""
    display_name: str
    """For people; may be empty."""
    created: datetime
    """First seen."""
    updated: datetime
    """Last change of name or recordings."""
    model: ModelIdentity | None
    """Of all recordings; None while there are none."""
    recordings: tuple[Recording, ...]
    """Oldest first."""
    net_speech_s: float
    """Sum over the recordings."""
    opted_out: datetime | None = None
    """When the person opted out; None: did not."""
    groups: tuple[str, ...] = ()
    """The groups it is a member of, by name."""
    consent: datetime | None = None
    """When the person agreed to be enrolled; None: nobody told."""
    last_used: datetime | None = None
    """Last verification that accepted the speaker, to the hour; None: none did."""
    expires: datetime | None = None
    """When the voiceprint expires or did; None: never."""


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of speakers of one domain: a household, a watchlist."""

    name: str
    """1 to 64 letters, digits, '.', '_' and '-'."""
    domain: str
    """Where it belongs."""
    member_count: int
    """How many members it has."""
    speaker_ids: tuple[str, ...]
    """The members, in code point order; empty where groups are listed."""
    created: datetime
    """When it was made."""
    updated: datetime
    """Last change of its members by `update_group`."""


@dataclass(frozen=True, slots=True)
class EnrollmentSettings:
    """The settings that an enrolment runs with, after defaults."""

    request_id: str
    """Yours, or the daemon's where you gave none."""
    domain: str
    """Where the speaker belongs."""
    model: ModelIdentity
    """What embeds the recording."""
    samples_per_chunk: int
    """Window length in samples at the model's rate, or -1 for one window over all."""
    minimum_speech_s: float
    """Net speech that the recording needs."""
    speech_gate: bool
    """Whether speech alone is heard."""


@dataclass(frozen=True, slots=True)
class EnrollmentProgress:
    """How far an enrolment is."""

    percent: int
    """0 to 100: net speech so far against what is needed."""
    still_needed_s: float
    """Net speech still needed; 0 when there is enough."""
    feedback: EnrollFeedback
    """What the person should do."""
    net_speech_s: float
    """Net speech so far."""
    window_count: int
    """Windows averaged so far."""
    window_consistency: float
    """Cosine in [-1, 1]: mean over the windows of the cosine to their mean."""
    recording_consistency: float | None
    """Cosine in [-1, 1] to the speaker's earlier voiceprint; None: none yet."""
    band: Band | None
    """How much of the spectrum the audio carries; None: too little of it to tell."""
    quality: Quality | None
    """How good it is; None: too little of it to tell."""
    reason: str
    """The feedback in one sentence with the numbers."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another speaker with the voice of a recording."""

    speaker_id: str
    """As enrolled."""
    cosine: float
    """In [-1, 1], of the recording to the other's voiceprint."""


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What was stored."""

    speaker: Speaker
    """With the new recording."""
    recording_id: str
    """The new recording."""
    recording_consistency: float | None
    """Cosine in [-1, 1] to the speaker's earlier voiceprint; None for the first recording."""
    feedback: EnrollFeedback
    """OK, or what `force` let pass."""
    reason: str
    """The same in one sentence with the numbers."""
    duplicates: tuple[Duplicate, ...]
    """Others with this voice, most alike first; empty where they were not looked for."""
    settings: EnrollmentSettings
    """What the enrolment ran with."""
