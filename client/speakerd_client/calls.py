"""The streaming calls: a verification, an enrolment."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from speakerd.v1 import enrollment_pb2, verification_pb2

from speakerd_client import convert
from speakerd_client.errors import CallEnded, CallerNotEnrolled, ServerFailed
from speakerd_client.records import Enrollment, EnrollmentProgress, EnrollmentSettings
from speakerd_client.requests import sendable
from speakerd_client.results import CallerEnrolled, CallSettings, Verification
from speakerd_client.stream_call import StreamCall

WAITING_WISHES = 16
"""Callers of one call that may wait for their answer; the daemon enrols 10 in all."""


class VerificationCall(StreamCall[Verification, Verification]):
    """A verification while the call goes on: updates, then the final, as Verification."""

    settings: CallSettings | None = None
    """What the call runs with; set once it is open."""

    def __init__(self, start: Callable[[], Any], config: Any, address: str, timeout_s: float):
        super().__init__(start, config, address, timeout_s)
        self._asked: deque[list[verification_pb2.CallerEnrolled]] = deque(maxlen=WAITING_WISHES)

    async def enroll_caller(
        self, group: str, speaker_id: str, *, display_name: str | None = None, force: bool = False
    ) -> CallerEnrolled:
        """Enrol what was sent so far as a recording of a speaker, and put it on a watchlist.

        Full windows alone are stored; the speaker is created where new. On disk when it returns.
        This call itself goes on with the speaker's voiceprint from before: it never recognises
        itself.

        Args:
            group: A group of the domain, of which the speaker becomes a member.
            speaker_id: Whose recording it is.
            display_name: Replaces the display name when set.
            force: Store it though other people seem to speak in it.

        Raises:
            CallerNotEnrolled: Nothing was stored; `reason` says why, and the call goes on.
            SpeakerdError: The daemon has ended the call, or `end` or `finish` was called before.
            ValueError: The call is not in a `with`.
        """
        self._require_entered()
        if self._half_closed:
            raise CallEnded("the audio of this call was ended; open a new call")
        with sendable():
            wish = verification_pb2.EnrollCaller(
                group=group, speaker_id=speaker_id, display_name=display_name, force=force
            )
        if len(self._asked) == WAITING_WISHES:
            raise CallerNotEnrolled(
                f"{WAITING_WISHES} callers wait for their answer; wait for them first",
                reason="TOO_MANY_CALLER_ENROLMENTS",
                request_id=self.request_id,
            )
        answers: list[verification_pb2.CallerEnrolled] = []
        self._asked.append(answers)
        message = verification_pb2.StreamVerifyRequest(enroll_caller=wish)
        # gRPC breaks the whole call off where a task that writes is cancelled.
        writing = asyncio.ensure_future(self._push(self._rpc.write, message))
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(writing)
        await self._wait(lambda: bool(answers) or self.finished)
        if not answers:
            self._raise_error()
            raise CallEnded("the call was over before the caller was enrolled")
        (answer,) = answers
        if answer.reason:
            raise CallerNotEnrolled(
                answer.message, reason=answer.reason, request_id=self.request_id
            )
        return convert.caller_enrolled(answer)

    @property
    def request_id(self) -> str:
        """Id of the call; empty before it is open."""
        return self.settings.request_id if self.settings else ""

    @property
    def _is_open(self) -> bool:
        return self.settings is not None

    def _audio(self, content: bytes) -> verification_pb2.StreamVerifyRequest:
        return verification_pb2.StreamVerifyRequest(audio=content)

    def _take(self, response: verification_pb2.StreamVerifyResponse) -> None:
        kind = response.WhichOneof("response")
        if kind == "opened":
            self.settings = convert.call_settings(response.opened)
        elif self.settings is None:
            self._error = ServerFailed("the daemon answered before it opened the call")
        elif kind == "update":
            self._updates.append(convert.verification(response.update, self.settings, False))
        elif kind == "caller_enrolled":
            if self._asked:
                self._asked.popleft().append(response.caller_enrolled)
        elif kind == "final":
            self._final = convert.verification(response.final, self.settings, True)


class EnrollmentCall(StreamCall[EnrollmentProgress, Enrollment]):
    """An enrolment while the person speaks: progress, then what was stored."""

    settings: EnrollmentSettings | None = None
    """What the enrolment runs with; set once it is open."""

    @property
    def request_id(self) -> str:
        """Id of the call; empty before it is open."""
        return self.settings.request_id if self.settings else ""

    @property
    def _is_open(self) -> bool:
        return self.settings is not None

    def _audio(self, content: bytes) -> enrollment_pb2.StreamEnrollRequest:
        return enrollment_pb2.StreamEnrollRequest(audio=content)

    def _take(self, response: enrollment_pb2.StreamEnrollResponse) -> None:
        kind = response.WhichOneof("response")
        if kind == "opened":
            self.settings = convert.enrollment_settings(response.opened)
        elif self.settings is None:
            self._error = ServerFailed("the daemon answered before it opened the call")
        elif kind == "progress":
            self._updates.append(convert.enrollment_progress(response.progress))
        elif kind == "final":
            self._final = convert.enrollment(response.final, self.settings)
