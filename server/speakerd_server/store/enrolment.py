"""The enrolment store: the record on disk and the voiceprints in memory, kept as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from speakerd_server.enrolled import NewRecording, Speaker
from speakerd_server.errors import (
    RecordingUnknown,
    SpeakerNotOptedOut,
    TooManyRecordings,
)
from speakerd_server.store.answers import Enrolled, OptedOut
from speakerd_server.store.groups import Joining
from speakerd_server.store.ids import check_name, check_speaker_id
from speakerd_server.store.open_store import OpenStore
from speakerd_server.store.voiceprint import (
    check_recording,
    cosine,
    mean_of,
    voiceprint_of,
)
from speakerd_server.values import SpeakerState

MAXIMUM_RECORDINGS = 100
HOUR_S = 3600.0


class EnrolmentStore(OpenStore):
    """Speakers, their recordings and voiceprints.

    Changes wait for the disk and for each other; they may be called from any thread and raise
    DomainUnknown, StoreFull, StoreUnavailable or StoreCorrupt besides what each says, and then
    nothing was changed.
    """

    def enrol(
        self,
        domain: str,
        speaker_id: str,
        recording: NewRecording,
        display_name: str | None = None,
        group: str | None = None,
        consent_unix_s: float | None = None,
    ) -> Enrolled:
        """Add a recording to a speaker, who is created where new; returns once it is on disk.

        It takes the place of recordings that make an expired voiceprint, which are erased first:
        ErasureIncomplete says that old bytes may still be on the disk and nothing was stored, and
        calling again finishes both. With a group the speaker is made a member of it, or nothing is
        stored: GroupUnknown, TooManyMembers, TooManyMemberships. The time of consent is kept where
        it is not None.

        Raises ModelMismatch where the speaker's other recordings were made by another model,
        TooManyRecordings, SpeakerOptedOut, SpeakerIdInvalid, FieldInvalid, and ValueError for sums
        that are zero or not finite.
        """
        self._check_domain(domain)
        check_speaker_id(speaker_id)
        check_name(display_name)
        check_recording(recording)
        with self._record_lock:
            self._finish_pending_erasure()
            self._check_not_opted_out(domain, speaker_id)
            outdated = self._outdated(domain, speaker_id)
            earlier = [] if outdated else list(self.record.sums(domain, speaker_id).values())
            if len(earlier) >= MAXIMUM_RECORDINGS:
                raise TooManyRecordings(speaker_id, MAXIMUM_RECORDINGS)
            together = [*earlier, recording]
            self.index.check_alike(domain, speaker_id, together)
            consistency = cosine(mean_of(recording), voiceprint_of(earlier)) if earlier else None
            joining = Joining(self.index.groups, domain, speaker_id, group)
            self._erase_outdated(domain, speaker_id, outdated)
            with self.record.transaction():
                recording_id = self.record.add(domain, speaker_id, recording)
                self.record.touch(domain, speaker_id, display_name)
                if consent_unix_s is not None:
                    self.record.note_consent(domain, speaker_id, consent_unix_s)
                joining.record(self.record.groups)
                speaker = self._recorded(domain, speaker_id)
            self._make_known(domain, speaker_id, together)
            joining.done()
        return Enrolled(speaker, recording_id, consistency, len(outdated))

    def _outdated(self, domain: str, speaker_id: str) -> frozenset[str]:
        """Give the recordings of an expired voiceprint."""
        if self.index.state(domain, speaker_id) is not SpeakerState.EXPIRED:
            return frozenset()
        return frozenset(self.record.sums(domain, speaker_id))

    def _erase_outdated(self, domain: str, speaker_id: str, outdated: frozenset[str]) -> None:
        if not outdated:
            return
        self.record.prepare_erasure()
        with self.record.transaction():
            self.record.remove(outdated)
            self.record.touch(domain, speaker_id, None)
        self.index.put(domain, speaker_id, None)
        self.record.finish_erasure()

    def used(self, domain: str, speaker_id: str) -> None:
        """Note that a verification has just accepted a speaker, to the hour.

        At most one change for each speaker and hour; a speaker without voiceprint is passed over.
        """
        self._check_domain(domain)
        hour_unix_s = self._clock() // HOUR_S * HOUR_S
        with self._record_lock:
            age = self.record.ages(domain, speaker_id).get((domain, speaker_id))
            is_there = self.index.state(domain, speaker_id) is SpeakerState.ENROLLED
            if age is None or not is_there or (age[1] or 0.0) >= hour_unix_s:
                return
            with self.record.transaction():
                self.record.note_use(domain, speaker_id, hour_unix_s)
            held = self.index.held(domain, speaker_id)
            if held is not None:
                expires = self._rules[domain].expires(age[0], hour_unix_s)
                self.index.put(domain, speaker_id, replace(held, expires_unix_s=expires))

    def update(
        self,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        remove_recording_ids: Sequence[str],
        consent_unix_s: float | None = None,
    ) -> Speaker:
        """Rename a speaker (None: keep the name), erase recordings, set the time of consent.

        Without recordings the speaker is PENDING. Raises SpeakerUnknown, RecordingUnknown,
        SpeakerOptedOut where there is something to change, FieldInvalid, and ErasureIncomplete:
        removed, but old bytes may still be on the disk.
        """
        self._check_domain(domain)
        check_name(display_name)
        removed = frozenset(remove_recording_ids)
        with self._record_lock:
            self._finish_pending_erasure()
            self._check_known(domain, speaker_id)
            if display_name is None and not removed and consent_unix_s is None:
                return self._recorded(domain, speaker_id)
            self._check_not_opted_out(domain, speaker_id)
            left = self._without(domain, speaker_id, removed)
            if removed:
                self.record.prepare_erasure()
            with self.record.transaction():
                self.record.remove(removed)
                self.record.touch(domain, speaker_id, display_name)
                if consent_unix_s is not None:
                    self.record.note_consent(domain, speaker_id, consent_unix_s)
                speaker = self._recorded(domain, speaker_id)
            if removed:
                self._make_known(domain, speaker_id, left)
                self.record.finish_erasure()
        return speaker

    def _without(self, domain: str, speaker_id: str, removed: frozenset[str]) -> list[NewRecording]:
        recordings = self.record.sums(domain, speaker_id)
        for recording_id in sorted(removed - recordings.keys()):
            raise RecordingUnknown(speaker_id, recording_id)
        return [one for key, one in recordings.items() if key not in removed]

    def delete(self, domain: str, speaker_id: str) -> int:
        """Erase a speaker; give the number of recordings erased.

        Raises SpeakerUnknown, SpeakerOptedOut, and ErasureIncomplete: deleted, but old bytes may
        still be on the disk; calling again finishes the erasure and then raises SpeakerUnknown.
        """
        self._check_domain(domain)
        with self._record_lock:
            self._finish_pending_erasure()
            self._check_known(domain, speaker_id)
            self._check_not_opted_out(domain, speaker_id)
            self.record.prepare_erasure()
            with self.record.transaction():
                erased = self.record.delete(domain, speaker_id)
            self.index.remove(domain, speaker_id)
            self.record.finish_erasure()
        return erased

    def opt_out(self, domain: str, speaker_id: str) -> OptedOut:
        """Erase a speaker's recordings and name, and enrol nobody by this id until `allow`.

        The id need not be known. Once opted out, nothing more is changed. Raises SpeakerIdInvalid,
        and ErasureIncomplete as `update` does.
        """
        self._check_domain(domain)
        check_speaker_id(speaker_id)
        with self._record_lock:
            self._finish_pending_erasure()
            if self.index.state(domain, speaker_id) is SpeakerState.OPTED_OUT:
                return OptedOut(self._recorded(domain, speaker_id), 0)
            self.record.prepare_erasure()
            with self.record.transaction():
                erased = self.record.opt_out(domain, speaker_id)
                speaker = self._recorded(domain, speaker_id)
            self.index.opt_out(domain, speaker_id)
            self.record.finish_erasure()
        return OptedOut(speaker, erased)

    def allow(self, domain: str, speaker_id: str) -> Speaker:
        """Lift an opt-out; raises SpeakerUnknown and SpeakerNotOptedOut."""
        self._check_domain(domain)
        with self._record_lock:
            self._check_known(domain, speaker_id)
            if self.index.state(domain, speaker_id) is not SpeakerState.OPTED_OUT:
                raise SpeakerNotOptedOut(speaker_id)
            with self.record.transaction():
                self.record.allow(domain, speaker_id)
                speaker = self._recorded(domain, speaker_id)
            self.index.put(domain, speaker_id, None)
        return speaker
