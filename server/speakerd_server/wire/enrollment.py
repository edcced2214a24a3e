"""EnrollmentService: recordings in, speakers administered."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from speakerd.v1 import enrollment_pb2 as pb
from speakerd.v1 import enrollment_pb2_grpc

from speakerd_server import metrics
from speakerd_server.calls.enrolling import Enrolment, Wanted
from speakerd_server.calls.hearing import Hearing, window_length
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.serving import Serving
from speakerd_server.calls.sessions import SessionEntry
from speakerd_server.errors import ConfigMissing, FieldInvalid, PageTokenInvalid
from speakerd_server.store.ids import check_speaker_id
from speakerd_server.values import AudioFormat, Utterance
from speakerd_server.wire import convert, edge
from speakerd_server.wire.quality_convert import (
    quality_limits,
    wire_band,
    wire_limits,
    wire_quality,
)
from speakerd_server.wire.sounds import UNARY_AUDIO_S, whole_sound

MAXIMUM_NAME = 256
MAXIMUM_PAGE = 1000
DEFAULT_PAGE = 100


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
        return pb.EnrollmentResult(
            speaker=convert.speaker(stored.speaker),
            recording_id=stored.recording_id,
            recording_consistency=stored.consistency,
            feedback=_feedback(stored.feedback.name),
            reason=stored.reason,
            duplicates=[
                pb.Duplicate(speaker_id=one, cosine=alike) for one, alike in stored.duplicates
            ],
        )


class EnrollmentService(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """Translates between the wire and the store."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

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

    async def GetSpeaker(  # noqa: N802
        self, request: pb.GetSpeakerRequest, context: edge.Context
    ) -> pb.GetSpeakerResponse:
        """Give one speaker."""
        return await edge.answered(context, "GetSpeaker", lambda _: self._get(request))

    async def _get(self, request: pb.GetSpeakerRequest) -> pb.GetSpeakerResponse:
        domain, speaker_id = self._named(request)
        speaker = await self._serving.enrolments.speaker(domain, speaker_id)
        return pb.GetSpeakerResponse(speaker=convert.speaker(speaker))

    async def ListSpeakers(  # noqa: N802
        self, request: pb.ListSpeakersRequest, context: edge.Context
    ) -> pb.ListSpeakersResponse:
        """List a page of speakers."""
        return await edge.answered(context, "ListSpeakers", lambda _: self._list(request))

    async def _list(self, request: pb.ListSpeakersRequest) -> pb.ListSpeakersResponse:
        domain = self._serving.domain(request.domain)
        size = request.page_size or DEFAULT_PAGE
        if not 1 <= size <= MAXIMUM_PAGE:
            raise FieldInvalid("page_size", f"{size} is not between 1 and {MAXIMUM_PAGE}")
        after = _token_read(request.page_token)
        found = await self._serving.enrolments.speakers(domain, after, size + 1)
        page = found[:size]
        more = len(found) > size
        return pb.ListSpeakersResponse(
            speakers=[convert.speaker(one) for one in page],
            next_page_token=_token(page[-1].speaker_id) if more else "",
        )

    async def UpdateSpeaker(  # noqa: N802
        self, request: pb.UpdateSpeakerRequest, context: edge.Context
    ) -> pb.UpdateSpeakerResponse:
        """Change a speaker's name, remove recordings."""
        return await edge.answered(context, "UpdateSpeaker", lambda _: self._update(request))

    async def _update(self, request: pb.UpdateSpeakerRequest) -> pb.UpdateSpeakerResponse:
        domain, speaker_id = self._named(request)
        name = request.display_name if request.HasField("display_name") else None
        check_display_name(name)
        removed = tuple(request.remove_recording_ids)
        speaker = await self._serving.enrolments.update(domain, speaker_id, name, removed)
        metrics.ERASURES.inc(len(set(removed)))
        return pb.UpdateSpeakerResponse(speaker=convert.speaker(speaker))

    async def DeleteSpeaker(  # noqa: N802
        self, request: pb.DeleteSpeakerRequest, context: edge.Context
    ) -> pb.DeleteSpeakerResponse:
        """Delete a speaker and erase the voiceprint."""
        return await edge.answered(context, "DeleteSpeaker", lambda _: self._delete(request))

    async def _delete(self, request: pb.DeleteSpeakerRequest) -> pb.DeleteSpeakerResponse:
        domain, speaker_id = self._named(request)
        erased = await self._serving.enrolments.delete(domain, speaker_id)
        metrics.ERASURES.inc(erased)
        return pb.DeleteSpeakerResponse(recordings_erased=erased)

    def _named(
        self, request: pb.GetSpeakerRequest | pb.UpdateSpeakerRequest | pb.DeleteSpeakerRequest
    ) -> tuple[str, str]:
        check_speaker_id(request.speaker_id)
        return self._serving.domain(request.domain), request.speaker_id

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
        wanted = Wanted(
            minimum_s,
            quality_limits(config.quality, self._serving.quality),
            name,
            config.force,
            config.check_duplicates,
        )
        enrolment = Enrolment(self._serving, domain, config.speaker_id, hearing, wanted)
        await enrolment.check()
        return _Enrolling(request_id, enrolment)


def check_display_name(name: str | None) -> None:
    """Refuse a display name that is too long, or no plain text, by FieldInvalid."""
    if name is None:
        return
    if len(name) > MAXIMUM_NAME:
        problem = f"has {len(name)} characters, at most {MAXIMUM_NAME} can be"
        raise FieldInvalid("display_name", problem)
    if any(unicodedata.category(character).startswith("C") for character in name):
        raise FieldInvalid("display_name", "has a control character")


def _feedback(name: str) -> pb.EnrollFeedback.ValueType:
    return pb.EnrollFeedback.Value(f"ENROLL_FEEDBACK_{name}")


def _token(speaker_id: str) -> str:
    return base64.urlsafe_b64encode(b"1:" + speaker_id.encode()).decode()


def _token_read(token: str) -> str | None:
    if not token:
        return None
    try:
        plain = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise PageTokenInvalid from None
    version, separator, speaker_id = plain.partition(":")
    if (version, separator) != ("1", ":") or not speaker_id:
        raise PageTokenInvalid
    return speaker_id
