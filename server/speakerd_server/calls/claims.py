"""Whom a call claims to be, and what the enrolled voiceprints say to it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.serving import Serving
from speakerd_server.calls.sides import enrolled_side, heard_side
from speakerd_server.cards import Card
from speakerd_server.decision import Comparison, decide, pair_of, revoked
from speakerd_server.enrolled import Voiceprint
from speakerd_server.errors import FieldInvalid, ModelMismatch
from speakerd_server.margin import check_margin, with_margin
from speakerd_server.quality.limits import QualitySettings, poor
from speakerd_server.score.scales import Scorer, Side
from speakerd_server.sequential import SequentialDecision, boundaries_for
from speakerd_server.store.ids import check_group_name, check_speaker_id
from speakerd_server.values import Decision, Policy, SpeakerState, Utterance, Verdict

MAXIMUM_SPEAKERS = 100
DEFAULT_TOP_K = 5
_FOR_MARGIN = 2
"""A search for one speaker needs the second as well, to say how far the first leads."""
_CANDIDATES = 20
"""A search ranks by cosine: on scales whose order may differ, so many at least are scored."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom the voice may be: listed speakers, anyone of the domain or a group, or nobody named."""

    speaker_ids: tuple[str, ...] = ()
    """Claimed speakers."""
    top_k: int | None = None
    """With a number: anyone of the domain, so many in the answer."""
    group: str | None = None
    """With top_k: members of this group alone."""

    def check(self) -> None:
        """Refuse a malformed target by SpeakerIdInvalid, GroupNameInvalid or FieldInvalid."""
        if self.group is not None:
            check_group_name(self.group)
        if self.top_k is not None and not 1 <= self.top_k <= MAXIMUM_SPEAKERS:
            field = "whole_domain.top_k" if self.group is None else "group.top_k"
            raise FieldInvalid(field, f"{self.top_k} is not between 1 and {MAXIMUM_SPEAKERS}")
        if len(self.speaker_ids) > MAXIMUM_SPEAKERS:
            raise FieldInvalid(
                "speakers.speaker_ids",
                f"{len(self.speaker_ids)} speakers are claimed, at most {MAXIMUM_SPEAKERS} can be;"
                " use whole_domain to search among all",
            )
        if len(set(self.speaker_ids)) < len(self.speaker_ids):
            raise FieldInvalid("speakers.speaker_ids", "a speaker is listed twice")
        for speaker_id in self.speaker_ids:
            check_speaker_id(speaker_id)


class Claim:
    """Turns what was heard in one call into verdicts, by the voiceprints as they are now.

    Raises what `Target.check` does, and PolicyInvalid for a minimum margin without a search.
    """

    def __init__(
        self,
        serving: Serving,
        domain: str,
        target: Target,
        card: Card,
        policy: Policy,
        quality: QualitySettings,
        scorer: Scorer | None = None,
    ) -> None:
        target.check()
        check_margin(policy.minimum_margin, policy.scale, searched=target.top_k is not None)
        self._enrolments = serving.enrolments
        self._domain = domain
        self._target = target
        self._card = card
        self._policy = policy
        self._quality = quality
        self._scorer = scorer or Scorer(card, None)
        self._earlier: dict[str, Voiceprint | None] = {}
        self._sequential: SequentialDecision | None = None
        if policy.sequential is not None:
            boundaries = boundaries_for(card, *policy.sequential)
            self._sequential = SequentialDecision(boundaries, card.sample_rate_hz)

    async def check(self, hearing: Hearing) -> None:
        """Raise ModelMismatch when a claimed speaker was enrolled with another model.

        GroupUnknown for a group that the domain does not have; PolicyInvalid where a call that is
        heard so cannot be decided as its policy wants.
        """
        if self._sequential is not None:
            self._sequential.check(
                hearing.samples_per_chunk,
                hearing.maximum_speech_samples,
                gated=hearing.gated,
                searched=self._target.top_k is not None,
            )
        if self._target.group is not None:
            await self._enrolments.check_group(self._domain, self._target.group)
        for speaker_id in self._target.speaker_ids:
            await self._voiceprint(speaker_id)

    async def verdict(self, utterance: Utterance, *, final: bool) -> Verdict:
        """Compare and decide; raises ModelMismatch when a claimed speaker was enrolled anew.

        What is not final was heard up to a full window.
        """
        if self._target.top_k is not None and utterance.window_count == 0:
            return await self._nobody_heard()
        comparisons, compared = await self._comparisons(utterance)
        if comparisons is not None and not comparisons:
            return self._nobody_enrolled()
        problem = poor(utterance.quality, self._quality)
        if not final and not problem:
            self._look(utterance, comparisons or [])
        verdict = decide(
            self._policy,
            comparisons,
            speech_samples=utterance.speech_samples,
            window_count=utterance.window_count,
            sample_rate_hz=self._card.sample_rate_hz,
            speakers_compared=compared,
            poor=problem,
            sequential=self._sequential,
        )
        verdict = with_margin(verdict, self._policy)
        verdict = revoked(verdict, utterance.handover, self._policy)
        return replace(verdict, scores=verdict.scores[: self._target.top_k])

    async def look(self, utterance: Utterance) -> None:
        """Look at a call after a window, where the policy wants that; as `verdict` does itself."""
        if self._sequential is not None:
            await self.verdict(utterance, final=False)

    def _look(self, utterance: Utterance, comparisons: list[Comparison]) -> None:
        speech = utterance.speech_samples
        if self._sequential is None or speech < self._policy.minimum_speech_samples:
            return
        if self._sequential.is_look(utterance.window_count):
            for one in comparisons:
                if one.cosine is not None:
                    self._sequential.look(
                        one.speaker_id,
                        one.cosine,
                        speech_samples=speech,
                        windows=utterance.window_count,
                        bands=one.bands,
                    )

    async def earlier(self, speaker_id: str) -> Voiceprint | None:
        """Give the voiceprint to be held against the call if it enrols this speaker now."""
        with suppress(ModelMismatch):  # of which the enrolment will tell
            return await self._voiceprint(speaker_id)
        return None

    def enrolled(self, speaker_id: str, earlier: Voiceprint | None) -> None:
        """Compare with the voiceprint from before this very call, which would know itself again.

        None: there was none, and the speaker is as one who is not enrolled.
        """
        self._earlier[speaker_id] = earlier

    async def _voiceprint(self, speaker_id: str) -> Voiceprint | None:
        now = await self._enrolments.voiceprint(self._domain, speaker_id, self._card.identity)
        return now and self._earlier.get(speaker_id, now)

    async def _nobody_heard(self) -> Verdict:
        model, group = self._card.identity, self._target.group
        if not await self._enrolments.is_anyone(self._domain, model, group):
            return self._nobody_enrolled()
        reason = "no window with a voice in it was heard yet"
        return Verdict(Decision.NOT_ENOUGH_SPEECH, reason)

    def _nobody_enrolled(self) -> Verdict:
        where = "domain" if self._target.group is None else f"group {self._target.group}"
        return Verdict(Decision.SPEAKER_NOT_ENROLLED, f"nobody is enrolled in the {where}")

    async def _comparisons(self, utterance: Utterance) -> tuple[list[Comparison] | None, int]:
        if self._target.top_k is not None:
            return await self._search(utterance, self._target.top_k)
        if not self._target.speaker_ids:
            return None, 0
        heard = heard_side(utterance, self._card)
        comparisons = [await self._compare(s, utterance, heard) for s in self._target.speaker_ids]
        return comparisons, sum(c.cosine is not None for c in comparisons)

    async def _compare(
        self, speaker_id: str, utterance: Utterance, heard: Side | None
    ) -> Comparison:
        voiceprint = await self._voiceprint(speaker_id)
        if voiceprint is None:
            state = await self._enrolments.state(self._domain, speaker_id)
            # Enrolled since the voiceprint was asked for, or from this very call.
            just_now = state is SpeakerState.ENROLLED
            return Comparison(speaker_id, None, SpeakerState.PENDING if just_now else state)
        bands = pair_of(voiceprint.band, utterance.band)
        if heard is None:
            return Comparison(speaker_id, None, SpeakerState.ENROLLED, bands)
        scored = self._scorer.scored(enrolled_side(voiceprint, self._card), heard)
        return Comparison(
            speaker_id,
            scored.cosine,
            SpeakerState.ENROLLED,
            bands,
            scored.by_scale,
            scored.profile,
        )

    async def _search(self, utterance: Utterance, top_k: int) -> tuple[list[Comparison], int]:
        """Compare with the speakers most alike by cosine, more of them on other scales' account."""
        wanted = max(top_k, _FOR_MARGIN)
        if self._policy.scale.of_cosine(0.0) is None:
            wanted = max(_CANDIDATES, 2 * wanted)
        found = await self._enrolments.search(
            self._domain,
            self._card.identity,
            utterance.mean,
            wanted + len(self._earlier),
            self._target.group,
        )
        heard = heard_side(utterance, self._card)
        hits = [await self._compare(name, utterance, heard) for name, _ in found.hits]
        # Who was erased, or expired, since the search, or came from this call, is nobody's hit.
        known = [one for one in hits if one.cosine is not None]
        return known, found.compared - (len(hits) - len(known))
