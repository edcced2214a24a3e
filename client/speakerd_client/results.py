"""What verification takes and gives: plain frozen values, never a protobuf object.

Durations are float seconds (`_s`) from audio start. A member OTHER stands for a value that this
version of the SDK does not know yet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from speakerd_client.policies import Policy, ScoreScale


class Decision(enum.Enum):
    """What the daemon answers about a claim."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDECIDED = "undecided"
    NOT_ENOUGH_SPEECH = "not_enough_speech"
    POOR_AUDIO = "poor_audio"
    SPEAKER_NOT_ENROLLED = "speaker_not_enrolled"
    SPEAKER_OPTED_OUT = "speaker_opted_out"
    SPEAKER_EXPIRED = "speaker_expired"
    SPEAKER_NOT_PROVIDED = "speaker_not_provided"
    OTHER = "other"


class Band(enum.Enum):
    """How much of the spectrum audio carries."""

    WIDE = "wide"
    """Up to 8 kHz."""
    NARROW = "narrow"
    """Up to about 4 kHz: a telephone line, whatever the sample rate that it arrives at."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good audio is."""

    snr_db: float | None
    """Estimate of the signal-to-noise ratio over the speech; None: too little audio."""
    clipping_share: float
    """Share of the samples, in [0, 1], at the end of the scale with the two before them."""
    level_dbfs: float | None
    """Level of the speech relative to a full-scale sine; None: no speech."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Another voice took over in a call."""

    cosine: float
    """In [-1, 1]: of the windows by which it was noticed to all before them."""
    window: int
    """Number of the last of them, from 0."""
    audio_time_s: float
    """Where the new voice begins, as near as windows tell."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which network and front end made an embedding."""

    name: str
    """Name of the bundle."""
    version: str
    """Version of the bundle."""
    front_end: str
    """Fingerprint of the front end."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Score:
    """One number and what kind of number it is."""

    scale: ScoreScale
    """The kind."""
    value: float
    """In the range of its scale."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """The settings that a verification runs with, after defaults."""

    request_id: str
    """Yours, or the daemon's where you gave none."""
    domain: str
    """The set of speakers it looks in."""
    model: ModelIdentity
    """What embeds the audio."""
    samples_per_chunk: int
    """Window length in samples at model_sample_rate_hz, or -1 for one window over all."""
    model_sample_rate_hz: int
    """The model's sample rate."""
    policy: Policy
    """Every field set but for maximum_speech_s where there is no limit."""
    update_interval_s: float
    """Least audio between two updates; 0: an update for every window."""
    speech_gate: bool
    """Whether speech alone is heard."""


@dataclass(frozen=True, slots=True)
class SpeakerScore:
    """One speaker's part of a verification."""

    speaker_id: str
    """As enrolled or claimed."""
    score: float | None
    """On `scale`; None where there was nothing to compare."""
    scale: ScoreScale | None
    """Of `score`; None without a score."""
    decision: Decision
    """The policy's answer for this speaker alone."""
    bands: str = ""
    """Of enrolment and call, such as "wide-narrow"; empty where one is not known."""
    accept_at: float | None = None
    """What the score was held against, on `scale`; None without a score."""
    reject_below: float | None = None
    """As accept_at."""
    all_scores: tuple[Score, ...] = ()
    """The same comparison on every scale of the model that it has a score on."""
    profile: str = ""
    """Calibration behind the llr, by the bands: "wide-narrow", or "default"; empty: none."""


@dataclass(frozen=True, slots=True)
class WatchlistHit:
    """One member of a watchlist who sounds like the caller; told once a call."""

    group: str
    """The watchlist."""
    speaker_id: str
    """The member."""
    score: float
    """When it was noticed, on `scale`."""
    scale: ScoreScale
    """The policy's."""
    hit_at: float
    """What the score was held against."""
    window: int
    """Number of the last window heard then, from 0."""
    audio_time_s: float
    """Where in the audio that window ends."""


@dataclass(frozen=True, slots=True)
class CallerEnrolled:
    """A caller who was enrolled from the call itself."""

    group: str
    """The watchlist."""
    speaker_id: str
    """The member."""
    recording_id: str
    """The new recording, on disk."""
    net_speech_s: float
    """Its net speech."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known at one moment of a call."""

    is_final: bool
    """False for an update, True for the last word."""
    decision: Decision
    """For several speakers that of the most alike one."""
    reason: str
    """Why, in one sentence with the numbers."""
    scores: tuple[SpeakerScore, ...]
    """Most alike first."""
    audio_received_s: float
    """Audio that reached the daemon."""
    net_speech_s: float
    """Voice in the average: the clock of decisions."""
    window_count: int
    """Windows averaged."""
    windows_without_variance: int
    """Windows left out because nothing varies in them."""
    committed_samples: int
    """Samples of the audio as sent whose windows are in the average."""
    speakers_compared: int
    """How many voiceprints the audio was compared with."""
    band: Band | None
    """How much of the spectrum the audio carries; None: too little of it to tell."""
    quality: Quality | None
    """How good it is; None: too little of it to tell."""
    handover: Handover | None
    """To another voice; None: none was noticed so far."""
    margin: float | None
    """Lead of the best speaker over the second, on the policy's scale; None: fewer than two have a
    score."""
    watchlist_hits: tuple[WatchlistHit, ...]
    """Noticed by this update; in the final all of the call."""
    settings: CallSettings
    """What the call runs with."""

    @property
    def accepted(self) -> bool:
        """True for ACCEPT and for nothing else."""
        return self.decision is Decision.ACCEPT


@dataclass(frozen=True, slots=True)
class Comparison:
    """How alike two recordings are."""

    request_id: str
    """Yours, or the daemon's where you gave none."""
    scores: tuple[Score, ...]
    """The same comparison on every scale of the model; empty with nothing to compare."""
    decision: Decision
    """ACCEPT: same speaker; REJECT: different ones; NOT_ENOUGH_SPEECH."""
    reason: str
    """Why, in one sentence with the numbers."""
    policy: Policy
    """What was used."""
    model: ModelIdentity
    """What embedded both."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """The embedding of one recording."""

    request_id: str
    """Yours, or the daemon's where you gave none."""
    vector: tuple[float, ...]
    """float32 values, dim of them: mean of the windows' embeddings, not length-normalised."""
    window_count: int
    """Windows averaged."""
    windows_without_variance: int
    """Windows left out because nothing varies in them."""
    net_speech_s: float
    """Voice in the average."""
    model: ModelIdentity
    """What made it."""
    band: Band | None = None
    """How much of the spectrum the audio carries; None: too little of it to tell."""
    quality: Quality | None = None
    """How good it is; None: too little of it to tell."""
