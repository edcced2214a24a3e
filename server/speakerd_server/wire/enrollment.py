"""EnrollmentService: recordings in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from speakerd.v1 import enrollment_pb2 as pb

from speakerd_server import metrics
from speakerd_server.calls.enrolling import Enrolment, Wanted
from speakerd_server.calls.hearing import Hearing, window_length
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.sessions import SessionEntry
from speakerd_server.errors import ConfigMissing
from speakerd_server.store.ids import check_display_name, check_speaker_id
from speakerd_server.values import AudioFormat, Utterance
from speakerd_server.wire import convert, edge, enrolled_convert
from speakerd_server.wire.groups import GroupAdministration
from speakerd_server.wire.quality_convert import (
    quality_limits,
    wire_band,
    wire_limits,
    wire_quality,
)
from speakerd_server.wire.sounds import UNARY_AUDIO_S, whole_sound
from speakerd_server.wire.speakers import SpeakerAdministration


@dataclass(frozen=True, slots=True, eq=False)
class _Enrolling:
    """One enrolment on the wire."""

    request_id: str
    enrolment: Enrolment

    def settings(self) -> pb.EnrollmentSettings:
        hearing = self.enrolment.hearing
        return pb.EnrollmentSettings(
            request_id=self.request_id,
            domain=self.enrolment.domain,
            model=convert.identity(hearing.model.card.identity),
            samples_per_chunk=hearing.samples_per_chunk,
            minimum_net_speech=convert.duration_of_seconds(self.enrolment.wanted.minimum_speech_s),
            speech_gate=convert.wire_gate(hearing.gated),
            quality=wire_limits(self.enrolment.wanted.limits),
        )

    def session(self) -> dict[str, Any]:
        """How it is listed among the live calls."""
        return {
            "request_id": self.request_id,
            "rpc": "StreamEnroll",
            "domain": self.enrolment.domain,
            "model": self.enrolment.hearing.model.reference,
            "speaker_ids": (self.enrolment.speaker_id,),
        }

    def progress(self, utterance: Utterance) -> pb.EnrollmentProgress:
        progress = self.enrolment.progress(utterance)
        return pb.EnrollmentProgress(
            percent=progress.percent,
            still_needed=convert.duration_of_seconds(progress.still_needed_s),
            feedback=_feedback(progress.feedback.name),
            net_speech=convert.duration(
                utterance.speech_samples, self.enrolment.hearing.model_rate_hz
            ),
            window_count=utterance.window_count,
            window_consistency=utterance.consistency,
            recording_consistency=progress.consistency,
            quality=wire_quality(utterance.quality),
            band=wire_band(utterance.band),
            reason=progress.reason,
        )

    async def result(self, utterance: Utterance) -> pb.EnrollmentResult:
        stored = await self.enrolment.store(utterance)
        metrics.ENROLMENTS.inc()
        metrics.ERASURES.inc(stored.recordings_erased)
        return pb.EnrollmentResult(
            speaker=enrolled_convert.speaker(stored.speaker),
            recording_id=stored.recording_id,
            recording_consistency=stored.consistency,
            feedback=_feedback(stored.feedback.name),
            reason=stored.reason,
            duplicates=[
                pb.Duplicate(speaker_id=one, cosine=alike) for one, alike in stored.duplicates
            ],
        )


class EnrollmentService(SpeakerAdministration, GroupAdministration):
    """The whole service: enrolments here, what operators do with speakers and groups elsewhere."""

    async def StreamEnroll(  # type: ignore[override] # noqa: N802 - answers by context.write
        self, request_iterator: AsyncIterator[Any], context: edge.Context
    ) -> None:
        """Enrol while the person speaks."""
        await edge.answered(
            context, "StreamEnroll", lambda call: self._stream_enroll(request_iterator, call)
        )

    async def _stream_enroll(self, requests: AsyncIterator[Any], call: edge.Call) -> None:
        limits = self._serving.settings
        with self._serving.places.stream():
            config = await edge.config_of(requests, limits.idle_timeout_s)
            call.named(config.request_id)
            with self._serving.live_model(config.model) as model:
                audio_format = convert.audio_format(config.audio_format)
                enrolling = await self._enrolling(config, model, call.request_id, audio_format)
                opened = pb.StreamEnrollResponse(opened=enrolling.settings())
                with self._serving.sessions.opened(**enrolling.session()) as entry:
                    await call.write(opened, limits.write_timeout_s)
                    await self._talk(enrolling, requests, call, entry)

    async def _talk(
        self,
        enrolling: _Enrolling,
        requests: AsyncIterator[Any],
        call: edge.Call,
        entry: SessionEntry,
    ) -> None:
        hearing, timeout_s = enrolling.enrolment.hearing, self._serving.settings.write_timeout_s
        async with hearing.live(self._serving, edge.chunks_of(requests)) as pipeline:
            async for heard in pipeline.heard():
                entry.heard(*hearing.seconds(heard))
                if heard.final:
                    await call.still_there()
                    answer = pb.StreamEnrollResponse(final=await enrolling.result(heard.utterance))
                else:
                    answer = pb.StreamEnrollResponse(progress=enrolling.progress(heard.utterance))
                await call.write(answer, timeout_s)

    async def EnrollSpeaker(  # noqa: N802
        self, request: pb.EnrollSpeakerRequest, context: edge.Context
    ) -> pb.EnrollSpeakerResponse:
        """Add one whole recording to a speaker."""
        return await edge.answered(
            context, "EnrollSpeaker", lambda call: self._enroll(request, call)
        )

    async def _enroll(
        self, request: pb.EnrollSpeakerRequest, call: edge.Call
    ) -> pb.EnrollSpeakerResponse:
        if not request.HasField("config"):
            raise ConfigMissing
        config = request.config
        call.named(config.request_id)
        with (
            self._serving.places.unary(len(request.audio)),
            self._serving.models.held(config.model) as model,
        ):
            sound = whole_sound(config.audio_format, request.audio)
            enrolling = await self._enrolling(config, model, call.request_id, sound.audio_format)
            heard = await enrolling.enrolment.hearing.whole(self._serving, sound.content)
            result = await enrolling.result(heard.utterance)
        return pb.EnrollSpeakerResponse(settings=enrolling.settings(), result=result)

    async def _enrolling(
        self,
        config: pb.EnrollmentConfig,
        model: LoadedModel,
        request_id: str,
        audio_format: AudioFormat,
    ) -> _Enrolling:
        domain = self._serving.domain(config.domain)
        check_speaker_id(config.speaker_id)
        name = config.display_name if config.HasField("display_name") else None
        check_display_name(name)
        minimum_s = self._serving.settings.enroll_minimum_speech_s
        if config.HasField("minimum_net_speech"):
            minimum_s = convert.seconds(config.minimum_net_speech, "minimum_net_speech", 0, 600)
        length = config.samples_per_chunk if config.HasField("samples_per_chunk") else None
        hearing = Hearing(
            model=model,
            audio_format=audio_format,
            samples_per_chunk=window_length(model, length),
            maximum_signal_s=UNARY_AUDIO_S,
            gated=self._serving.gated(convert.speech_gate(config.speech_gate)),
        )
        agreed = None
        if config.HasField("consent_time"):
            agreed = convert.consent(config.consent_time, time.time())
        wanted = Wanted(
            minimum_s,
            quality_limits(config.quality, self._serving.quality),
            name,
            config.force,
            config.check_duplicates,
            consent_unix_s=agreed,
        )
        enrolment = Enrolment(self._serving, domain, config.speaker_id, hearing, wanted)
        await enrolment.check()
        return _Enrolling(request_id, enrolment)


def _feedback(name: str) -> pb.EnrollFeedback.ValueType:
    return pb.EnrollFeedback.Value(f"ENROLL_FEEDBACK_{name}")
