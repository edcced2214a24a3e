"""Who is enrolled, read and changed: methods of AsyncClient."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from speakerd.v1 import enrollment_pb2, enrollment_pb2_grpc

from speakerd_client import convert
from speakerd_client.records import Speaker
from speakerd_client.requests import sendable, timestamp


class Administers(Protocol):
    """The part of AsyncClient that is needed here."""

    @property
    def _enrollment(self) -> enrollment_pb2_grpc.EnrollmentServiceAsyncStub:
        """The service."""

    async def _unary(self, method: Any, request: Any) -> Any:
        """Make one unary call."""


async def get_speaker(client: Administers, speaker_id: str, *, domain: str = "") -> Speaker:
    """Give one speaker with all recordings."""
    with sendable():
        request = enrollment_pb2.GetSpeakerRequest(domain=domain, speaker_id=speaker_id)
    return convert.speaker((await client._unary(client._enrollment.GetSpeaker, request)).speaker)


async def list_speakers(
    client: Administers, *, domain: str = "", page_size: int = 100
) -> AsyncIterator[Speaker]:
    """Give the speakers of a domain by id, asking for pages as they are needed."""
    with sendable():
        request = enrollment_pb2.ListSpeakersRequest(domain=domain, page_size=page_size)
    while True:
        page = await client._unary(client._enrollment.ListSpeakers, request)
        for each in page.speakers:
            yield convert.speaker(each)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def update_speaker(
    client: Administers,
    speaker_id: str,
    *,
    domain: str = "",
    display_name: str | None = None,
    remove_recording_ids: Sequence[str] = (),
    consent: datetime | None = None,
) -> Speaker:
    """Change name or time of consent, erase recordings; give the speaker as it is then."""
    with sendable():
        request = enrollment_pb2.UpdateSpeakerRequest(
            domain=domain,
            speaker_id=speaker_id,
            display_name=display_name,
            remove_recording_ids=remove_recording_ids,
            consent_time=timestamp(consent, "consent"),
        )
    response = await client._unary(client._enrollment.UpdateSpeaker, request)
    return convert.speaker(response.speaker)


async def delete_speaker(client: Administers, speaker_id: str, *, domain: str = "") -> int:
    """Delete a speaker and erase the voiceprint; give the number of recordings erased."""
    with sendable():
        request = enrollment_pb2.DeleteSpeakerRequest(domain=domain, speaker_id=speaker_id)
    response = await client._unary(client._enrollment.DeleteSpeaker, request)
    erased: int = response.recordings_erased
    return erased


async def opt_out(client: Administers, speaker_id: str, *, domain: str = "") -> int:
    """Erase a speaker's voiceprint and name, and let nobody be enrolled by this id until `allow`.

    The id need not be known. Gives the number of recordings erased.
    """
    with sendable():
        request = enrollment_pb2.OptOutSpeakerRequest(domain=domain, speaker_id=speaker_id)
    response = await client._unary(client._enrollment.OptOutSpeaker, request)
    erased: int = response.recordings_erased
    return erased


async def allow(client: Administers, speaker_id: str, *, domain: str = "") -> Speaker:
    """Lift an opt-out; give the speaker, who can be enrolled anew."""
    with sendable():
        request = enrollment_pb2.AllowSpeakerRequest(domain=domain, speaker_id=speaker_id)
    response = await client._unary(client._enrollment.AllowSpeaker, request)
    return convert.speaker(response.speaker)
