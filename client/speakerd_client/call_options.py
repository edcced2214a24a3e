"""What calls can be told: keyword arguments of the clients' methods."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from speakerd_client.policies import Policy, QualityLimits
from speakerd_client.targets import Watchlists


class ModelOptions(TypedDict, total=False):
    """What every call with audio can be told."""

    request_id: str
    """Anything that helps you find the call again; the daemon makes one where it is empty."""
    model: str
    """As "name" or "name/version"; empty: the daemon's default."""
    samples_per_chunk: int | None
    """Window length in samples at the model's rate; -1: one window over all; None: the card's."""
    speech_gate: bool | None
    """Whether speech alone is heard; None: as the daemon is set, and for `embed` no."""


class CompareOptions(ModelOptions, total=False):
    """What a comparison can be told."""

    policy: Policy | None
    """When a score is enough; None: the card's policy."""


class VerifyOptions(CompareOptions, total=False):
    """What a verification can be told."""

    domain: str
    """The set of speakers to look in; empty: "default"."""
    update_interval_s: float | None
    """Least audio between two updates of a stream; None or 0: an update for every window."""
    watchlists: Watchlists | None
    """Groups to look through beside the target."""


class EnrollOptions(ModelOptions, total=False):
    """What an enrolment can be told."""

    domain: str
    """Where the speaker belongs; empty: "default"."""
    display_name: str | None
    """Replaces the display name when set."""
    minimum_speech_s: float | None
    """Net speech that the recording needs; None: the daemon's setting."""
    force: bool
    """Store a recording though other people seem to speak in it."""
    check_duplicates: bool
    """Say who else of the domain has this voice."""
    quality: QualityLimits | None
    """How good the audio must be; None: the daemon's settings."""
    consent: datetime | None
    """When the person agreed to be enrolled, with a time zone; None: what is kept stays."""
