"""Who is enrolled: values, like those of values.py, of recordings, speakers and voiceprints."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Band, Float32, ModelIdentity, Quality, SpeakerState


@dataclass(frozen=True, slots=True, eq=False)
class NewRecording:
    """One recording to store: numbers only, never audio."""

    model: ModelIdentity
    """What made the embeddings."""
    sum: NDArray[np.float64]
    """float64[dim]: sum of the window embeddings."""
    window_count: int
    """Windows in the sum, at least 1."""
    speech_samples: int
    """Net speech at the model's rate, at least 1: the weight in the voiceprint."""
    sample_rate_hz: int
    """The model's rate."""
    window_consistency: float
    """Cosine in [-1, 1]: how alike the windows are."""
    band: Band | None = None
    """None: not known."""
    quality: Quality | None = None
    """Of its audio; None: not known."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One stored recording, as shown to operators."""

    recording_id: str
    """Unique in the store."""
    created_unix_s: float
    """When it was stored, seconds since 1970 UTC."""
    window_count: int
    """Windows in its mean."""
    speech_samples: int
    """Net speech at sample_rate_hz."""
    sample_rate_hz: int
    """The model's rate."""
    window_consistency: float
    """Cosine in [-1, 1]: how alike the windows are."""
    band: Band | None = None
    """None: not known."""
    quality: Quality | None = None
    """Of its audio; None: not known."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One person of a domain, as shown to operators."""

    domain: str
    """The set of speakers it belongs to."""
    speaker_id: str
    """As enrolled."""
    state: SpeakerState
    """OPTED_OUT, else PENDING without recordings, else EXPIRED or ENROLLED."""
    display_name: str
    """For people; may be empty."""
    created_unix_s: float
    """First seen."""
    updated_unix_s: float
    """Last change of name or recordings."""
    model: ModelIdentity | None
    """Of all recordings; None while there are none."""
    recordings: tuple[Recording, ...] = field(default=())
    """Oldest first."""
    opted_out_unix_s: float | None = None
    """When the person opted out; None: did not."""
    groups: tuple[str, ...] = field(default=())
    """The groups of the domain it is a member of, by name."""
    consent_unix_s: float | None = None
    """When the person agreed to be enrolled, as a client told; None: none did."""
    last_used_unix_s: float | None = None
    """Last verification that accepted the speaker, to the hour; None: none did."""
    expires_unix_s: float | None = None
    """From when on the voiceprint is expired, by the settings as they are; None: never."""


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of speakers of one domain: a household, a watchlist."""

    domain: str
    """Nothing crosses it."""
    name: str
    """1 to 64 letters, digits, '.', '_' and '-'."""
    member_count: int
    """How many members it has."""
    speaker_ids: tuple[str, ...]
    """The members, in code point order; none where groups are listed."""
    created_unix_s: float
    """When it was made, seconds since 1970 UTC."""
    updated_unix_s: float
    """Last change of its members by UpdateGroup."""


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """One speaker's voice for one model."""

    speaker_id: str
    """As enrolled."""
    model: ModelIdentity
    """What made it."""
    vector: Float32
    """float32[dim], length 1: mean of the recordings' means weighted by net speech, normalised."""
    band: Band | None = None
    """That of most of the net speech whose band is known; None: of none it is."""
    speech_samples: int = 0
    """Net speech of all recordings at the model's rate; 0: not known."""
    expires_unix_s: float | None = None
    """From when on it is expired, seconds since 1970 UTC; None: never."""

    def is_expired(self, now_unix_s: float) -> bool:
        """Tell whether it must not be compared any more."""
        return self.expires_unix_s is not None and now_unix_s >= self.expires_unix_s
