"""What a model bundle says of itself: values, like those of values.py, that only bundles need."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from speakerd_server.values import Band, Float32, ModelIdentity, ScoreScale


@dataclass(frozen=True, slots=True)
class FrontEndDescription:
    """How log-mel features are made from samples: all that decides their numbers.

    Frames of 400 samples every 160 at 16 kHz, power spectrum of 512 points, natural log with the
    floor of float32's epsilon, no dither, no edge padding: those hold for every model.
    """

    family: str
    """wespeaker, 3dspeaker, or described."""
    sample_scale: float
    """What samples in [-1, 1] are multiplied by."""
    window: str
    """hamming, povey, hanning or rectangular."""
    mel_bins: int = 80
    """Features of a frame."""
    low_hz: float = 20.0
    """Lower edge of the mel bank."""
    high_hz: float = 8000.0
    """Upper edge of the mel bank."""
    pre_emphasis: float = 0.97
    """Coefficient; 0 for none."""
    mean_removed: bool = True
    """Whether the mean over the window's frames is taken off each feature."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """What was measured with the card's thresholds on trials of one length of speech."""

    speech: str
    """Seconds of speech on each side, such as "2 s", or "whole"."""
    same_speaker_trials: int
    """Trials of one person."""
    other_speaker_trials: int
    """Trials of two persons."""
    equal_error_percent: float
    """Equal error rate."""
    false_accept_percent: float
    """Other-speaker trials at or above accept_at."""
    false_reject_percent: float
    """Same-speaker trials below accept_at."""


@dataclass(frozen=True, slots=True)
class LlrCalibration:
    """An affine map from a score to a natural-log likelihood ratio, for one channel type.

    llr = offset + slope * score + shorter * ln(d_min) + longer * ln(d_max), where d_min and d_max
    are the seconds of net speech of the trial's shorter and longer side; what is outside of
    shortest_s to longest_s counts as the nearer of the two.
    """

    profile: str
    """Channel type, such as "default" or "telephone"."""
    scale: ScoreScale
    """Of the score that goes in: COSINE or ASNORM."""
    offset: float
    """In nats."""
    slope: float
    """Nats per unit of score, positive."""
    shorter: float
    """Nats per unit of ln(d_min); 0 where durations were not fitted."""
    longer: float
    """Nats per unit of ln(d_max); 0 where durations were not fitted."""
    speakers: int
    """Persons behind the fit."""
    cllr_before: float
    """Bits, of the uncalibrated scores taken as they are, on speakers left out of the fit."""
    cllr_after: float
    """Bits, of the calibrated ratios, on speakers left out of the fit."""
    trials: str
    """What it was fitted on."""
    shortest_s: float = 0.0
    """Seconds of the shortest side behind the fit; 0 where durations were not fitted."""
    longest_s: float = math.inf
    """Seconds of the longest side behind the fit; infinite where durations were not fitted."""


@dataclass(frozen=True, slots=True)
class BandThresholds:
    """Default thresholds, cosines, for one pair of bands."""

    pair: str
    """wide-wide, wide-narrow (whichever was enrolled) or narrow-narrow."""
    accept_at: float
    """ACCEPT at this cosine or above."""
    reject_below: float
    """REJECT below this cosine; at most accept_at."""
    trials: str
    """What they were chosen on."""


BAND_PAIRS = ("wide-wide", "wide-narrow", "narrow-narrow")
DEFAULT_PROFILE = "default"
"""Profile for bands that have none of their own."""


def channel_pair(first: Band | None, second: Band | None) -> str:
    """Give the one of BAND_PAIRS that two sides are; a band that is not known counts as wide."""
    return BAND_PAIRS[(first, second).count(Band.NARROW)]


@dataclass(frozen=True, slots=True)
class SequentialBoundaries:
    """When a call is decided, second by second, so that wrong ends of whole calls stay rare.

    Looked at after every window: ACCEPT at accept[s] or above, REJECT below reject[s], where s is
    the whole seconds of net speech at that moment. The first crossing decides.
    """

    profile: str
    """One of BAND_PAIRS, or "default": any, where no other fits."""
    scale: ScoreScale
    """Of both: COSINE."""
    target_far: float
    """Share of impostor calls that may ever be accepted, in ]0, 0.5]."""
    target_frr: float
    """Share of the true speakers' calls that may ever be rejected, in ]0, 0.5]."""
    samples_per_chunk: int
    """Window length that they were learnt with, at the model's rate."""
    speech_gate: bool
    """Whether they were learnt on speech alone."""
    accept: tuple[float, ...]
    """One for each second of net speech from 0 on; as many as the maximum has seconds."""
    reject: tuple[float, ...]
    """As many, none above accept's."""
    impostor_pairs: int
    """Different pairs of persons behind `accept`."""
    genuine_speakers: int
    """Persons behind `reject`."""
    trials: str
    """What they were learnt from."""

    @property
    def maximum_s(self) -> int:
        """Net speech in seconds up to which they promise anything."""
        return len(self.accept)


@dataclass(frozen=True, slots=True)
class ScaleThresholds:
    """Default thresholds on a scale whose scores mean the same whatever the bands are."""

    scale: ScoreScale
    """ASNORM or LLR."""
    accept_at: float
    """ACCEPT at this score or above."""
    reject_below: float
    """REJECT below this score; at most accept_at."""
    trials: str
    """What they were chosen on."""


@dataclass(frozen=True, slots=True)
class CohortDescription:
    """What a card says of the impostors that scores are normalised by."""

    file: str
    """Name of the file in the bundle's folder."""
    sha256: str
    """Of the file, in hexadecimal."""
    speakers: int
    """Embeddings for each band, one of each person."""
    top_n: int
    """How many of the most alike a score is normalised by, 2 to speakers."""
    origin: str
    """Whose speech it was made from, with its licence."""


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Embeddings of people who are nobody's claim, over a microphone and over a line."""

    wide: Float32
    """float32[n, dim], each of length 1."""
    narrow: Float32
    """float32[n, dim], each of length 1: the same people over a telephone line, or others."""
    top_n: int
    """How many of the most alike a score is normalised by, 2 to n."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores of a model mean."""

    accept_at: float | None
    """Default accept threshold on the cosine scale; None: not calibrated."""
    reject_below: float | None
    """Default reject threshold on the cosine scale, at most accept_at; None with accept_at."""
    trials: str
    """What the thresholds were chosen and measured on."""
    measured: tuple[ErrorRates, ...] = ()
    """By length of speech."""
    llr: tuple[LlrCalibration, ...] = ()
    """At most one for each profile."""
    several_below: float | None = None
    """Mean cosine of a recording's windows to their mean under which several people are taken to
    speak in it; None: not known."""
    handover_below: float | None = None
    """Cosine of two windows to all before them under which another voice speaks; None: unknown."""
    bands: tuple[BandThresholds, ...] = ()
    """At most one for each pair; the others have accept_at and reject_below."""
    sequential: tuple[SequentialBoundaries, ...] = ()
    """At most one for each profile and pair of error rates."""
    scales: tuple[ScaleThresholds, ...] = ()
    """At most one for each scale."""

    def llr_for(self, pair: str) -> LlrCalibration | None:
        """Give the profile for one of BAND_PAIRS, or else "default"; None: there is neither."""
        by_name = {one.profile: one for one in self.llr}
        return by_name.get(pair, by_name.get(DEFAULT_PROFILE))


@dataclass(frozen=True, slots=True)
class Card:
    """What a model bundle says of itself."""

    identity: ModelIdentity
    """Name, version and front end's fingerprint."""
    sample_rate_hz: int
    """Samples per second the network was trained for."""
    dim: int
    """Length of an embedding."""
    samples_per_chunk: int
    """Default window length, in samples at sample_rate_hz."""
    min_frames: int
    """Fewest frames that the network can take."""
    precision: str
    """How the weights are stored: float16, float32, int8."""
    licence: str
    """SPDX identifier, or LicenseRef-unknown."""
    origin: str
    """Where the weights come from."""
    sha256: str
    """Of the ONNX file, in hexadecimal."""
    front_end: FrontEndDescription
    """What identity.front_end is the fingerprint of."""
    calibration: Calibration
    """What its scores mean."""
    cohort: CohortDescription | None = None
    """Whom its scores can be normalised by; None: nobody."""

    @property
    def scales(self) -> tuple[ScoreScale, ...]:
        """Every scale that it gives scores on, whatever the bands are."""
        found = [ScoreScale.COSINE, ScoreScale.SIMILARITY]
        if self.cohort is not None:
            found.append(ScoreScale.ASNORM)
        maps = [self.calibration.llr_for(pair) for pair in BAND_PAIRS]
        if all(one is not None and one.scale in found for one in maps):
            found.append(ScoreScale.LLR)
        return tuple(found)

    @property
    def accept_at(self) -> float | None:
        """Default accept threshold on the cosine scale; None: not calibrated."""
        return self.calibration.accept_at

    @property
    def reject_below(self) -> float | None:
        """Default reject threshold on the cosine scale; None: not calibrated."""
        return self.calibration.reject_below


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model ready to be loaded by an engine: the ONNX file, verified, and its card."""

    card: Card
    """What the bundle says of itself."""
    onnx_path: Path
    """File whose SHA-256 is the card's."""
    cohort: Cohort | None = field(default=None, compare=False)
    """What card.cohort describes."""
