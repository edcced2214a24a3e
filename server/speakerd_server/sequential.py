"""Decisions that are taken as soon as the error rates asked for allow it, and then stay.

The boundaries come from whole calls (`speakerd evaluate --sequential`), looked at after every full
window. So a call is looked at then, whether an update is due or not, and at no other time: the last
window, which a call's end cuts short, decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from speakerd_server.cards import BAND_PAIRS, DEFAULT_PROFILE, Card, SequentialBoundaries
from speakerd_server.errors import PolicyInvalid, SequentialUnavailable
from speakerd_server.values import Decision, Policy, ScoreScale, Thresholds

CLOSE = 1e-9
"""Error rates that differ by less are the same."""
PROFILES = (DEFAULT_PROFILE, *BAND_PAIRS)
"""The bands of enrolment and call; DEFAULT_PROFILE: any, where no other fits."""


def boundaries_for(card: Card, target_far: float, target_frr: float) -> list[SequentialBoundaries]:
    """Give a model's boundaries for two error rates, one for each profile.

    Raises:
        SequentialUnavailable: It has none for them; names those that it has.
    """
    known = card.calibration.sequential
    fitting = [
        one
        for one in known
        if abs(one.target_far - target_far) < CLOSE and abs(one.target_frr - target_frr) < CLOSE
    ]
    if not fitting:
        rates = sorted({(one.target_far, one.target_frr) for one in known})
        raise SequentialUnavailable(target_far, target_frr, rates)
    return fitting


def sequential_policy(
    card: Card,
    scale: ScoreScale | None,
    minimum_speech_s: float,
    maximum_speech_s: float | None,
    rates: tuple[float, float],
) -> Policy:
    """Give the policy that decides by a model's boundaries; the maximum is as far as they reach.

    Raises:
        SequentialUnavailable: The model has none for these rates.
        PolicyInvalid: The scale is another, or the speech wanted is more than they reach to.
    """
    boundaries = boundaries_for(card, *rates)
    learnt = boundaries[0].scale
    if scale not in (None, learnt):
        raise PolicyInvalid("scale", f"must be unset or {learnt.value} with sequential")
    longest_s = min(one.maximum_s for one in boundaries)
    maximum_s = longest_s if maximum_speech_s is None else maximum_speech_s
    for field, wanted_s in (
        ("maximum_net_speech", maximum_s),
        ("minimum_net_speech", minimum_speech_s),
    ):
        if wanted_s > longest_s:
            problem = f"{wanted_s:g} s is more than the {longest_s} s that the boundaries reach to"
            raise PolicyInvalid(field, problem)
    return Policy(
        scale=learnt,
        accept_at=math.inf,
        reject_below=-math.inf,
        minimum_speech_samples=round(minimum_speech_s * card.sample_rate_hz),
        maximum_speech_samples=round(maximum_s * card.sample_rate_hz),
        sequential=rates,
    )


def one_look(policy: Policy) -> Policy:
    """Give a policy for what is looked at once; raises PolicyInvalid for a sequential one."""
    if policy.sequential is not None:
        raise PolicyInvalid("sequential", "it is for calls, which are looked at again and again")
    return policy


@dataclass(frozen=True, slots=True)
class Settled:
    """The look that decided."""

    decision: Decision
    """ACCEPT or REJECT."""
    score: float
    """At that moment."""
    boundary: float
    """That it crossed."""
    speech_samples: int
    """Net speech at that moment, at the model's rate."""
    window_count: int
    """Windows averaged at that moment."""

    def reason(self, speaker_id: str, scale: ScoreScale, rate_hz: int) -> str:
        """Tell why, in one sentence with the numbers."""
        is_accept = self.decision is Decision.ACCEPT
        crossed = "reached the accept" if is_accept else "fell below the reject"
        speech = f"{self.speech_samples / rate_hz:.2f} s of speech"
        windows = "1 window" if self.window_count == 1 else f"{self.window_count} windows"
        return (
            f"{speaker_id} {crossed} boundary {self.boundary:.4f} with {self.score:.4f} on the"
            f" scale {scale.value}, after {speech} ({windows}); that stays"
        )


class SequentialDecision:
    """The looks at one call, for each claimed speaker alone; pure.

    Where the bands are not known, the strictest of all boundaries are taken: their promise holds
    whichever was meant.

    Args:
        boundaries: Of one pair of error rates, one for each profile.
        rate_hz: The model's.
    """

    def __init__(self, boundaries: Sequence[SequentialBoundaries], rate_hz: int) -> None:
        self._boundaries, self._rate_hz = tuple(boundaries), rate_hz
        self._settled: dict[str, Settled] = {}
        self._looked_windows = 0

    def check(
        self, samples_per_chunk: int, maximum_samples: int | None, *, gated: bool, searched: bool
    ) -> None:
        """Raise PolicyInvalid unless a call is heard as those behind the boundaries were.

        Or where its maximum of speech ends before the first window, so that nothing would decide.
        """
        if searched:
            problem = "its error rates are those of a claim; name speakers, do not search for one"
            raise PolicyInvalid("sequential", problem)
        for learnt in self._boundaries:
            if samples_per_chunk != learnt.samples_per_chunk:
                problem = f"it was learnt with samples_per_chunk {learnt.samples_per_chunk}"
                raise PolicyInvalid("sequential", f"{problem}, not {samples_per_chunk}")
            if maximum_samples is not None and maximum_samples < samples_per_chunk:
                window_s = samples_per_chunk / self._rate_hz
                problem = f"it ends before the first window, of {window_s:g} s, that could decide"
                raise PolicyInvalid("maximum_net_speech", problem)
            if gated != learnt.speech_gate:
                wanted = "speech alone" if learnt.speech_gate else "all audio"
                on = "ON" if learnt.speech_gate else "OFF"
                problem = f"it was learnt on {wanted}; set speech_gate to {on}"
                raise PolicyInvalid("sequential", problem)

    def is_look(self, window_count: int) -> bool:
        """Tell whether so many windows are more than at the last look, which it then is."""
        is_more = window_count > self._looked_windows
        self._looked_windows = max(window_count, self._looked_windows)
        return is_more

    def look(
        self, speaker_id: str, score: float, *, speech_samples: int, windows: int, bands: str
    ) -> None:
        """Take the score after a window; the first boundary crossed decides for good.

        Args:
            speaker_id: As claimed.
            score: On the boundaries' scale.
            speech_samples: Net speech up to then, at the model's rate.
            windows: Averaged in the score.
            bands: Of enrolment and call; empty: not known.
        """
        around = self.at(speech_samples, bands)
        if speaker_id in self._settled or around is None:
            return
        if score >= around.accept_at:
            decision, boundary = Decision.ACCEPT, around.accept_at
        elif score < around.reject_below:
            decision, boundary = Decision.REJECT, around.reject_below
        else:
            return
        self._settled[speaker_id] = Settled(decision, score, boundary, speech_samples, windows)

    def of(self, speaker_id: str) -> Settled | None:
        """Give what decided for a speaker; None: nothing yet."""
        return self._settled.get(speaker_id)

    def at(self, speech_samples: int, bands: str) -> Thresholds | None:
        """Give the boundaries at this much net speech.

        None: there are none for these bands, or the maximum is over.
        """
        meant = self._meant(bands)
        if not meant or speech_samples > self._rate_hz * min(one.maximum_s for one in meant):
            return None
        second = speech_samples // self._rate_hz
        rows = [(one, min(second, one.maximum_s - 1)) for one in meant]
        accept = max(one.accept[row] for one, row in rows)
        return Thresholds(accept, min(one.reject[row] for one, row in rows))

    def _meant(self, bands: str) -> list[SequentialBoundaries]:
        """Give the boundaries that these bands leave possible."""
        named = [one for one in self._boundaries if one.profile != DEFAULT_PROFILE]
        if bands:
            named = [one for one in named if one.profile == bands]
        return named or [one for one in self._boundaries if one.profile == DEFAULT_PROFILE]
