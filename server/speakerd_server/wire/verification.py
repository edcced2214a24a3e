"""VerificationService: live and whole verification, comparison, embeddings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from speakerd.v1 import verification_pb2 as pb
from speakerd.v1 import verification_pb2_grpc

from speakerd_server import metrics
from speakerd_server.calls.claims import Claim, Target
from speakerd_server.calls.hearing import Hearing, window_length
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.serving import Serving
from speakerd_server.calls.sessions import SessionEntry
from speakerd_server.decision import Comparison, decide, pair_of
from speakerd_server.errors import AudioWithoutVoice, ConfigMissing
from speakerd_server.margin import check_margin
from speakerd_server.pipeline import Heard
from speakerd_server.quality.limits import QualitySettings, poor
from speakerd_server.score.similarity import cosine, on_scale
from speakerd_server.sequential import one_look
from speakerd_server.values import AudioFormat, Policy, ScoreScale, SpeakerState, Verdict
from speakerd_server.wire import convert, edge
from speakerd_server.wire.quality_convert import (
    quality_limits,
    wire_band,
    wire_quality,
)
from speakerd_server.wire.sounds import whole_sound

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

    async def result(self, heard: Heard) -> tuple[pb.VerificationResult, Verdict]:
        verdict = await self.claim.verdict(heard.utterance, final=heard.final)
        message = convert.result(
            heard,
            verdict,
            self.policy.scale,
            model_rate_hz=self.hearing.model_rate_hz,
            wire_rate_hz=self.hearing.audio_format.sample_rate_hz,
        )
        return message, verdict

    def session(self) -> dict[str, Any]:
        """How it is listed among the live calls."""
        return {
            "request_id": self.request_id,
            "rpc": "StreamVerify",
            "domain": self.domain,
            "model": self.hearing.model.reference,
            "speaker_ids": self.target.speaker_ids,
            "whole_domain": self.target.top_k is not None,
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


class VerificationService(verification_pb2_grpc.VerificationServiceServicer):
    """Translates between the wire and claims over pipelines."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

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

    async def Compare(  # noqa: N802
        self, request: pb.CompareRequest, context: edge.Context
    ) -> pb.CompareResponse:
        """Compare two recordings."""
        return await edge.answered(context, "Compare", lambda call: self._compare(request, call))

    async def _compare(self, request: pb.CompareRequest, call: edge.Call) -> pb.CompareResponse:
        call.named(request.request_id)
        size_bytes = len(request.first.content) + len(request.second.content)
        with (
            self._serving.models.held(request.model) as model,
            self._serving.places.unary(size_bytes),
        ):
            policy = one_look(convert.policy(request.policy, model.card))
            check_margin(policy.minimum_margin, policy.scale, searched=False)
            limits = quality_limits(request.policy.quality, self._serving.quality)
            cut = policy.maximum_speech_samples
            with edge.within("first"):
                first = await self._recording(model, request, request.first, cut)
            with edge.within("second"):
                second = await self._recording(model, request, request.second, cut)
        heard = min(first, second, key=lambda one: one.utterance.window_count)
        was_heard = heard.utterance.window_count > 0
        alike = cosine(first.utterance.mean, second.utterance.mean) if was_heard else None
        bands = pair_of(first.utterance.band, second.utterance.band)
        verdict = decide(
            policy,
            [Comparison("the other recording", alike, SpeakerState.ENROLLED, bands)],
            speech_samples=min(first.utterance.speech_samples, second.utterance.speech_samples),
            window_count=heard.utterance.window_count,
            sample_rate_hz=model.card.sample_rate_hz,
            speakers_compared=1,
            poor=poor(first.utterance.quality, limits) or poor(second.utterance.quality, limits),
        )
        scales = (ScoreScale.COSINE, ScoreScale.SIMILARITY) if alike is not None else ()
        return pb.CompareResponse(
            request_id=call.request_id,
            scores=[convert.score(on_scale(alike or 0.0, scale), scale) for scale in scales],
            decision=convert.decision(verdict.decision),
            reason=verdict.reason,
            policy=convert.wire_policy(policy, model.card.sample_rate_hz, limits),
            model=convert.identity(model.card.identity),
        )

    async def Embed(  # noqa: N802
        self, request: pb.EmbedRequest, context: edge.Context
    ) -> pb.EmbedResponse:
        """Embed one recording."""
        return await edge.answered(context, "Embed", lambda call: self._embed(request, call))

    async def _embed(self, request: pb.EmbedRequest, call: edge.Call) -> pb.EmbedResponse:
        call.named(request.request_id)
        with (
            self._serving.models.held(request.model) as model,
            self._serving.places.unary(len(request.audio.content)),
            edge.within("audio"),
        ):
            utterance = (await self._recording(model, request, request.audio)).utterance
        if not utterance.window_count:
            raise AudioWithoutVoice(utterance.windows_without_variance)
        return pb.EmbedResponse(
            request_id=call.request_id,
            embedding=utterance.mean.tolist(),
            window_count=utterance.window_count,
            windows_without_variance=utterance.windows_without_variance,
            net_speech=convert.duration(utterance.speech_samples, model.card.sample_rate_hz),
            model=convert.identity(model.card.identity),
            band=wire_band(utterance.band),
            quality=wire_quality(utterance.quality),
        )

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
        claim = Claim(self._serving, domain, target, model.card, policy, limits)
        await claim.check(hearing)
        return _Verification(request_id, domain, hearing, policy, target, claim, limits)

    def _hearing(
        self,
        model: LoadedModel,
        request: pb.VerificationConfig | pb.CompareRequest | pb.EmbedRequest,
        audio_format: AudioFormat,
        *,
        update_interval_s: float = 0.0,
        maximum_speech_samples: int | None = None,
        every_window: bool = False,
    ) -> Hearing:
        wanted = request.samples_per_chunk if request.HasField("samples_per_chunk") else None
        gated = convert.speech_gate(request.speech_gate)
        if gated is None and isinstance(request, pb.EmbedRequest):
            gated = False  # embeddings are the seed runtime's unless something else is asked for
        return Hearing(
            model=model,
            audio_format=audio_format,
            samples_per_chunk=window_length(model, wanted),
            update_interval_s=update_interval_s,
            maximum_speech_samples=maximum_speech_samples,
            gated=self._serving.gated(gated),
            every_window=every_window,
        )

    async def _recording(
        self,
        model: LoadedModel,
        request: pb.CompareRequest | pb.EmbedRequest,
        audio: pb.Audio,
        cut: int | None = None,
    ) -> Heard:
        sound = whole_sound(audio.format, audio.content)
        hearing = self._hearing(model, request, sound.audio_format, maximum_speech_samples=cut)
        return await hearing.whole(self._serving, sound.content)


def _decided(call: edge.Call, verdict: Verdict) -> None:
    decision = verdict.decision.value
    metrics.DECISIONS.labels(decision).inc()
    about = {"rpc": call.rpc, "request_id": call.request_id, "decision": decision}
    _log.info("decided", extra=about)
