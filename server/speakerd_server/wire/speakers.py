"""EnrollmentService, the part for those who administer speakers."""

from __future__ import annotations

import time

from speakerd.v1 import enrollment_pb2 as pb
from speakerd.v1 import enrollment_pb2_grpc

from speakerd_server import metrics
from speakerd_server.calls.serving import Serving
from speakerd_server.store.ids import check_display_name, check_speaker_id
from speakerd_server.wire import convert, edge, enrolled_convert, pages


class SpeakerAdministration(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """Translates between the wire and the store."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def GetSpeaker(  # noqa: N802
        self, request: pb.GetSpeakerRequest, context: edge.Context
    ) -> pb.GetSpeakerResponse:
        """Give one speaker."""
        return await edge.answered(context, "GetSpeaker", lambda _: self._get(request))

    async def _get(self, request: pb.GetSpeakerRequest) -> pb.GetSpeakerResponse:
        domain, speaker_id = self._named(request)
        speaker = await self._serving.enrolments.speaker(domain, speaker_id)
        return pb.GetSpeakerResponse(speaker=enrolled_convert.speaker(speaker))

    async def ListSpeakers(  # noqa: N802
        self, request: pb.ListSpeakersRequest, context: edge.Context
    ) -> pb.ListSpeakersResponse:
        """List a page of speakers."""
        return await edge.answered(context, "ListSpeakers", lambda _: self._list(request))

    async def _list(self, request: pb.ListSpeakersRequest) -> pb.ListSpeakersResponse:
        domain = self._serving.domain(request.domain)
        size = pages.page_size(request.page_size)
        after = pages.token_read(request.page_token)
        found = await self._serving.enrolments.speakers(domain, after, size + 1)
        page = found[:size]
        more = len(found) > size
        return pb.ListSpeakersResponse(
            speakers=[enrolled_convert.speaker(one) for one in page],
            next_page_token=pages.token(page[-1].speaker_id) if more else "",
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
        agreed = None
        if request.HasField("consent_time"):
            agreed = convert.consent(request.consent_time, time.time())
        update = self._serving.enrolments.update
        speaker = await update(domain, speaker_id, name, removed, agreed)
        metrics.ERASURES.inc(len(set(removed)))
        return pb.UpdateSpeakerResponse(speaker=enrolled_convert.speaker(speaker))

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

    async def OptOutSpeaker(  # noqa: N802
        self, request: pb.OptOutSpeakerRequest, context: edge.Context
    ) -> pb.OptOutSpeakerResponse:
        """Erase a voiceprint and refuse the speaker until AllowSpeaker."""
        return await edge.answered(context, "OptOutSpeaker", lambda _: self._opt_out(request))

    async def _opt_out(self, request: pb.OptOutSpeakerRequest) -> pb.OptOutSpeakerResponse:
        domain, speaker_id = self._named(request)
        opted_out = await self._serving.enrolments.opt_out(domain, speaker_id)
        metrics.ERASURES.inc(opted_out.recordings_erased)
        return pb.OptOutSpeakerResponse(
            speaker=enrolled_convert.speaker(opted_out.speaker),
            recordings_erased=opted_out.recordings_erased,
        )

    async def AllowSpeaker(  # noqa: N802
        self, request: pb.AllowSpeakerRequest, context: edge.Context
    ) -> pb.AllowSpeakerResponse:
        """Lift an opt-out."""
        return await edge.answered(context, "AllowSpeaker", lambda _: self._allow(request))

    async def _allow(self, request: pb.AllowSpeakerRequest) -> pb.AllowSpeakerResponse:
        domain, speaker_id = self._named(request)
        speaker = await self._serving.enrolments.allow(domain, speaker_id)
        return pb.AllowSpeakerResponse(speaker=enrolled_convert.speaker(speaker))

    def _named(
        self,
        request: pb.GetSpeakerRequest
        | pb.UpdateSpeakerRequest
        | pb.DeleteSpeakerRequest
        | pb.OptOutSpeakerRequest
        | pb.AllowSpeakerRequest,
    ) -> tuple[str, str]:
        check_speaker_id(request.speaker_id)
        return self._serving.domain(request.domain), request.speaker_id
