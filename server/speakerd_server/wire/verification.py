"""VerificationService: live and whole verification."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from speakerd.v1 import verification_pb2 as pb

from speakerd_server import metrics
from speakerd_server.calls.caller import CallerEnrolments
from speakerd_server.calls.claims import Claim, Target
from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.last_uses import LastUses
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.sessions import SessionEntry
from speakerd_server.calls.watching import Watch
from speakerd_server.errors import ConfigMissing
from speakerd_server.pipeline import Heard
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.values import AudioFormat, Decision, Policy, Verdict
from speakerd_server.wire import convert, edge, result_convert, watching
from speakerd_server.wire.quality_convert import quality_limits
from speakerd_server.wire.sounds import whole_sound
from speakerd_server.wire.whole import WholeRecordings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Verification:
    """One verification: settings checked, voiceprints at hand."""

    request_id: str
    domain: str
    hearing: Hearing
    policy: Policy
    target: Target
    claim: Claim
    limits: QualitySettings
    watch: Watch
    callers: CallerEnrolments
    uses: LastUses

    async def result(self, heard: Heard) -> tuple[pb.VerificationResult, Verdict]:
        verdict = await self.claim.verdict(heard.utterance, final=heard.final)
        if verdict.decision is Decision.ACCEPT:
            accepted = [one for one in verdict.scores if one.decision is Decision.ACCEPT]
            self.uses.note(self.domain, accepted[0].speaker_id)
        hits = await self.watch.look(heard.utterance)
        wire_rate_hz = self.hearing.audio_format.sample_rate_hz
        message = result_convert.result(
            heard,
            verdict,
            self.policy.scale,
            model_rate_hz=self.hearing.model_rate_hz,
            wire_rate_hz=wire_rate_hz,
        )
        told = self.watch.hits if heard.final else hits
        message.watchlist_hits.extend(watching.hits(told, self.policy.scale, wire_rate_hz))
        return message, verdict

    async def enrol(self, heard: Heard, message: object) -> pb.CallerEnrolled:
        """Enrol the caller as asked for between two messages of audio."""
        assert isinstance(message, pb.EnrollCaller)
        wish, speech_samples = watching.wish(message), heard.utterance.speech_samples
        earlier = await self.claim.earlier(wish.speaker_id)
        outcome = await self.callers.enrol(wish, heard.utterance)
        if outcome.error is None:
            self.claim.enrolled(wish.speaker_id, earlier)
            self.watch.enrolled(wish.speaker_id)
        rate_hz = self.hearing.model_rate_hz
        return watching.caller_enrolled(wish, outcome, speech_samples, rate_hz)

    def session(self) -> dict[str, Any]:
        """How it is listed among the live calls."""
        return {
            "request_id": self.request_id,
            "rpc": "StreamVerify",
            "domain": self.domain,
            "model": self.hearing.model.reference,
            "speaker_ids": self.target.speaker_ids,
            "whole_domain": self.target.top_k is not None and self.target.group is None,
            "group": self.target.group or "",
        }

    def settings(self) -> pb.EffectiveSettings:
        rate_hz = self.hearing.model_rate_hz
        return pb.EffectiveSettings(
            request_id=self.request_id,
            domain=self.domain,
            model=convert.identity(self.hearing.model.card.identity),
            samples_per_chunk=self.hearing.samples_per_chunk,
            model_sample_rate_hz=rate_hz,
            policy=convert.wire_policy(self.policy, rate_hz, self.limits),
            update_interval=convert.duration_of_seconds(self.hearing.update_interval_s),
            speech_gate=convert.wire_gate(self.hearing.gated),
        )


class VerificationService(WholeRecordings):
    """The whole service: verification here, what takes recordings without a claim elsewhere."""

    async def StreamVerify(  # type: ignore[override] # noqa: N802 - answers by context.write
        self, request_iterator: AsyncIterator[Any], context: edge.Context
    ) -> None:
        """Verify a call while it goes on."""
        await edge.answered(
            context, "StreamVerify", lambda call: self._stream_verify(request_iterator, call)
        )

    async def _stream_verify(self, requests: AsyncIterator[Any], call: edge.Call) -> None:
        limits = self._serving.settings
        with self._serving.places.stream():
            config = await edge.config_of(requests, limits.idle_timeout_s)
            call.named(config.request_id)
            with self._serving.live_model(config.model) as model:
                verification = await self._verification(
                    config, model, call.request_id, convert.audio_format(config.audio_format)
                )
                opened = pb.StreamVerifyResponse(opened=verification.settings())
                with self._serving.sessions.opened(**verification.session()) as entry:
                    await call.write(opened, limits.write_timeout_s)
                    await self._talk(verification, requests, call, entry)

    async def _talk(
        self,
        verification: _Verification,
        requests: AsyncIterator[Any],
        call: edge.Call,
        entry: SessionEntry,
    ) -> None:
        clock = asyncio.get_running_loop().time
        timeout_s = self._serving.settings.write_timeout_s
        chunks = edge.chunks_of(requests)
        async with verification.hearing.live(self._serving, chunks) as pipeline:
            async for heard in pipeline.heard():
                if heard.mark is not None:
                    enrolled = await verification.enrol(heard, heard.mark.content)
                    await call.write(pb.StreamVerifyResponse(caller_enrolled=enrolled), timeout_s)
                    continue
                if not heard.utterance.is_due:
                    await verification.claim.look(heard.utterance)
                    continue
                with edge.lag_observed(heard.complete_at_s, clock):
                    result, verdict = await verification.result(heard)
                    entry.heard(*verification.hearing.seconds(heard), verdict.decision)
                    answer = pb.StreamVerifyResponse(update=result)
                    if heard.final:
                        answer = pb.StreamVerifyResponse(final=result)
                    await call.write(answer, timeout_s)
                if heard.final:
                    _decided(call, verdict)

    async def Verify(  # noqa: N802
        self, request: pb.VerifyRequest, context: edge.Context
    ) -> pb.VerifyResponse:
        """Verify one whole recording."""
        return await edge.answered(context, "Verify", lambda call: self._verify(request, call))

    async def _verify(self, request: pb.VerifyRequest, call: edge.Call) -> pb.VerifyResponse:
        if not request.HasField("config"):
            raise ConfigMissing
        call.named(request.config.request_id)
        config = request.config
        with (
            self._serving.places.unary(len(request.audio)),
            self._serving.models.held(config.model) as model,
        ):
            sound = whole_sound(config.audio_format, request.audio)
            verification = await self._verification(
                config, model, call.request_id, sound.audio_format
            )
            heard = await verification.hearing.whole(
                self._serving, sound.content, verification.claim.look
            )
            result, verdict = await verification.result(heard)
        _decided(call, verdict)
        return pb.VerifyResponse(settings=verification.settings(), result=result)

    async def _verification(
        self,
        config: pb.VerificationConfig,
        model: LoadedModel,
        request_id: str,
        audio_format: AudioFormat,
    ) -> _Verification:
        domain = self._serving.domain(config.domain)
        policy = convert.policy(config.policy, model.card)
        hearing = self._hearing(
            model,
            config,
            audio_format,
            update_interval_s=convert.seconds(config.update_interval, "update_interval", 0, 3600),
            maximum_speech_samples=policy.maximum_speech_samples,
            every_window=policy.sequential is not None,
        )
        target = convert.target(config)
        limits = quality_limits(config.policy.quality, self._serving.quality)
        claim = Claim(
            self._serving, domain, target, model.card, policy, limits, scorer=model.scorer
        )
        await claim.check(hearing)
        lists = watching.watchlists(config)
        watch = Watch(
            self._serving.enrolments, domain, lists, model.card, policy, limits, model.scorer
        )
        await watch.check()
        callers = CallerEnrolments(self._serving, domain, hearing, limits)
        return _Verification(
            request_id,
            domain,
            hearing,
            policy,
            target,
            claim,
            limits,
            watch,
            callers,
            self._serving.uses,
        )


def _decided(call: edge.Call, verdict: Verdict) -> None:
    decision = verdict.decision.value
    metrics.DECISIONS.labels(decision).inc()
    about = {"rpc": call.rpc, "request_id": call.request_id, "decision": decision}
    _log.info("decided", extra=about)
