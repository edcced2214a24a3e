"""The enrolment store: the record on disk and the voiceprints in memory, kept as one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.enrolled import NewRecording, Speaker, Voiceprint
from speakerd_server.errors import (
    DomainUnknown,
    PageTokenInvalid,
    RecordingUnknown,
    SpeakerNotOptedOut,
    SpeakerOptedOut,
    SpeakerUnknown,
    StoreCorrupt,
    TooManyRecordings,
)
from speakerd_server.store.answers import Enrolled, OptedOut, SearchResult
from speakerd_server.store.groups import GroupAdministration, Joining
from speakerd_server.store.ids import check_name, check_speaker_id, encodable
from speakerd_server.store.reading import read_index
from speakerd_server.store.sqlite import SqliteRecord
from speakerd_server.store.voiceprint import (
    check_recording,
    cosine,
    mean_of,
    voiceprint_for,
    voiceprint_of,
)
from speakerd_server.values import ModelIdentity, SpeakerState

MAXIMUM_RECORDINGS = 100


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the enrolments are kept."""

    path: Path = Path("speakerd.db")
    """Database file, made where absent; its folder must exist and be writable."""


class EnrolmentStore:
    """Speakers, their recordings and voiceprints.

    Changes, `speaker` and `speakers` wait for the disk and for each other; they may be called
    from any thread and raise StoreFull, StoreUnavailable or StoreCorrupt besides what each says,
    and then nothing was changed. `voiceprint`, `state` and `count` read memory and never wait;
    `search` waits for other searches at most. Each raises DomainUnknown.
    """

    def __init__(self, settings: StoreSettings, domains: Sequence[str]) -> None:
        """Open or create the store and read it; raises StoreUnusable or StoreCorrupt."""
        self._record_lock = threading.Lock()
        self._domains = frozenset(domains)
        self.record = SqliteRecord(settings.path)
        try:
            self.index = read_index(self.record, self._domains)
        except BaseException:
            self.record.close()
            raise
        self.groups = GroupAdministration(self.record, self.index, self._record_lock)

    def enrol(
        self,
        domain: str,
        speaker_id: str,
        recording: NewRecording,
        display_name: str | None = None,
        group: str | None = None,
    ) -> Enrolled:
        """Add a recording to a speaker, who is created where new; returns once it is on disk.

        With a group the speaker is made a member of it, or nothing is changed: GroupUnknown,
        TooManyMembers.

        Raises ModelMismatch where the speaker's other recordings were made by another model,
        TooManyRecordings, SpeakerOptedOut, SpeakerIdInvalid, FieldInvalid, and ValueError for sums
        that are zero or not finite.
        """
        self._check_domain(domain)
        check_speaker_id(speaker_id)
        check_name(display_name)
        check_recording(recording)
        with self._record_lock:
            self._check_not_opted_out(domain, speaker_id)
            earlier = list(self.record.sums(domain, speaker_id).values())
            if len(earlier) >= MAXIMUM_RECORDINGS:
                raise TooManyRecordings(speaker_id, MAXIMUM_RECORDINGS)
            together = [*earlier, recording]
            self.index.check_alike(domain, speaker_id, together)
            voiceprint = voiceprint_for(speaker_id, together)
            consistency = cosine(mean_of(recording), voiceprint_of(earlier)) if earlier else None
            joining = Joining(self.index.groups, domain, speaker_id, group)
            with self.record.transaction():
                recording_id = self.record.add(domain, speaker_id, recording)
                self.record.touch(domain, speaker_id, display_name)
                joining.record(self.record.groups)
                speaker = self._recorded(domain, speaker_id)
            self.index.put(domain, speaker_id, voiceprint)
            joining.done()
        return Enrolled(speaker, recording_id, consistency)

    def update(
        self,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        remove_recording_ids: Sequence[str],
    ) -> Speaker:
        """Rename a speaker (None: keep the name) and erase recordings.

        Without recordings the speaker is PENDING. Raises SpeakerUnknown, RecordingUnknown,
        FieldInvalid, and ErasureIncomplete: removed, but old bytes may still be on the disk.
        """
        self._check_domain(domain)
        check_name(display_name)
        removed = frozenset(remove_recording_ids)
        with self._record_lock:
            self._finish_pending_erasure()
            self._check_known(domain, speaker_id)
            if display_name is None and not removed:
                return self._recorded(domain, speaker_id)
            left = self._without(domain, speaker_id, removed)
            if removed:
                self.record.prepare_erasure()
            with self.record.transaction():
                self.record.remove(removed)
                self.record.touch(domain, speaker_id, display_name)
                speaker = self._recorded(domain, speaker_id)
            if removed:
                self.index.put(domain, speaker_id, voiceprint_for(speaker_id, left))
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

    def _finish_pending_erasure(self) -> None:
        if self.record.erasure_pending:
            self.record.finish_erasure()

    def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """Give one speaker with all recordings; raises SpeakerUnknown."""
        self._check_domain(domain)
        with self._record_lock:
            self._check_known(domain, speaker_id)
            return self._recorded(domain, speaker_id)

    def speakers(self, domain: str, after: str | None, limit: int) -> list[Speaker]:
        """Give at most `limit` speakers with an id beyond `after`, in code point order.

        Raises PageTokenInvalid where `after` cannot be an id.
        """
        self._check_domain(domain)
        if limit < 1:
            raise ValueError(f"limit is {limit}, not 1 or more")
        if after is not None and not encodable(after):
            raise PageTokenInvalid
        with self._record_lock:
            return self.record.speakers(domain, after or "", limit)

    def count(self) -> int:
        """Give the number of speakers in the domains of the settings."""
        return self.index.count()

    def enrolled(self, domain: str, model: ModelIdentity, group: str | None = None) -> int:
        """Give the number of voiceprints that a search would compare; raises GroupUnknown."""
        self._check_domain(domain)
        return self.index.enrolled(domain, model, group)

    def voiceprint(self, domain: str, speaker_id: str, model: ModelIdentity) -> Voiceprint | None:
        """Give a speaker's voiceprint; None: there is none. Raises ModelMismatch."""
        self._check_domain(domain)
        return self.index.voiceprint(domain, speaker_id, model)

    def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """Give where a speaker stands; None: unknown."""
        self._check_domain(domain)
        return self.index.state(domain, speaker_id)

    def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """Give the top_k speakers enrolled with this model most alike to a float[dim].

        With a group, among its members. Scores are exact cosines. Raises GroupUnknown, and
        ValueError for an embedding of zeros, NaN or another length, and for top_k below 1.
        """
        self._check_domain(domain)
        return self.index.search(domain, model, embedding, top_k, group)

    def close(self) -> None:
        """Let go of the file; later changes raise StoreUnavailable."""
        with self._record_lock:
            self.record.close()

    def _recorded(self, domain: str, speaker_id: str) -> Speaker:
        speaker = self.record.speaker(domain, speaker_id)
        if speaker is None:
            raise StoreCorrupt(self.record.path, f"speaker {speaker_id!r} has vanished from it")
        return speaker

    def _check_domain(self, domain: str) -> None:
        if domain not in self._domains:
            raise DomainUnknown(domain)

    def _check_known(self, domain: str, speaker_id: str) -> None:
        if self.index.state(domain, speaker_id) is None:
            raise SpeakerUnknown(domain, speaker_id)

    def _check_not_opted_out(self, domain: str, speaker_id: str) -> None:
        if self.index.state(domain, speaker_id) is SpeakerState.OPTED_OUT:
            raise SpeakerOptedOut(speaker_id)
