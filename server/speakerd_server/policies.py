"""When a score is enough: a policy, filled up from the model's card, checked."""

from __future__ import annotations

import math
from dataclasses import replace

from speakerd_server.cards import Card
from speakerd_server.errors import PolicyInvalid, ScaleUnavailable
from speakerd_server.sequential import sequential_policy
from speakerd_server.values import Policy, ScoreScale, Thresholds

HIGHEST_MINIMUM_S = 3600.0
LOWEST_MAXIMUM_S = 0.1
"""Less audio is no utterance for any model."""
HIGHEST_MAXIMUM_S = 86_400.0


def policy_for(
    card: Card,
    scale: ScoreScale | None = None,
    accept_at: float | None = None,
    reject_below: float | None = None,
    minimum_speech_s: float = 1.0,
    maximum_speech_s: float | None = None,
    revoke_at_handover: bool = False,
    sequential: tuple[float, float] | None = None,
) -> Policy:
    """Fill a policy up from the model's card; thresholds are on `scale` (unset: cosine).

    The card has thresholds for cosine, by pairs of bands too, and perhaps for asnorm and llr.

    Raises PolicyInvalid for a policy that contradicts itself or leaves its scale's range,
    ScaleUnavailable for scales that this model cannot give, and SequentialUnavailable for error
    rates that its card has no boundaries for.
    """
    if sequential is not None:
        if not (accept_at is None and reject_below is None):
            raise PolicyInvalid("sequential", "accept_at and reject_below must be unset with it")
        _check_speech(minimum_speech_s, maximum_speech_s)
        decided = sequential_policy(card, scale, minimum_speech_s, maximum_speech_s, sequential)
        return replace(decided, revoke_at_handover=revoke_at_handover)
    if scale is None and not (accept_at is None and reject_below is None):
        raise PolicyInvalid("scale", "must be set where accept_at or reject_below is")
    scale = scale or ScoreScale.COSINE
    if scale not in card.scales:
        raise ScaleUnavailable(scale.value, [one.value for one in card.scales])
    usual = card_thresholds(card, scale)
    accept = _threshold("accept_at", accept_at, None if usual is None else usual.accept_at, scale)
    reject = accept
    if reject_below is not None or accept_at is None:
        reject = _threshold(
            "reject_below", reject_below, None if usual is None else usual.reject_below, scale
        )
    if reject > accept:
        raise PolicyInvalid("reject_below", f"{reject:g} is above accept_at, {accept:g}")
    _check_speech(minimum_speech_s, maximum_speech_s)
    rate_hz = card.sample_rate_hz
    return Policy(
        scale=scale,
        accept_at=accept,
        reject_below=reject,
        minimum_speech_samples=round(minimum_speech_s * rate_hz),
        maximum_speech_samples=None
        if maximum_speech_s is None
        else round(maximum_speech_s * rate_hz),
        revoke_at_handover=revoke_at_handover,
        by_bands=_by_bands(card, scale) if accept_at is None and reject_below is None else {},
    )


def card_thresholds(card: Card, scale: ScoreScale, bands: str = "") -> Thresholds | None:
    """Give the card's own thresholds for these bands on a scale; None: it has none."""
    if bands in (by_bands := _by_bands(card, scale)):
        return by_bands[bands]
    if card.accept_at is not None and card.reject_below is not None:
        accept, reject = scale.of_cosine(card.accept_at), scale.of_cosine(card.reject_below)
        if accept is not None and reject is not None:
            return Thresholds(accept, reject)
    for one in card.calibration.scales:
        if one.scale is scale:
            return Thresholds(one.accept_at, one.reject_below)
    return None


def _by_bands(card: Card, scale: ScoreScale) -> dict[str, Thresholds]:
    """Give the card's own thresholds for pairs of bands on a scale that cosines tell."""
    found = {}
    for one in card.calibration.bands:
        accept, reject = scale.of_cosine(one.accept_at), scale.of_cosine(one.reject_below)
        if accept is not None and reject is not None:
            found[one.pair] = Thresholds(accept, reject)
    return found


def _threshold(field: str, wanted: float | None, usual: float | None, scale: ScoreScale) -> float:
    if wanted is None:
        if usual is None:
            problem = f"must be set: the model has no threshold on the scale {scale.value}"
            raise PolicyInvalid(field, f"{problem}; set scale too")
        return usual
    lowest, highest = scale.of_cosine(-1.0), scale.of_cosine(1.0)
    if lowest is None or highest is None:
        if not math.isfinite(wanted):
            raise PolicyInvalid(field, f"{wanted:g} is no number on the scale {scale.value}")
    elif not lowest <= wanted <= highest:
        raise PolicyInvalid(
            field, f"{wanted:g} is not on the scale {scale.value}, {lowest:g} to {highest:g}"
        )
    return wanted


def _check_speech(minimum_s: float, maximum_s: float | None) -> None:
    if not 0.0 <= minimum_s <= HIGHEST_MINIMUM_S:
        raise PolicyInvalid(
            "minimum_net_speech", f"{minimum_s:g} s is not within 0 s to {HIGHEST_MINIMUM_S:g} s"
        )
    if maximum_s is None:
        return
    lowest_s = max(minimum_s, LOWEST_MAXIMUM_S)
    if not lowest_s <= maximum_s <= HIGHEST_MAXIMUM_S:
        raise PolicyInvalid(
            "maximum_net_speech",
            f"{maximum_s:g} s is not possible; use {lowest_s:g} s to {HIGHEST_MAXIMUM_S:g} s,"
            " or leave it unset",
        )
