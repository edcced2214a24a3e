"""What passes between the rooms: small frozen values, each with shape, dtype and unit."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class Encoding(enum.Enum):
    """How one sample is written in audio bytes."""

    PCM16LE = "pcm16le"
    FLOAT32LE = "float32le"
    MULAW = "mulaw"
    ALAW = "alaw"


_SAMPLE_BYTES = {Encoding.PCM16LE: 2, Encoding.FLOAT32LE: 4}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio bytes are to be read; one channel is heard."""

    encoding: Encoding
    """How one sample is written."""
    sample_rate_hz: int
    """Samples per second, 8000 to 48000."""
    channels: int = 1
    """Channels whose samples take turns: 1 or 2."""
    channel: int = 1
    """The one that is heard, from 1."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _SAMPLE_BYTES.get(self.encoding, 1) * self.channels

    @property
    def bytes_per_second(self) -> int:
        """Bytes of one second of audio."""
        return self.sample_bytes * self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class OggOpus(AudioFormat):
    """A stream of Opus in Ogg, which says itself what is in it; decoded to floats at 16 kHz."""

    encoding: Encoding = Encoding.FLOAT32LE
    """Of what is decoded."""
    sample_rate_hz: int = 16_000
    """At which it is decoded."""
    channels: int = 0
    """0: what the stream says."""
    channel: int = 0
    """The one that is heard, from 1; 0: the only one."""

    @property
    def sample_bytes(self) -> int:
        """1: bytes say nothing of samples."""
        return 1

    @property
    def bytes_per_second(self) -> int:
        """Bytes that are taken at once, so that other calls go on: a second at 4 kbit/s.

        A page that they complete is decoded whole: a second, as recorders write them.
        """
        return 512


class Band(enum.Enum):
    """How much of the spectrum audio carries."""

    WIDE = "wide"
    """Up to 8 kHz."""
    NARROW = "narrow"
    """Up to about 4 kHz: a telephone line, whatever the sample rate that it arrives at."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the audio of one signal is."""

    snr_db: float | None
    """Estimate of the signal-to-noise ratio over the speech, in dB; None: too little audio."""
    clipping_share: float
    """Share of the samples, in [0, 1], at the end of the scale with the two before them."""
    level_dbfs: float | None
    """Level of the speech in dB relative to a full-scale sine; None: no speech."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which network and front end made an embedding; others are never compared with it."""

    name: str
    """Name of the bundle."""
    version: str
    """Version of the bundle."""
    front_end: str
    """Fingerprint of the front end: sample scale, frame window, mel bank."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version} ({self.front_end})"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The audio that becomes one embedding: PCM and the frame rows to take from it."""

    index: int
    """Position in the signal, from 0."""
    pcm: Float32
    """float32[N] samples in [-1, 1] at the model's rate, N >= 400."""
    rows: Int64
    """int64[T] frame numbers of `pcm`: frame r is pcm[160 r : 160 r + 400]."""
    end_samples: int
    """Samples of the signal, from its start, that this window and those before it account for."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a session wants done after a chunk: frames for the speech gate, windows to embed."""

    windows: tuple[Window, ...] = ()
    """In signal order; those without variance are never among them."""
    gate_frames: Float32 | None = None
    """float32[n, 576], n > 0: to be judged before anything else; then there is nothing else."""
    updates: tuple[Utterance, ...] = ()
    """Updates made due by windows without variance; they come before anything in `windows`."""


class ScoreScale(enum.Enum):
    """The kind of number that a score is; higher always means more alike."""

    COSINE = "cosine"
    """In [-1, 1]."""
    SIMILARITY = "similarity"
    """(cosine + 1) / 2, in [0, 1]: what WeSpeaker's runtime prints."""
    ASNORM = "asnorm"
    """Cosine normalised against a cohort, in standard deviations."""
    LLR = "llr"
    """Calibrated natural-log likelihood ratio."""

    def of_cosine(self, cosine: float) -> float | None:
        """Express a cosine on this scale; None where a cosine alone does not tell."""
        if self is ScoreScale.COSINE:
            return cosine
        return (cosine + 1.0) / 2.0 if self is ScoreScale.SIMILARITY else None


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


class SpeakerState(enum.Enum):
    """Where a speaker stands."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    OPTED_OUT = "opted_out"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What scores are held against, on the policy's scale."""

    accept_at: float
    """ACCEPT at this score or above."""
    reject_below: float
    """REJECT below this score; at most accept_at."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a score is enough."""

    scale: ScoreScale
    """Of accept_at, reject_below and every score reported."""
    accept_at: float
    """ACCEPT at this score or above; infinite with `sequential`, whose boundaries decide."""
    reject_below: float
    """REJECT below this score; at most accept_at; minus infinity with `sequential`."""
    minimum_speech_samples: int
    """Net speech at the model's rate under which the decision is NOT_ENOUGH_SPEECH."""
    maximum_speech_samples: int | None = None
    """Net speech at the model's rate that settles the decision; None: no limit."""
    revoke_at_handover: bool = False
    """Whether an ACCEPT becomes UNDECIDED once another voice has taken over."""
    by_bands: Mapping[str, Thresholds] = field(default_factory=dict)
    """In place of accept_at and reject_below where the bands of both sides are known."""
    sequential: tuple[float, float] | None = None
    """Share of impostor calls that may ever be accepted, of the true speakers' calls that may ever
    be rejected: decide by the model's boundaries for them. None: by the thresholds."""
    minimum_margin: float = 0.0
    """Lead of the best speaker over the second under which an ACCEPT becomes UNDECIDED, on `scale`;
    at least 0."""


@dataclass(frozen=True, slots=True)
class SpeakerScore:
    """One speaker's part of a verdict."""

    speaker_id: str
    """As enrolled or claimed."""
    score: float | None
    """On the policy's scale; None where there was nothing to compare."""
    decision: Decision
    """The policy's answer for this speaker alone."""
    bands: str = ""
    """Those of enrolment and call, such as "wide-narrow"; empty: not known."""
    thresholds: Thresholds | None = None
    """What the score was held against; None without one."""
    all_scores: Mapping[ScoreScale, float] = field(default_factory=dict)
    """The same comparison on every scale that it has a score on."""
    profile: str = ""
    """Of the calibration for these bands; empty: the model has none, or nothing was compared."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of one moment of a call."""

    decision: Decision
    """For the call: that of the most alike speaker."""
    reason: str
    """Why, in one sentence with the numbers."""
    scores: tuple[SpeakerScore, ...] = ()
    """Most alike first."""
    speakers_compared: int = 0
    """How many voiceprints the audio was compared with."""
    margin: float | None = None
    """Lead of the best speaker over the second, on the policy's scale, at least 0; None: fewer than
    two have a score."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Another voice took over in a signal."""

    cosine: float
    """In [-1, 1]: of the windows by which it was noticed to all before them."""
    window: int
    """Number of the last of them, from 0."""
    begins_at_samples: int
    """Where in the signal, at the model's rate, the first of them begins, near enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """The running mean of one signal: what a session knows at one moment."""

    sum: NDArray[np.float64]
    """float64[dim]: sum of the window embeddings."""
    window_count: int
    """Windows in the sum."""
    windows_without_variance: int
    """Windows left out because nothing varies in them."""
    speech_samples: int
    """Net speech at the model's rate; all audio accounted for while there is no speech gate."""
    committed_samples: int
    """Wire samples whose windows are in the sum or were left out."""
    consistency: float
    """Cosine in [-1, 1]: mean over the windows of the cosine to their mean; 1 for one window."""
    band: Band | None = None
    """Of the speech; None: not enough of it to tell."""
    quality: Quality | None = None
    """Of the audio; None: not enough of it to tell."""
    handover: Handover | None = None
    """To another voice; None: none was noticed so far."""
    is_due: bool = True
    """False: only for what looks at every window; no update is due."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64[dim]: the utterance embedding, not length-normalised; needs window_count > 0."""
        mean: NDArray[np.float64] = self.sum / self.window_count
        return mean
