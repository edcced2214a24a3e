"""Watchlists of a call: which of their members sound like the caller, each noticed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from speakerd_server import metrics
from speakerd_server.calls.enrolments import Enrolments
from speakerd_server.calls.sides import enrolled_side, heard_side
from speakerd_server.cards import Card
from speakerd_server.decision import pair_of
from speakerd_server.errors import FieldInvalid, GroupUnknown, PolicyInvalid
from speakerd_server.policies import card_thresholds
from speakerd_server.quality.limits import QualitySettings, poor
from speakerd_server.score.scales import Scorer, Side
from speakerd_server.store.ids import check_group_name
from speakerd_server.values import Policy, Utterance

MAXIMUM_WATCHLISTS = 10
_NEW_HITS = 20
"""Most new hits of one watchlist at one look; the others follow at the next. Those most alike by
cosine are looked at, which asnorm and llr may order a little differently."""


@dataclass(frozen=True, slots=True)
class Watchlists:
    """Groups to look through beside the claim."""

    groups: tuple[str, ...] = ()
    """Names of groups of the domain."""
    hit_at: float | None = None
    """On the policy's scale; None: the policy's accept threshold, or the card's."""

    def check(self, policy: Policy, card: Card) -> None:
        """Refuse what cannot be looked through: GroupNameInvalid, FieldInvalid, PolicyInvalid."""
        if len(self.groups) > MAXIMUM_WATCHLISTS:
            problem = f"{len(self.groups)} are named, at most {MAXIMUM_WATCHLISTS} can be"
            raise FieldInvalid("watchlists.groups", problem)
        if len(set(self.groups)) < len(self.groups):
            raise FieldInvalid("watchlists.groups", "a group is named twice")
        for name in self.groups:
            check_group_name(name)
        if self.hit_at is not None:
            if not self.groups:
                raise FieldInvalid("watchlists.groups", "is empty; name a group, or leave hit_at")
            lowest, highest = policy.scale.of_cosine(-1.0), policy.scale.of_cosine(1.0)
            low, high = -math.inf if lowest is None else lowest, highest or math.inf
            if not low <= self.hit_at <= high or math.isinf(self.hit_at):
                problem = f"{self.hit_at:g} is not on the scale {policy.scale.value}"
                raise FieldInvalid("watchlists.hit_at", problem)
        elif self.groups and _usual(policy, card, "") is None:
            raise PolicyInvalid(
                "watchlists.hit_at", "must be set: the model has no calibrated threshold"
            )


@dataclass(frozen=True, slots=True)
class Hit:
    """One member of a watchlist who sounds like the caller."""

    group: str
    """The watchlist."""
    speaker_id: str
    """The member."""
    score: float
    """On the policy's scale, when it was noticed."""
    hit_at: float
    """What the score was held against."""
    window: int
    """Number of the last window that was heard then, from 0."""
    committed_samples: int
    """Wire samples up to the end of that window."""


class Watch:
    """Looks through the watchlists of one call, by their members and voiceprints as they are now.

    Raises what `Watchlists.check` does.
    """

    def __init__(
        self,
        enrolments: Enrolments,
        domain: str,
        watchlists: Watchlists,
        card: Card,
        policy: Policy,
        quality: QualitySettings,
        scorer: Scorer | None = None,
    ) -> None:
        watchlists.check(policy, card)
        self._enrolments, self._domain, self._card = enrolments, domain, card
        self._watchlists, self._policy, self._quality = watchlists, policy, quality
        self._scorer = scorer or Scorer(card, None)
        self._hits: dict[tuple[str, str], Hit] = {}
        self._own: set[str] = set()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """All of the call so far, in the order in which they were noticed."""
        return tuple(self._hits.values())

    def enrolled(self, speaker_id: str) -> None:
        """Let who was enrolled from this very call be no hit of it from now on, in any list."""
        self._own.add(speaker_id)

    async def check(self) -> None:
        """Raise GroupUnknown for a watchlist that the domain does not have."""
        for name in self._watchlists.groups:
            await self._enrolments.check_group(self._domain, name)

    async def look(self, utterance: Utterance) -> tuple[Hit, ...]:
        """Give the members who are noticed by now and were not before, by group, best first."""
        enough = utterance.speech_samples >= self._policy.minimum_speech_samples
        if not enough or utterance.window_count == 0 or poor(utterance.quality, self._quality):
            return ()
        new = [
            hit for name in self._watchlists.groups for hit in await self._among(name, utterance)
        ]
        for hit in new:
            self._hits[hit.group, hit.speaker_id] = hit
        metrics.WATCHLIST_HITS.inc(len(new))
        return tuple(new)

    async def _among(self, group: str, utterance: Utterance) -> Sequence[Hit]:
        done = self._own | {one for name, one in self._hits if name == group}
        try:
            found = await self._enrolments.search(
                self._domain, self._card.identity, utterance.mean, len(done) + _NEW_HITS, group
            )
        except GroupUnknown:
            return ()  # deleted meanwhile: nobody is in it
        new, heard = [], heard_side(utterance, self._card)
        for speaker_id, _ in found.hits:
            if speaker_id not in done and heard is not None:
                hit = await self._hit(group, speaker_id, heard, utterance)
                new += [] if hit is None else [hit]
        return new

    async def _hit(
        self, group: str, speaker_id: str, heard: Side, utterance: Utterance
    ) -> Hit | None:
        model = self._card.identity
        voiceprint = await self._enrolments.voiceprint(self._domain, speaker_id, model)
        if voiceprint is None:
            return None  # erased since the search
        bands = pair_of(voiceprint.band, utterance.band)
        hit_at = self._watchlists.hit_at
        if hit_at is None:
            hit_at = _usual(self._policy, self._card, bands)
        scored = self._scorer.scored(enrolled_side(voiceprint, self._card), heard)
        score = scored.by_scale.get(self._policy.scale)
        if score is None or hit_at is None or score < hit_at:
            return None
        windows = utterance.window_count + utterance.windows_without_variance
        return Hit(group, speaker_id, score, hit_at, windows - 1, utterance.committed_samples)


def _usual(policy: Policy, card: Card, bands: str) -> float | None:
    """Give the accept threshold of a claim for these bands; None: there is none."""
    if policy.sequential is None:
        held = policy.by_bands.get(bands)
        return policy.accept_at if held is None else held.accept_at
    held = card_thresholds(card, policy.scale, bands)
    return None if held is None else held.accept_at
