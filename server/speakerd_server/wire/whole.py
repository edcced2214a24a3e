"""VerificationService, the part that takes whole recordings without a claim: Compare and Embed."""

from __future__ import annotations

from speakerd.v1 import verification_pb2 as pb
from speakerd.v1 import verification_pb2_grpc

from speakerd_server.calls.hearing import Hearing, window_length
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.serving import Serving
from speakerd_server.calls.sides import heard_side
from speakerd_server.decision import Comparison, decide, pair_of
from speakerd_server.errors import AudioWithoutVoice
from speakerd_server.margin import check_margin
from speakerd_server.pipeline import Heard
from speakerd_server.quality.limits import poor
from speakerd_server.sequential import one_look
from speakerd_server.values import AudioFormat, SpeakerState, Utterance
from speakerd_server.wire import convert, edge, result_convert
from speakerd_server.wire.quality_convert import (
    quality_limits,
    wire_band,
    wire_quality,
)
from speakerd_server.wire.sounds import whole_sound


class WholeRecordings(verification_pb2_grpc.VerificationServiceServicer):
    """Translates between the wire and recordings that are heard at once."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

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
        comparison = _compared(model, first.utterance, second.utterance)
        verdict = decide(
            policy,
            [comparison],
            speech_samples=min(first.utterance.speech_samples, second.utterance.speech_samples),
            window_count=min(first.utterance.window_count, second.utterance.window_count),
            sample_rate_hz=model.card.sample_rate_hz,
            speakers_compared=1,
            poor=poor(first.utterance.quality, limits) or poor(second.utterance.quality, limits),
        )
        return pb.CompareResponse(
            request_id=call.request_id,
            scores=result_convert.all_scores(comparison.scores),
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


def _compared(model: LoadedModel, first: Utterance, second: Utterance) -> Comparison:
    """Compare two recordings, of which the first counts as the enrolled one."""
    other, bands = "the other recording", pair_of(first.band, second.band)
    one, two = heard_side(first, model.card), heard_side(second, model.card)
    if one is None or two is None:
        return Comparison(other, None, SpeakerState.ENROLLED, bands)
    scored = model.scorer.scored(one, two, remember=False)
    return Comparison(
        other, scored.cosine, SpeakerState.ENROLLED, bands, scored.by_scale, scored.profile
    )
