"""When things happened in one stream, and what that means: no event loop, no gRPC."""

from __future__ import annotations

from speakerd.v1 import audio_pb2
from speakerd.v1.verification_pb2 import StreamVerifyResponse, VerificationResult

from speakerd_client import convert
from speakerd_client.errors import ServerFailed
from speakerd_client.load.course import Course, Wire
from speakerd_client.load.samples import Samples
from speakerd_client.load.tally import LiveTally
from speakerd_client.load.windows import WindowBook, clock_of

_SETTLED = {audio_pb2.DECISION_ACCEPT, audio_pb2.DECISION_REJECT}


class StreamLog:
    """Counts one stream into the tally that all streams of a process share; in its order of calls.

    Times are those of time.monotonic.
    """

    def __init__(self, course: Course, wire: Wire, tally: LiveTally) -> None:
        self._course, self._wire, self._tally = course, wire, tally
        self._book: WindowBook | None = None
        self._audio_start_s = self._last_due_s = self._last_handed_s = 0.0
        self._half_close_s: float | None = None
        self._decided = False
        self.has_final = False
        """True once the final came."""

    def opened(self, response: StreamVerifyResponse, took_s: float) -> None:
        """The first answer came. Raises ServerFailed when it is no `opened`."""
        if response.WhichOneof("response") != "opened":
            raise ServerFailed("the daemon answered before it opened the call")
        settings = convert.call_settings(response.opened)
        clock = clock_of(settings, self._wire.rate_hz)
        self._book = WindowBook(clock, self._wire.message_samples)
        self._tally.connect.add(took_s)
        self._tally.opened += 1

    def audio_starts(self, at_s: float) -> None:
        """The first message is due now."""
        self._audio_start_s = self._last_due_s = self._last_handed_s = at_s

    def handed(self, number: int, due_s: float, at_s: float) -> None:
        """Message `number`, from 0, is handed to gRPC now; it was due at `due_s`."""
        self._last_due_s, self._last_handed_s = due_s, at_s
        counts = self._course.counts(at_s)
        if counts:
            self._tally.lateness.add(at_s - due_s)
        if self._book is not None and number == self._book.next_message:
            due = self._book.sent(at_s)
            self._tally.windows_due += len(due) if counts else 0

    def sending_ended(self, messages: int, at_s: float) -> None:
        """No more is sent, so many messages were; what they took is measured to the last one."""
        audio_s = messages * self._course.message_s
        late_s = self._last_handed_s - self._last_due_s
        self._tally.messages += messages
        self._tally.audio_s += audio_s
        self._tally.sending_s += max(audio_s + late_s, at_s - self._audio_start_s)

    def half_closed(self, at_s: float) -> None:
        """The audio is ended now."""
        self._half_close_s = at_s

    def heard(self, response: StreamVerifyResponse, at_s: float) -> None:
        """An answer after `opened` came."""
        kind = response.WhichOneof("response")
        if kind == "update":
            self._answered(response.update.committed_samples, at_s)
            self._decide(response.update, at_s)
        elif kind == "final":
            self.has_final = True
            self._decide(response.final, at_s)
            self._tally.decisions[convert.decision(response.final.decision).value] += 1
            if self._half_close_s is not None:
                self._tally.finish.add(at_s - self._half_close_s)

    def _answered(self, committed_samples: int, at_s: float) -> None:
        sent_s = None if self._book is None else self._book.answered(committed_samples)
        if sent_s is None:
            self._tally.unforeseen += 1
        elif self._course.counts(sent_s):
            self._tally.windows_answered += 1
            self._tally.lag.add(at_s - sent_s)
            slot = self._course.slot(sent_s)
            self._tally.lag_by_slot.setdefault(slot, Samples()).add(at_s - sent_s)

    def _decide(self, result: VerificationResult, at_s: float) -> None:
        if not self._decided and result.decision in _SETTLED:
            self._decided = True
            self._tally.decided.add(at_s - self._audio_start_s)
